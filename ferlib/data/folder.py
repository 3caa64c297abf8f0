"""A folder of your own: `root/<class>/*` or `root/<split>/<class>/*`, any picture format."""

from pathlib import Path

import numpy as np
import pandas as pd

from ferlib import labels
from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.groups import split_of
from ferlib.data.pictures import find_pictures, read_pictures

SPLIT_NAMES = {"train": "train", "training": "train", "val": "validation", "valid": "validation"}
SPLIT_NAMES |= {"validation": "validation", "test": "test", "testing": "test"}


def load_folder(root: Path, size: int = 112) -> FaceDataset:
    """Pictures sorted into folders by class, RGB, scaled to `size` x `size`.

    Class folders may use any common spelling ("happy", "Joy"); expressions the project knows get its names and
    FERPlus's order, others follow in alphabetical order. Without split folders every picture is put into a split 6:2:2
    by a hash of its path, so that adding pictures moves none of the old ones.

    Args:
        root: the folder.
        size: side of the pictures in pixels.

    Raises:
        DataError: nothing usable in the folder, or a picture that cannot be read.
    """
    if not root.is_dir():
        raise DataError(f"folder: {root} is not a folder")
    files = find_pictures(root)
    rows = [_place(path.relative_to(root), root) for path in files]
    if not rows:
        raise DataError(f"folder: no pictures in {root}; expected {root}/<class>/* or {root}/<split>/<class>/*")
    frame = pd.DataFrame(rows, columns=["name", "split", "file"])
    found = set(frame["name"])
    classes = [name for name in labels.FERPLUS if name in found] + sorted(found - set(labels.FERPLUS))
    frame = frame.assign(label=frame["name"].map(classes.index), group=-1, row=np.arange(len(frame)))
    return FaceDataset("folder", classes, frame.drop(columns="name"), read_pictures("folder", files, size))


def _place(path: Path, root: Path) -> tuple[str, str, str]:
    """Class, split and file of a picture, from its path below the root."""
    match path.parts:
        case (name, _) if name.lower() not in SPLIT_NAMES:
            split = split_of(path.as_posix())
        case (split, name, *_, _) if split.lower() in SPLIT_NAMES:
            split = SPLIT_NAMES[split.lower()]
        case _:
            raise DataError(f"folder: {root / path} is in no class folder; expected {root}/[<split>/]<class>/<picture>")
    return labels.canonical(name), split, str(path)
