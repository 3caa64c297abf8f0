"""`python -m ferlib reproduce`: a paper's table, or the protocols compared, from data and weights to figures."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ferlib.cli.data_options import add_reading_options, load_from, reading_words
from ferlib.cli.settings import Several, parse_settings
from ferlib.errors import UserError
from ferlib.utils.atomic import atomic_write, require_writable, write_json

if TYPE_CHECKING:
    from ferlib.data.dataset import FaceDataset
    from ferlib.experiments.study import Study, Table

#: Names of the tables in `ferlib.experiments.tables`; the parser must not import what trains.
NAMES = (
    "protocols", "purity", "convcut-table1", "convcut-table2", "convcut-table3", "convcut-backbone",
    "pattlite-attention", "ivsa-table1", "ivsa-table2", "ivsa-table3", "methods", "methods-noise",
    "methods-frozen", "methods-frozen-noise", "annotators",
)  # fmt: skip
BACKBONE = ("backbone", "backbone_weights", "keep_stages", "input_size")  # options on what networks stand on
ABOUT = "made by `python -m ferlib reproduce`; what is measured is told in the modules of ferlib.experiments"


def add_reproduce(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    parser = commands.add_parser("reproduce", help="the papers' tables, protocols and rivals' methods, run again")
    parser.add_argument(
        "table", type=table_name, choices=[*NAMES, "all"], help="which; all: every one whose data are there"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.json", help="results; a .csv goes beside it")
    parser.add_argument("--data", metavar="SET", help="a data set's name (default: the table's)")
    add_reading_options(parser)
    parser.add_argument("--backbone", metavar="NAME", help="a timm model's name (default: convnext_base)")
    parser.add_argument("--backbone-weights", metavar="FILE",
                        help=".safetensors, imagenet (downloaded by timm, the default) or none")  # fmt: skip
    parser.add_argument(
        "--keep-stages", type=positive, metavar="N", help="stages of the backbone kept: 2, 3 (default) or 4"
    )
    parser.add_argument("--input-size", type=positive, metavar="PX", help="side of the pictures (default: 224)")
    for new in ("backbone", "backbone_weights"):  # their names in older commands
        old = f"--{new.replace('_', '-').replace('backbone', 'trunk')}"
        parser.add_argument(old, dest=new, help=argparse.SUPPRESS, default=argparse.SUPPRESS)
    parser.add_argument("--seeds", nargs="+", action=Several, type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--more-seeds", nargs="+", action=Several, type=int, default=[], metavar="SEED",
                        help="of the methods' plain training and the three rows best on validation")  # fmt: skip
    parser.add_argument("--flipped", nargs="+", action=Several, type=float, metavar="FRACTION",
                        help="of the training labels, in a table that flips some (default: 0.1 0.2 0.3)")  # fmt: skip
    parser.add_argument(
        "--epochs", type=positive, help="default: 6 on a frozen backbone, 5 of the methods (8 frozen), IVSA's 100"
    )
    parser.add_argument("--train-faces", type=positive, metavar="N", help="train on so many faces, drawn at random")
    parser.add_argument(
        "--set", nargs="+", action=Several, default=[], metavar="FIELD=VALUE", help="fields of the recipe to change"
    )
    parser.add_argument("--rows", nargs="+", action=Several, metavar="ROW", help="only these rows of the table")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder of the runs; a stopped command goes on "
                        "from it (default: runs; with --quick one that is deleted at the end)")  # fmt: skip
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="train so many runs at once")
    parser.add_argument("--quick", action="store_true", help="small, on synthetic faces and a tiny random backbone: "
                        "shows that everything works, with the first seed alone; its figures mean nothing")  # fmt: skip
    parser.add_argument("--only-train", action="store_true", help=argparse.SUPPRESS)  # a helper of `--processes`
    parser.set_defaults(run=run_reproduce)


def table_name(word: str) -> str:
    """A table's name of today; commands noted by older editions say "ladder"."""
    return "protocols" if word == "ladder" else word


def positive(word: str) -> int:
    """A whole number from 1 on, for an option."""
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def run_reproduce(options: argparse.Namespace) -> int:
    """`ferlib reproduce`. Whatever cannot work is refused before anything is trained."""
    for option in ("rows", "more_seeds", "flipped"):
        if getattr(options, option) and options.table == "all":
            raise UserError(f"--{option.replace('_', '-')} is for one table, not for all")
    entries = _entries(options.out)
    _refuse_backbone(options)
    with _work_folder(options):
        _reproduce(options, entries)
    return 0


@contextmanager
def _work_folder(options: argparse.Namespace) -> Iterator[None]:
    """Inside, `--work` is a folder. Runs are found by their recipe, and a quick one is to be of the code of today."""
    if options.work or not options.quick:
        options.work = options.work or Path("runs")
        yield
        return
    with tempfile.TemporaryDirectory(prefix="ferlib-quick-") as folder:
        options.work = Path(folder)
        yield


def _reproduce(options: argparse.Namespace, entries: Sequence[dict]) -> None:
    from ferlib.experiments.reproduce import check_kept, check_study, quick

    study, planned = _study(options), []
    for table, data in _data(options, study.backbone.input_size):
        own = quick(study, table, data) if options.quick else study
        check_study(table, own, data)
        check_kept(entries, table, own, data)
        planned.append((table, data, own))
    with _helpers(options):
        for table, data, own in planned:
            for entry in table.make(own, data):
                entry["command"] = _command(options, table, data.name)
                _merge(options.out, entry)


