"""One of the project's released models: `Predictor.classify` of the grey face.

python ours_classifier.py FACES MODEL.onnx
"""

import numpy as np
from serve import given_weights, serve

from ferlib.predict import Predictor


def main() -> None:
    weights = given_weights()
    model = Predictor.load(weights.parent)

    def predict(faces: np.ndarray) -> np.ndarray:
        return model.classify(list(faces))[0]

    serve(predict, model.classes, ("onnxruntime",), weights, batches=True)


if __name__ == "__main__":
    main()
