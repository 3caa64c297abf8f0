"""`python -m ferlib coverage`: how often the prediction sets of released models hold the true class."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ferlib.cli.data_options import add_reading_options, load_from, reading_words
from ferlib.cli.settings import Several

if TYPE_CHECKING:
    from ferlib.data.dataset import FaceDataset

ABOUT = (
    "Prediction sets of the released models (ferlib/weights/*/conformal.json), calibrated on the validation split, on "
    "faces of the test split, and on photos through the face detector, whose set was in no way used for training. "
    "'label': sets calibrated to hold the label; 'votes': to hold one of the votes, drawn at random, of those for an "
    "expression that two people or more named."
)


def add_coverage(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    coverage = commands.add_parser("coverage", help="measure how often prediction sets hold the true class")
    coverage.add_argument("models", nargs="*", metavar="MODEL", help="names or model folders; default: the released")
    coverage.add_argument(
        "--data",
        nargs="+",
        action=Several,
        default=["own"],
        metavar="SET",
        help="data sets; own (default): the one that each model's sets were calibrated on, test split",
    )
    add_reading_options(coverage)
    coverage.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON here")
    coverage.set_defaults(run=run_coverage)


def run_coverage(options: argparse.Namespace) -> int:
    """`ferlib coverage`."""
    import shlex

    from ferlib.models.registry import released_models
    from ferlib.release.coverage import coverage_entries
    from ferlib.utils.atomic import require_writable, write_json
    from ferlib.utils.commit import commit

    if options.out:
        require_writable(options.out)
    models = options.models or list(released_models())
    # where a folder is asked for, among others, these are its alone
    others = argparse.Namespace(**vars(options) | {"root": None, "labels": None})

    def read(name: str, size: int | None) -> "FaceDataset":
        return load_from(others if "folder" in options.data and name != "folder" else options, name, size)

    entries = coverage_entries(models, options.data, read)
    row = "{:<24} {:<20} {:>6}  {:<6} {:>8}  {:>8} {:>8} {:>8} {:>9} {:>6}".format
    print(row("model", "data", "faces", "truth", "promised", "label in", "vote in", "single", "right", "size"))
    for entry in entries:
        for truth, coverages in entry["sets"].items():
            for coverage, found in coverages.items():
                names = ("coverage", "votes_covered", "single", "single_accuracy", "mean_size")
                values = [f"{found[name]['value']:.3f}" if found.get(name) else "-" for name in names]
                print(row(entry["model"], entry["data"], entry["faces"], truth, coverage, *values))
    if options.out:
        words = ["python", "-m", "ferlib", "coverage", *options.models, "--data", *options.data]
        command = shlex.join([*words, *reading_words(options), "--out", options.out.as_posix()])
        content = {"about": ABOUT, "command": command, "commit": commit()}
        write_json(options.out, content | {"entries": entries})
    return 0
