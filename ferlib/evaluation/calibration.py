"""Calibration of probabilities: reliability curve, expected calibration error, temperature scaling.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017. A model is calibrated when, of all the
predictions it gives with confidence 0.8 (its highest probability), 80 % are right.
"""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from ferlib.errors import UserError
from ferlib.evaluation.wilson import wilson

BINS = 15  # as in the paper's tables
TEMPERATURES = (0.05, 20.0)  # the range that is searched; of a model that is never wrong, the best would be 0


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """Accuracy at each level of confidence: the curve of a reliability diagram.

    Args:
        labels: true classes (N,).
        probabilities: (N, classes), rows sum to 1.
        bins: of equal width, over 0..1.

    Returns:
        One row a bin: `start` and `end` of the confidences in it, `faces`, their mean `confidence` and `accuracy`, and
        the 95 % Wilson interval `low` to `high` of the accuracy; NaN where there are no faces.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    place = bin_of(confidence, bins)
    faces, right, sums = (
        np.bincount(place, weights=weights, minlength=bins) for weights in (None, correct.astype(float), confidence)
    )
    filled = faces > 0
    shares = [np.divide(total, faces, out=np.full(bins, np.nan), where=filled) for total in (sums, right)]
    intervals = [wilson(hits, n) if n else (np.nan, np.nan) for hits, n in zip(right, faces, strict=True)]
    edges = np.arange(bins + 1) / bins
    return pd.DataFrame(
        {"start": edges[:-1], "end": edges[1:], "faces": faces, "confidence": shares[0], "accuracy": shares[1]}
        | dict(zip(("low", "high"), np.transpose(intervals), strict=True))
    )


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error (eq. 3), 0..1: mean gap of confidence and accuracy over the bins, by their faces.

    Arguments as in `reliability`.
    """
    curve = reliability(labels, probabilities, bins)
    gaps = (curve["confidence"] - curve["accuracy"]).abs() * curve["faces"]
    return float(gaps.sum() / len(labels))  # an empty bin's NaN is not counted


def negative_log_likelihood(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of -log p of the true class, of labels (N,) and probabilities (N, classes); natural logarithm."""
    return float(-np.log(_positive(probabilities)[np.arange(len(labels)), labels]).mean())


def temperature_scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(logits / T) from softmax(logits), (N, classes) -> same: no prediction changes, only its confidence.

    log p differs from the logits by a constant a row, which softmax does not see.
    """
    scaled = np.log(_positive(probabilities)) / temperature
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)


def adjusted(probabilities: np.ndarray, prior: np.ndarray, tau: float, temperature: float) -> np.ndarray:
    """Probabilities (N, classes) after logit adjustment and temperature scaling, softmax((z - τ log π) / T).

    Menon et al. 2021 (https://arxiv.org/abs/2007.07314), section 4.1; Guo et al. 2017 for the temperature.

    Args:
        probabilities: (N, classes), a model's.
        prior: π, the fractions of the classes (classes,) among the training faces.
        tau: 0 leaves the answers, 1 takes the prior out of them.
        temperature: above 1 for less confidence, below for more.

    Raises:
        UserError: a class has no training face, so there is no prior to take out.
    """
    if tau and not np.all(prior):
        raise UserError("a class has no training faces: its prior is 0, and cannot be taken out of the answers")
    shifted = probabilities * prior**-tau
    return temperature_scaled(shifted / shifted.sum(axis=1, keepdims=True), temperature)


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature T > 0 whose probabilities make the labels most likely (eq. 9), within `TEMPERATURES`.

    Fit it on validation faces, never on those it is judged on. Above 1 the model was too sure of itself.
    """
    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(  # convex in 1/T, so there is one minimum
        lambda log_t: negative_log_likelihood(labels, temperature_scaled(probabilities, np.exp(log_t))),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return float(np.exp(found.x))


def at_an_end(temperature: float) -> bool:
    """True for a `fit_temperature` that has run into an end of the range: no temperature within is the best."""
    low, high = TEMPERATURES
    return not 1.01 * low < temperature < high / 1.01


def bin_of(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Index of the equal bin over 0..1 that each confidence (N,) falls into; 1 is in the last."""
    if np.isnan(confidence).any():
        raise ValueError("there are probabilities that are not numbers")
    return np.minimum((confidence * bins).astype(int), bins - 1)


def _positive(probabilities: np.ndarray) -> np.ndarray:
    return np.clip(probabilities, np.finfo(float).tiny, None)
