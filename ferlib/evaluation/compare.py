"""Two models on the same test faces: is the difference more than chance?

Most faces are easy for both or hard for both, so the two scores rise and fall together from test set to test set.
Comparing face by face takes that out, and sees differences that two separate intervals do not.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binom

from ferlib.evaluation.bootstrap import FEW_PEOPLE, RESAMPLES, drawn_together, percentiles, resample, sums_over_people
from ferlib.evaluation.metrics import METRICS, confusion_cells, from_confusion


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`.

    Attributes:
        faces: how many both were tested on.
        only_first: faces that the first model alone has right.
        only_second: faces that the second model alone has right.
        p_value: of McNemar's test, see `mcnemar`; where people are known, see `mcnemar_of_people`.
        differences: one row a metric of `ferlib.evaluation.metrics.METRICS`: `first`, `second`, `difference` (second
            less first) and its bootstrap interval `low` to `high`.
    """

    faces: int
    only_first: int
    only_second: int
    p_value: float
    differences: pd.DataFrame


def compare(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, classes: int, people: np.ndarray | None = None
) -> Comparison:
    """Compare the predicted classes of two models.

    Args:
        labels: true classes (N,).
        first, second: classes (N,) that each model predicts for the same faces.
        classes: how many there are.
        people: the person of each face (N,), where several faces are of one: they are no independent witnesses, and the
            person counts whole. None: all faces are of different people.
    """
    only_first, only_second = disagreements(labels, first, second)
    return Comparison(
        len(labels),
        only_first,
        only_second,
        p_value_between(labels, first, second, people),
        paired_differences(labels, first, second, classes, people=people),
    )


def disagreements(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """Faces that the first model alone has right, and those that the second alone has; arguments as of `compare`."""
    one, other = first == labels, second == labels
    return int((one & ~other).sum()), int((~one & other).sum())


def p_value_between(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, people: np.ndarray | None = None
) -> float:
    """P-value that two models are equally often right, of McNemar's test; arguments as of `compare`."""
    if people is None:
        return mcnemar(*disagreements(labels, first, second))
    return mcnemar_of_people(labels, first, second, people)


def mcnemar(only_first: int, only_second: int) -> float:
    """P-value of McNemar's exact two-sided test: the chance that equally good models disagree at least so one-sidedly.

    Faces that both models have right or wrong say nothing about which is better. Of the others each is as likely to
    speak for one as for the other, if the models are equally good: a binomial with p = 1/2.

    Args:
        only_first, only_second: faces that only one of the models has right.
    """
    disagreements = only_first + only_second
    return float(min(1.0, 2 * binom.cdf(min(only_first, only_second), disagreements, 0.5)))


def mcnemar_of_people(labels: np.ndarray, first: np.ndarray, second: np.ndarray, people: np.ndarray) -> float:
    """P-value of McNemar's exact two-sided test with people in place of faces, of whom one may have several.

    A person's surplus is the number of faces that the second model alone has right, less those that the first alone
    has. If the models are equally good it is as likely the other way round, for every person apart from the others;
    the p-value is the chance that the sum is at least so far from zero then. With one face a person it is `mcnemar`'s.

    Args:
        labels, first, second: as of `compare`.
        people: the person of each face (N,).
    """
    surplus = sums_over_people((second == labels).astype(float) - (first == labels), people).round().astype(int)
    chances = np.ones(1)  # of every sum from -reach to reach, in steps of one
    for size in np.abs(surplus[surplus != 0]):
        way = np.zeros(2 * size)
        chances = (np.concatenate([chances, way]) + np.concatenate([way, chances])) / 2
    reach = len(chances) // 2
    return float(min(1.0, chances[np.abs(np.arange(-reach, reach + 1)) >= abs(surplus.sum())].sum()))


def paired_differences(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    classes: int,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    people: np.ndarray | None = None,
) -> pd.DataFrame:
    """Differences of two models' metrics with percentile bootstrap intervals; the models see the same resampled faces.

    Drawing N faces with replacement is drawing the counts of all (true, first, second) from a multinomial with the
    observed shares; where people are known, they are drawn whole, and with fewer than `FEW_PEOPLE` no interval is
    narrower than over faces drawn alone.

    Args:
        labels: true classes (N,).
        first, second: classes (N,) that each model predicts for the same faces.
        classes: how many there are.
        level: of the intervals, 0..1.
        resamples: how many.
        seed: of the draws.
        people: the person of each face (N,), or None.

    Returns:
        See `Comparison.differences`.
    """
    cells, cell = np.unique(np.stack([labels, first, second]), axis=1, return_inverse=True)
    counts, members = drawn_together(np.eye(cells.shape[1])[cell.ravel()], people)
    both = [members @ confusion_cells(cells[0], predicted, classes) for predicted in cells[1:]]

    def scores(drawn: np.ndarray) -> np.ndarray:  # (r, cells) -> (r, 2, metrics)
        matrices = ((times.reshape(-1, classes, classes) for times in (drawn @ own, counts @ own)) for own in both)
        return np.stack([from_confusion(found, observed[0]) for found, observed in matrices], axis=1)

    exact, resampled = scores(counts[None])[0], resample(counts, scores, resamples, seed)
    low, high = percentiles(resampled[:, 1] - resampled[:, 0], level)
    if people is not None and len(counts) < FEW_PEOPLE:
        alone = paired_differences(labels, first, second, classes, level, resamples, seed)
        low, high = np.minimum(low, alone["low"]), np.maximum(high, alone["high"])
    columns = {"first": exact[0], "second": exact[1], "difference": exact[1] - exact[0], "low": low, "high": high}
    return pd.DataFrame(columns, index=list(METRICS))