def _refuse_backbone(options: argparse.Namespace) -> None:
    """Refuse what a table on no backbone has no use for; of "all" the other tables have."""
    from ferlib.experiments.tables import TABLES

    given = [name for name in BACKBONE if getattr(options, name) is not None]
    if given and options.table != "all" and not TABLES[options.table].on_backbone:
        raise UserError(f"--{given[0].replace('_', '-')} is not for {options.table}: its networks are its own")


def _study(options: argparse.Namespace) -> "Study":
    """The study that the options ask for; with --quick their defaults are others."""
    from ferlib.experiments.runner import BackboneChoice
    from ferlib.experiments.study import Study

    usual = (
        BackboneChoice("test_convnext", 2, 64, "none")
        if options.quick
        else BackboneChoice("convnext_base", 3, 224, "imagenet")
    )
    weights = options.backbone_weights or usual.weights
    backbone = BackboneChoice(
        options.backbone or usual.name,
        options.keep_stages or usual.keep_stages,
        options.input_size or usual.input_size,
        None if weights == "none" else weights,
    )
    return Study(
        backbone,
        options.epochs,
        options.seeds,
        options.work,
        options.train_faces,
        parse_settings(options.set),
        options.rows,
        judges=not options.only_train,
        more_seeds=options.more_seeds,
        flipped=options.flipped,
    )


def _data(options: argparse.Namespace, side: int) -> Iterator[tuple["Table", "FaceDataset"]]:
    """The tables asked for, each with its data set. Of "all", those that no data are there for are named.

    A folder of one's own is read at this side in pixels, in which the networks see it.
    """
    from ferlib.data.dataset import DataError
    from ferlib.experiments.tables import TABLES

    read: dict[str, FaceDataset] = {}
    for table in TABLES.values() if options.table == "all" else [TABLES[options.table]]:
        data = options.data or ("synthetic" if options.quick else table.data)
        try:
            if data not in read:
                read[data] = load_from(options, data, side if data == "folder" else None)
            if options.table == "all":  # of a single table, `check_study` says it
                table.check(read[data])
        except DataError as error:
            if options.table != "all" or (options.data and data not in read):
                raise
            print(f"ferlib: {table.name} is left out: {error}", file=sys.stderr)
        else:
            yield table, read[data]


@contextmanager
def _helpers(options: argparse.Namespace) -> Iterator[None]:
    """Inside, other processes run the same command and share its work folder; they train, and write no results."""
    if options.processes < 1:
        raise UserError(f"--processes must be at least 1, not {options.processes}")
    count = 0 if options.only_train else options.processes - 1
    threads = max(1, (os.cpu_count() or 1) // options.processes)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"}
    command = [sys.executable, "-m", "ferlib", *options.words, "--work", str(options.work), "--only-train"]
    helpers = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(count)]
    if count:
        import torch

        torch.set_num_threads(threads)
    try:
        yield
    finally:
        for helper in helpers:
            helper.kill()  # its runs are all done, or this process could not go on either
            helper.wait()


def _command(options: argparse.Namespace, table: "Table", data: str) -> str:
    """The command line of one table, without where things are on this machine."""
    words = ["python", "-m", "ferlib", "reproduce", table.name, "--data", options.data or data]
    for name in (*(BACKBONE if table.on_backbone else ()), "epochs", "train_faces"):
        value = getattr(options, name)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", Path(value).name if name == "backbone_weights" else str(value)]
    for name in ("seeds", "more_seeds", "flipped", "set", "rows"):
        if given := getattr(options, name):
            words += [f"--{name.replace('_', '-')}", *map(str, given)]
    words += reading_words(options)
    words += ["--quick"] if options.quick else []
    return shlex.join([*words, "--out", options.out.name])


def _entries(path: Path) -> list[dict]:
    """The entries of a results file, none where new; its folder is made. A file that cannot be used is refused."""
    from ferlib.experiments.tables import TABLES

    if path.suffix == ".csv":
        raise UserError(f"--out {path}: the results are JSON, and a .csv of the same name goes beside them")
    for file in (path, path.with_suffix(".csv")):
        require_writable(file)
    if not path.exists():
        return []
    try:
        entries = json.loads(path.read_text())["entries"]
        if all(entry["table"] in TABLES for entry in entries):
            return entries
    except (ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{path} is not a results file of this command; take another --out")


def _merge(path: Path, entry: dict) -> None:
    """Put an entry into a results file, in place of the one with the same keys or at the end, and rewrite the table.

    It does not take the place of one that has more: it may be made again while its runs are under way.
    """
    from ferlib.experiments.reproduce import KEYS, figures_of, results_frame

    by_keys: dict[str, dict] = {}
    for one in [*_entries(path), entry]:
        keys = json.dumps([one.get(key) for key in KEYS], sort_keys=True)
        if keys not in by_keys or figures_of(by_keys[keys]) <= figures_of(one):
            by_keys[keys] = one
    entries: Sequence[dict] = list(by_keys.values())
    write_json(path, {"about": ABOUT, "entries": entries})
    with atomic_write(path.with_suffix(".csv")) as csv:
        results_frame(entries).to_csv(csv, index=False, float_format="%.5f")
