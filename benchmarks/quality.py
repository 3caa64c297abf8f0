"""How dark, overexposed, blurred, small, tilted or averted may a face be? The curves behind
`ferlib/detection/quality.py`.

    python benchmarks/quality.py --out results/quality.json

Faces of FERPlus's validation split (PublicTest), drawn at random with a fixed seed, are changed more and more, and the
default model's accuracy is taken together with the median of what `ferlib.detection.quality` measures on them. A
threshold is the measure from which on accuracy is five points lower, interpolated between the steps. Tilted faces go
the whole way: the face is put on a larger canvas, turned, found again and cut out. Averted faces cannot be made: all
faces of the split are sorted by their yaw, accuracy is taken in groups of equal size, and compared with that of all.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import machine
from PIL import Image, ImageFilter

from ferlib.data.registry import load_dataset
from ferlib.detection.crop import FaceCrop
from ferlib.detection.faces import detect_faces
from ferlib.detection.quality import FALL, SIDE, of_crop, yaw_of
from ferlib.predict import DEFAULT_MODEL, Predictor

CANVAS = 4 * SIDE  # pixels a face is enlarged to before it is tilted
GROUPS = 10


def scaled(face: np.ndarray, factor: float) -> np.ndarray:
    return np.rint(face * np.float64(factor)).clip(0, 255).astype(np.uint8)


def blurred(face: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(Image.fromarray(face).filter(ImageFilter.GaussianBlur(sigma)))


def smaller(face: np.ndarray, side: float) -> np.ndarray:
    small = Image.fromarray(face).resize((int(side), int(side)), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


# name: the change, its steps from none on, and what is measured: a place in `of_crop`, or None for the step itself
CHANGES: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], tuple[float, ...], int | None]] = {
    "dark": (scaled, (1, 0.7, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03), 0),
    "overexposed": (scaled, (1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 6), 1),
    "blurred": (blurred, (0, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4), 2),
    "small": (smaller, (48, 36, 32, 28, 24, 20, 16, 14, 12, 10, 8), None),
}
TILTS = (0, 15, 30, 45, 60, 75, 90)
TILTED = 400  # faces; each is searched for in a larger picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    data = load_dataset("ferplus").split("validation")
    every = [data.pixels[i][0].numpy() for i in range(len(data))]
    labels = data.frame["label"].to_numpy()
    chosen = np.random.default_rng(0).choice(len(every), min(options.faces, len(every)), replace=False)
    faces, given = [every[i] for i in chosen], labels[chosen]
    predictor = Predictor.load()

    def right(crops: list[np.ndarray], truth: np.ndarray) -> np.ndarray:
        return predictor.classify(crops)[0].argmax(axis=1) == truth

    curves = {}
    for name, (change, steps, place) in CHANGES.items():
        rows = []
        for step in steps:
            changed = [change(face, step) for face in faces]
            measures = [step if place is None else of_crop(face)[place] for face in changed]
            rows.append([step, float(np.median(measures)), float(right(changed, given).mean())])
        curves[name] = rows
    curves["tilted"] = [[step, step, *tilted(predictor, faces[:TILTED], given[:TILTED], step)] for step in TILTS]
    curves["averted"] = averted(every, right(every, labels))

    thresholds, flagged = {}, {}
    for name, rows in curves.items():
        clean = float(np.mean([row[2] for row in rows])) if name == "averted" else rows[0][2]
        thresholds[name] = threshold([row[1] for row in rows], [row[2] for row in rows], clean - FALL)
        print(name, f"threshold {thresholds[name]}")
        for row in rows:
            print("   ", *(f"{value:8.3f}" for value in row))
    for name, (_, _, place) in CHANGES.items():
        if place is not None and thresholds[name] is not None:
            values = np.array([of_crop(face)[place] for face in faces])
            beyond = values > thresholds[name] if name == "overexposed" else values < thresholds[name]
            flagged[name] = round(float(beyond.mean()), 4)
    print("unchanged faces that would be flagged:", flagged)
    if options.out:
        result = {"model": DEFAULT_MODEL, "data": "ferplus, validation", "faces": len(faces), "fall": FALL}
        result |= {"thresholds": thresholds, "flagged_unchanged": flagged, "curves": rounded(curves), **machine()}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


def tilted(predictor: Predictor, faces: list[np.ndarray], given: np.ndarray, degrees: float) -> tuple[float, float]:
    """Accuracy on the faces that are found when tilted to either side, and the share that is found."""
    crops, truth = [], []
    for number, (face, label) in enumerate(zip(faces, given, strict=True)):
        large = np.asarray(Image.fromarray(face).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC))
        canvas = Image.fromarray(np.pad(large, CANVAS // 2, mode="edge")).convert("RGB")
        picture = np.asarray(canvas.rotate(degrees if number % 2 else -degrees, Image.Resampling.BICUBIC))
        found = detect_faces(picture)
        if found:
            largest = max(found, key=lambda one: one.side)
            crops.append(FaceCrop.of(picture, largest).resized(predictor.classifier.side))
            truth.append(label)
    right = predictor.classify(crops)[0].argmax(axis=1) == np.array(truth)
    return float(right.mean()), len(crops) / len(faces)


def averted(faces: list[np.ndarray], right: np.ndarray) -> list[list[float]]:
    """Upper end, median and accuracy of groups of equal size by yaw, the frontal ones first."""
    yaws = np.full(len(faces), np.nan)
    for i, face in enumerate(faces):
        found = detect_faces(np.repeat(face[..., None], 3, axis=2))
        if len(found) == 1:
            yaws[i] = abs(yaw_of(found[0]))
    order = np.argsort(yaws)[: np.count_nonzero(~np.isnan(yaws))]
    return [
        [float(yaws[group].max()), float(np.median(yaws[group])), float(right[group].mean())]
        for group in np.array_split(order, GROUPS)
    ]


def threshold(measures: list[float], accuracies: list[float], level: float) -> float | None:
    """The measure from which on accuracy stays below a level, interpolated; None where it does not."""
    below = len(accuracies)
    while below and accuracies[below - 1] < level:
        below -= 1
    if not 0 < below < len(accuracies):
        return None
    first, last = accuracies[below - 1], accuracies[below]
    return round(float(np.interp(first - level, [0, first - last], measures[below - 1 : below + 1])), 3)


def rounded(curves: dict[str, list[list[float]]]) -> dict[str, list[list[float]]]:
    return {name: [[round(float(value), 4) for value in row] for row in rows] for name, rows in curves.items()}


if __name__ == "__main__":
    main()
