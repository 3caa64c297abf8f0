"""`python -m ferlib predict`: the faces in photos and their expressions, as a table, JSON or CSV."""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ferlib.explain import METHODS

if TYPE_CHECKING:
    from ferlib.predict import ImagePrediction

    Writer = Callable[[ImagePrediction, Sequence[str | None]], None]  # of a photo's faces and their heat maps' files

FORMATS = ("table", "json", "csv")


def add_predict(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    predict = commands.add_parser("predict", help="find and classify the faces in photos")
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="photo files")
    predict.add_argument("--model", metavar="NAME_OR_DIR", help="a released model's name or a model folder")
    predict.add_argument("--explain", choices=METHODS, metavar="METHOD", help="heat maps: " + ", ".join(METHODS))
    predict.add_argument("--out", type=Path, metavar="DIR", help="folder for heat maps (default: overlays)")
    predict.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    predict.set_defaults(run=run_predict)


def run_predict(options: argparse.Namespace) -> int:
    """`ferlib predict`; 1 when a photo could not be read or has no face."""
    from PIL import Image

    from ferlib.predict import DEFAULT_MODEL, Predictor

    predictor = Predictor.load(options.model or DEFAULT_MODEL)
    folder = options.out or Path("overlays")
    if options.explain:
        folder.mkdir(parents=True, exist_ok=True)
    write = {"table": _write_table, "json": _write_json, "csv": _write_csv}[options.format](predictor.classes)
    failed = False
    for number, path in enumerate(options.images):
        result = predictor.predict(path, explain=options.explain)
        overlays: list[str | None] = []
        for i, face in enumerate(result.faces):
            target = folder / f"{number:04d}_{Path(path).stem}_face{i + 1}_{options.explain}.png"
            if options.explain:
                Image.fromarray(face.overlay()).save(target)
            overlays.append(str(target) if options.explain else None)
        write(result, overlays)
        sys.stdout.flush()
        failed |= result.error is not None
    return int(failed)


def _write_json(classes: Sequence[str]) -> "Writer":
    def write(result: "ImagePrediction", overlays: Sequence[str | None]) -> None:
        faces = [
            {"box": list(face.box), "label": face.label, "scores": face.scores, "overlay": overlay}
            for face, overlay in zip(result.faces, overlays, strict=True)
        ]
        print(json.dumps({"image": result.name, "faces": faces, "error": result.error}))

    return write


def _write_csv(classes: Sequence[str]) -> "Writer":
    writer = csv.writer(sys.stdout)
    writer.writerow(["image", "face", "x0", "y0", "x1", "y1", "label", *classes, "overlay", "error"])

    def write(result: "ImagePrediction", overlays: Sequence[str | None]) -> None:
        for i, (face, overlay) in enumerate(zip(result.faces, overlays, strict=True)):
            scores = (f"{face.scores[name]:.6f}" for name in classes)
            writer.writerow([result.name, i + 1, *face.box, face.label, *scores, overlay or "", ""])
        if result.error:
            writer.writerow([result.name, *[""] * (len(classes) + 7), result.error])

    return write


def _write_table(classes: Sequence[str]) -> "Writer":
    row = "{:<40} {:>4}  {:<10} {:>6} {:>7}  {}".format
    print(row("image", "face", "label", "score", "margin", "box / error"))

    def write(result: "ImagePrediction", overlays: Sequence[str | None]) -> None:
        name = result.name if len(result.name) <= 40 else "…" + result.name[-39:]
        for i, face in enumerate(result.faces):
            box = " ".join(map(str, face.box))
            print(row(name, i + 1, face.label, f"{face.scores[face.label]:.3f}", f"{face.margin:.3f}", box))
        if result.error:
            print(row(name, "-", "-", "-", "-", result.error))

    return write
