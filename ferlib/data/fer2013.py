"""FER2013 (Goodfellow et al. 2013) and FERPlus (Barsoum et al. 2016): the same 35,887 faces, labelled twice.

FER2013's csv has one label a face; FERPlus has ten people's votes in a second csv, joined to the first by row position
(its image names drift, its rows do not). Kaggle spreads the first under several names, and as folders of pictures, see
`ferlib.data.fer2013_folders`. Splits are the published ones: Training, PublicTest (used here for
validation) and PrivateTest (test).
"""

import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ferlib import labels
from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.fer2013_folders import FOLDERS, SIDE, SPLIT_OF_USAGE, counts_note, load_fer2013_folders
from ferlib.errors import UserError
from ferlib.utils.cache import cached_array, file_state, short_key
from ferlib.utils.files import find_path

FILES = ("fer2013.csv", "fer2013.csv.gz", "icml_face_data.csv", "icml_face_data.csv.gz")
ROWS = 35_887
RULES = ("majority", "most_votes")
VOTE_COLUMNS = (*labels.FERPLUS, "unknown", "NF")  # NF: not a face
BROKEN = 255  # the label of a row whose pixels are damaged
NAMED = 10  # damaged rows that a message names


def find_csv(folder: Path) -> Path:
    """The first of `FILES` that is in the folder, capitals or not.

    Raises:
        DataError: none is.
    """
    for name in FILES:
        if path := find_path(folder, name):
            return path
    raise DataError(f"FER2013: no {', '.join(FILES[:-1])} or {FILES[-1]} in {folder}")


def load_fer2013(folder: Path, skip_broken: bool = False) -> FaceDataset:
    """FER2013 with its seven labels, 48x48 grey.

    Args:
        folder: holds one of `FILES`, or folders of pictures.
        skip_broken: leave out faces whose pixels are damaged.

    Raises:
        DataError: the file is missing or is not FER2013's csv.
    """
    in_folders = all(any(find_path(folder, name) for name in names) for names in FOLDERS)
    if in_folders and not any(find_path(folder, name) for name in FILES):
        return load_fer2013_folders(folder, skip_broken)
    frame, pixels, notes = _read(find_csv(folder), skip_broken)
    whole = (frame["label"] != BROKEN).to_numpy()
    if not whole.all():
        frame, pixels = frame[whole], pixels[torch.tensor(whole)]
    return FaceDataset("fer2013", labels.FER2013, frame, pixels, notes)


def load_ferplus(folder: Path, skip_broken: bool = False, rule: str = "majority") -> FaceDataset:
    """FERPlus with eight labels by a rule, the votes behind them (see `FaceDataset.soft_labels`), and FER2013's labels.

    Those of FER2013 are a second annotator's, see `FaceDataset.other_annotators`.

    "majority", the published rule: votes given by a single person are dropped; a face is kept when one class has more
    than half of the votes left, "unknown" and "not a face" included in the count but never kept. 3,153 test faces.

    "most_votes", which fits the class shares that Conv-cut's authors print: a face has the class with the most votes,
    the first of equals, and is left out when that is "unknown" or "not a face". 3,546 test faces. (Without these two
    among the candidates there would be 3,573; the printed shares fit either.)

    Args:
        folder: holds FER2013's csv and `fer2013new.csv` (FERPlus's votes).
        skip_broken: leave out faces whose pixels are damaged.
        rule: one of `RULES`.

    Raises:
        DataError: a file is missing or does not fit the other.
        ValueError: there is no such rule.
    """
    if rule not in RULES:
        raise UserError(f"rule must be one of {', '.join(RULES)}, not {rule!r}")
    frame, pixels, notes = _read(find_csv(folder), skip_broken)
    path = find_path(folder, "fer2013new.csv")
    if path is None:
        raise DataError(f"FERPlus: no fer2013new.csv in {folder}")
    votes = _read_votes(path, frame)
    if rule == "majority":
        votes, best, kept = majority(votes)
    else:
        best = votes.argmax(axis=1)
        kept = best < len(labels.FERPLUS)
    kept &= (frame["label"] != BROKEN).to_numpy()
    fer2013 = pd.Categorical.from_codes(frame["label"].where(frame["label"] != BROKEN, -1), labels.FER2013)
    by_class = {f"votes_{name}": votes[:, i] for i, name in enumerate(labels.FERPLUS)}
    frame = frame.assign(label=best, **by_class, annotator_fer2013=fer2013)
    name = "ferplus" if rule == "majority" else f"ferplus_{rule}"
    return FaceDataset(name, labels.FERPLUS, frame[kept], pixels[torch.as_tensor(kept)], notes)


