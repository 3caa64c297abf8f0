"""All data sets by name: where they are looked for, how to get them, and the loader of each."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ferlib.data import fer2013
from ferlib.data.cache import cache_dir
from ferlib.data.ckplus import load_ckplus
from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.facial_expressions import load_facial_expressions
from ferlib.data.folder import SIDE, load_folder
from ferlib.data.rafdb import load_rafdb
from ferlib.data.synthetic_dataset import load_synthetic


@dataclass(frozen=True)
class Source:
    """A data set on disk.

    Attributes:
        load: reads it from its folder.
        load_published: reads it as the code of Conv-cut and PAtt-Lite does, where that is another way.
        folder: the folder's name below a data root.
        needs: the files that tell it is there, each with its alternatives.
        obtain: how to get it, one sentence.
    """

    load: Callable[[Path], FaceDataset]
    folder: str
    needs: tuple[tuple[str, ...], ...]
    obtain: str
    load_published: Callable[[Path], FaceDataset] | None = None


SOURCES = {
    "fer2013": Source(
        fer2013.load_fer2013,
        "fer2013",
        (fer2013.FILES,),
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
        partial(load_rafdb, validation_share=0),
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
    ),
}
#: Other labels for the faces of a set: name -> the set's name and the loader.
RELABELLED = {"ferplus_most_votes": ("ferplus", partial(fer2013.load_ferplus, rule="most_votes"))}
NAMES = (*SOURCES, *RELABELLED, "folder", "synthetic")


def data_roots(root: str | Path | None = None) -> list[Path]:
    """Where data sets are looked for: the given root alone, else `$FERLIB_DATA`, then the user's cache folder."""
    if root is not None:
        return [Path(root)]
    environment = os.environ.get("FERLIB_DATA")
    return ([Path(environment)] if environment else []) + [cache_dir() / "data"]


def find_dataset(name: str, root: str | Path | None = None) -> Path | None:
    """The folder of a data set of `SOURCES` (below a root or the root itself), or None when it is nowhere complete."""
    source = SOURCES[name]
    candidates = [place for base in data_roots(root) for place in (base / source.folder, base)]
    complete = (p for p in candidates if all(any((p / file).exists() for file in files) for files in source.needs))
    return next(complete, None)


def load_dataset(
    name: str, root: str | Path | None = None, size: int | None = None, published: bool = False
) -> FaceDataset:
    """A data set by name.

    Args:
        name: one of `NAMES`.
        root: where it is; see `data_roots`. Needed for "folder"; "synthetic" needs none.
        size: side in pixels to which the pictures of "folder" are scaled; default 112.
        published: as the code of Conv-cut and PAtt-Lite reads it, which chooses on test: RAF-DB has no validation part.

    Raises:
        DataError: unknown name, or the set is missing or damaged; the message says how to get it.
    """
    if name == "synthetic":
        return load_synthetic()
    if name == "folder":
        if root is None:
            raise DataError("folder: say which folder, with --root DIR or root=")
        return load_folder(Path(root), size or SIDE)
    if name not in NAMES:
        raise DataError(f"unknown data set {name!r}, expected one of {', '.join(NAMES)}")
    load: Callable[[Path], FaceDataset]
    if name in RELABELLED:
        name, load = RELABELLED[name]
    else:
        load = (published and SOURCES[name].load_published) or SOURCES[name].load
    folder = find_dataset(name, root)
    if folder is None:
        looked = ", ".join(str(base / SOURCES[name].folder) for base in data_roots(root))
        raise DataError(f"{name} was not found (looked in {looked}). To get it: {SOURCES[name].obtain}")
    return load(folder)
