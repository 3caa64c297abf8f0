"""`deepface` on onnxruntime: `DeepFace.analyze` of a picture that is all face (`detector_backend="skip"`).

The package downloads its weights; given ones, facial_expression_model_weights.onnx, are put where it looks for them.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
from serve import given_weights, serve

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def main() -> None:
    weights = given_weights()
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"DEEPFACE_HOME": home, "DEEPFACE_BACKEND_ENGINE": "onnx"}
        from deepface import DeepFace

        folder = Path(home, ".deepface", "weights")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "facial_expression_model_weights.onnx").symlink_to(weights)

        def predict(faces: np.ndarray) -> np.ndarray:
            found = []
            for face in faces:
                picture = np.repeat(face[..., None], 3, axis=2)
                scores = DeepFace.analyze(picture, actions=["emotion"], detector_backend="skip", silent=True)[0][
                    "emotion"
                ]
                found.append([scores[name] / 100 for name in CLASSES])
            return np.array(found)

        serve(predict, CLASSES, ("deepface", "onnxruntime"), weights, batches=False)


if __name__ == "__main__":
    main()
