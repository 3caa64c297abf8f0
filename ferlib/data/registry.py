"""All data sets by name: where they are looked for, how to get them, and the loader of each."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ferlib.data import fer2013
from ferlib.data.ckplus import load_ckplus
from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.facial_expressions import load_facial_expressions
from ferlib.data.fer2013_folders import FOLDERS
from ferlib.data.folder import load_folder
from ferlib.data.rafdb import load_rafdb
from ferlib.data.synthetic import load_synthetic
from ferlib.errors import UserError
from ferlib.utils.cache import cache_dir
from ferlib.utils.files import find_path


@dataclass(frozen=True)
class Source:
    """A data set on disk.

    Attributes:
        load: reads it from its folder; takes `skip_broken` and, where `resizes` is true, `size`.
        load_published: reads it as the code of Conv-cut and PAtt-Lite does, where that is another way.
        folder: the folder's name below a data root.
        needs: the files that tell it is there, each with its alternatives.
        how_to_get: how to get it, one sentence.
        resizes: whether its pictures can be loaded at any size.
    """

    load: Callable[..., FaceDataset]
    folder: str
    needs: tuple[tuple[str, ...], ...]
    how_to_get: str
    resizes: bool = False
    load_published: Callable[..., FaceDataset] | None = None


SOURCES = {
    "fer2013": Source(
        fer2013.load_fer2013,
        "fer2013",
        ((*fer2013.FILES, *FOLDERS[0]), (*fer2013.FILES, *FOLDERS[1])),
        "download fer2013.csv from the Kaggle challenge 'Challenges in Representation Learning: Facial Expression "
        "Recognition' (free account, research use) into fer2013/",
    ),
    "ferplus": Source(
        fer2013.load_ferplus,
        "fer2013",
        (fer2013.FILES, ("fer2013new.csv",)),
        "put fer2013.csv into fer2013/ as for fer2013, and beside it fer2013new.csv from github.com/microsoft/FERPlus "
        "(`python -m ferlib data get ferplus` downloads the latter)",
    ),
    "rafdb": Source(
        load_rafdb,
        "rafdb",
        (("EmoLabel/list_patition_label.txt", "DATASET"),),
        "ask its authors for access by e-mail from a university's address (non-commercial research; the form of the "
        "request is on http://www.whdeng.cn/RAF/model1.html) and unpack the basic set into rafdb/, so that there are "
        "EmoLabel/list_patition_label.txt and Image/aligned/",
        resizes=True,
        load_published=partial(load_rafdb, validation_share=0),
    ),
    "ckplus": Source(
        load_ckplus,
        "ckplus",
        (("CK+48", "ckextended.csv"),),
        "apply to Jeffrey Cohn's laboratory (non-commercial research; form on https://www.jeffcohn.net/Resources/) and "
        "put the last three frames of each labelled film into ckplus/ as CK+48/<class>/S010_004_00000017.png, or "
        "ckextended.csv",
    ),
    "facial_expressions": Source(
        load_facial_expressions,
        "facial_expressions",
        (("data/legend.csv",), ("images",)),
        "run `python -m ferlib data get facial_expressions`, which is git clone "
        "https://github.com/muxspace/facial_expressions (Apache-2.0)",
        resizes=True,
    ),
}
#: Other labels for the faces of a set: name -> the set's name and the loader.
RELABELLED = {"ferplus_most_votes": ("ferplus", partial(fer2013.load_ferplus, rule="most_votes"))}
NAMES = (*SOURCES, *RELABELLED, "folder", "synthetic")


def register_dataset(
    name: str, load: Callable[[Path], FaceDataset], needs: tuple[str, ...] = (), how_to_get: str = "it is your own"
) -> None:
    """Make a data set of one's own known by a name: for `load_dataset` and the command line.

    Args:
        name: of the set, and of its folder below a data root.
        load: reads it from its folder, or raises a `DataError`.
        needs: files or folders in it that tell it is there; without any, a folder of its name does.
        how_to_get: how to get it, for the message where it is not found.

    Raises:
        UserError: the name is taken.
    """
    if name in NAMES or name in SOURCES:
        raise UserError(f"there is a data set {name} already")

    def of_folder(folder: Path, skip_broken: bool = False) -> FaceDataset:
        if skip_broken:
            raise DataError(f"{name} has a loader of its own; skip_broken= (--skip-broken) is not for it")
        return load(folder)

    SOURCES[name] = Source(of_folder, name, tuple((file,) for file in needs), how_to_get)


def data_roots(root: str | Path | None = None) -> list[Path]:
    """Folders searched for data sets: the given root alone, else `$FERLIB_DATA`, then the user's cache folder."""
    if root is not None:
        return [Path(root).expanduser()]
    environment = os.environ.get("FERLIB_DATA")
    return ([Path(environment).expanduser()] if environment else []) + [cache_dir() / "data"]


