"""The `fer` package over a folder, for `bulk.py rates`: a line of JSON a photo; its own environment runs this."""

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

with contextlib.redirect_stdout(sys.stderr):
    from fer.fer import FER


def main(folder: Path) -> None:
    detector = FER()  # its default: Haar cascades and a Keras model
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with tempfile.TemporaryFile("w") as file, open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        for path in paths:
            file.write(json.dumps(detector.detect_emotions(str(path)), default=lambda value: value.tolist()) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
