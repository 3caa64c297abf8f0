"""Photos turned by a quarter, half and three quarters, without an EXIF tag: do they keep the answer of the upright one?

    python benchmarks/turned.py --count 100 --out results/turned.json

The photos are drawn from facial_expressions as in benchmarks/photos.py; scikit-image's astronaut is added. Of several
faces the one with the largest box counts. Also measured: how much longer upright photos take to be searched than they
would by the upright search alone, one photo after the other.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from machine import machine
from photo_files import facial_expressions
from skimage.data import astronaut

from ferlib.detection import faces
from ferlib.images import read_image
from ferlib.predict import Predictor

ROUNDS = 7  # of the time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    photos = [*map(read_image, facial_expressions(options.count)), astronaut()]
    predictor = Predictor.load()
    upright = [label(predictor, photo) for photo in photos]
    known = [i for i, name in enumerate(upright) if name]
    turns = {}
    for degrees in (90, 180, 270):
        found = [label(predictor, np.ascontiguousarray(np.rot90(photos[i], degrees // 90))) for i in known]
        kept = sum(name == upright[i] for name, i in zip(found, known, strict=True))
        refused = sum(name is None for name in found)
        turns[str(degrees)] = {"kept": kept, "refused": refused, "other": len(known) - kept - refused}
        print(f"turned by {degrees}: {kept} of {len(known)} keep their label, {refused} are refused")
    ratios = [slowdown(photo) for photo in photos]
    quantiles = dict(
        zip(("median", "p75", "p95"), np.quantile(ratios, [0.5, 0.75, 0.95]).round(2).tolist(), strict=True)
    )
    print(f"time of an upright photo, as a multiple of the upright search alone: {quantiles}")
    if options.out:
        result = {"photos": len(photos), "with_face": len(known), "turned": turns, "time_ratio": quantiles, **machine()}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


def label(predictor: Predictor, photo: np.ndarray) -> str | None:
    """The label of the largest face, or None."""
    found = predictor.predict(photo).faces
    return max(found, key=lambda face: face.box[2] - face.box[0]).label if found else None


def slowdown(photo: np.ndarray) -> float:
    """Time of `detect_faces` as a multiple of that of the upright search alone: the shortest of some, in turn."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        faces._search(photo, 640)
        middle = time.perf_counter()
        faces.detect_faces(photo)
        times.append((middle - start, time.perf_counter() - middle))
    upright, whole = np.min(times, axis=0)
    return float(whole / upright)


if __name__ == "__main__":
    main()
