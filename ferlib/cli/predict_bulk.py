"""`python -m ferlib predict --recursive`: a table of the faces in very many photos, taken up where it was stopped."""

import argparse
import sys

from ferlib.errors import UserError
from ferlib.names import counted


def add_bulk_options(predict: argparse.ArgumentParser) -> None:
    """Put the options of tables into the parser of `ferlib predict`."""
    bulk = predict.add_argument_group("very many photos")
    bulk.add_argument(
        "--recursive",
        action="store_true",
        help="make a Parquet table in the folder --out; IMAGE are folders, or lists of paths (.txt, .parquet)",
    )
    bulk.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one a core, or as many as OMP_NUM_THREADS says)"
    )
    bulk.add_argument("--engine", choices=("local", "ray"), help="this machine (default), or a Ray cluster")
    bulk.add_argument("--address", metavar="HOST:PORT", help="of the Ray cluster (default: one on this machine)")
    bulk.add_argument("--shard-size", type=int, metavar="N", help="photos a part of the table (default: 500)")


def run_bulk(options: argparse.Namespace) -> int:
    """`ferlib predict --recursive`; 0 when every photo has its rows, also those that cannot be read; else 1."""
    from ferlib.bulk.run import SHARD_SIZE, predict_table
    from ferlib.predict import DEFAULT_MODEL

    if not options.out:
        raise UserError("--recursive makes a table; say where with --out DIR.parquet")
    if options.explain or options.format != "table":
        raise UserError("--recursive makes a Parquet table, without heat maps and --format")
    summary = predict_table(
        options.images,
        options.out,
        options.workers,
        options.model or DEFAULT_MODEL,
        options.engine or "local",
        options.address,
        SHARD_SIZE if options.shard_size is None else options.shard_size,
        visible=True,
        device=options.device,
        coverage=options.coverage,
        truth=options.truth,
        detection=not options.no_detection,
        landmarks=options.landmarks,
        faces=options.faces,
        min_face=options.min_face,
    )
    before = f", {summary.before:,} of them before" if summary.before else ""
    print(f"{options.out}: {counted(summary.photos, 'photo')}{before}")
    if summary.photos > summary.before:
        found = f"{counted(summary.faces, 'face')}, {counted(summary.errors - summary.unread, 'photo')} without one"
        if summary.unread:
            found += f", {counted(summary.unread, 'photo')} that could not be read (see the column error)"
        print(f"in this run {found}, {summary.rate:.1f} photos/s")
    sys.stdout.flush()
    if summary.away:
        missing = f"{counted(summary.away, 'photo')} and the folders or stores they were in are not there"
        print(f"ferlib: {missing}; is a disk or a share not connected? The same command goes on", file=sys.stderr)
    return int(summary.away > 0)


def refuse_bulk_options(options: argparse.Namespace) -> None:
    """Assert that none of the options of tables is given.

    Raises:
        UserError: one is.
    """
    for name in ("workers", "engine", "address", "shard_size"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} is of tables of very many photos, which --recursive makes")
