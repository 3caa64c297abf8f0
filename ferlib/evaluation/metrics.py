"""Whole-split metrics. Never means of batch means."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_fscore_support

from ferlib.evaluation.calibration import calibration_error
from ferlib.evaluation.wilson import wilson

METRICS = ("accuracy", "balanced_accuracy", "macro_f1")  # what a confusion matrix gives


def summary(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro-F1 and expected calibration error, as fractions of 1.

    Args:
        labels: true classes (N,).
        probabilities: (N, classes), rows sum to 1.

    Classes without a face in `labels` do not enter balanced accuracy and macro-F1.
    """
    counts = confusion(labels, probabilities.argmax(axis=1), probabilities.shape[1])
    scores = dict(zip(METRICS, from_confusion(counts[None])[0].tolist(), strict=True))
    return scores | {"ece": calibration_error(labels, probabilities)}


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Confusion matrix (K, K) of K classes, from labels (N,) and predicted classes (N,).

    Entry [i, j] is how many faces of class i were called j.

    Raises:
        ValueError: a class is not one of 0 to K - 1.
    """
    return np.bincount(_cell(labels, predicted, classes), minlength=classes**2).reshape(classes, classes)


def confusion_cells(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """For every face, the cell of the confusion matrix it falls into, one-hot float32 (N, classes²); errors of it."""
    cells = np.zeros((len(labels), classes**2), np.float32)
    cells[np.arange(len(labels)), _cell(labels, predicted, classes)] = 1
    return cells


def _cell(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Index (N,) of each face's cell in a confusion matrix, read row by row."""
    true, called = (np.asarray(some).astype(np.int64) for some in (labels, predicted))
    if len(true) and (min(true.min(), called.min()) < 0 or max(true.max(), called.max()) >= classes):
        raise ValueError(f"labels and predictions must be classes 0 to {classes - 1}")
    return true * classes + called


def from_confusion(matrices: np.ndarray, observed: np.ndarray | None = None) -> np.ndarray:
    """`METRICS` (R, 3) of R confusion matrices (R, K, K), rows the true classes.

    Args:
        matrices: of R sets of faces.
        observed: the matrix (K, K) that they are resamples of, or None. A class that a resample happens to have no face
            of has its recall and F1 of there, else the mean would be over other classes than the value's.
    """
    present, recall, f1 = _by_class(matrices)
    if observed is not None:
        there, own_recall, own_f1 = _by_class(observed[None])
        recall, f1 = np.where(present, recall, own_recall), np.where(present, f1, own_f1)
        present = there
    accuracy = np.trace(matrices, axis1=1, axis2=2, dtype=float) / matrices.sum(axis=(1, 2))
    classes = present.sum(axis=1)
    return np.stack([accuracy, (recall * present).sum(axis=1) / classes, (f1 * present).sum(axis=1) / classes], axis=1)


def _by_class(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Presence (bool), recall and F1 of every class, (R, K) each; 0 where there is nothing to divide by."""
    hits = np.diagonal(matrices, axis1=1, axis2=2).astype(float)
    true, predicted = matrices.sum(axis=2), matrices.sum(axis=1)
    recall = np.divide(hits, true, out=np.zeros_like(hits), where=true > 0)
    return true > 0, recall, np.divide(2 * hits, true + predicted, out=np.zeros_like(hits), where=true + predicted > 0)


def per_class(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Precision, recall and F1 of every class, with its number of faces and the interval of the recall.

    Columns: "precision", "recall" and "f1" as fractions of 1, "support", and the 95 % Wilson interval of the recall,
    "recall_low" and "recall_high" (0 to 1 for a class without a face).

    Args:
        labels: true classes (N,).
        predicted: classes (N,).
        classes: their names.
    """
    values = precision_recall_fscore_support(labels, predicted, labels=range(len(classes)), zero_division=0)
    table = pd.DataFrame(dict(zip(("precision", "recall", "f1", "support"), values, strict=True)), index=list(classes))
    hits = np.bincount(labels[labels == predicted], minlength=len(classes))
    intervals = [wilson(right, faces) for right, faces in zip(hits, table["support"], strict=True)]
    table["recall_low"], table["recall_high"] = np.transpose(intervals)
    return table
