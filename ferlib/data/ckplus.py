"""CK+ (Lucey et al. 2010): expressions posed in the laboratory, here 48x48 grey.

CK+ is 593 films of 123 people, from neutral to the peak of an expression; 327 films of 118 people are labelled. Two
extracts are in use:

- CK+48, folders `CK+48/<class>/S010_004_00000017.png` (subject, film, frame): the last three frames of every labelled
  film, 981 pictures of seven classes, none of them neutral. The three frames are all but the same picture and every
  subject has several films, so a random split, as often published, tests on faces seen in training. Split by subject.
- `ckextended.csv` (columns emotion, pixels, Usage): 920 pictures, one of every labelled film and 593 neutral ones,
  one of every film. It does not say who is on a picture and its `Usage` cuts through people, so `Usage` is ignored. All
  that can be done is to keep near copies together, pairs more alike than `ALIKE`; most pairs of one person are less
  alike than that. That no subject crosses the splits cannot be verified from this file, and a note says so.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.sparse.csgraph import connected_components

from ferlib import labels
from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.folder import SPLIT_NAMES
from ferlib.data.image_files import cached_pictures, to_grey
from ferlib.data.splits import assert_groups_apart, split_by_group
from ferlib.utils.files import find_path, search_pictures, skipped_note

SIDE = 48
CSV_COUNTS = dict(zip(labels.CKPLUS, (45, 59, 25, 69, 28, 83, 593, 18), strict=True))
FOLDER_COUNTS = {name: 3 * count for name, count in CSV_COUNTS.items() if name != "neutral"}
ALIKE = 0.9  # correlation of two pictures less the mean picture; a guess, not measured on the csv


def load_ckplus(folder: Path, check: bool = True, skip_broken: bool = False) -> FaceDataset:
    """CK+ split 6:2:2 by subject (folders) or by likeness (csv, see above); the folders are taken when both are there.

    Split folders (`CK+48/<split>/<class>/`) are kept if no subject is in two of them. The frame has the column
    `subject` when the subjects are known.

    Args:
        folder: holds `CK+48/` or `ckextended.csv`.
        check: refuse anything but the usual number of faces of each class.
        skip_broken: leave out pictures that cannot be read; they count as found. It does nothing for the csv.

    Raises:
        DataError: files are missing or not readable, labels are out of range or contradictory, the numbers are wrong,
            or a subject is in two splits.
    """
    if root := find_path(folder, "CK+48"):
        return _load_folders(root, check, skip_broken)
    if path := find_path(folder, "ckextended.csv"):
        return _load_csv(path, check)
    raise DataError(f"CK+: neither CK+48/ nor ckextended.csv in {folder}")


def _load_folders(root: Path, check: bool, skip_broken: bool) -> FaceDataset:
    found = search_pictures(root)
    paths = found.pictures
    frame = pd.DataFrame([_place(path, root) for path in paths], columns=["name", "split", "subject", "file"])
    if frame.empty:
        raise DataError(f"CK+: no pictures in {root}; expected {root}/<class>/S010_004_00000017.png")
    if check:
        _check_counts(frame["name"], FOLDER_COUNTS, root)
    classes = tuple(name for name in labels.CKPLUS if name != "neutral" or (frame["name"] == name).any())
    frame["label"] = frame.pop("name").map(classes.index)
    frame["group"] = pd.factorize(frame["subject"], sort=True)[0]
    frame["row"] = np.arange(len(frame))
    if (frame["split"] == "").all():
        frame["split"] = split_by_group(frame["subject"])
    elif (frame["split"] == "").any():
        raise DataError(f"CK+: {root} has class folders both inside and outside split folders")
    assert_groups_apart("CK+", frame, by="subject")
    twice = frame.loc[frame["file"].duplicated(), "file"]
    if len(twice):
        raise DataError(f"CK+: {twice.iat[0]} has two labels in {root}")
    pictures = cached_pictures("CK+", paths, SIDE, skip_broken)
    notes = [*skipped_note(found.skipped), *pictures.notes]
    return FaceDataset("ckplus", classes, frame[pictures.kept], to_grey(pictures.pixels), notes)


def _place(path: Path, root: Path) -> tuple[str, str, str, str]:
    """Class, split ("" without split folders), subject and file name of a picture."""
    match path.relative_to(root).parts:
        case (folder, _):
            split = ""
        case (split, folder, _) if split.lower() in SPLIT_NAMES:
            split = SPLIT_NAMES[split.lower()]
        case _:
            raise DataError(f"CK+: {path} is in no class folder; expected {root}/[<split>/]<class>/<picture>")
    name = labels.canonical(folder)
    if name not in labels.CKPLUS:
        raise DataError(f"CK+: {path.parent} is no class of CK+, expected one of {', '.join(labels.CKPLUS)}")
    subject = re.match(r"S\d+(?=_)", path.name)
    if not subject:
        raise DataError(f"CK+: the name of {path} does not start with a subject, as S010_004_00000017.png does")
    return name, split, subject[0], path.name


def _load_csv(path: Path, check: bool) -> FaceDataset:
    try:
        table = pd.read_csv(path, skipinitialspace=True)
        emotion = table["emotion"].to_numpy()
        pixels = np.array([text.split() for text in table["pixels"]], np.uint8).reshape(len(table), 1, SIDE, SIDE)
    except (KeyError, ValueError, AttributeError, OverflowError, OSError) as error:
        raise DataError(f"CK+: {path} is not ckextended.csv, 48x48 pixels a row ({error})") from error
    strange = np.flatnonzero(~np.isin(emotion, range(len(labels.CKPLUS))))
    if len(strange):
        raise DataError(
            f"CK+: {path}, line {strange[0] + 2} has label {emotion[strange[0]]}, "
            f"expected 0 to {len(labels.CKPLUS) - 1}"
        )
    emotion = emotion.astype(int)
    if check:
        _check_counts(pd.Series([labels.CKPLUS[i] for i in emotion]), CSV_COUNTS, path)
    if not len(table):
        raise DataError(f"CK+: {path} has no rows")
    note = (
        f"{path.name} does not say who is on a picture, so people may stand on both sides of a split and results on it "
        "are too good; the folders CK+48/ tell subjects apart"
    )
    group = group_alike(pixels)
    frame = pd.DataFrame({"label": emotion, "split": split_by_group(group), "group": group, "row": range(len(table))})
    assert_groups_apart("CK+", frame)
    return FaceDataset("ckplus", labels.CKPLUS, frame, torch.from_numpy(pixels), [note])


def group_alike(pixels: np.ndarray, threshold: float = ALIKE) -> np.ndarray:
    """Group numbers such that no two pictures of different groups are more alike than the threshold.

    Alike means correlated, once the mean of all pictures is taken away: what all faces share says nothing.

    Args:
        pixels: (N, ...) uint8.
        threshold: correlation, -1..1.

    Returns:
        int (N,), numbered from 0.
    """
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    flat -= flat.mean(axis=0)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return connected_components(flat @ flat.T > threshold, directed=False)[1].astype(int)


def _check_counts(names: pd.Series, expected: dict[str, int], path: Path) -> None:
    """Raises unless there are as many faces of each class as expected."""
    found = names.value_counts().to_dict()
    wrong = [name for name in labels.CKPLUS if found.get(name, 0) != expected.get(name, 0)]
    if wrong:
        details = ", ".join(f"{name} {found.get(name, 0):,} instead of {expected.get(name, 0):,}" for name in wrong)
        raise DataError(
            f"CK+: found {len(names):,} faces in {path}, expected {sum(expected.values()):,} ({details}); "
            "in Python, load_ckplus(folder, check=False) loads it anyway"
        )
