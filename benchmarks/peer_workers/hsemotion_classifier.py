"""`hsemotion-onnx`: `HSEmotionRecognizer.predict_multi_emotions` of the face in three equal channels.

The package downloads its weights; given ones, named as there (enet_b0_8_best_vgaf.onnx, say), are put where it looks.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
from hsemotion_onnx.facial_emotions import HSEmotionRecognizer
from serve import given_weights, serve


def main() -> None:
    weights = given_weights()
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home
        cache = Path(home, ".hsemotion")
        cache.mkdir()
        (cache / weights.name).symlink_to(weights)
        model = HSEmotionRecognizer(weights.stem)

    def predict(faces: np.ndarray) -> np.ndarray:
        _, scores = model.predict_multi_emotions(
            [np.repeat(face[..., None], 3, axis=2) for face in faces], logits=False
        )
        return scores[:, : len(classes)]  # others follow in the models with valence and arousal

    classes = list(model.idx_to_class.values())
    serve(predict, classes, ("hsemotion-onnx", "onnxruntime"), weights, batches=True)


if __name__ == "__main__":
    main()
