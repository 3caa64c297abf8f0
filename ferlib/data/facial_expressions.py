"""muxspace/facial_expressions: 11,245 photos of public figures with one of eight expressions, Apache-2.0.

The pictures are roughly cropped around the face, nearly all of them square. A person is the file name without its
number ("Zhu_Rongji_0001.jpg" -> "Zhu_Rongji"), and persons never cross the splits made here. Names that differ only in
capitals, underscores or hyphens are one person's; a name in another order ("Sung_Hong_Choi", "Choi_Sung-hong") is not
recognised.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from ferlib import labels
from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.image_files import cached_pictures, reduced_note
from ferlib.data.splits import assert_groups_apart, split_of
from ferlib.utils.files import find_path

SIDE = 112  # pixels


def load_facial_expressions(folder: Path, size: int | None = None, skip_broken: bool = False) -> FaceDataset:
    """The photos, RGB, scaled to `size` x `size`, split 6:2:2 by person.

    Rows that repeat a picture with the same label are merged; a picture with two different labels is dropped.

    Args:
        folder: the repository's folder, with `data/legend.csv` and `images/`.
        size: side of the pictures in pixels; default `SIDE`, with a note where pictures are larger.
        skip_broken: leave out pictures that are missing or cannot be read.

    Raises:
        DataError: the table or pictures are missing or not readable.
    """
    frame = read_legend(folder)
    images = find_path(folder, "images") or folder / "images"
    paths = [images / name for name in frame["file"]]
    pictures = cached_pictures("facial_expressions", paths, size or SIDE, skip_broken)
    notes = [*pictures.notes, *reduced_note(pictures, size)]
    return FaceDataset("facial_expressions", labels.FACIAL_EXPRESSIONS, frame[pictures.kept], pictures.pixels, notes)


def read_legend(folder: Path) -> pd.DataFrame:
    """The table alone: label, split, group (the person's number), row, file, person; one row a picture."""
    path = find_path(folder, "data/legend.csv")
    if path is None:
        raise DataError(f"facial_expressions: no data/legend.csv in {folder}")
    try:
        table = pd.read_csv(path, dtype=str, skipinitialspace=True)
    except (ValueError, OSError) as error:
        raise DataError(f"facial_expressions: {path} cannot be read as a table ({error})") from error
    if not {"image", "emotion"} <= set(table):
        raise DataError(f"facial_expressions: {path} lacks the columns image and emotion")
    gaps = np.flatnonzero(table[["image", "emotion"]].isna().any(axis=1))
    if len(gaps) or table.empty:
        where = f"line {gaps[0] + 2} has no picture or no label" if len(gaps) else "it has no rows"
        raise DataError(f"facial_expressions: {path} is damaged: {where}")
    names = table["emotion"].map(labels.canonical)
    unknown = sorted(set(names) - set(labels.FACIAL_EXPRESSIONS))
    if unknown:
        raise DataError(f"facial_expressions: {path} has the unknown labels {', '.join(unknown)}")
    person = table["image"].map(person_of)
    alike = person.str.lower().str.replace("[_-]", "", regex=True)
    person = person.groupby(alike).transform("first")  # Hrithik_Roshan is HrithikRoshan
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
    assert_groups_apart("facial_expressions", frame, by="person")
    return frame[~disputed].drop_duplicates("file").reset_index(drop=True)


def person_of(file: str) -> str:
    """The file name without its number and ending: "Zhu_Rongji_0001.jpg" -> "Zhu_Rongji"."""
    return re.sub(r"[_-]*\d+[a-z]?$", "", Path(file).stem)
