"""Files as people have them: names in any case, links, pictures without a suffix, and what is no picture."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from mimetypes import MimeTypes
from pathlib import Path, PurePosixPath

from ferlib.images import SUFFIXES, is_picture

# Suffixes of what is not looked into: other kinds; cameras' raw files, which begin as a small picture; side files.
_OTHERS = {
    *(suffix for suffix, kind in MimeTypes().types_map[True].items() if not kind.startswith("image/")),
    *(".dng", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".rwl", ".raf", ".pef"),
    *(".srw", ".3fr", ".fff", ".iiq", ".erf", ".mef", ".mos", ".mrw", ".kdc", ".dcr", ".raw", ".x3f", ".gpr", ".thm"),
    *(".xmp", ".aae", ".tmp", ".bak", ".part", ".crdownload", ".npy", ".parquet"),
}
_OLD = ("~", "_original")  # ends of names that programs give the file as it was
_UNREADABLE = "folder that cannot be read"
_FOLDER = "folder"


@dataclass(frozen=True)
class Found:
    """The pictures and folders found in a folder and below.

    Attributes:
        pictures: sorted.
        folders: all below the folder, hidden ones left out.
        skipped: what was passed over, each with its kind, a noun for a count: "hidden", ".txt", "link to nothing" ...
    """

    pictures: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)


def is_below(path: str | Path, folder: str | Path) -> bool:
    """True if a file is a folder, or lies in it or below it; links are followed, those to themselves left."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def search_pictures(folder: Path) -> Found:
    """Every picture file in a folder and below, and all that was passed over.

    Links are followed, but not back into a folder they lie in. A picture is what has a picture's suffix, readable or
    not, and a file with none or an unknown one that begins like a picture.

    Args:
        folder: to search; nothing is found where there is none.

    Raises:
        OSError: the folder itself cannot be read; one below is passed over.
    """
    found = Found()
    for path, kind in _visit(folder, ()) if folder.is_dir() else ():
        if kind is None:
            found.pictures.append(path)
        elif kind == _FOLDER:
            found.folders.append(path)
        else:
            found.skipped.append((path, kind))
    return found


def find_pictures(folder: Path) -> list[Path]:
    """The pictures of `search_pictures` alone."""
    return search_pictures(folder).pictures


def skipped_note(skipped: Iterable[tuple[Path, str]]) -> list[str]:
    """One sentence that counts what was passed over, in a list; an empty list for nothing."""
    counts = [f"{count:,} {kind}" for kind, count in Counter(kind for _, kind in skipped).most_common()]
    return [f"files that are not read: {', '.join(counts)}"] if counts else []


def find_path(folder: Path, name: str) -> Path | None:
    """The path `folder/name`, capitals or not; None where there is no such file or folder.

    Args:
        folder: where to look.
        name: relative, with forward slashes.
    """
    for part in PurePosixPath(name).parts:
        exact = folder / part
        if not exact.exists():
            alike = sorted(p for p in folder.iterdir() if p.name.lower() == part.lower()) if folder.is_dir() else []
            if not alike:
                return None
            exact = alike[0]
        folder = exact
    return folder


def walk_pictures(folder: Path) -> Iterator[Path]:
    """Every picture file in a folder and below, in order, and folders there that cannot be read, to be told of.

    Memory holds the names of one folder at a time.
    """
    return (path for path, kind in _visit(folder, ()) if kind in (None, _UNREADABLE))


def _is_folder(entry: os.DirEntry) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()  # links may go in circles


def _is_picture_all_the_same(path: Path, suffix: str) -> bool:
    """True if a file whose suffix is of no known kind begins as a picture."""
    known = suffix in _OTHERS or suffix.endswith(_OLD)
    return not known and os.path.isfile(path) and is_picture(path)


def _visit(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[Path, str | None]]:
    try:
        status = folder.stat()
        this = (status.st_dev, status.st_ino)
        if this in above:
            yield folder, "link back to a folder above"
            return
        if above:
            yield folder, _FOLDER
        with os.scandir(folder) as entries:
            inside = sorted((entry.name, _is_folder(entry)) for entry in entries)
    except OSError:
        if not above:
            raise
        yield folder, _UNREADABLE
        return
    for name, is_folder in inside:
        path = folder / name
        suffix = path.suffix.lower()
        if name.startswith("."):
            yield path, "hidden"
        elif is_folder:
            yield from _visit(path, (*above, this))
        elif suffix in SUFFIXES or _is_picture_all_the_same(path, suffix):
            yield path, None
        else:
            yield path, (suffix or "without a suffix") if os.path.exists(path) else "link to nothing"
