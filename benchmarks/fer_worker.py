"""The `fer` package at work, in an environment of its own: a program for `benchmarks/app_latency.py`.

Reads lines "haar PATH" or "mtcnn PATH" and answers each with a line of JSON: the seconds that `detect_emotions` took
from the file to the result, and the number of faces. The first line it writes names the versions.
"""

import contextlib
import json
import sys
import time
from importlib.metadata import version

with contextlib.redirect_stdout(sys.stderr):  # standard output is for the answers alone
    from fer.fer import FER

    detectors = {"haar": FER(), "mtcnn": FER(mtcnn=True)}


def main() -> None:
    packages = ("fer", "tensorflow", "opencv-contrib-python", "facenet-pytorch", "torch")
    print(json.dumps({name: version(name) for name in packages}), flush=True)
    for line in sys.stdin:
        name, path = line.rstrip("\n").split(" ", 1)
        with contextlib.redirect_stdout(sys.stderr):
            began = time.perf_counter()
            faces = detectors[name].detect_emotions(path)
            seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "faces": len(faces)}), flush=True)


if __name__ == "__main__":
    main()
