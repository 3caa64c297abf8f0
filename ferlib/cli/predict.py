"""`python -m ferlib predict`: the faces in photos and their expressions, as a table, JSON or CSV."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from ferlib.cli.predict_bulk import add_bulk_options, refuse_bulk_options, run_bulk
from ferlib.cli.wanted_faces import add_wanted_faces
from ferlib.errors import UserError
from ferlib.explain import METHODS
from ferlib.runtime.prediction_sets import TRUTHS
from ferlib.utils.csv_safety import SafeWriter
from ferlib.utils.printable import printable

if TYPE_CHECKING:
    import numpy as np

    from ferlib.predict import Predictor
    from ferlib.results import ImagePrediction

    Writer = Callable[[ImagePrediction, Sequence[str | None]], None]  # of a photo's faces and their heat maps' files

FORMATS = ("table", "json", "csv")
STDIN = "-"
OVERLAYS = "overlays"  # where heat maps go


def add_predict(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    predict = commands.add_parser("predict", help="find and classify the faces in photos")
    predict.add_argument(
        "images", nargs="+", metavar="IMAGE", help="photo files, folders, patterns like 'a/*.jpg', - for standard input"
    )
    predict.add_argument("--model", metavar="NAME_OR_DIR", help="a released model's name or a model folder")
    predict.add_argument("--device", default="cpu", help="cpu (default), auto for a GPU if there is one, cuda …")
    predict.add_argument("--no-detection", action="store_true", help="the pictures are faces, cut out and square")
    add_wanted_faces(predict)
    predict.add_argument(
        "--coverage", type=float, metavar="C", help="also the set of classes that holds the true one this often: 0.9 …"
    )
    predict.add_argument(
        "--truth",
        choices=TRUTHS,
        default="label",
        help="that class is the one most people named (label, default), or one vote's, drawn at random (votes)",
    )
    predict.add_argument("--explain", choices=METHODS, metavar="METHOD", help="heat maps: " + ", ".join(METHODS))
    predict.add_argument("--landmarks", action="store_true", help="also pose of the head, openness of eyes and mouth")
    predict.add_argument("--out", metavar="DIR", help="folder for heat maps (default: overlays), or of a table")
    predict.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    add_bulk_options(predict)
    predict.set_defaults(run=run_predict)


def run_predict(options: argparse.Namespace) -> int:
    """`ferlib predict`; 1 when a photo could not be read or has no face, and no table was asked for."""
    from ferlib.predict import DEFAULT_MODEL, Predictor

    _check(options)
    if options.recursive:
        return run_bulk(options)
    predictor = Predictor.load(options.model or DEFAULT_MODEL, options.device, options.coverage, options.truth)
    predictor.require_method(options.explain)
    folder = Path(options.out or OVERLAYS)
    if options.explain:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder} cannot be the folder of the heat maps (--out): {error.strerror}") from error
    start_writing = {"table": _write_table, "json": _write_json, "csv": _write_csv}[options.format]
    write = start_writing(predictor.classes, options.coverage, options.landmarks)
    failed = False
    for number, result in enumerate(_results(predictor, options)):
        overlays: list[str | None] = [None] * len(result.faces)
        if options.explain:
            start = f"{number:04d}_{_short(result.name)}"
            try:
                for i, face in enumerate(result.faces):
                    overlays[i] = _save_new(folder, f"{start}_face{i + 1}_{options.explain}", face.overlay())
            except OSError as error:  # the answers are there all the same
                print(f"ferlib: a heat map of {result.name} cannot be written ({error})", file=sys.stderr)
                failed = True
        write(result, overlays)
        sys.stdout.flush()
        failed |= result.error is not None
    return int(failed)


def _check(options: argparse.Namespace) -> None:
    """Assert that the options go together.

    Raises:
        UserError: they do not, or a number means nothing.
    """
    from ferlib.detection.faces import require_min_face

    if not options.recursive:
        refuse_bulk_options(options)
    if options.out and not options.explain and not options.recursive:
        raise UserError("--out is the folder for heat maps; say which with --explain, e.g. --explain gradcam")
    if options.truth != "label" and options.coverage is None:
        raise UserError("--truth is of the prediction sets; say how often they are to hold it, e.g. --coverage 0.9")
    if options.no_detection and (options.min_face or options.faces != "all"):
        raise UserError("--no-detection looks for no faces, so there are none for --faces or --min-face to choose from")
    require_min_face(options.min_face)


def _results(predictor: "Predictor", options: argparse.Namespace) -> "Iterator[ImagePrediction]":
    """The photos' results, one after the other."""
    from dataclasses import replace

    from ferlib.image_paths import expand

    how = options.explain, not options.no_detection, options.landmarks, options.faces, options.min_face
    for given in options.images:
        if given == STDIN:
            if sys.stdin is None:
                raise UserError("there is no standard input")
            result = predictor.predict(sys.stdin.buffer.read(), *how)
            yield replace(result, name=STDIN)
        else:
            for path in expand(given):
                if not (options.explain and _is_overlay(path, given, options)):
                    yield predictor.predict(path, *how)


