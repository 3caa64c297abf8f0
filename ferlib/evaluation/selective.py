"""Accuracy of a model that answers only where it is sure enough.

Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks" (NeurIPS 2017): a confidence orders the faces,
and those below a limit are left without an answer. A good confidence leaves out the wrong answers first.
"""

import numpy as np
import pandas as pd


def accuracy_of_answered(confidence: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    """Accuracy on the surest faces, for every number of them.

    Args:
        confidence: (N,), the surest highest; faces of one confidence are answered together.
        right: bool (N,), whether the answer is right.

    Returns:
        A row for every confidence that occurs, from the surest: `limit`, the confidence; `answered`, the fraction of
        faces that have it or more; `accuracy` of these.

    Raises:
        ValueError: no faces, or not one confidence a face.
    """
    if not len(confidence) or len(confidence) != len(right):
        raise ValueError(f"one confidence a face is needed, not {len(confidence)} for {len(right)} faces")
    order = np.argsort(-confidence, kind="stable")
    sure, hits = confidence[order], np.asarray(right, bool)[order].cumsum()
    last = np.append(sure[1:] != sure[:-1], True)  # of the faces of one confidence
    count = np.arange(1, len(sure) + 1)
    return pd.DataFrame({"limit": sure[last], "answered": count[last] / len(sure), "accuracy": (hits / count)[last]})


def area_above(curve: pd.DataFrame) -> float:
    """Mean error over all fractions answered (AURC): 0 for a model without errors, the lower the better the order.

    Args:
        curve: of `accuracy_of_answered`.
    """
    widths = np.diff(curve["answered"], prepend=0.0)
    return float((widths * (1 - curve["accuracy"])).sum())
