"""muxspace/facial_expressions: 11,245 photos of public figures with one of eight expressions, Apache-2.0.

The pictures are roughly cropped around the face, nearly all of them square. A person is the file name without its
number ("Zhu_Rongji_0001.jpg" -> "Zhu_Rongji"), and persons never cross the splits made here.
"""

import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ferlib import labels
from ferlib.data.cache import cached_array, file_key
from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.pictures import read_square

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


def load_facial_expressions(folder: Path, size: int = 112) -> FaceDataset:
    """The photos, RGB, scaled to `size` x `size`, split 6:2:2 by person.

    Rows that repeat a picture with the same label are merged; a picture with two different labels is dropped.

    Args:
        folder: the repository's folder, with `data/legend.csv` and `images/`.
        size: side of the pictures in pixels.

    Raises:
        DataError: the table or pictures are missing or not readable.
    """
    frame = read_legend(folder)
    paths = [folder / "images" / name for name in frame["file"]]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"facial_expressions: {len(missing):,} of {len(paths):,} pictures are missing from {folder / 'images'}, "
            f"e.g. {missing[0]}"
        )
    key = file_key(folder / "data" / "legend.csv", size)
    pixels = cached_array("facial_expressions", key, lambda: np.stack([read_square(path, size) for path in paths]))
    pixels = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return FaceDataset("facial_expressions", labels.FACIAL_EXPRESSIONS, frame, pixels)


def read_legend(folder: Path) -> pd.DataFrame:
    """The table alone: label, split, group (the person's number), row, file, person; one row a picture."""
    path = folder / "data" / "legend.csv"
    if not path.is_file():
        raise DataError(f"facial_expressions: no data/legend.csv in {folder}")
    table = pd.read_csv(path)
    if not {"image", "emotion"} <= set(table):
        raise DataError(f"facial_expressions: {path} lacks the columns image and emotion")
    names = table["emotion"].map(labels.canonical)
    unknown = sorted(set(names) - set(labels.FACIAL_EXPRESSIONS))
    if unknown:
        raise DataError(f"facial_expressions: {path} has the unknown labels {', '.join(unknown)}")
    person = table["image"].map(person_of)
    frame = pd.DataFrame(
        {
            "label": names.map(labels.FACIAL_EXPRESSIONS.index),
            "split": person.map(split_of),
            "group": pd.factorize(person)[0],
            "row": np.arange(len(table)),
            "file": table["image"],
            "person": person,
        }
    )
    disputed = frame.groupby("file")["label"].transform("nunique") > 1
    return frame[~disputed].drop_duplicates("file").reset_index(drop=True)


def person_of(file: str) -> str:
    """The file name without its number and ending: "Zhu_Rongji_0001.jpg" -> "Zhu_Rongji"."""
    return re.sub(r"[_-]*\d+[a-z]?$", "", Path(file).stem)


def split_of(group: str) -> str:
    """The split of a person, from a hash of the name: the same on every machine, whoever else is in the set."""
    place = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    return "test"
