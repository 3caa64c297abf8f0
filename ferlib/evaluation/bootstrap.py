"""Bootstrap intervals (Efron 1979): the one place where test faces, people and seeds are drawn again.

Whatever is compared is given the same draws, so that differences are paired. Where people are known they are drawn
whole, as the faces of one person are alike. Few seeds tell little about their own spread, and no interval is widened
for the number of comparisons. Intervals are 95 % percentile intervals unless something else is said.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

from ferlib.data.dataset import FaceDataset
from ferlib.evaluation.calibration import BINS, bin_of, calibration_error
from ferlib.evaluation.metrics import METRICS, confusion, confusion_cells, from_confusion, per_class, summary
from ferlib.evaluation.report_format import Estimate
from ferlib.evaluation.wilson import wilson

RESAMPLES = 2000
FEW_PEOPLE = 30  # below it an interval over people tells too little, and is widened to the one over faces
DRAWN_AT_ONCE = 8_000_000  # numbers, 64 MB


def resample(
    counts: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """A statistic of every resample, (R, ...).

    Drawing N faces with replacement is drawing, from a multinomial with the observed fractions, how many of each kind
    there are: of every face where `counts` is all ones, of every cell of a table where it is that table.

    Args:
        counts: how often each kind was observed, (K,).
        statistic: of how often each kind was drawn in some of the resamples, (r, K) -> (r, ...).
        resamples: R.
        seed: the same seed draws the same.
    """
    rng, total, step = np.random.default_rng(seed), int(counts.sum()), max(DRAWN_AT_ONCE // len(counts), 1)
    parts = [min(step, resamples - start) for start in range(0, resamples, step)]
    return np.concatenate([statistic(rng.multinomial(total, counts / total, size=part)) for part in parts])


def percentiles(resampled: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Low and high end (2, ...) of the interval of a statistic, from its resamples (R, ...); NaN is left out."""
    return np.nanquantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)


def intervals(value: np.ndarray, resampled: np.ndarray, names: Sequence[str] = METRICS) -> dict[str, Estimate]:
    """Estimates by name, JSON-ready, of values (names,) and their resamples (R, names)."""
    low, high = percentiles(resampled)
    return {
        name: {"value": float(value[i]), "low": float(low[i]), "high": float(high[i])} for i, name in enumerate(names)
    }


def difference(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray], names: Sequence[str] = METRICS
) -> dict[str, Estimate]:
    """Estimates by name of the first's metrics less the second's: means over seeds, of the same draws.

    Args:
        one, other: metrics of every seed, (S, names), and of every resample, (R, names), see `Resampling.measure`.
        names: of the metrics.
    """
    return intervals((one[0] - other[0]).mean(axis=0), one[1] - other[1], names)


def verdict(gain: Estimate) -> str:
    """The sentence on a difference to plain training with its 95 % interval: helps, harms or cannot be told."""
    return "helps" if gain["low"] > 0 else "harms" if gain["high"] < 0 else "cannot be told"


# ---- metrics of a whole split, faces drawn


def bootstrap_intervals(
    labels: np.ndarray,
    predicted: np.ndarray,
    classes: int,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    people: np.ndarray | None = None,
) -> dict[str, tuple[float, float]]:
    """{metric of `METRICS`: (low, high)}, fractions of 1.

    Args:
        labels: true classes (N,).
        predicted: classes (N,).
        classes: how many there are.
        level: of the intervals, 0..1.
        resamples: how many.
        seed: of the draws.
        people: the person of each face (N,), of two or more who are drawn whole, see `people_in`; None: every face is
            drawn alone.

    Where every resample says the same, as where all faces are right, the interval is Wilson's: it would have no width.
    With fewer than `FEW_PEOPLE` it is nowhere narrower than over faces drawn alone: of so few people's own intervals
    too few hold the true value.
    """
    observed = confusion(labels, predicted, classes)
    counts, cells = drawn_together(confusion_cells(labels, predicted, classes), people)

    def scores(drawn: np.ndarray) -> np.ndarray:
        return from_confusion((drawn @ cells).reshape(-1, classes, classes), observed)

    low, high = percentiles(resample(counts, scores, resamples, seed), level)
    ends = list(zip(low.tolist(), high.tolist(), strict=True))
    if people is not None and (len(counts) < FEW_PEOPLE or (low == high).any()):
        alone = bootstrap_intervals(labels, predicted, classes, level, resamples, seed)
        ends = [_wider(one, alone[metric]) for one, metric in zip(ends, METRICS, strict=True)]
    elif (low == high).any():
        known = _known_of_so_few(observed, level)
        ends = [few if one[0] == one[1] else one for one, few in zip(ends, known, strict=True)]
    return dict(zip(METRICS, ends, strict=True))


