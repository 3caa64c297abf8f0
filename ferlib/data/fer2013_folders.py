"""FER2013 in folders, `train/angry/Training_3908.jpg` and `test/angry/PrivateTest_88305.jpg`, as on Kaggle.

Such copies have no validation folder: PublicTest lies in `test/` beside PrivateTest, and only the file names, in some
copies, tell them apart.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ferlib import labels
from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.folder import choose_splits, read_tree
from ferlib.data.image_files import cached_pictures, to_grey

SIDE = 48
SPLIT_OF_USAGE = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
OWN_SPLITS = "fer2013_folders"  # name of the data set where the file names do not tell the published splits
PUBLISHED = {"train": 28_709, "validation": 3_589, "test": 3_589}  # Training, PublicTest, PrivateTest
#: What tells that the folders are there: one of each tuple.
FOLDERS = (("train/angry", "train/anger"), ("test/angry", "test/anger"))


def load_fer2013_folders(folder: Path, skip_broken: bool = False) -> FaceDataset:
    """FER2013 from pictures, 48x48 grey, by the published splits where the file names have them.

    Else the splits are the folders', with a tenth of train as validation; then test is more than PrivateTest, and
    results on it are not comparable with published ones, nor is it unseen by models of FER2013: it is another data set,
    `OWN_SPLITS`. A note says which.

    Args:
        folder: holds `train/<class>/` and `test/<class>/`.
        skip_broken: leave out pictures that cannot be read.

    Raises:
        DataError: a folder is no class of FER2013, or pictures cannot be read.
    """
    frame, notes = read_tree(folder)
    if unknown := sorted(set(frame["name"]) - set(labels.FER2013)):
        raise DataError(f"FER2013: {folder} has the folders {', '.join(unknown)}, which are no classes of FER2013")
    name, frame["split"], split_notes = _splits(frame)
    pictures = cached_pictures("fer2013_folders", list(frame["path"]), SIDE, skip_broken)
    frame = frame.assign(label=frame["name"].map(labels.FER2013.index))[pictures.kept]
    notes += [*split_notes, *pictures.notes, *counts_note(frame)]
    return FaceDataset(name, labels.FER2013, frame.drop(columns=["name", "path"]), to_grey(pictures.pixels), notes)


def counts_note(frame: pd.DataFrame) -> list[str]:
    """A sentence where the splits have other numbers of faces than the published ones: figures are others then, too."""
    counts = {split: int((frame["split"] == split).sum()) for split in PUBLISHED}
    if counts == PUBLISHED:
        return []
    there, published = (" / ".join(f"{one:,}" for one in found.values()) for found in (counts, PUBLISHED))
    return [f"{there} faces in train / validation / test, where FER2013 has {published}"]


def _splits(frame: pd.DataFrame) -> tuple[str, np.ndarray, list[str]]:
    """The data set's name, which tells whose splits these are, the split of every picture (N,), and notes on it."""
    published = frame["file"].map(lambda file: SPLIT_OF_USAGE.get(Path(file).name.partition("_")[0]))
    if published.notna().all() and set(published) == set(SPLIT_OF_USAGE.values()):
        said = "the published splits are taken from the file names: PublicTest is validation"
        return "fer2013", published.to_numpy(), [said]
    chosen, notes = choose_splits(frame)
    said = "the file names do not tell PublicTest from PrivateTest: test is what lies in test/"
    return OWN_SPLITS, chosen, [*notes, said]
