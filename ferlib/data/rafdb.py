"""RAF-DB (Li and Deng 2019): 15,339 photos from the web with one of seven basic expressions, aligned, 100x100.

Two forms on disk: the authors' (`EmoLabel/list_patition_label.txt`, sic, and `Image/aligned/`), or the widely spread
copy sorted into `DATASET/{train,test}/{1..7}/`. Both give the same splits. The published one has no validation part,
and choosing a model by its test accuracy would make that accuracy worthless, so a tenth of the training faces is set
apart here. Who is on a photo is not published: persons may stand on both sides of the published split.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ferlib import labels
from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.image_files import cached_pictures, reduced_note
from ferlib.data.splits import VALIDATION_FRACTION, place_of
from ferlib.utils.files import find_path, search_pictures, skipped_note

SIDE = 100  # pixels
LIST = "EmoLabel/list_patition_label.txt"
PUBLISHED = {"train": 12_271, "test": 3_068}
TRAIN_COUNTS = (1290, 281, 717, 4772, 1982, 705, 2524)  # of the ids 1 to 7
TEST_COUNTS = (329, 74, 160, 1185, 478, 162, 680)
COMPOUND = 11  # classes of the compound labels, which come in a list of the same name


def load_rafdb(
    folder: Path,
    size: int | None = None,
    check: bool = True,
    validation_share: float = VALIDATION_FRACTION,
    skip_broken: bool = False,
) -> FaceDataset:
    """The aligned photos, RGB, with the seven basic labels.

    Test is the published test split; a tenth of each class of the published training split, chosen by a hash of the
    file name, is validation. The column `file` has the authors' file names.

    Args:
        folder: holds `EmoLabel/` and `Image/aligned/`, or `DATASET/`.
        size: side of the pictures in pixels; default `SIDE`, as they are published.
        check: refuse anything but the published number of faces of each label.
        validation_share: of the training faces; 0 leaves all 12,271 to training, for protocols that choose on test.
        skip_broken: leave out pictures that are missing or cannot be read; they count as found.

    Raises:
        DataError: files are missing, not readable or in the folder of the other split, labels are compound,
            contradictory or out of range, or the numbers are wrong.
    """
    notes: list[str] = []
    if path := find_path(folder, LIST):
        rows = _read_list(path, find_path(folder, "Image/aligned") or folder / "Image" / "aligned")
    elif root := find_path(folder, "DATASET"):
        rows, notes = _read_folders(root)
    else:
        raise DataError(f"RAF-DB: neither {LIST} nor DATASET/ in {folder}")
    table = pd.DataFrame(rows, columns=["id", "split", "file", "path"])
    twice = table.loc[table["file"].duplicated(), "file"]
    if len(twice):
        raise DataError(f"RAF-DB: {twice.iat[0]} has two labels in {folder}")
    if check:
        _check_counts(table, folder)
    if table.empty:
        raise DataError(f"RAF-DB: no pictures in {folder}")
    split = table["split"].where(~_validation(table, validation_share), "validation")
    frame = pd.DataFrame({"label": table["id"] - 1, "split": split, "group": -1, "row": np.arange(len(table))})
    pictures = cached_pictures("RAF-DB", list(table["path"]), size or SIDE, skip_broken)
    notes += [*pictures.notes, *reduced_note(pictures, size)]
    return FaceDataset("rafdb", labels.RAFDB, frame.assign(file=table["file"])[pictures.kept], pictures.pixels, notes)


def _read_list(path: Path, pictures: Path) -> list[tuple[int, str, str, Path]]:
    """Label id, published split, file name and path of every line of the authors' list."""
    rows = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        match line.split():
            case (file, text) if file.startswith(("train_", "test_")):
                aligned = pictures / f"{Path(file).stem}_aligned.jpg"
                rows.append((_label_id(text, place), file.partition("_")[0], file, aligned))
            case _:
                raise DataError(f"RAF-DB: {place} is {line.strip()[:60]!r}, not like 'train_00001.jpg 5'")
    return rows


def _read_folders(root: Path) -> tuple[list[tuple[int, str, str, Path]], list[str]]:
    """The same from `train/{1..7}/` and `test/{1..7}/`, and notes; label tables beside them are not read."""
    rows, skipped = [], []
    for split, other in (("train", "test"), ("test", "train")):
        part = find_path(root, split) or root / split
        found = search_pictures(part)
        skipped += found.skipped
        for path in found.pictures:
            if path.name.startswith(f"{other}_"):
                raise DataError(f"RAF-DB: {path} is a {other} face among the {split} faces")
            match path.relative_to(part).parts:
                case (text, name):
                    file = name.replace("_aligned", "")
                    rows.append((_label_id(text, f"the folder {path.parent}"), split, file, path))
                case _:
                    raise DataError(f"RAF-DB: {path} is in no label folder; expected {part}/{{1..7}}/")
    return rows, skipped_note(skipped)


def _label_id(text: str, place: str) -> int:
    """1 to 7; compound labels and anything else are refused."""
    number = int(text) if text.isdecimal() else 0
    if len(labels.RAFDB) < number <= COMPOUND:
        raise DataError(
            f"RAF-DB: {place} has label {number}, one of the {COMPOUND} compound classes; only the basic labels 1 to "
            f"{len(labels.RAFDB)} can be loaded"
        )
    if not 1 <= number <= len(labels.RAFDB):
        raise DataError(f"RAF-DB: {place} has label {text!r}, expected 1 to {len(labels.RAFDB)}")
    return number


def _check_counts(table: pd.DataFrame, folder: Path) -> None:
    """Raises unless there are as many faces as published, in each split and of each label."""
    found = table["split"].value_counts().reindex(list(PUBLISHED), fill_value=0).to_dict()
    anyway = "; in Python, load_rafdb(folder, check=False) loads it anyway"
    if found != PUBLISHED:
        counts = " and ".join(f"{found[split]:,} {split} faces" for split in PUBLISHED)
        published = " and ".join(f"{count:,}" for count in PUBLISHED.values())
        raise DataError(f"RAF-DB: found {counts} in {folder}, expected {published}{anyway}")
    for split, expected in (("train", TRAIN_COUNTS), ("test", TEST_COUNTS)):
        part = table.loc[table["split"] == split, "id"].value_counts()
        given = tuple(int(part.get(number, 0)) for number in range(1, len(labels.RAFDB) + 1))
        if given != expected:
            raise DataError(
                f"RAF-DB: found {given} {split} faces of the labels 1 to 7 in {folder}, expected {expected}{anyway}"
            )


def _validation(table: pd.DataFrame, share: float) -> pd.Series:
    """Flag the validation faces: of each training class this fraction, those whose file names hash lowest."""
    train = table[table["split"] == "train"]
    rank = train["file"].map(place_of).groupby(train["id"]).rank()
    chosen = rank <= (train.groupby("id")["file"].transform("size") * share).round()
    return chosen.reindex(table.index, fill_value=False)
