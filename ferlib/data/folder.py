"""A folder of your own: `root/<class>/*` or `root/<split>/<class>/*`, any picture format."""

from collections.abc import Mapping
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pandas as pd

from ferlib.data.dataset import SPLITS, DataError, FaceDataset
from ferlib.data.folder_names import class_names, merged_notes
from ferlib.data.image_files import read_pictures, reduced_note
from ferlib.data.splits import VALIDATION_FRACTION, assert_groups_apart, place_of, split_by_group, split_of
from ferlib.labels import FERPLUS
from ferlib.utils.files import Found, search_pictures, skipped_note

SPLIT_NAMES = {"train": "train", "training": "train", "val": "validation", "valid": "validation"}
SPLIT_NAMES |= {"validation": "validation", "test": "test", "testing": "test"}
#: A folder beside the classes, for faces that have no label yet or shall have none; it is not read.
UNSORTED = "unsorted"
#: What stands before it in a picture's name is the person: "anna--beach.jpg-1.png".
PERSON_MARK = "--"
SIDE = 112  # pixels


# names of files may hold broken bytes, which PyArrow's strings, where it is installed, cannot
any_names = pd.option_context("mode.string_storage", "python")


@any_names
def load_folder(
    root: Path,
    size: int | None = None,
    labels: Mapping[str, str] | str | None = None,
    skip_broken: bool = False,
) -> FaceDataset:
    """Pictures sorted into folders by class, RGB, scaled to `size` x `size`.

    Class folders may use any common spelling ("happy", "Joy"); expressions the project knows get its names and
    FERPlus's order, others follow in alphabetical order. A folder "unsorted" is left out.

    Without split folders the faces are put into splits 6:2:2 by a hash: of the person where the file's name begins with
    one, as in "anna--beach.jpg-1.png", so that nobody is in two splits; else of the picture's path. So adding pictures
    moves none of the old ones. Of a few people the hash may leave a split without any: then they are shared out by
    `split_by_group`, and a new person may move others. Where there are split folders but none for validation, a tenth
    of the training faces becomes it, in the same way.

    Args:
        root: the folder.
        size: side of the pictures in pixels; default `SIDE`, with a note where pictures are larger.
        labels: what folders' names mean, see `ferlib.data.folder_names.class_names`.
        skip_broken: leave out pictures that cannot be read.

    Returns:
        The faces; the frame has `file` (path below the root) and `person` ("" where unknown) too. The notes say what
        was left out.

    Raises:
        DataError: nothing usable in the folder, a name that needs an answer, pictures that cannot be read, or a person
            in two split folders.
    """
    frame, notes = read_tree(root, labels)
    assert_groups_apart("folder", frame[frame["split"] != ""], by="person")  # by the names that the folders have
    frame["split"], split_notes = choose_splits(frame)
    assert_groups_apart("folder", frame, by="person")
    pictures = read_pictures("folder", list(frame["path"]), size or SIDE, skip_broken)
    lost = sorted(set(frame["name"]) - set(frame["name"][pictures.kept]))
    notes += [*split_notes, *pictures.notes, *reduced_note(pictures, size)]
    notes += [f"no picture of the class {name} can be read" for name in lost]
    frame = frame[pictures.kept]
    found = set(frame["name"])
    classes = [name for name in FERPLUS if name in found] + sorted(found - set(FERPLUS))
    frame = frame.assign(label=frame["name"].map(classes.index))
    return FaceDataset("folder", classes, frame.drop(columns=["name", "path"]), pictures.pixels, notes)


