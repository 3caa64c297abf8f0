"""One data set type for all sources: a pandas frame with one row a face, beside the pixels in the same order."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from ferlib.data.stored_pixels import Pixels, StoredPixels
from ferlib.errors import UserError
from ferlib.labels import mapping

SPLITS = ("train", "validation", "test")
COLUMNS = ("label", "split", "group", "row")
RANDOM_SPLIT = "_random_split"  # ends the name of a data set that was split by faces, in place of people
ANNOTATOR = "annotator_"  # how the columns with another annotator's labels begin


class DataError(UserError):
    """A data set is missing, incomplete or not what it claims to be. The message says what to do."""


class FaceDataset(Dataset):
    """Labelled faces; their pixels in memory or, of sets too large for it, in a file.

    Attributes:
        name: the data set's name in the registry, e.g. "ferplus".
        classes: class names; a label is an index into them.
        frame: one row a face, with at least the columns `label` (int), `split` (one of "train", "validation",
            "test"), `group` (person or source the face belongs to; faces of one group never cross splits, -1 when
            unknown) and `row` (position in the source file). Votes, where a set has them, stand in the columns
            `votes_<class>`; labels by other annotators, where a set has them, in categorical columns
            `annotator_<name>`, whose categories are that annotator's classes in their order.
        pixels: uint8, (N, C, H, W), C is 1 (grey) or 3 (RGB): a tensor, or `StoredPixels`, which are indexed alike.
        notes: sentences on what was left out or decided while loading; parts of a data set have none.

    Raises:
        DataError: columns are missing, frame and pixels do not fit each other, or a label or split does not exist.
    """

    def __init__(
        self,
        name: str,
        classes: Sequence[str],
        frame: pd.DataFrame,
        pixels: Pixels,
        notes: Sequence[str] = (),
    ):
        missing = [column for column in COLUMNS if column not in frame]
        if missing:
            raise DataError(f"{name}: the frame lacks the columns {missing}")
        if len(frame) != len(pixels):
            raise DataError(f"{name}: {len(frame)} rows of labels but {len(pixels)} pictures")
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
            raise DataError(f"{name}: pixels must be uint8 (N, 1 or 3, H, W), not {pixels.dtype} {tuple(pixels.shape)}")
        if len(frame) and not frame["label"].between(0, len(classes) - 1).all():
            raise DataError(f"{name}: labels must lie in 0..{len(classes) - 1}")
        unknown = set(frame["split"]) - set(SPLITS)
        if unknown:
            raise DataError(f"{name}: unknown splits {sorted(unknown)}, expected some of {SPLITS}")
        self.name = name
        self.classes = tuple(classes)
        self.frame = frame.reset_index(drop=True)
        self.pixels = pixels
        self.notes = tuple(notes)

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """One face: pixels (C, H, W) uint8 and its label."""
        return self.pixels[index], int(self.frame["label"].iat[index])

    def __repr__(self) -> str:
        sizes = ", ".join(f"{split} {count:,}" for split, count in self.frame["split"].value_counts(sort=False).items())
        channels, height, width = self.pixels.shape[1:]
        notes = f"; notes: {len(self.notes)}" if self.notes else ""
        return f"FaceDataset({self.name}: {sizes}; {len(self.classes)} classes; {channels}x{height}x{width}{notes})"

    def subset(self, rows: np.ndarray | Sequence[int]) -> "FaceDataset":
        """The faces at these positions, or where a boolean mask of length N is true."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        pixels = (
            self.pixels.subset(rows) if isinstance(self.pixels, StoredPixels) else self.pixels[torch.as_tensor(rows)]
        )
        return FaceDataset(self.name, self.classes, self.frame.iloc[rows], pixels)

    def split(self, name: str) -> "FaceDataset":
        """The faces of one split: "train", "validation" or "test".

        Raises:
            ValueError: there is no such split.
        """
        if name not in SPLITS:
            raise UserError(f"unknown split {name!r}, expected one of {SPLITS}")
        return self.subset((self.frame["split"] == name).to_numpy())

    def of_classes(self, classes: Sequence[str]) -> "FaceDataset":
        """The faces of these classes alone, their labels counted in this list."""
        labels = np.array(mapping(self.classes, classes))[self.frame["label"]]  # -1: left out
        kept = self.subset(labels >= 0)
        return FaceDataset(self.name, classes, kept.frame.assign(label=labels[labels >= 0]), kept.pixels)

    def labels(self) -> torch.Tensor:
        """Class indices, int64 (N,)."""
        return torch.tensor(self.frame["label"].to_numpy(np.int64))

    @property
    def _vote_columns(self) -> list[str]:
        return [f"votes_{name}" for name in self.classes]

    @property
    def has_votes(self) -> bool:
        """True if there are votes for every class."""
        return set(self._vote_columns) <= set(self.frame)

    def soft_labels(self) -> torch.Tensor:
        """Shares of the votes, float32 (N, classes), rows sum to 1.

        Raises:
            DataError: the set has no votes; FERPlus has.
        """
        if not self.has_votes:
            raise DataError(f"{self.name} has no votes, so no soft labels; use the plain labels")
        votes = torch.tensor(self.frame[self._vote_columns].to_numpy(np.float32))
        return votes / votes.sum(dim=1, keepdim=True)

    def other_annotators(self) -> dict[str, tuple[tuple[str, ...], torch.Tensor]]:
        """Other annotators of the same faces, by name: their classes, and class indices int64 (N,), -1 without a label.

        FERPlus has "fer2013": the labels that FER2013 gives the same faces.
        """
        found = {}
        for column in self.frame.columns[self.frame.columns.str.startswith(ANNOTATOR)]:
            labels = self.frame[column].astype("category").cat
            name = column.removeprefix(ANNOTATOR)
            found[name] = tuple(labels.categories), torch.tensor(labels.codes.to_numpy(np.int64))
        return found

    def counts(self) -> pd.DataFrame:
        """Faces per class (rows) and split (columns)."""
        table = pd.crosstab(self.frame["label"], self.frame["split"])
        table = table.reindex(index=range(len(self.classes)), columns=list(SPLITS), fill_value=0)
        return table.set_axis(list(self.classes), axis=0).rename_axis(index="class", columns="split")


def described(data: FaceDataset) -> dict:
    """Name, faces of every split and shape of a picture (C, H, W) of the data, to be saved with a run.

    Of a set of one's own, a folder or a registered one, also a digest of its files, classes and splits.
    """
    from ferlib.data.label_noise import flipped_fraction
    from ferlib.data.registry import NAMES

    faces = data.frame["split"].value_counts(sort=False)
    told = {"name": data.name, "faces": {k: int(n) for k, n in faces.items()}, "pixels": list(data.pixels.shape[1:])}
    made_of = flipped_fraction(data.name)[0].removesuffix(RANDOM_SPLIT)
    if made_of == "folder" or made_of not in NAMES:
        table = data.frame.assign(label=[data.classes[label] for label in data.frame["label"]])
        listed = table[[name for name in ("file", "split", "label") if name in table]].to_csv(index=False)
        told["digest"] = hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return told