def _is_overlay(path: "str | Path", given: str, options: argparse.Namespace) -> bool:
    """True for a heat map of this or an earlier run that lies in a folder of photos."""
    from ferlib.utils.files import is_below

    folder = options.out or OVERLAYS
    return is_below(path, folder) and not is_below(given, folder)


def _short(name: str) -> str:
    """The stem of a photo's name, as far as any file system takes it in another name."""
    return re.sub(r"[^\w.-]", "_", Path(name).stem)[:60]


def _save_new(folder: Path, name: str, pixels: "np.ndarray") -> str:
    """Save a picture as a PNG file that was not there, whole; its name has a number at the end where it is taken."""
    from PIL import Image

    for number in count(1):
        path = folder / f"{name}{f'-{number}' if number > 1 else ''}.png"
        try:
            file = path.open("xb")
        except FileExistsError:
            continue
        try:
            with file:
                Image.fromarray(pixels).save(file, "PNG")
        except BaseException:
            path.unlink()
            raise
        return str(path)
    raise AssertionError("numbers do not end")


def _write_json(classes: Sequence[str], coverage: float | None, landmarks: bool) -> "Writer":
    def write(result: "ImagePrediction", overlays: Sequence[str | None]) -> None:
        data = result.to_dict()
        for face, overlay in zip(data["faces"], overlays, strict=True):
            face["overlay"] = overlay
        print(json.dumps(data))

    return write


def _write_csv(classes: Sequence[str], coverage: float | None, landmarks: bool) -> "Writer":
    from ferlib.results import csv_columns, csv_rows

    asked = {"sets": coverage is not None, "measures": landmarks}
    writer = SafeWriter(sys.stdout)
    writer.writerow([*csv_columns(classes, **asked), "overlay"])

    def write(result: "ImagePrediction", overlays: Sequence[str | None]) -> None:
        for row, overlay in zip(csv_rows(result, classes, **asked), overlays or [None], strict=True):
            writer.writerow([*row, overlay or ""])

    return write


def _write_table(classes: Sequence[str], coverage: float | None, landmarks: bool) -> "Writer":
    from ferlib.results import MEASURES

    form = "{:<40} {:>4}  {:<10} {:>6} {:>7}  " + ("{}{}" if coverage is None else "{:<22} {}")
    heading = "" if coverage is None else f"set of coverage {coverage:g}"
    print(form.format("image", "face", "label", "score", "margin", heading, "box, warnings / error"))

    def write(result: "ImagePrediction", overlays: Sequence[str | None]) -> None:
        name = printable(result.name)
        name = name if len(name) <= 40 else "…" + name[-39:]
        for i, face in enumerate(result.faces):
            box = " ".join(map(str, face.box)) + "".join(f", {warning}" for warning in face.warnings)
            box += "".join(f", {name} {getattr(face.measures, name):.2f}" for name in MEASURES if face.measures)
            answer = "" if coverage is None else face.answer
            score = f"{face.scores[face.label]:.3f}"
            print(form.format(name, i + 1, face.label, score, f"{face.margin:.3f}", answer, box))
        if result.error:
            print(form.format(name, *"----", "" if coverage is None else "-", printable(result.error)))

    return write
