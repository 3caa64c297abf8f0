"""The options that say which data set a command reads, and how."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from ferlib.cli.settings import Several
from ferlib.errors import UserError

if TYPE_CHECKING:
    from ferlib.data.dataset import FaceDataset
    from ferlib.models.base import ModelConfig


def add_data_options(parser: argparse.ArgumentParser, purpose: str = "a data set's name, see `ferlib data`") -> None:
    """Put `--data` and the options of `add_reading_options` into a parser; `purpose` is the help of `--data`."""
    parser.add_argument("--data", required=True, metavar="SET", help=purpose)
    add_reading_options(parser)


def add_reading_options(parser: argparse.ArgumentParser, root: str | None = None) -> None:
    """Put `--root`, with this default, `--labels` and `--skip-broken` into a parser."""
    parser.add_argument("--root", metavar="DIR", default=root, help="where the data set is")
    parser.add_argument(
        "--labels", nargs="+", action=Several, metavar="FOLDER=CLASS",
        help="what names of class folders mean, e.g. suprise=surprise; keep: unknown names are classes as they stand",
    )  # fmt: skip
    parser.add_argument("--skip-broken", action="store_true", help="leave out pictures that cannot be read")


def reading_words(options: argparse.Namespace) -> list[str]:
    """The words of `add_reading_options` that were given, for a command to be noted: without where the data are."""
    labels = ["--labels", *options.labels] if options.labels else []
    return [*labels, *(["--skip-broken"] if options.skip_broken else [])]


def load_from(
    options: argparse.Namespace, name: str | None = None, size: int | None = None, published: bool = False
) -> "FaceDataset":
    """The data set that the options name; its notes go to stderr, from one of several processes.

    Args:
        options: parsed, with the options of `add_reading_options`.
        name: the data set's, where it does not stand in `options.data`.
        size, published: see `ferlib.data.registry.load_dataset`.
    """
    from ferlib.data.registry import load_dataset

    labels = _answers(options.labels)
    data = load_dataset(name or options.data, options.root, size, labels, options.skip_broken, published)
    if os.environ.get("RANK", "0") == "0":
        for note in data.notes:
            print(f"note: {data.name}: {note}", file=sys.stderr)
    return data


def load_for(options: argparse.Namespace, config: "ModelConfig", published: bool = False) -> "FaceDataset":
    """The data set that the options name, a folder of one's own at `config.side`."""
    return load_from(options, size=config.side if options.data == "folder" else None, published=published)


def _answers(words: list[str] | None) -> dict[str, str] | str | None:
    """["suprise=surprise"] -> {"suprise": "surprise"}; "keep" stays a word."""
    if words is None:
        return None
    if words == ["keep"]:
        return "keep"
    answers = {}
    for word in words:
        name, equals, meaning = word.rpartition("=")
        if not (equals and name.strip() and meaning.strip()):
            raise UserError(f"--labels takes FOLDER=CLASS, or keep alone, not {word!r}")
        answers[name] = meaning
    return answers
