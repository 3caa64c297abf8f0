"""Files that are written whole or not at all, and JSON that is read with a sentence on what is wrong with it."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from ferlib.errors import UserError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A file to write in place of `path`: it gets that name when the block ends, and is deleted when the block fails.

    So nobody ever reads half a file. Threads or processes that write the same file at the same time each have one of
    their own; the last to end stays.

    Args:
        path: the name at the end; its folder is made. Where that is a link, the file it leads to is meant.

    Raises:
        OSError: there is something else than a file, a device say.
    """
    path = _own_place(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _own_place(path: Path) -> Path:
    """The path without links; `OSError` where something is that no file can take the place of."""
    place = Path(os.path.realpath(path))
    if place.exists() and not place.is_file():
        raise OSError(f"{path} is no file, and cannot be replaced by one")
    return place


def write_through(path: Path) -> None:
    """Have a file, or those of a folder, be on the disk before it gets its final name: for what a power cut must spare.

    Without it a file system may keep the name and lose what was written.
    """
    for file in [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]:
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())


def replace_folder(new: Path, place: Path, aside: Path) -> None:
    """Move a folder to a place where another may be, which comes back if that fails.

    Args:
        new: the folder, whole, on the same disk.
        place: its name at the end.
        aside: name for the old one meanwhile; what is there is removed. After a kill the old one is under this name.
    """
    shutil.rmtree(aside, ignore_errors=True)
    try:
        if place.exists():
            place.rename(aside)
        new.rename(place)
    except BaseException:
        if aside.exists() and not place.exists():
            aside.rename(place)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def write_json(path: Path, content: object, indent: int | None = 1) -> None:
    """Write JSON by `atomic_write`, with a line break at the end, on the disk before it has its name."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=indent) + "\n")
        write_through(partial)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; `UserError` where it holds something else."""
    return parse_json(path.read_bytes(), str(path))


def parse_json(content: bytes, name: str) -> dict[str, Any]:
    """The JSON object in a file's content; `UserError` where it is something else.

    Args:
        content: of the file.
        name: of the file, for people.
    """
    try:
        found = json.loads(content)
    except ValueError as error:
        raise UserError(f"{name} is damaged: it holds no JSON ({error})") from error
    if not isinstance(found, dict):
        raise UserError(f"{name} is damaged: it holds no JSON object")
    return found


def require_writable(path: Path) -> None:
    """Assert that `atomic_write` will be able to write there, and make its folder; an `OSError` says why not."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; the name of a file is needed")
    place = _own_place(path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place.parent):
            pass
    except OSError as error:
        raise type(error)(f"{path} cannot be written: {error.strerror} ({place.parent})") from error
