"""Two models on the same test faces: is the difference more than chance?

Most faces are easy for both or hard for both, so the two scores rise and fall together from test set to test set.
Comparing face by face takes that out, and sees differences that two separate intervals do not.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binom

from ferlib.evaluation.bootstrap import RESAMPLES, percentiles, resample
from ferlib.evaluation.metrics import METRICS, confusion_cells, from_confusion


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`.

    Attributes:
        faces: how many both were tested on.
        only_first: faces that the first model alone has right.
        only_second: faces that the second model alone has right.
        p_value: of McNemar's test, see `mcnemar`.
        differences: one row a metric of `ferlib.evaluation.metrics.METRICS`: `first`, `second`, `difference` (second
            less first) and its bootstrap interval `low` to `high`.
    """

    faces: int
    only_first: int
    only_second: int
    p_value: float
    differences: pd.DataFrame


def compare(labels: np.ndarray, first: np.ndarray, second: np.ndarray, classes: int) -> Comparison:
    """Compare the predicted classes of two models.

    Args:
        labels: true classes (N,).
        first, second: classes (N,) that each model predicts for the same faces.
        classes: how many there are.
    """
    only_first, only_second = disagreements(labels, first, second)
    return Comparison(
        len(labels),
        only_first,
        only_second,
        mcnemar(only_first, only_second),
        paired_differences(labels, first, second, classes),
    )


def disagreements(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """Faces that the first model alone has right, and those that the second alone has; arguments as of `compare`."""
    one, other = first == labels, second == labels
    return int((one & ~other).sum()), int((~one & other).sum())


def mcnemar(only_first: int, only_second: int) -> float:
    """P-value of McNemar's exact two-sided test: the chance that equally good models disagree at least so one-sidedly.

    Faces that both models have right or wrong say nothing about which is better. Of the others each is as likely to
    speak for one as for the other, if the models are equally good: a binomial with p = 1/2.

    Args:
        only_first, only_second: faces that only one of the models has right.
    """
    disagreements = only_first + only_second
    return float(min(1.0, 2 * binom.cdf(min(only_first, only_second), disagreements, 0.5)))


def paired_differences(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    classes: int,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Differences of two models' metrics with percentile bootstrap intervals; the models see the same resampled faces.

    Drawing N faces with replacement is drawing the counts of all (true, first, second) from a multinomial with the
    observed shares.

    Args:
        labels: true classes (N,).
        first, second: classes (N,) that each model predicts for the same faces.
        classes: how many there are.
        level: of the intervals, 0..1.
        resamples: how many.
        seed: of the draws.

    Returns:
        See `Comparison.differences`.
    """
    cells, counts = np.unique(np.stack([labels, first, second]), axis=1, return_counts=True)
    both = [confusion_cells(cells[0], predicted, classes) for predicted in cells[1:]]

    def scores(drawn: np.ndarray) -> np.ndarray:  # (r, cells) -> (r, 2, metrics)
        matrices = ((times.reshape(-1, classes, classes) for times in (drawn @ own, counts @ own)) for own in both)
        return np.stack([from_confusion(found, observed[0]) for found, observed in matrices], axis=1)

    exact, resampled = scores(counts[None])[0], resample(counts, scores, resamples, seed)
    low, high = percentiles(resampled[:, 1] - resampled[:, 0], level)
    columns = {"first": exact[0], "second": exact[1], "difference": exact[1] - exact[0], "low": low, "high": high}
    return pd.DataFrame(columns, index=list(METRICS))
