"""The synthetic faces as a data set: for tests, teaching and first contact without a download."""

from collections.abc import Mapping

import pandas as pd
import torch

from ferlib import labels
from ferlib.data.dataset import FaceDataset
from ferlib.data.splits import split_of
from ferlib.synthetic.render import sample_faces


def load_synthetic(counts: Mapping[str, int] | int = 200, seed: int = 0, size: int = 48) -> FaceDataset:
    """Synthetic faces, grey, split 6:2:2 by person.

    Args:
        counts: faces of each expression, or one number for all seven.
        seed: the same seed gives the same bytes.
        size: side in pixels.

    Raises:
        ValueError: unknown expression, a negative count, or a size that is too small.
    """
    pixels, names, persons = sample_faces(counts, seed=seed, size=size, grey=True)
    frame = pd.DataFrame(
        {
            "label": [labels.SYNTHETIC.index(name) for name in names],
            "split": [split_of(f"synthetic {seed} {person}") for person in persons],
            "group": persons,
            "row": range(len(names)),
        }
    )
    return FaceDataset("synthetic", labels.SYNTHETIC, frame, torch.from_numpy(pixels).unsqueeze(1))
