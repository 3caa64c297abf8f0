"""Calibrate prediction sets, choose among their rules, and measure what sets cover.

The score and its papers stand in `ferlib.runtime.prediction_sets`; here its thresholds are found on validation faces.
The truth of a face is given as weights (N, K) of its classes: 1 for its label, or the fractions of its votes. Sets that
are calibrated on votes cover a label drawn from them: Stutz, Roy, Matejovicova, Strachan, Cemgil, Doucet, "Conformal
prediction under ambiguous ground truth", 2023, whose Monte Carlo conformal prediction draws m labels a face (algorithm
1). Here m goes to infinity, where draws become the votes' fractions. Their guarantee is then 1 - 2 alpha (proposition
3), as labels of one face are alike; in their experiments and in ours it is 1 - alpha.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ferlib.evaluation.bootstrap import FEW_PEOPLE, percentiles, resample, share_intervals
from ferlib.evaluation.report_format import Estimate
from ferlib.evaluation.wilson import wilson
from ferlib.results import MOST_NAMED
from ferlib.runtime.prediction_sets import ConformalScore, PredictionSets

COVERAGES = (0.8, 0.9, 0.95)
CHOSEN_AT = 0.9  # the coverage at which rules are compared
RARE = 100  # faces; classes with fewer share a threshold
FOLDS, REPEATS = 10, 3  # of the cross-validation
SHORT = 0.005  # by how much the coverage of all faces may miss in it


@dataclass(frozen=True)
class SetRule:
    """Settings of how prediction sets are made and calibrated.

    Attributes:
        score: of a class.
        by: "whole", one threshold for all classes; "class", one for each (class-conditional: Vovk 2012; coverage is
            then promised for the faces of each class); or "class, rare ones together", where classes of fewer than
            `RARE` faces share one (after Ding, Angelopoulos, Bates, Jordan, Tibshirani, "Class-conditional conformal
            prediction with many classes", 2023, who cluster classes: a quantile of a dozen faces is nearly chance).
    """

    score: ConformalScore
    by: str

    def groups(self, counts: np.ndarray) -> np.ndarray:
        """A number (K,) for every class, the same for those that share a threshold, from their faces (K,)."""
        if self.by == "whole":
            return np.zeros(len(counts), int)
        return np.arange(len(counts)) if self.by == "class" else rare_together(counts)


def rare_together(counts: np.ndarray) -> np.ndarray:
    """A number (K,) for every class by its faces (K,), the same for those of fewer than `RARE`."""
    return np.where(counts < RARE, len(counts), np.arange(len(counts)))


SCORES = (
    *(ConformalScore(u) for u in (0.0, 0.5, 1.0)),
    *(ConformalScore(u, penalty, rank) for u in (0.0, 1.0) for penalty, rank in ((0.01, 2), (0.1, 1))),
)
RULES = tuple(SetRule(score, by) for score in SCORES for by in ("whole", "class", "class, rare ones together"))


def label_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels (N,) as weights float64 (N, classes)."""
    return np.eye(classes)[labels]


def conformal_quantile(scores: np.ndarray, weights: np.ndarray, coverage: float) -> float:
    """The threshold of a coverage: of n scores the ceil((n + 1) coverage)-th smallest; infinite where n is too small.

    Args:
        scores: (M,), of one class of one face each.
        weights: (M,), each the probability that this class is the face's; they sum to n faces.
        coverage: wanted, 0..1.
    """
    order = np.argsort(scores, kind="stable")
    heap = weights[order].cumsum()
    needed = (weights.sum() + 1) * coverage
    place = int(np.searchsorted(heap, needed - 1e-9))
    return float(scores[order][place]) if place < len(order) else float("inf")


def thresholds(scores: np.ndarray, weights: np.ndarray, coverage: float, groups: np.ndarray) -> np.ndarray:
    """Thresholds float64 (K,) of the classes, one a group, from scores and weights (N, K)."""
    found = np.empty(scores.shape[1])
    for group in np.unique(groups):
        members = groups == group
        own, weight = scores[:, members].ravel(), weights[:, members].ravel()
        found[members] = conformal_quantile(own[weight > 0], weight[weight > 0], coverage)
    return found


def calibrated(
    rule: SetRule, probabilities: np.ndarray, weights: np.ndarray, coverage: float, classes: Sequence[str]
) -> PredictionSets:
    """Prediction sets by a rule from calibration faces: probabilities and weights (N, K) of K classes."""
    limits = limits_of(rule, probabilities, weights, coverage)
    return PredictionSets(coverage, tuple(classes), rule.score, tuple(limits.tolist()))


def limits_of(rule: SetRule, probabilities: np.ndarray, weights: np.ndarray, coverage: float) -> np.ndarray:
    """A rule's thresholds float64 (K,) of the classes from calibration faces: probabilities and weights (N, K)."""
    return thresholds(rule.score(probabilities), weights, coverage, rule.groups(weights.sum(axis=0)))


def cross_validated(
    rule: SetRule, probabilities: np.ndarray, labels: np.ndarray, coverage: float, people: np.ndarray | None = None
) -> dict[str, float]:
    """Means over faces (N,) whose sets were calibrated on the other folds, `FOLDS` folds drawn `REPEATS` times.

    Args:
        rule: of the sets.
        probabilities: (N, K).
        labels: (N,).
        coverage: wanted.
        people: the person of each face (N,), who is in one fold whole, or None.

    Returns:
        coverage; worst_class, that of the class with the lowest; classes_short, how many have a coverage that is
        below the wanted one by more than chance (its 95 % Wilson interval ends below), where those of fewer than `RARE`
        faces count as one; single, the fraction of sets of one class; empty, that of empty ones; size, the mean.
    """
    weights = label_weights(labels, probabilities.shape[1])
    scores, rng = rule.score(probabilities), np.random.default_rng(0)
    drawn = np.arange(len(labels)) if people is None else np.unique(people, return_inverse=True)[1]
    rows: list[np.ndarray] = []
    sets: list[np.ndarray] = []
    for _ in range(REPEATS):
        fold = (rng.permutation(drawn.max() + 1) % FOLDS)[drawn]
        for number in range(FOLDS):
            held = fold == number
            groups = rule.groups(weights[~held].sum(axis=0))
            sets.append(scores[held] <= thresholds(scores[~held], weights[~held], coverage, groups))
            rows.append(np.flatnonzero(held))
    order = np.concatenate(rows)
    found, truth = np.concatenate(sets), labels[order]
    covered, size = found[np.arange(len(truth)), truth], found.sum(axis=1)
    tested = rare_together(weights.sum(axis=0))[labels]  # a dozen faces show hardly anything
    short = [
        group
        for group in np.unique(tested)
        if wilson(round(covered[tested[order] == group].mean() * (n := (tested == group).sum())), n)[1] < coverage
    ]
    return {
        "coverage": float(covered.mean()),
        "worst_class": min(float(covered[truth == label].mean()) for label in np.unique(labels)),
        "classes_short": len(short),
        "single": float((size == 1).mean()),
        "empty": float((size == 0).mean()),
        "size": float(size.mean()),
    }


def choose_rule(
    probabilities: np.ndarray, labels: np.ndarray, people: np.ndarray | None = None
) -> tuple[SetRule, list[dict]]:
    """The rule with the most single answers among those that keep their promise, by cross-validation at `CHOSEN_AT`.

    A rule keeps it if at most `SHORT` of the coverage is missing over all faces, and over the faces of no class more
    than chance explains, where rare classes count as one, as a dozen faces show little; and if there are faces enough
    for a finite threshold at every one of `COVERAGES`. Where no rule does both, it is the one whose worst class is
    covered most, of those with faces enough if there are any.

    Args:
        probabilities: of calibration faces (N, K).
        labels: of these (N,).
        people: the person of each (N,): the promise is tried on people whom the sets were not calibrated on; or None.

    Returns:
        The rule, and what was found of each of `RULES`.
    """
    found = [cross_validated(rule, probabilities, labels, CHOSEN_AT, people) for rule in RULES]
    weights = label_weights(labels, probabilities.shape[1])

    def merit(place: int) -> tuple[bool, bool, float]:
        one, rule = found[place], RULES[place]
        enough = bool(np.isfinite(limits_of(rule, probabilities, weights, max(COVERAGES))).all())
        kept = enough and one["coverage"] >= CHOSEN_AT - SHORT and not one["classes_short"]
        return kept, enough, one["single"] if kept else one["worst_class"]

    chosen = max(range(len(RULES)), key=merit)
    table = [
        asdict(rule.score) | {"by": rule.by, "chosen": place == chosen} | found[place]
        for place, rule in enumerate(RULES)
    ]
    return RULES[chosen], table


def measure_sets(
    sets: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    draws: np.ndarray,
    votes: np.ndarray | None = None,
    people: np.ndarray | None = None,
) -> dict:
    """Figures of what prediction sets cover and say, JSON-ready.

    Args:
        sets: bool (N, K).
        labels: of the faces (N,), as indices into `classes`.
        classes: K names.
        draws: counts of every face in every resample (R, N), see `ferlib.evaluation.bootstrap.face_draws`.
        votes: their fractions (N, K), where there are any.
        people: the person of each face (N,), who is drawn whole in `draws` and for the intervals of `per_class`, or
            None. With fewer than `FEW_PEOPLE` no interval is narrower than over faces drawn alone.

    Returns:
        coverage (of the label), votes_covered (of one vote, drawn at random), single (fraction of single answers),
        single_accuracy, named (sets of one to `MOST_NAMED` classes), named_coverage (of these), mean_size as estimates;
        sizes (faces with a set of 0, 1, ... classes) and per_class {name: {faces, coverage, low, high}}.
    """
    covered, size, every = sets[np.arange(len(labels)), labels], sets.sum(axis=1), np.ones(len(labels), bool)
    single, named = size == 1, (size > 0) & (size <= MOST_NAMED)
    wanted = {
        "coverage": (covered, every),
        "votes_covered": (every if votes is None else (sets * votes).sum(axis=1), every),
        "single": (single, every),
        "single_accuracy": (covered, single),
        "named": (named, every),
        "named_coverage": (covered, named),
        "mean_size": (size, every),
    }
    if votes is None:
        del wanted["votes_covered"]
    found: dict = {name: _mean_where(values, where, draws) for name, (values, where) in wanted.items()}
    if people is not None and len(np.unique(people)) < FEW_PEOPLE:  # nowhere narrower than over faces drawn alone
        alone = resample(np.ones(len(labels)), lambda drawn: drawn.astype(np.float32), len(draws))
        for name, (values, where) in wanted.items():
            if one := _mean_where(values, where, alone):
                low, high = min(found[name]["low"], one["low"]), max(found[name]["high"], one["high"])
                found[name] |= {"low": low, "high": high}
    found |= {"sizes": np.bincount(size, minlength=sets.shape[1] + 1).tolist(), "per_class": {}}
    for place, name in enumerate(classes):
        own = labels == place
        if own.any():
            share, faces = float(covered[own].mean()), int(own.sum())
            low, high = wilson(covered[own].sum(), faces)
            if people is not None:
                low, high = share_intervals(own[:, None], covered, people)[:, 0].tolist()
            found["per_class"][name] = {"faces": faces, "coverage": share, "low": low, "high": high}
    return found


def _mean_where(values: np.ndarray, where: np.ndarray, draws: np.ndarray) -> Estimate | None:
    """Mean of values (N,) over the faces where `where` (N,) is true, with its interval; None where it is nowhere."""
    if not where.any():
        return None
    held = where.astype(np.float32)
    with np.errstate(invalid="ignore"):  # a resample without any such face is left out
        low, high = percentiles((draws @ (values * held).astype(np.float32)) / (draws @ held))
    if low == high and values.dtype == bool:  # all, or none
        low, high = wilson(values[where].sum(), where.sum())
    return {"value": float(values[where].mean()), "low": float(low), "high": float(high)}


def as_stored(sets: Mapping[float, PredictionSets]) -> dict[str, dict[str, float | None]]:
    """Thresholds as they stand in conformal.json: coverage -> class -> threshold, null where it is infinite."""
    return {
        f"{coverage:g}": {
            name: round(limit, 7) if np.isfinite(limit) else None
            for name, limit in zip(one.classes, one.thresholds, strict=True)
        }
        for coverage, one in sets.items()
    }