def _wider(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The interval from the lower of two low ends to the higher of two high ones."""
    return min(one[0], other[0]), max(one[1], other[1])


def _known_of_so_few(observed: np.ndarray, level: float) -> list[tuple[float, float]]:
    """Intervals of `METRICS` for a confusion matrix (K, K) whose resamples all say the same: all right, or all wrong.

    Wilson's of all faces for accuracy, and for the means over classes the mean of Wilson's of every class, which is
    rather too wide.
    """
    hits, faces = np.diagonal(observed), observed.sum(axis=1)
    classes = [wilson(*pair, level) for pair in zip(hits, faces, strict=True) if pair[1]]
    low, high = np.mean(classes, axis=0)
    return [wilson(hits.sum(), faces.sum(), level), *[(float(low), float(high))] * (len(METRICS) - 1)]


def calibration_interval(
    labels: np.ndarray,
    probabilities: np.ndarray,
    resamples: int = RESAMPLES,
    seed: int = 0,
    people: np.ndarray | None = None,
) -> tuple[float, float]:
    """Interval of `calibration_error`, around it and not below 0; `people` as in `bootstrap_intervals`.

    The error counts chance gaps in every bin, and those of a resample come on top of the sample's. So resampled errors
    are too high by about what the sample's is too high, and the interval, ± z standard deviations of theirs, stands
    around 2 e - their mean. Of 95 % intervals of 3,000 faces about as many as promised hold an error of 0.08. Near 0
    the interval says little more than "small": where there is no error at all, about half of them begin above 0, so a
    lower end above 0 does not show that there is one.

    Where all answers are right, or all wrong, every resample says the same of them: then Wilson's interval of the
    accuracy tells how far the mean confidence may be from it.
    """
    confidence, faces, right = probabilities.max(axis=1), len(labels), probabilities.argmax(axis=1) == labels
    if right.all() or not right.any():
        return _gap_of_so_few(float(confidence.mean()), int(right.sum()), faces)
    gaps = np.zeros((faces, BINS))
    gaps[np.arange(faces), bin_of(confidence, BINS)] = confidence - right
    who = np.arange(faces) if people is None else people
    gaps, size = sums_over_people(gaps, who), sums_over_people(np.ones(faces), who)
    errors = resample(
        np.ones(len(size)), lambda drawn: np.abs(drawn @ gaps).sum(axis=1) / (drawn @ size), resamples, seed
    )
    error = calibration_error(labels, probabilities)
    centre, reach = 2 * error - errors.mean(), norm.ppf(0.975) * errors.std()
    ends = max(0.0, min(error, float(centre - reach))), max(error, float(centre + reach))
    if people is not None and len(size) < FEW_PEOPLE:
        return _wider(ends, calibration_interval(labels, probabilities, resamples, seed))
    return ends


def _gap_of_so_few(confidence: float, right: int, faces: int) -> tuple[float, float]:
    """Interval of the gap between a mean confidence and the accuracy of so many faces, all right or all wrong."""
    low, high = wilson(right, faces)
    ends = abs(confidence - low), abs(confidence - high)
    return (0.0 if low <= confidence <= high else min(ends)), max(ends)


def summary_with_intervals(
    labels: np.ndarray, probabilities: np.ndarray, people: np.ndarray | None = None
) -> dict[str, Estimate]:
    """`summary` with an interval for every metric, JSON-ready; `people` as in `bootstrap_intervals`."""
    found = bootstrap_intervals(labels, probabilities.argmax(axis=1), probabilities.shape[1], people=people)
    found["ece"] = calibration_interval(labels, probabilities, people=people)
    return {
        name: {"value": value, "low": found[name][0], "high": found[name][1]}
        for name, value in summary(labels, probabilities).items()
    }


def ece_with_interval(labels: np.ndarray, probabilities: np.ndarray, people: np.ndarray | None = None) -> Estimate:
    """The "ece" of `summary_with_intervals` alone."""
    low, high = calibration_interval(labels, probabilities, people=people)
    return {"value": calibration_error(labels, probabilities), "low": low, "high": high}


# ---- fractions of right answers in groups of faces


def share_intervals(inside: np.ndarray, right: np.ndarray, people: np.ndarray | None) -> np.ndarray:
    """Low and high ends (2, groups) of the fraction of right answers in each group, faces or people drawn again.

    Where people are drawn, no interval is narrower than Wilson's of the faces: of one person, or of a few who are
    answered alike, every resample says the same. So it does of faces that are all right or all wrong.

    Args:
        inside: which faces are in which group, (N, groups) bool, at least one in each.
        right: (N,) bool.
        people: as in `bootstrap_intervals`.
    """
    cells = np.concatenate([inside & right[:, None], inside & ~right[:, None]], axis=1)
    counts, members = drawn_together(cells, people)

    def shares(drawn: np.ndarray) -> np.ndarray:
        good, bad = np.split(drawn @ members, 2, axis=1)
        faces = good + bad
        return np.divide(good, faces, out=np.full(faces.shape, np.nan), where=faces > 0)  # none drawn: nothing known

    low, high = percentiles(resample(counts, shares))
    good, bad = np.split(cells.sum(axis=0), 2)
    lowest, highest = np.transpose([wilson(*pair) for pair in zip(good, good + bad, strict=True)])
    least = (low == high) | (people is not None)
    return np.stack([np.where(least, np.minimum(low, lowest), low), np.where(least, np.maximum(high, highest), high)])


def per_class_of_people(
    labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str], people: np.ndarray | None
) -> pd.DataFrame:
    """`ferlib.evaluation.metrics.per_class`; where people are known, the recall's interval is `share_intervals`'."""
    table = per_class(labels, predicted, classes)
    if people is not None:
        shown = np.unique(labels)
        ends = share_intervals(labels[:, None] == shown, labels == predicted, people)
        table.loc[table.index[shown], ["recall_low", "recall_high"]] = ends.T
    return table


# ---- people and seeds


def clusters(part: FaceDataset) -> np.ndarray:
    """Cluster of every face for resampling: its person's number, or one of its own where none is known."""
    group = part.frame["group"].to_numpy()
    return np.where(group < 0, group.max(initial=-1) + 1 + np.arange(len(group)), group)


def people_in(part: FaceDataset) -> np.ndarray | None:
    """`clusters`, or None where every face is drawn alone.

    So it is where no two faces are known to be one person's, and where all of them are: of one person drawn whole every
    resample is the same, see `people_notes`.
    """
    found = clusters(part)
    return found if 1 < len(np.unique(found)) < len(found) else None


def people_notes(part: FaceDataset) -> list[str]:
    """A sentence where the faces of a single person are drawn alone, in place of people; else none."""
    if len(part) < 2 or len(np.unique(clusters(part))) > 1:
        return []
    return [f"all {len(part):,} faces are one person's: the intervals are over faces, and say nothing of other people"]


def drawn_together(cells: np.ndarray, people: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Counts (K,) for `resample`, and the cells (K, C) that come with one draw of each: of a person, or of one cell.

    Args:
        cells: the cell of a table that each face falls into, one-hot (N, C), or none.
        people: the person of each face (N,), or None: faces of a cell are alike, and drawn by their number.
    """
    if people is None:
        return cells.sum(axis=0, dtype=float), np.eye(cells.shape[1])
    sums = sums_over_people(cells, people)
    return np.ones(len(sums)), sums


def sums_over_people(values: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Sums of values (N, ...) over the faces of every person, (P, ...), float64."""
    persons, person = np.unique(people, return_inverse=True)
    sums = np.zeros((len(persons), *values.shape[1:]))
    np.add.at(sums, person, values)
    return sums


def face_draws(part: FaceDataset, resamples: int = RESAMPLES) -> np.ndarray:
    """Counts of every face in every resample, float32 (R, N), those of a cluster drawn together; see `people_in`."""
    people, person = np.unique(clusters(part), return_inverse=True)
    if len(people) == 1:
        people = person = np.arange(len(part))
    return resample(np.ones(len(people)), lambda drawn: drawn[:, person].astype(np.float32), resamples)


def _drawn_within(draws: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Counts of faces (R, N) whose people (N,) were drawn whole, after a second draw: of faces, within each person."""
    rng, drawn = np.random.default_rng(2), np.empty_like(draws)
    for person in np.unique(people):
        own = np.flatnonzero(people == person)
        drawn[:, own] = rng.multinomial(len(own) * draws[:, own[0]].astype(int), np.full(len(own), 1 / len(own)))
    return drawn


def seed_draws(seeds: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Indices of the seeds in every resample, int64 (R, seeds)."""
    return np.random.default_rng(1).integers(seeds, size=(resamples, seeds))


class Resampling:
    """One set of draws for one split: in every resample people and seeds, both with replacement.

    Of fewer than `FEW_PEOPLE` the faces of each are drawn again too, so that people who are answered alike do not make
    a narrow interval. Where every resample says the same, as where all faces are right, it still has no width.

    Args:
        part: the split.
        seeds: number of seeds.
        resamples: R.
    """

    def __init__(self, part: FaceDataset, seeds: int, resamples: int = RESAMPLES):
        self.labels, self.classes = part.frame["label"].to_numpy(), len(part.classes)
        self.faces, self.seeds = face_draws(part, resamples), seed_draws(seeds, resamples)
        people = people_in(part)
        if people is not None and len(np.unique(people)) < FEW_PEOPLE:
            self.faces = _drawn_within(self.faces, people)

    def measure(
        self,
        predicted: Sequence[np.ndarray],
        kept: np.ndarray | None = None,
        score: Callable[[np.ndarray, np.ndarray], np.ndarray] = from_confusion,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores of some runs of one thing.

        Args:
            predicted: classes (N,), one array a seed.
            kept: bool (N,), which faces count; None: all.
            score: M numbers of every confusion matrix (R, K, K) -> (R, M), given the one (K, K) of all faces too; by
                default `METRICS`.

        Returns:
            Those of each seed, (S, M), and their mean over the drawn seeds in every resample, (R, M).
        """
        exact, resampled = [], []
        for classes in predicted:
            cells = confusion_cells(self.labels, classes, self.classes)
            if kept is not None:
                cells[~kept] = 0
            whole, drawn = (
                counts.reshape(-1, self.classes, self.classes) for counts in (cells.sum(axis=0), self.faces @ cells)
            )
            exact.append(score(whole, whole[0])[0])
            resampled.append(score(drawn, whole[0]))
        return np.stack(exact), self._over_seeds(np.stack(resampled, axis=1))

    def means(self, values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Means over the faces of some runs of one thing.

        Args:
            values: a number a face (N,), one array a seed.

        Returns:
            That of each seed, (S, 1), and their mean over the drawn seeds in every resample, (R, 1).
        """
        every = np.stack(values, axis=1)  # (N, S)
        drawn = self.faces @ every / self.faces.sum(axis=1, keepdims=True)
        return every.mean(axis=0)[:, None], self._over_seeds(drawn[..., None])

    def _over_seeds(self, resampled: np.ndarray) -> np.ndarray:
        """Scores (R, S, M) -> their mean over the seeds drawn in every resample, (R, M)."""
        return np.take_along_axis(resampled, self.seeds[..., None], axis=1).mean(axis=1)