@any_names
def read_tree(root: Path, labels: Mapping[str, str] | str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """The pictures below a root, and notes on what was left out; no picture is opened.

    Args:
        root: as in `load_folder`.
        labels: as in `load_folder`.

    Returns:
        One row a picture: `name` (of its class), `split` ("" where no folder says), `file`, `person`, `group` (the
        person's number, -1 for nobody known), `row` and `path`.
    """
    if not root.is_dir():
        raise DataError(f"folder: {root} is not a folder")
    found = search_pictures(root)
    paths = [path for path in found.pictures if not _unsorted(path, root)]
    rows = [(*_place(path.relative_to(root), root), path) for path in paths]
    if not rows:
        raise DataError(f"folder: no pictures in {root}; expected {root}/<class>/* or {root}/<split>/<class>/*")
    frame = pd.DataFrame(rows, columns=["name", "split", "file", "person", "path"])
    try:
        meanings = class_names(list(dict.fromkeys(frame["name"])), labels)
    except DataError as error:
        raise DataError(f"folder: in {root}, {error}") from None
    group = pd.factorize(frame["person"].where(frame["person"] != ""), sort=True)[0]
    frame = frame.assign(name=frame["name"].map(meanings), group=group, row=np.arange(len(frame)))
    return frame, [*merged_notes(meanings), *_notes(found, root)]


def choose_splits(frame: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """The split of every face (N,) of `read_tree`, see `load_folder`, and notes on what was decided."""
    unit = frame["person"].where(frame["person"] != "", frame["file"].map(lambda file: Path(file).as_posix()))
    given = set(frame["split"])
    if "train" in given and not given & {"", "validation"}:
        return _with_validation(frame, unit)
    chosen = frame["split"].where(frame["split"] != "", unit.map(split_of))
    unsplit, named = (frame["split"] == "").all(), (frame["person"] != "").any()
    free = unsplit and named
    if free and chosen.nunique() < len(SPLITS) <= unit.nunique():
        return split_by_group(unit, labels=frame["name"]), []
    if free and unit.nunique() == 1 < len(unit):
        said = f"by the files' names (what stands before {PERSON_MARK}) all are {unit.iloc[0]}'s"
        return chosen.to_numpy(), [f"{said}: of one person there are no splits for training and test"]
    if unsplit and not named:
        said = "no split folders: the files are split 6:2:2 by their names. These tell no person, as"
        return chosen.to_numpy(), [f"{said} anna{PERSON_MARK}1.jpg would, so one may stand in several splits"]
    return chosen.to_numpy(), []


def person_of(file: str) -> str:
    """The person a picture's name begins with, "" without one: "anna--beach.jpg-1.png" -> "anna"."""
    person, mark, _ = Path(file).name.partition(PERSON_MARK)
    return normalize("NFC", person) if mark else ""  # é may be one letter, or two as on a Mac


def _with_validation(frame: pd.DataFrame, unit: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Splits (N,) with a part of train as validation, and the note on it; of a single person none can be taken."""
    train = (frame["split"] == "train").to_numpy()
    place = unit[train].map(place_of)
    if place.nunique() < 2:
        return frame["split"].to_numpy(), []
    part = place < VALIDATION_FRACTION
    if part.nunique() < 2:  # so few that the hash takes none or all
        part = place == place.min()
    chosen = frame["split"].mask(part.reindex(frame.index, fill_value=False), "validation").to_numpy()
    taken = int(part.sum())
    how = "by person where the file names say who it is" if (frame["person"] != "").any() else "by file name"
    return chosen, [f"there is no validation folder: {taken:,} of {train.sum():,} training faces are it, chosen {how}"]


def _unsorted(path: Path, root: Path) -> bool:
    return UNSORTED in (part.lower() for part in path.relative_to(root).parent.parts)


def _place(path: Path, root: Path) -> tuple[str, str, str, str]:
    """Class folder, split ("" where no folder says), file and person of a picture, from its path below the root."""
    match path.parts:
        case (name, _) if name.lower() not in SPLIT_NAMES:
            split = ""
        case (split, name, *_, _) if split.lower() in SPLIT_NAMES:
            split = SPLIT_NAMES[split.lower()]
        case _:
            raise DataError(f"folder: {root / path} is in no class folder; expected {root}/[<split>/]<class>/<picture>")
    return name, split, str(path), person_of(path.name)


def _notes(found: Found, root: Path) -> list[str]:
    """Sentences on what is below the root and is not read: other files, folders without pictures, unsorted faces."""
    inside = [(path, kind) for path, kind in found.skipped if path.parent != root and not _unsorted(path, root)]
    holding = {parent for path in found.pictures for parent in path.parents}
    empty = [
        folder.relative_to(root)
        for folder in found.folders
        if folder not in holding
        and folder.name.lower() != UNSORTED
        and (folder.parent == root or (folder.parent.parent == root and folder.parent.name.lower() in SPLIT_NAMES))
    ]
    notes = skipped_note(inside)
    if unsorted := sum(_unsorted(path, root) for path in found.pictures):
        notes.append(f"{unsorted:,} pictures in the folder {UNSORTED!r} are not read")
    if empty:
        notes.append(f"no pictures, so no class or split, in: {', '.join(map(str, empty))}")
    return notes
