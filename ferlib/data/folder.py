"""A folder of your own: `root/<class>/*` or `root/<split>/<class>/*`, any picture format."""

from pathlib import Path

import numpy as np
import pandas as pd

from ferlib import labels
from ferlib.data.dataset import SPLITS, DataError, FaceDataset
from ferlib.data.groups import assert_groups_apart, split_by_group, split_of
from ferlib.data.pictures import find_pictures, read_pictures

SPLIT_NAMES = {"train": "train", "training": "train", "val": "validation", "valid": "validation"}
SPLIT_NAMES |= {"validation": "validation", "test": "test", "testing": "test"}
#: A folder beside the classes, for faces that have no label yet or shall have none; it is not read.
UNSORTED = "unsorted"
#: What stands before it in a picture's name is the person: "anna--beach.jpg-1.png".
PERSON_MARK = "--"
SIDE = 112  # pixels


def load_folder(root: Path, size: int = SIDE) -> FaceDataset:
    """Pictures sorted into folders by class, RGB, scaled to `size` x `size`.

    Class folders may use any common spelling ("happy", "Joy"); expressions the project knows get its names and
    FERPlus's order, others follow in alphabetical order. A folder "unsorted" is left out.

    Without split folders the faces are put into splits 6:2:2 by a hash: of the person where the file's name begins with
    one, as in "anna--beach.jpg-1.png", so that nobody is in two splits; else of the picture's path. So adding pictures
    moves none of the old ones. Of a few people the hash may leave a split without any: then they are shared out by
    `split_by_group`, and a new person may move others.

    Args:
        root: the folder.
        size: side of the pictures in pixels.

    Returns:
        The faces; the frame has `file` (path below the root) and `person` ("" where unknown) too.

    Raises:
        DataError: nothing usable in the folder, a picture that cannot be read, or a person in two split folders.
    """
    if not root.is_dir():
        raise DataError(f"folder: {root} is not a folder")
    files = [path for path in find_pictures(root) if path.relative_to(root).parts[0].lower() != UNSORTED]
    rows = [_place(path.relative_to(root), root) for path in files]
    if not rows:
        raise DataError(f"folder: no pictures in {root}; expected {root}/<class>/* or {root}/<split>/<class>/*")
    frame = pd.DataFrame(rows, columns=["name", "split", "file", "person"])
    found = set(frame["name"])
    classes = [name for name in labels.FERPLUS if name in found] + sorted(found - set(labels.FERPLUS))
    known = frame["person"] != ""
    group = pd.factorize(frame["person"].where(known), sort=True)[0]  # -1: unknown
    frame = frame.assign(label=frame["name"].map(classes.index), group=group, row=np.arange(len(frame)))
    frame["split"] = _splits(frame)
    assert_groups_apart("folder", frame, by="person")
    return FaceDataset("folder", classes, frame.drop(columns="name"), read_pictures("folder", files, size))


def person_of(file: str) -> str:
    """The person a picture's name begins with, "" without one: "anna--beach.jpg-1.png" -> "anna"."""
    person, mark, _ = Path(file).name.partition(PERSON_MARK)
    return person if mark else ""


def _place(path: Path, root: Path) -> tuple[str, str, str, str]:
    """Class, split ("" where no folder says), file and person of a picture, from its path below the root."""
    match path.parts:
        case (name, _) if name.lower() not in SPLIT_NAMES:
            split = ""
        case (split, name, *_, _) if split.lower() in SPLIT_NAMES:
            split = SPLIT_NAMES[split.lower()]
        case _:
            raise DataError(f"folder: {root / path} is in no class folder; expected {root}/[<split>/]<class>/<picture>")
    return labels.canonical(name), split, str(path), person_of(path.name)


def _splits(frame: pd.DataFrame) -> np.ndarray:
    """The split of every face (N,), see `load_folder`."""
    unit = frame["person"].where(frame["person"] != "", frame["file"].map(lambda file: Path(file).as_posix()))
    chosen = frame["split"].where(frame["split"] != "", unit.map(split_of))
    free = (frame["split"] == "").all() and (frame["person"] != "").any()
    if free and chosen.nunique() < len(SPLITS) <= unit.nunique():
        return split_by_group(unit, labels=frame["label"])
    return chosen.to_numpy()
