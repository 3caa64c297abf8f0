"""What the workers share: faces from a file, and lines of JSON on standard input and output.

    python WORKER FACES [WEIGHTS]

FACES holds grey faces of 48x48 pixels, one byte a pixel. The first line written is about the model: its classes in its
own words, the versions of its packages, whether it takes several faces at once, and the bytes of its weights. Then a
line of row numbers, [0, 5, ...], is answered by {"probabilities": one list a face, "seconds": processor time for all of
them}.
Nothing but numpy is needed, as every worker runs in an environment of its own.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

SIDE = 48
ANSWERS, sys.stdout = sys.stdout, sys.stderr  # some packages print


def given_weights() -> Path:
    """The weights' file from the command line."""
    return Path(sys.argv[2]).resolve()


def serve(
    predict: Callable[[np.ndarray], np.ndarray],
    classes: Sequence[str],
    packages: Sequence[str],
    weights: Path,
    batches: bool,
) -> None:
    """Answer until standard input ends.

    Args:
        predict: from faces (B, 48, 48) uint8 to probabilities (B, classes).
        classes: in the model's own words.
        packages: whose versions are told.
        weights: the file.
        batches: whether the package hands several faces to its model at once.
    """
    faces = np.fromfile(sys.argv[1], np.uint8).reshape(-1, SIDE, SIDE)
    hello = {
        "classes": list(classes),
        "versions": {name: version(name) for name in packages},
        "batches": batches,
        "weights": weights.stat().st_size,
    }
    print(json.dumps(hello), file=ANSWERS, flush=True)
    for line in sys.stdin:
        some = faces[json.loads(line)]
        began = time.process_time()
        probabilities = np.asarray(predict(some), float)
        seconds = time.process_time() - began
        print(json.dumps({"probabilities": probabilities.tolist(), "seconds": seconds}), file=ANSWERS, flush=True)
