"""Which faces are found over size, turn, blur, light, edges and groups, and false alarms: results/detection.json.

    pip install --no-deps --target runs/mtcnn facenet-pytorch==2.6.0
    python benchmarks/detection.py --name before --out results/detection.json      # in a checkout of before
    python benchmarks/detection.py --name after --small --out results/detection.json
    python benchmarks/detection.py --mtcnn runs/mtcnn --out results/detection.json

Pictures: `benchmarks/detection_pictures.py`. A face counts as found where a box's middle is within half its side of the
true one, and the box between half and twice as large; a box that fits none, or one that has a box already, is a false
alarm. Beside `detect_faces` as it is (`--name`), the same with `min_face`, and MTCNN as facenet-pytorch ships it, with
its own settings. Milliseconds are medians a picture of the processor's time, which other work hardly changes.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from detection_pictures import CURVES, Case, Place
from machine import command, machine

from ferlib.detection.crop import Face
from ferlib.detection.faces import detect_faces
from ferlib.utils.atomic import write_json

SMALL = 16  # pixels, of `min_face` ...
SMALL_CURVES = ("size", "behind", "large photo")  # ... along these
MTCNN_NAME = "MTCNN, facenet-pytorch 2.6.0"
Box = tuple[float, float, float]  # x and y of the middle, and side
Detector = Callable[[np.ndarray], list[Box]]


def boxes_of(faces: Sequence[Face]) -> list[Box]:
    return [((face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2, face.side) for face in faces]


def ours(pixels: np.ndarray) -> list[Box]:
    """`detect_faces` as it is."""
    return boxes_of(detect_faces(pixels))


def ours_small(pixels: np.ndarray) -> list[Box]:
    """`detect_faces` that looks for faces down to `SMALL` pixels."""
    return boxes_of(detect_faces(pixels, min_face=SMALL))


def mtcnn(folder: Path) -> Detector:
    """The MTCNN of facenet-pytorch, installed into a folder."""
    sys.path.append(str(folder))
    from facenet_pytorch import MTCNN

    network = MTCNN(keep_all=True)

    def detect(pixels: np.ndarray) -> list[Box]:
        boxes, _ = network.detect(pixels)
        found = [] if boxes is None else np.asarray(boxes, float).tolist()
        return [((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0 + y1 - y0) / 2) for x0, y0, x1, y1 in found]

    return detect


def matched(places: Sequence[Place], boxes: Sequence[Box]) -> list[bool]:
    """Of every place, whether one of the boxes is its face; each box is at most one's, the nearest first."""
    pairs = []
    for i, place in enumerate(places):
        for j, (x, y, side) in enumerate(boxes):
            away = max(abs(x - place.x), abs(y - place.y)) / place.side
            if away < 0.5 and 0.5 < side / place.side < 2:
                pairs.append((away, i, j))
    faces, used = set(), set()
    for _, i, j in sorted(pairs):
        if i not in faces and j not in used:
            faces.add(i)
            used.add(j)
    return [i in faces for i in range(len(places))]


def measured(detector: Detector, cases: Iterable[Case]) -> dict:
    """One value of a curve: faces found and there by kind, in the worst picture, false alarms, time a picture."""
    found: dict[str, list[int]] = {}
    alarms, times, each = 0, [], []
    for case in cases:
        began = time.process_time()
        boxes = detector(case.pixels)
        times.append(time.process_time() - began)
        hits = matched(case.places, boxes)
        alarms += len(boxes) - sum(hits)
        each.append((sum(hits), len(hits)))
        for place, hit in zip(case.places, hits, strict=True):
            counts = found.setdefault(place.kind, [0, 0])
            counts[0] += hit
            counts[1] += 1
    return {
        "found": found, "worst": min(each, default=None), "false_alarms": alarms, "pictures": len(times),
        "milliseconds": round(1000 * median(times), 2) if times else None,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", help="what to call detect_faces as it is; without: not measured")
    parser.add_argument("--small", action="store_true", help=f"also with min_face={SMALL}")
    parser.add_argument("--mtcnn", type=Path, metavar="DIR", help="with facenet-pytorch; without: not measured")
    parser.add_argument("--only", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()

    detectors: dict[str, Detector] = {}
    if options.name:
        detectors[options.name] = ours
    if options.name and options.small:
        detectors[f"{options.name}, min_face {SMALL}"] = ours_small
    if options.mtcnn:
        detectors[MTCNN_NAME] = mtcnn(options.mtcnn)
    for name, detector in detectors.items():
        for curve in options.only:
            if detector is ours_small and curve not in SMALL_CURVES:
                continue
            cases, values = CURVES[curve]
            points = {f"{value:g}": measured(detector, cases(value)) for value in values}
            print(name, curve, json.dumps(points), flush=True)
            report = json.loads(options.out.read_text()) if options.out.exists() else {}
            curves = report.get(name, {}).get("curves", {}) | {curve: points}
            ordered = {one: curves[one] for one in CURVES if one in curves}
            own = ["--mtcnn", str(options.mtcnn)] if name == MTCNN_NAME else ["--name", options.name]
            own += ["--small"] if detector is ours_small else []
            words = [*own, "--only", *ordered, "--out", "results/detection.json"]  # makes all its curves
            report[name] = {"command": command(*words), "machine": machine(), "curves": ordered}
            write_json(options.out, report)


if __name__ == "__main__":
    main()
