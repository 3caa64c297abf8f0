"""Wrong labels put in on purpose, to see what a method against noisy labels is worth."""

import re

import numpy as np

from ferlib.data.dataset import FaceDataset
from ferlib.errors import UserError

SUFFIX = "_percent_flipped"  # of such data sets' names


def with_flipped_labels(data: FaceDataset, fraction: float, seed: int = 0) -> FaceDataset:
    """The data with a fraction of the training labels replaced by another class (symmetric noise).

    Each label that is replaced becomes any of the other classes, all equally likely. Votes of the faces, if there are
    any, and the other splits stay as they are.

    Args:
        data: with a training split.
        fraction: of the training faces, 0..1.
        seed: the same seed flips the same labels.

    Raises:
        UserError: the fraction lies outside, or there is no other class.
    """
    if not 0 <= fraction <= 1:
        raise UserError(f"the fraction of flipped labels must be in 0 to 1, not {fraction!r}")
    if len(data.classes) < 2:
        raise UserError(f"{data.name} has one class: there is no other for a label")
    rng, frame = np.random.default_rng(seed), data.frame.copy()
    train = np.flatnonzero(frame["split"] == "train")
    chosen = rng.permutation(train)[: round(fraction * len(train))]
    labels = frame["label"].to_numpy(copy=True)
    labels[chosen] = (labels[chosen] + rng.integers(1, len(data.classes), size=len(chosen))) % len(data.classes)
    frame["label"] = labels
    name = f"{data.name}_{100 * fraction:g}{SUFFIX}" + (f"_seed{seed}" if seed else "")
    return FaceDataset(name, data.classes, frame, data.pixels, data.notes)


def flipped_fraction(name: str) -> tuple[str, float]:
    """The name of the data set whose labels were flipped, and the fraction of them; 0 of any other name."""
    told, flipped, seed = name.rpartition(SUFFIX)
    if not flipped or (seed and not re.fullmatch(r"_seed\d+", seed)):
        return name, 0.0
    data, _, percent = told.rpartition("_")
    try:
        return data, float(percent) / 100
    except ValueError:
        raise UserError(f"{name} does not say how many percent are flipped: name_20{SUFFIX}") from None