def majority(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """FERPlus's majority rule, see `load_ferplus`.

    Args:
        votes: (N, 10), in the order of `VOTE_COLUMNS`.

    Returns:
        The votes without those of a single person (N, 10), the column with the most (N,), and bool (N,), whether it is
        an expression and has more than half of the votes left.
    """
    votes = np.where(votes <= 1, 0, votes)
    best = votes.argmax(axis=1)
    return votes, best, (best < len(labels.FERPLUS)) & (votes.max(axis=1) > 0.5 * votes.sum(axis=1))


def read_votes(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All votes of FERPlus, int (35,887, 10) in the order of `VOTE_COLUMNS`, and the split of each face.

    Arguments and errors as of `load_ferplus`.
    """
    frame, _, _ = _read(find_csv(folder), skip_broken=True)
    path = find_path(folder, "fer2013new.csv")
    if path is None:
        raise DataError(f"FERPlus: no fer2013new.csv in {folder}")
    return _read_votes(path, frame), frame["split"].to_numpy()


def _read(path: Path, skip_broken: bool) -> tuple[pd.DataFrame, torch.Tensor, list[str]]:
    """Frame, pixels (N, 1, 48, 48) and notes; the parsed csv is cached as one array, label and usage before the pixels.

    A row that is skipped keeps its place, with the label `BROKEN`: FERPlus's votes are joined by it.
    """
    key = short_key(*file_state(path), *(["skip_broken"] if skip_broken else []))
    table = cached_array("fer2013", key, lambda: _parse(path, skip_broken))
    splits = np.array(list(SPLIT_OF_USAGE.values()))
    rows = np.arange(len(table))
    frame = pd.DataFrame({"label": table[:, 0].astype(int), "split": splits[table[:, 1]], "group": -1, "row": rows})
    lost = rows[table[:, 0] == BROKEN]
    named = ", ".join(map(str, lost[:NAMED])) + (", ..." if len(lost) > NAMED else "")
    notes = [f"{len(lost):,} rows of {path.name} are damaged and left out: {named}"] if len(lost) else []
    notes += counts_note(frame)
    return frame, torch.from_numpy(np.ascontiguousarray(table[:, 2:])).view(-1, 1, SIDE, SIDE), notes


def _parse(path: Path, skip_broken: bool) -> np.ndarray:
    """uint8 (N, 2 + 48·48): label or `BROKEN`, usage (0 Training, 1 PublicTest, 2 PrivateTest), pixels."""
    types = {"emotion": np.int64, "pixels": str, "Usage": "category"}
    try:
        csv = pd.read_csv(path, dtype=types, keep_default_na=False, skipinitialspace=True)  # " Usage", " pixels"
        missing = [column for column in ("emotion", "pixels", "Usage") if column not in csv]
        if missing or csv.empty:
            raise UserError(f"it lacks the columns {missing}" if missing else "it has no rows")
        for column, wrong, expected in (
            ("emotion", ~csv["emotion"].between(0, len(labels.FER2013) - 1), f"0 to {len(labels.FER2013) - 1}"),
            ("Usage", ~csv["Usage"].isin(list(SPLIT_OF_USAGE)), f"one of {', '.join(SPLIT_OF_USAGE)}"),
        ):
            if wrong.any():
                row = int(wrong.argmax())
                raise UserError(f"row {row} has the {column} {csv[column][row]}, expected {expected}")
        table = np.zeros((len(csv), 2 + SIDE * SIDE), np.uint8)
        table[:, 0] = csv["emotion"]
        table[:, 1] = csv["Usage"].map({usage: i for i, usage in enumerate(SPLIT_OF_USAGE)}).astype(np.uint8)
        faults = []
        for index, text in enumerate(csv["pixels"]):
            try:
                values = np.fromstring(text, dtype=np.int64, sep=" ")
            except ValueError:
                values = np.empty(0, np.int64)
            if len(values) != SIDE * SIDE or (values >> 8).any():  # any bit above the eighth: negative or over 255
                faults.append(f"row {index} has {len(values)} pixels, expected {SIDE * SIDE} from 0 to 255")
                table[index, 0] = BROKEN
            else:
                table[index, 2:] = values
        if len(faults) == len(csv) or (faults and not skip_broken):
            more = f"; and {len(faults) - NAMED:,} rows more" if len(faults) > NAMED else ""
            raise UserError("; ".join(faults[:NAMED]) + more + "; --skip-broken (skip_broken=True) leaves them out")
    except (ValueError, OverflowError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"FER2013: {path} is not the fer2013.csv of the challenge ({error})") from error
    return table


def _read_votes(path: Path, frame: pd.DataFrame) -> np.ndarray:
    """Votes, int (N, 10), in the order of VOTE_COLUMNS."""
    try:
        table = pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise DataError(f"FERPlus: {path} is not the fer2013new.csv of FERPlus ({error})") from error
    missing = [column for column in ("Usage", *VOTE_COLUMNS) if column not in table]
    if missing:
        raise DataError(f"FERPlus: {path} lacks the columns {missing}")
    if len(table) != len(frame) or not (table["Usage"].map(SPLIT_OF_USAGE) == frame["split"]).all():
        raise DataError(f"FERPlus: the rows of {path} ({len(table):,}) are not those of FER2013 ({len(frame):,})")
    votes = table[list(VOTE_COLUMNS)].apply(pd.to_numeric, errors="coerce")
    if not (votes.ge(0) & (votes % 1 == 0)).all(axis=None):
        raise DataError(f"FERPlus: {path} has votes that are not whole numbers")
    return votes.to_numpy(int)
