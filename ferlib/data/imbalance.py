"""Class imbalance in numbers: shares, imbalance ratio, effective number (Cui et al. 2019), and class weights.

Everything here is computed from class counts. The training methods that use it are in
ferlib.training.methods.imbalance.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ferlib.errors import UserError

BETA = 0.999


def statistics(counts: pd.Series | Mapping[str, int] | Sequence[int], beta: float = BETA) -> pd.DataFrame:
    """Imbalance statistics by class: faces, fraction, imbalance ratio, effective number.

    Args:
        counts: faces of every class, e.g. `dataset.counts()["train"]`.
        beta: of the effective number.

    Returns:
        One row a class: `faces`; `share` of all faces; `ratio`, faces of the largest class to one of this class
        (infinite without faces; the column's largest value is the data set's imbalance ratio); `effective_number`.

    Raises:
        ValueError: the counts are negative or all zero, or beta is not in [0, 1).
    """
    faces = pd.Series(counts)
    numbers = _checked(faces.to_numpy())
    with np.errstate(divide="ignore"):
        ratio = numbers.max() / numbers
    columns = {
        "faces": faces,
        "share": numbers / numbers.sum(),
        "ratio": ratio,
        "effective_number": effective_number(numbers, beta),
    }
    return pd.DataFrame(columns, index=faces.index)


def imbalance_ratio(counts: Sequence[int] | np.ndarray) -> float:
    """Faces of the largest class to one of the smallest; infinite when a class has none."""
    return float(statistics(np.asarray(counts))["ratio"].max())


def effective_number(counts: Sequence[int] | np.ndarray, beta: float = BETA) -> np.ndarray:
    """Effective number of samples (Cui et al. 2019, Proposition 1): (1 - β^n) / (1 - β), (classes,) -> (classes,).

    Faces of one class resemble each other, so the n-th adds β^(n-1) of a new one. From 1 for every class (β = 0) to n
    itself (β → 1); never above 1 / (1 - β).

    Raises:
        ValueError: beta is not in [0, 1).
    """
    if not 0 <= beta < 1:
        raise UserError(f"beta must be at least 0 and below 1, not {beta!r}")
    counts = np.asarray(counts, dtype=np.float64)
    if beta == 0:
        return np.minimum(counts, 1.0)
    return -np.expm1(counts * np.log(beta)) / (1 - beta)


def balanced_weights(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Class weights in inverse proportion to the counts, N / (classes · n), (classes,). The average face weighs 1.

    Raises:
        ValueError: a class has no faces.
    """
    counts = _checked(counts, positive=True)
    return counts.sum() / (len(counts) * counts)


def class_balanced_weights(counts: Sequence[int] | np.ndarray, beta: float = BETA) -> np.ndarray:
    """Class weights in inverse proportion to the effective numbers (Cui et al. 2019, section 4), (classes,).

    β decides how far from plain training (0) to balanced weights (→ 1) they go. On FERPlus, whose largest class has 73
    times the faces of its smallest, the weights differ by a factor of 9 at β = 0.999 and of 49 at β = 0.9999.

    Departure: the paper scales the weights to sum to the number of classes. Here the average face weighs 1, as in
    `balanced_weights`. No ratio changes, but the loss keeps its scale, so learning rate and gradient clipping mean the
    same under every method, and do not jump when LDAM's weights are switched on.

    Raises:
        ValueError: a class has no faces, or beta is not in [0, 1).
    """
    counts = _checked(counts, positive=True)
    weights = 1 / effective_number(counts, beta)
    return weights * counts.sum() / (weights * counts).sum()


def log_prior(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Logarithm of the classes' shares, (classes,).

    Raises:
        ValueError: a class has no faces.
    """
    counts = _checked(counts, positive=True)
    return np.log(counts / counts.sum())


def sampling_weights(labels: Sequence[int] | np.ndarray) -> np.ndarray:
    """Probability (N,) of every face to be drawn, such that the classes present are drawn equally often.

    Raises:
        ValueError: there are no faces.
    """
    labels = np.asarray(labels)
    if not len(labels):
        raise UserError("there are no faces to draw from")
    counts = np.bincount(labels)
    return 1 / (counts[labels] * np.count_nonzero(counts))


def _checked(counts: Sequence[int] | np.ndarray, positive: bool = False) -> np.ndarray:
    """As float64, refused when no class has faces, or with `positive` when one has none."""
    counts = np.asarray(counts, dtype=np.float64)
    if not len(counts) or counts.min() < 0 or not counts.any():
        raise UserError(f"class counts must be zero or more, and not all zero, not {counts.tolist()}")
    if positive and not counts.all():
        raise UserError(f"there are classes without faces: {np.flatnonzero(counts == 0).tolist()}")
    return counts
