"""Prediction sets: the classes a face may have, so many that the true one is among them as often as was promised.

Split conformal prediction (Vovk, Gammerman, Shafer 2005): a score says how badly a class fits a face; of the scores of
the true classes of calibration faces a quantile is kept; a new face's set has every class whose score is not above it.
If the new face is drawn as the calibration faces were, its true class is in the set with at least that probability,
however good or bad the model is. (The released models' calibration faces also chose their epoch, temperature and
rule: there the promise is no proof, and is measured on test.) The quantiles are found in the lab
(`ferlib.evaluation.conformal`) and stand in the model's folder, in conformal.json; to answer takes numpy alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferlib.errors import UserError
from ferlib.utils.atomic import read_json

FILE = "conformal.json"
TRUTHS = ("label", "votes")  # the class that most people named, or that of one vote (of a class that several named)
ROUNDING = 1e-6  # by so much a score may be above its threshold: two runtimes differ in the last digits


@dataclass(frozen=True)
class ConformalScore:
    """Scores of how badly each class fits a face: APS, and with a penalty RAPS.

    s(x, y) = (probability of the classes that are more probable than y) + u p(y) + penalty max(0, rank(y) - free_rank)

    APS: Romano, Sesia, Candès, "Classification with Valid and Adaptive Coverage", 2020, eq. 7 (the generalised inverse
    quantile score of eq. 5); no penalty. RAPS: Angelopoulos, Bates, Malik, Jordan, "Uncertainty Sets for Image
    Classifiers using Conformal Prediction", 2021, eq. 4; rank 1 is the most probable class.

    Both papers draw u anew for every face, uniform over 0..1, which makes the coverage exact at any level; but the same
    photo would be answered differently from one time to the next. Here u is one number for all faces. The guarantee is
    that of any fixed score. With u = 1 the most confident faces get empty sets; with u = 0 the most probable class is
    in every set, whose coverage is then never below the accuracy.

    Attributes:
        label_fraction: u, 0..1.
        penalty: for every rank below `free_rank`.
        free_rank: ranks that cost nothing.
    """

    label_fraction: float = 0.0
    penalty: float = 0.0
    free_rank: int = 0

    def __call__(self, probabilities: np.ndarray, draws: np.ndarray | None = None) -> np.ndarray:
        """Scores float64 (N, K) of probabilities (N, K); `draws` (N, 1), if given, are u, one a face."""
        p = np.asarray(probabilities, float)
        order = np.argsort(-p, axis=1, kind="stable")
        ranks = np.argsort(order, axis=1, kind="stable")  # 0 is the most probable
        falling = np.take_along_axis(p, order, axis=1)
        before = np.take_along_axis(falling.cumsum(axis=1) - falling, ranks, axis=1)
        fraction = self.label_fraction if draws is None else draws
        return before + fraction * p + self.penalty * np.maximum(0, ranks + 1 - self.free_rank)


@dataclass(frozen=True)
class PredictionSets:
    """Makes sets of one coverage for one model.

    Attributes:
        coverage: promised, 0..1.
        classes: the model's.
        score: of a class.
        thresholds: highest score of each class (K,) with which it is in a set; infinite for one that always is.
    """

    coverage: float
    classes: tuple[str, ...]
    score: ConformalScore
    thresholds: tuple[float, ...]

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """The sets of faces with these probabilities (N, K), as bool (N, K)."""
        return self.score(probabilities) <= np.array(self.thresholds) + ROUNDING

    def names(self, probabilities: np.ndarray) -> tuple[str, ...]:
        """The set of one face with these probabilities (K,), the most probable class first."""
        chosen = self(probabilities[None])[0]
        order = np.argsort(-np.asarray(probabilities), kind="stable")
        return tuple(self.classes[i] for i in order if chosen[i])


def stored_coverages(folder: Path, truth: str = "label") -> tuple[float, ...]:
    """Coverages for which a model's folder has thresholds; none where it has no conformal.json."""
    return tuple(map(float, _thresholds(folder, truth))) if (folder / FILE).is_file() else ()


def read_prediction_sets(folder: Path, coverage: float, truth: str = "label") -> PredictionSets:
    """The prediction sets of a model folder.

    Args:
        folder: of a model.
        coverage: one of `stored_coverages`.
        truth: the set holds, as often as `coverage` says, the class that most people named ("label"), or the class of
            one of their votes, drawn at random ("votes"; single votes do not count, see `load_ferplus`).

    Raises:
        UserError: the folder has no thresholds of this kind; the message says which it has.
    """
    if not (folder / FILE).is_file():
        raise UserError(
            f"{folder.name} has no prediction sets ({FILE}); `ferlib calibrate` makes them from validation faces"
        )
    stored = _thresholds(folder, truth)
    found = next((values for level, values in stored.items() if np.isclose(float(level), coverage)), None)
    if found is None:
        raise UserError(f"{folder.name} has prediction sets of coverage {', '.join(stored)}, not {coverage:g}")
    limits = tuple(np.inf if value is None else float(value) for value in found.values())
    try:
        score = ConformalScore(**read_json(folder / FILE)["score"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / FILE} cannot be read ({error!r})") from error
    return PredictionSets(float(coverage), tuple(found), score, limits)


def _thresholds(folder: Path, truth: str) -> Mapping[str, Mapping[str, Any]]:
    """Coverage -> class -> threshold, null for a class that is in every set."""
    if truth not in TRUTHS:
        raise UserError(f"truth must be one of {', '.join(TRUTHS)}, not {truth!r}")
    try:
        stored = read_json(folder / FILE)["thresholds"]
    except KeyError as error:
        raise UserError(f"{folder / FILE} cannot be read ({error!r})") from error
    if truth not in stored:
        raise UserError(f"{folder.name} was calibrated on faces without votes; it has sets for the label only")
    return stored[truth]
