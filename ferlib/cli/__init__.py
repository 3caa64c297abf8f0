"""The command line: `python -m ferlib COMMAND`. Every command prints its result to stdout and its complaints to stderr.

Exit codes: 0 done, 1 something could not be done (a sentence says what) or an audit failed, 2 wrong usage, 130
interrupted.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ferlib.cli.evaluate import add_calibrate, add_evaluate
from ferlib.cli.label import add_label
from ferlib.cli.settings import parse_settings
from ferlib.cli.studies import add_studies
from ferlib.explain import METHODS

if TYPE_CHECKING:
    from ferlib.predict import ImagePrediction

    Writer = Callable[[ImagePrediction, Sequence[str | None]], None]  # of a photo's faces and their heat maps' files

FORMATS = ("table", "json", "csv")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        sys.stdout = None
        return 0
    except (ValueError, OSError, ImportError, RuntimeError) as error:  # what the library raises for its callers to show
        print(f"ferlib: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"ferlib: interrupted; {stop}" if stop.args else "ferlib: interrupted", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """All commands; each sets `run`, which takes the parsed options and returns the exit code."""
    parser = argparse.ArgumentParser(prog="ferlib", description="Facial expression recognition, honestly measured.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    predict = commands.add_parser("predict", help="find and classify the faces in photos")
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="photo files")
    predict.add_argument("--model", metavar="NAME_OR_DIR", help="a released model's name or a model folder")
    predict.add_argument("--explain", choices=METHODS, metavar="METHOD", help="heat maps: " + ", ".join(METHODS))
    predict.add_argument("--out", type=Path, metavar="DIR", help="folder for heat maps (default: overlays)")
    predict.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    predict.set_defaults(run=run_predict)

    models = commands.add_parser("models", help="list the models, released and untrained, with sizes and test figures")
    models.add_argument("--format", choices=["table", "json"], default="table", help="default: table")
    models.set_defaults(run=run_models)

    export = commands.add_parser("export", help="write a model as an ONNX file and compare it with PyTorch")
    export.add_argument("model", metavar="MODEL", help="a released model's name or a model folder")
    export.add_argument("--out", required=True, type=Path, metavar="FILE.onnx", help="the file to write")
    export.set_defaults(run=run_export)

    data = commands.add_parser("data", help="list the data sets, or get one: `data get NAME`")
    data.add_argument("--root", metavar="DIR", help="look here instead of $FERLIB_DATA and the user's cache")
    data.set_defaults(run=run_data)
    get = data.add_subparsers(metavar="get NAME").add_parser("get", help="download it, or say where to apply for it")
    get.add_argument("name", metavar="NAME", help="a data set's name")
    get.add_argument("--root", metavar="DIR", default=argparse.SUPPRESS, help="put it below this folder")
    get.add_argument("--from", dest="address", metavar="ADDRESS", help="download from here, a mirror say")
    get.set_defaults(run=run_data_get)

    add_label(commands)

    train = commands.add_parser("train", help="train a model by a recipe")
    train.add_argument("recipe", metavar="RECIPE", help="a recipe's name, see ferlib/training/recipes.py")
    train.add_argument("--data", required=True, metavar="SET", help="a data set's name, see `ferlib data`")
    train.add_argument("--root", metavar="DIR", help="where the data set is")
    train.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: runs/RECIPE)")
    train.add_argument(
        "--trunk-weights",
        metavar="FILE",
        help=".safetensors of the trunk, imagenet (downloaded by timm, the default where there is a trunk) or none",
    )
    train.add_argument("--resume", action="store_true", help="continue the run in --out")
    train.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="change fields of the recipe")
    train.set_defaults(run=run_train)

    add_evaluate(commands)
    add_calibrate(commands)
    add_studies(commands)

    release = commands.add_parser("release", help="make a finished run a released model, or measure one again")
    release.add_argument("name", metavar="NAME", help="of the released model")
    release.add_argument("--data", required=True, metavar="SET", help="the data set it was trained on")
    release.add_argument("--root", metavar="DIR", help="where the data set is")
    release.add_argument("--run", dest="run_folder", type=Path, metavar="RUN", help="run folder of `ferlib train`; "
                         "without it a released model is calibrated and measured again")  # fmt: skip
    release.add_argument("--recipe", default="", help="name of the recipe it was trained by, for the card")
    release.add_argument("--trunk-weights", metavar="FILE", help="that it was trained with, for the card")
    release.add_argument("--onnx", action="store_true", help="add model.onnx, which predictions on a CPU then use")
    release.set_defaults(run=run_release)
    return parser


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


def run_models(options: argparse.Namespace) -> int:
    """`ferlib models`."""
    from dataclasses import asdict

    from ferlib.models.listing import model_rows

    rows = model_rows()
    if options.format == "json":
        for row in rows:
            print(json.dumps(asdict(row)))
        return 0
    table = [("model", "params, M", "GFLOPs", "px", "weights", "accuracy, %", "balanced, %", "measured on", "about")]
    for row in rows:
        sizes = f"{row.parameters / 1e6:.2f}", f"{row.flops / 1e9:.2f}", str(row.input_size)
        figures = "", "", ""
        if test := row.test:
            figures = (
                f"{100 * test.accuracy:.1f}",
                f"{100 * test.balanced_accuracy:.1f}",
                f"{test.data}, {test.split}, {test.faces:,} faces",
            )
        weights = row.licence or "no licence named" if row.trained else "untrained"
        table.append((row.name, *sizes, weights, *figures, row.about))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        columns = zip(cells, widths, "<>>><>><<", strict=True)
        print("  ".join(f"{cell:{align}{width}}" for cell, width, align in columns).rstrip())
    print("\nGFLOPs (2 per multiply-add): convolutions and matrix products for one face of px × px.")
    print("Untrained: architectures for `create_model` and recipes, here with their default trunk.")
    return 0


def run_export(options: argparse.Namespace) -> int:
    """`ferlib export`; an error when the file does not compute what the model does."""
    from ferlib.data.synthetic import sample_faces
    from ferlib.models.export import TOLERANCE, export_onnx, largest_difference
    from ferlib.models.zoo import load_model

    model = load_model(options.model)
    path = export_onnx(model, options.out)
    faces, _, _ = sample_faces(1, grey=False)
    difference = largest_difference(model, path, faces)
    print(f"{path}, {path.stat().st_size / 1e6:.1f} MB, at most {difference:.1e} from PyTorch in a logit "
          f"({len(faces)} drawn faces)")  # fmt: skip
    if not difference <= TOLERANCE:  # not a number, too
        raise RuntimeError(f"{path} does not compute what the model does; rounding explains {TOLERANCE:.0e} at most")
    return 0


def run_data(options: argparse.Namespace) -> int:
    """`ferlib data`."""
    from ferlib.data.catalogue import SOURCES, find_dataset

    for name, source in SOURCES.items():
        folder = find_dataset(name, options.root)
        print(f"{name:<20} {f'found in {folder}' if folder else f'not found; to get it: {source.obtain}'}")
    print(f"{'folder':<20} pictures of your own in DIR/[<split>/]<class>/*: --data folder --root DIR")
    print(f"{'synthetic':<20} drawn faces, always there")
    return 0


def run_data_get(options: argparse.Namespace) -> int:
    """`ferlib data get`."""
    from ferlib.data.catalogue import SOURCES, find_dataset
    from ferlib.data.obtain import obtain

    folder = find_dataset(options.name, options.root) if options.name in SOURCES else None
    if folder:
        print(f"{options.name} is already there, complete, in {folder}")
    else:
        print(f"{options.name} is now in {obtain(options.name, options.root, options.address)}")
    return 0


def run_train(options: argparse.Namespace) -> int:
    """`ferlib train`, in one process or, under `accelerate launch`, in several."""
    import torch

    from ferlib.data.catalogue import load_dataset
    from ferlib.models.zoo import MODELS, build_model
    from ferlib.training.loop import fit
    from ferlib.training.recipes import RECIPES
    from ferlib.training.run_folder import best_epoch

    if options.recipe not in RECIPES:
        raise ValueError(f"unknown recipe {options.recipe!r}, expected one of {', '.join(RECIPES)}")
    recipe = RECIPES[options.recipe].override(parse_settings(options.set))
    data = load_dataset(options.data, options.root)
    recipe = recipe.override({"classes": data.classes})
    say = print if os.environ.get("RANK", "0") == "0" else lambda text: None  # one of several processes speaks
    say(data)
    torch.manual_seed(recipe.seed)
    weights = options.trunk_weights or ("imagenet" if MODELS[recipe.config.architecture].model.has_trunk else "none")
    model = build_model(recipe.config, None if weights == "none" else weights)
    out = options.out or Path("runs") / options.recipe
    try:
        history = fit(model, data, recipe, out, resume=options.resume)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("the same command with --resume goes on after the last finished epoch") from stop
    best = history.loc[best_epoch(history)]
    chosen_on = "TEST, as published" if recipe.protocol == "published" else "validation"
    figures = ", ".join(f"{name} {best[name]:.4f}" for name in ("accuracy", "balanced_accuracy", "macro_f1"))
    say(f"best epoch {int(best['epoch']) + 1} of {len(history)} on {chosen_on}: {figures}; model in {out / 'best'}")
    return 0


def run_release(options: argparse.Namespace) -> int:
    """`ferlib release`."""
    from ferlib.data.catalogue import load_dataset
    from ferlib.training.release import release

    data = load_dataset(options.data, options.root)
    print(release(options.name, data, options.run_folder, options.recipe, options.trunk_weights, options.onnx))
    return 0
