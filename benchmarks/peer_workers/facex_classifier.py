"""The `facex` package: `EmotionClassifier.detect_emotion` of the grey face, as its `predict` calls it."""

from importlib.resources import files
from pathlib import Path

import numpy as np
from facex.core import EmotionClassifier
from serve import serve


def main() -> None:
    weights = Path(str(files("facex") / "assets" / "model_optimized.tflite"))
    model = EmotionClassifier(str(weights))

    def predict(faces: np.ndarray) -> np.ndarray:
        return np.array([list(model.detect_emotion(face).values()) for face in faces])

    packages = ("facex", "tensorflow-cpu", "scikit-image")
    serve(predict, model.category, packages, weights, batches=False)


if __name__ == "__main__":
    main()
