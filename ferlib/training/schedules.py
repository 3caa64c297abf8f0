"""Learning rates over a run, each as the fraction of the recipe's rate.

None keeps state: they are told from the fraction of the steps taken and from the validation scores of the finished
epochs, so a resumed run goes on where it was.
"""

import math
from collections.abc import Sequence

from ferlib.evaluation.kept_epoch import epochs_without_gain

SCHEDULES = ("constant", "onecycle", "plateau", "keras_plateau", "inverse_time", "two_phases")


def schedule(name: str, progress: float, scores: Sequence[float] = (), first_epoch: int = 0) -> float:
    """Fraction of the recipe's learning rate.

    Args:
        name: one of `SCHEDULES`.
        progress: fraction of the run's steps already taken, 0 to 1.
        scores: what selects the epoch, of every finished epoch, for the last four of `SCHEDULES`.
        first_epoch: number of the run's first epoch, for "inverse_time".
    """
    if name == "onecycle":
        return one_cycle(progress)
    if name == "plateau":
        return torch_plateau(scores)
    if name == "keras_plateau":
        return keras_plateau(scores)
    if name == "inverse_time":
        return inverse_time(first_epoch + len(scores))
    if name == "two_phases":
        return two_phases(scores)
    return 1.0


def one_cycle(progress: float) -> float:
    """Cosine up from 0.04 to 1 over the first 30 % of the run, cosine down to 0 over the rest."""
    rise = 0.3
    if progress < rise:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / rise)) / 2
    return (1 + math.cos(math.pi * (progress - rise) / (1 - rise))) / 2


def torch_plateau(scores: Sequence[float], factor: float = 0.75, patience: int = 5, threshold: float = 1e-4) -> float:
    """Factor of the learning rate that PyTorch's ReduceLROnPlateau gives after these scores, higher ones being better.

    × `factor` when more than `patience` epochs in a row, so with 5 every sixth, were not above the best so far by more
    than `threshold` of it. Factor and patience are Khairuddin and Chen's (2021), the threshold is PyTorch's own.
    """
    rate, best, waited = 1.0, -math.inf, 0
    for score in scores:
        if score > best * (1 + threshold):
            best, waited = score, 0
        else:
            waited += 1
        if waited > patience:
            rate, waited = rate * factor, 0
    return rate


def keras_plateau(scores: Sequence[float]) -> float:
    """The first phase of Conv-cut's and PAtt-Lite's code: Keras's ReduceLROnPlateau after these scores.

    × 0.1 after every 3 epochs without a new best by more than 0.003, not below 1e-3 (1e-6 where the rate is 1e-3).
    """
    stalled = epochs_without_gain(scores, least_gain=0.003)
    return max(0.1 ** sum(waited > 0 and waited % 3 == 0 for waited in stalled), 1e-3)


def inverse_time(epoch: int) -> float:
    """The second phase of Conv-cut's and PAtt-Lite's code: Keras's InverseTimeDecay over 80 epochs, 1 / (1 + e/80)."""
    return 1 / (1 + epoch / 80)


def two_phases(scores: Sequence[float]) -> float:
    """Both phases of PAtt-Lite's code in one run, with one optimiser, where the recipe's rate is 1e-3.

    The first ends when 5 epochs have brought no gain of 0.003. The second begins at a hundredth of the rate, which
    falls from there by the epochs of both phases; their code counts from the first one's best epoch.
    """
    stalled = epochs_without_gain(scores, least_gain=0.003)
    return 0.01 * inverse_time(len(scores)) if 5 in stalled else keras_plateau(scores)
