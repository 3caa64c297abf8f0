"""`python -m ferlib release`: a finished run made a released model."""

import argparse
from pathlib import Path

from ferlib.cli.data_options import add_data_options, load_from


def add_release(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    release = commands.add_parser("release", help="make a finished run a released model, or measure one again")
    release.add_argument("name", metavar="NAME", help="of the released model")
    add_data_options(release, "the data set it was trained on")
    release.add_argument("--run", dest="run_folder", type=Path, metavar="RUN", help="run folder of `ferlib train`; "
                         "without it a released model is calibrated and measured again")  # fmt: skip
    release.add_argument("--recipe", default="", help="name of the recipe it was trained by, for the card")
    release.add_argument("--trunk-weights", metavar="FILE", help="that it was trained with, for the card")
    release.add_argument("--onnx", action="store_true", help="add model.onnx, which predictions on a CPU then use")
    release.set_defaults(run=run_release)


def run_release(options: argparse.Namespace) -> int:
    """`ferlib release`."""
    from ferlib.training.release import release

    data = load_from(options)
    print(release(options.name, data, options.run_folder, options.recipe, options.trunk_weights, options.onnx))
    return 0
