"""The user's cache folder, and files that are written whole or not at all."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import numpy as np
from platformdirs import user_cache_dir


def cache_dir() -> Path:
    """Folder for parsed data and features: `$FERLIB_CACHE`, else the platform's cache folder. Safe to delete."""
    return Path(os.environ.get("FERLIB_CACHE") or user_cache_dir("ferlib"))


def short_key(*parts: object) -> str:
    """16 hexadecimal digits that change when one of the parts does, as `repr` shows it."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def file_state(path: Path) -> tuple[str, int, int]:
    """A file's path, size in bytes and modification time in nanoseconds, by which a change is noticed."""
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


def cached_array(name: str, key: str, build: Callable[[], np.ndarray]) -> np.ndarray:
    """An array from the cache, built and stored first when it is not there.

    Args:
        name: what it is, the readable part of the file name.
        key: what it depends on, e.g. from `short_key`.
        build: makes the array.
    """
    path = cache_dir() / f"{name}-{key}.npy"
    if path.exists():
        with suppress(ValueError, EOFError):  # damaged by a power cut, say: build it again
            return np.load(path, allow_pickle=False)
    array = build()
    with written_whole(path) as partial, partial.open("wb") as handle:
        np.save(handle, array, allow_pickle=False)
    return array


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A file to write in place of `path`: it gets that name when the block ends, and is deleted when the block fails.

    So nobody ever reads half a file. Threads or processes that write the same file at the same time each have one of
    their own; the last to end stays.

    Args:
        path: the name at the end; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
