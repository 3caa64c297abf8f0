"""The user's cache folder: arrays that are computed once."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from platformdirs import user_cache_dir

from ferlib.utils.atomic import atomic_write


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
    with atomic_write(path) as partial, partial.open("wb") as handle:
        np.save(handle, array, allow_pickle=False)
    return array
