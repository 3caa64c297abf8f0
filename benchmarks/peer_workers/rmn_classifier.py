"""`rmn` (Residual Masking Network): `RMN.detect_emotion_for_single_face_image` of the grey face.

The package downloads its weights when it is imported, unless it finds files of certain names in the working folder:
given ones, Z_resmasking_dropout1_rot30_2019Nov30_13.32, are put there. So is an empty file for its face detector,
which is asked for as well and not used.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from serve import given_weights, serve


def main() -> None:
    weights, sys.argv[1] = given_weights(), str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pretrained_ckpt").symlink_to(weights)
        Path(folder, "face_detection_yunet_2023mar.onnx").touch()
        os.chdir(folder)
        import rmn

        model = rmn.RMN(face_detector=False)

        def predict(faces: np.ndarray) -> np.ndarray:
            found = []
            for face in faces:
                _, _, scores = model.detect_emotion_for_single_face_image(face)
                found.append([value for entry in scores for value in entry.values()])
            return np.array(found)

        serve(predict, list(rmn.FER_2013_EMO_DICT.values()), ("rmn", "torch"), weights, batches=False)


if __name__ == "__main__":
    main()
