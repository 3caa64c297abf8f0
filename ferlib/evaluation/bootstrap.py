"""Bootstrap intervals over faces and seeds, with the same draws for everything that is compared.

In every resample, people are drawn with replacement (faces, where people are not known), and so are seeds; a figure is
the mean over the drawn seeds. As all protocols and models are given the same draws, their differences are paired. Few
seeds tell little about their own spread, and no interval is widened for the number of comparisons.
"""

from collections.abc import Sequence

import numpy as np

from ferlib.data.dataset import FaceDataset
from ferlib.evaluation.metrics import METRICS, from_confusion

RESAMPLES = 2000


def units(part: FaceDataset) -> np.ndarray:
    """Cluster of every face for resampling: its person's number, or one of its own where none is known."""
    group = part.frame["group"].to_numpy()
    return np.where(group < 0, group.max(initial=-1) + 1 + np.arange(len(group)), group)


def face_draws(part: FaceDataset, resamples: int = RESAMPLES) -> np.ndarray:
    """Counts of every face in every resample, float32 (R, N). Faces of one cluster are drawn together."""
    people, person = np.unique(units(part), return_inverse=True)
    draws = np.random.default_rng(0).multinomial(len(people), np.full(len(people), 1 / len(people)), size=resamples)
    return draws[:, person].astype(np.float32)


def seed_draws(seeds: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Indices of the seeds in every resample, int64 (R, seeds)."""
    return np.random.default_rng(1).integers(seeds, size=(resamples, seeds))


def confusion_cells(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """For every face, the cell of the confusion matrix it falls into, one-hot float32 (N, classes²)."""
    cells = np.zeros((len(labels), classes**2), np.float32)
    cells[np.arange(len(labels)), labels.astype(np.int64) * classes + predicted] = 1
    return cells


class Resampling:
    """One set of draws for one split.

    Args:
        part: the split.
        seeds: number of seeds.
        resamples: R.
    """

    def __init__(self, part: FaceDataset, seeds: int, resamples: int = RESAMPLES):
        self.labels, self.classes = part.frame["label"].to_numpy(), len(part.classes)
        self.faces, self.seeds = face_draws(part, resamples), seed_draws(seeds, resamples)

    def measure(self, predicted: Sequence[np.ndarray], kept: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """`METRICS` of some runs of one thing.

        Args:
            predicted: classes (N,), one array a seed.
            kept: bool (N,), which faces count; None: all.

        Returns:
            What each seed has, (S, 3), and the mean over the drawn seeds in every resample, (R, 3).
        """
        exact, resampled = [], []
        for classes in predicted:
            cells = confusion_cells(self.labels, classes, self.classes)
            if kept is not None:
                cells[~kept] = 0
            exact.append(self._from_cells(cells.sum(axis=0, keepdims=True))[0])
            resampled.append(self._from_cells(self.faces @ cells))
        drawn = np.take_along_axis(np.stack(resampled, axis=1), self.seeds[..., None], axis=1)  # (R, S, 3)
        return np.stack(exact), drawn.mean(axis=1)

    def _from_cells(self, counts: np.ndarray) -> np.ndarray:
        return from_confusion(counts.reshape(-1, self.classes, self.classes))


def intervals(value: np.ndarray, resampled: np.ndarray, names: Sequence[str] = METRICS) -> dict[str, dict[str, float]]:
    """{name: {"value", "low", "high"}} with 95 % percentile intervals, of (names,) and (R, names); NaN is left out."""
    low, high = np.nanquantile(resampled, [0.025, 0.975], axis=0)
    return {
        name: {"value": float(value[i]), "low": float(low[i]), "high": float(high[i])} for i, name in enumerate(names)
    }
