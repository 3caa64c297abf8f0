"""FER2013 (Goodfellow et al. 2013) and FERPlus (Barsoum et al. 2016): the same 35,887 faces, labelled twice.

FER2013's csv has one label a face; FERPlus has ten people's votes in a second csv, joined to the first by row position
(its image names drift, its rows do not). Splits are the published ones: Training, PublicTest (used here for
validation) and PrivateTest (test).
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ferlib import labels
from ferlib.data.cache import cached_array, file_key
from ferlib.data.dataset import DataError, FaceDataset

SIDE = 48
ROWS = 35_887
SPLIT_OF_USAGE = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
VOTE_COLUMNS = (*labels.FERPLUS, "unknown", "NF")  # NF: not a face


def find_csv(folder: Path) -> Path:
    """`fer2013.csv` or `fer2013.csv.gz` in the folder."""
    for name in ("fer2013.csv", "fer2013.csv.gz"):
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"FER2013: no fer2013.csv or fer2013.csv.gz in {folder}")


def load_fer2013(folder: Path) -> FaceDataset:
    """FER2013 with its seven labels, 48x48 grey.

    Args:
        folder: holds `fer2013.csv` or `fer2013.csv.gz`.

    Raises:
        DataError: the file is missing or is not FER2013's csv.
    """
    frame, pixels = _read(find_csv(folder))
    return FaceDataset("fer2013", labels.FER2013, frame, pixels)


def load_ferplus(folder: Path) -> FaceDataset:
    """FERPlus with eight labels by majority, and the votes behind them (see `FaceDataset.soft_labels`).

    The published majority rule: votes given by a single person are dropped; a face is kept when one class has more
    than half of the votes left, "unknown" and "not a face" included in the count but never kept.

    Args:
        folder: holds FER2013's csv and `fer2013new.csv` (FERPlus's votes).

    Raises:
        DataError: a file is missing or does not fit the other.
    """
    frame, pixels = _read(find_csv(folder))
    path = folder / "fer2013new.csv"
    if not path.is_file():
        raise DataError(f"FERPlus: no fer2013new.csv in {folder}")
    votes = _read_votes(path, frame)
    votes = np.where(votes <= 1, 0, votes)
    total, best = votes.sum(axis=1), votes.argmax(axis=1)
    kept = (votes.max(axis=1) > 0.5 * total) & (best < len(labels.FERPLUS))
    frame = frame.assign(label=best, **{f"votes_{name}": votes[:, i] for i, name in enumerate(labels.FERPLUS)})
    return FaceDataset("ferplus", labels.FERPLUS, frame[kept], pixels[torch.as_tensor(kept)])


def _read(path: Path) -> tuple[pd.DataFrame, torch.Tensor]:
    """Frame and pixels (N, 1, 48, 48); the parsed csv is cached as one array, label and usage before the pixels."""
    table = cached_array("fer2013", file_key(path), lambda: _parse(path))
    splits = np.array(list(SPLIT_OF_USAGE.values()))
    rows = np.arange(len(table))
    frame = pd.DataFrame({"label": table[:, 0].astype(int), "split": splits[table[:, 1]], "group": -1, "row": rows})
    return frame, torch.from_numpy(np.ascontiguousarray(table[:, 2:])).view(-1, 1, SIDE, SIDE)


def _parse(path: Path) -> np.ndarray:
    """uint8 (N, 2 + 48·48): label, usage (0 Training, 1 PublicTest, 2 PrivateTest), pixels."""
    try:
        csv = pd.read_csv(path, dtype={"emotion": np.uint8, "Usage": "category"})
        table = np.empty((len(csv), 2 + SIDE * SIDE), np.uint8)
        table[:, 0] = csv["emotion"]
        table[:, 1] = csv["Usage"].map({usage: i for i, usage in enumerate(SPLIT_OF_USAGE)}).astype(np.uint8)
        for row, text in zip(table, csv["pixels"], strict=True):
            row[2:] = np.fromstring(text, dtype=np.uint8, sep=" ")
    except (KeyError, ValueError, EOFError, OSError) as error:
        raise DataError(f"FER2013: {path} is not the fer2013.csv of the challenge ({error})") from error
    return table


def _read_votes(path: Path, frame: pd.DataFrame) -> np.ndarray:
    """Votes, int (N, 10), in the order of VOTE_COLUMNS."""
    table = pd.read_csv(path)
    missing = [column for column in ("Usage", *VOTE_COLUMNS) if column not in table]
    if missing:
        raise DataError(f"FERPlus: {path} lacks the columns {missing}")
    if len(table) != len(frame) or not (table["Usage"].map(SPLIT_OF_USAGE) == frame["split"]).all():
        raise DataError(f"FERPlus: the rows of {path} ({len(table):,}) are not those of FER2013 ({len(frame):,})")
    return table[list(VOTE_COLUMNS)].to_numpy(int)