def find_dataset(name: str, root: str | Path | None = None) -> Path | None:
    """The folder of a data set of `SOURCES` (below a root or the root itself), or None when it is nowhere complete."""
    source = SOURCES[name]
    candidates = [
        place
        for base in data_roots(root)
        for place in (find_path(base, source.folder), base if source.needs or root is not None else None)
        if place
    ]
    complete = (p for p in candidates if all(any(find_path(p, file) for file in files) for files in source.needs))
    return next(complete, None)


def dataset_folder(name: str, root: str | Path | None = None) -> Path:
    """The folder of a data set as `find_dataset` finds it.

    Raises:
        DataError: it is nowhere complete; the message says where it was looked for, and how to get it.
    """
    folder = find_dataset(name, root)
    if folder is None:
        looked = ", ".join(str(base / SOURCES[name].folder) for base in data_roots(root))
        raise DataError(f"{name} was not found (looked in {looked}). To get it: {SOURCES[name].how_to_get}")
    return folder


def load_dataset(
    name: str,
    root: str | Path | None = None,
    size: int | None = None,
    labels: Mapping[str, str] | str | None = None,
    skip_broken: bool = False,
    published: bool = False,
) -> FaceDataset:
    """A data set by name; its `notes` say what was left out or decided.

    Args:
        name: one of `NAMES`.
        root: where it is; see `data_roots`. Needed for "folder"; "synthetic" needs none.
        size: side of the pictures in pixels, 112 by default (RAF-DB: 100). Sets of 48x48 pixels stay as they are.
        labels: for "folder", what the folders' names mean, {"suprise": "surprise"}, or "keep"; see
            `ferlib.data.folder_names.class_names`.
        skip_broken: leave out pictures that cannot be read.
        published: as the code of Conv-cut and PAtt-Lite reads it, which chooses on test: RAF-DB has no validation part.

    Raises:
        DataError: unknown name, or the set is missing or damaged; the message says how to get it.
    """
    if labels is not None and name != "folder":
        raise DataError(f"{name} has names of its own; labels= (--labels) is for folders")
    if name == "synthetic":
        return load_synthetic()
    if name == "folder":
        if root is None:
            raise DataError("folder: say which folder, with --root DIR or root=")
        return load_folder(Path(root).expanduser(), size, labels, skip_broken)
    if name not in (*SOURCES, *RELABELLED):
        known = ", ".join((*SOURCES, *RELABELLED, "folder", "synthetic"))
        raise DataError(f"unknown data set {name!r}, expected one of {known}")
    load: Callable[..., FaceDataset] | None = None
    if name in RELABELLED:
        name, load = RELABELLED[name]
    source = SOURCES[name]
    load = load or (published and source.load_published) or source.load
    folder = dataset_folder(name, root)
    if source.resizes:
        return load(folder, size=size, skip_broken=skip_broken)
    return load(folder, skip_broken=skip_broken)
