"""Keep a long-running server small: return unused memory, delete old pictures from its folder."""

import ctypes
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ferlib.runtime.session import return_memory

KEEP_FILES = 600  # seconds after which uploaded and boxed pictures are deleted; the notes on the page name it
UPLOADS = "ferlib-app-"  # what the names of folders for uploads begin with
_LOCK = ".lock"  # a file in such a folder, which its server holds as long as it lives


def keep_memory_compact() -> None:
    """Have onnxruntime give memory back, and glibc, where there is glibc.

    By default each of the many threads fills arenas of its own with pictures of all sizes, and the holes between them
    grow for hours: 150 MB over 600 requests, with this 19 MB (as `benchmarks/app_load.py` measures it).
    """
    return_memory()
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    arena_max, mmap_threshold, trim_threshold = -8, -3, -1  # M_ARENA_MAX ... of malloc.h
    mallopt(arena_max, 1)
    mallopt(mmap_threshold, 128 * 1024)
    mallopt(trim_threshold, 128 * 1024)


@contextmanager
def upload_folder(age: float) -> Iterator[Path]:
    """A new folder for uploads, which is deleted in the end; first, those of servers that were killed are.

    Args:
        age: seconds for which such a folder has not changed: one of a server that has just begun is not locked yet.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{UPLOADS}*"):
        _delete_left(left, age)
    with tempfile.TemporaryDirectory(prefix=UPLOADS) as name, FileLock(Path(name, _LOCK)):
        yield Path(name)


def _delete_left(folder: Path, age: float) -> None:
    """Delete a folder for uploads of our own, unless its server lives."""
    try:
        info, lock = folder.lstat(), folder / _LOCK
        ours = not hasattr(os, "getuid") or info.st_uid == os.getuid()
        if not (ours and stat.S_ISDIR(info.st_mode) and lock.is_file() and info.st_mtime < time.time() - age):
            return
        with FileLock(lock, timeout=0):
            pass
    except (OSError, Timeout):  # gone, or in use
        return
    shutil.rmtree(folder, ignore_errors=True)


def all_files(folder: Path) -> set[Path]:
    """All files below a folder."""
    return {path for path in folder.rglob("*") if path.is_file()}


def files_by_age(folder: Path) -> list[tuple[float, int, Path]]:
    """All files below a folder, the oldest first: when they came (seconds since the epoch), bytes, path."""
    found = []
    for path in all_files(folder):
        with suppress(OSError):  # gone meanwhile
            info = path.lstat()
            found.append((info.st_ctime, info.st_size, path))
    return sorted(found)


def delete_oldest(folder: Path, kept: Collection[Path], max_bytes: int, max_files: int, age: float) -> None:
    """Delete the oldest files below a folder until the rest is within the limits; none younger than `age` seconds."""
    files = files_by_age(folder)
    number, size = len(files), sum(one for _, one, _ in files)
    for came, one, path in files:
        if (size <= max_bytes and number <= max_files) or came > time.time() - age:
            break
        if path not in kept:
            path.unlink(missing_ok=True)
            number, size = number - 1, size - one


def delete_old(folder: Path, kept: Collection[Path], age: float, now: float | None = None) -> None:
    """Delete what has been below a folder for longer than `age` seconds: files, and folders that hold nothing.

    Args:
        folder: itself it stays.
        kept: files that stay.
        age: seconds since a file came, or since a folder changed.
        now: the time to count from, seconds since the epoch; None: the present.
    """
    limit = (time.time() if now is None else now) - age
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
        try:
            if path in kept or path.lstat().st_ctime > limit:
                continue
            if not path.is_dir():
                path.unlink()
            elif not any(path.iterdir()):
                path.rmdir()
        except OSError:  # gone, or in use: next time
            continue


def delete_regularly(folder: Path, kept: Collection[Path], age: float, every: float, stop: threading.Event) -> None:
    """`delete_old` every so many seconds, until `stop` is set.

    Gradio's `delete_cache` does the same, until a file comes in while it looks through its list: then it ends for good.
    """
    while not stop.wait(every):
        delete_old(folder, kept, age)
