"""The `fer` package's video mode on one film, for `video.py --only speed`; its own environment runs this, with
an OpenCV below 5, which has the cascades.

Prints frames, faces, seconds and processor seconds, as `video.py --film` does. Nothing is asked for but the numbers: no
pictures of frames, no annotated film, no archive, which it makes by default.
"""

import contextlib
import json
import os
import sys
import tempfile
import time

import cv2

with contextlib.redirect_stdout(sys.stderr):
    from fer.classes import Video
    from fer.fer import FER

NUMBERS = {
    "output": "pandas", "save_frames": False, "save_video": False, "annotate_frames": False, "zip_images": False,
}  # fmt: skip


def main(path: str) -> None:
    detector, folder = FER(), tempfile.mkdtemp()  # its default: Haar cascades and a Keras model
    with contextlib.redirect_stdout(sys.stderr):
        Video(path, outdir=folder).analyze(detector, **NUMBERS, max_results=5)  # loads the models
        began, worked = time.perf_counter(), time.process_time()
        found = Video(path, outdir=folder, first_face_only=False).analyze(detector, **NUMBERS)
        passed = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - worked}
    frames = int(cv2.VideoCapture(path).get(cv2.CAP_PROP_FRAME_COUNT))
    faces = int(found.filter(regex=r"^box\d*$").notna().to_numpy().sum())  # a row a frame, a column a face
    print(json.dumps({"frames": frames, "rows": faces} | passed), flush=True)
    os._exit(0)  # its threads of its own may still wait


if __name__ == "__main__":
    main(sys.argv[1])
