"""Expand files, folders and patterns, as people name them, into paths of pictures."""

import glob
import os
from os import PathLike
from pathlib import Path
from typing import Any

from ferlib.utils.files import walk_pictures

_PATTERN = "*?["  # characters of which a pattern has one


def expand(source: Any) -> list:
    """The pictures that a source stands for, in order.

    Args:
        source: A path: a folder gives all pictures in it and below, a pattern such as `holiday/*.jpg` the files that
            match, and in them `**` any folders; folders that are there by their very names are no patterns. `~` is the
            home folder. Anything else is returned as it is.

    Returns:
        Paths, at least one; the source itself where there is nothing to be found, and folders that cannot be read, for
        `read_image` to say so.
    """
    if not isinstance(source, str | PathLike) or (isinstance(source, str) and source[:5].lower() == "data:"):
        return [source]
    path = os.path.expanduser(os.fsdecode(source))
    try:
        if os.path.isdir(path):
            return list(map(str, walk_pictures(Path(path)))) or [source]
        if not os.path.lexists(path) and any(character in path for character in _PATTERN):
            return sorted(filter(os.path.isfile, glob.glob(_below_what_exists(path), recursive=True))) or [source]
    except OSError:  # a folder that may not be read
        pass
    return [source]


def _below_what_exists(path: str) -> str:
    """The pattern with the longest beginning that is the name of a folder taken as a name."""
    folder = os.path.dirname(path)
    while folder != os.path.dirname(folder) and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return glob.escape(folder) + path[len(folder) :]


def name_of(source: Any) -> str:
    """Name of a source in a result: its path as given, or "image"."""
    if isinstance(source, str | PathLike) and not (isinstance(source, str) and source[:5].lower() == "data:"):
        return os.fsdecode(source)
    return "image"
