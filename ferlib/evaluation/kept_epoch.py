"""The epoch of a training that is kept."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ferlib.errors import UserError
from ferlib.utils.old_names import renamed_fields


def best_epoch(history: pd.DataFrame, select_by: str = "accuracy", least_gain: float = 0.0) -> int:
    """Row of the epoch that is kept: the highest score, the last of equals.

    Keras keeps the first of equals (`save_best_only`, `restore_best_weights`): a departure of the recipes that follow
    authors' code in Keras.

    With `least_gain` it is the last one that was better by more than that than the best one before it.
    """
    if not least_gain:
        return int(history[::-1][select_by].idxmax())
    stalled = epochs_without_gain(history[select_by].tolist(), least_gain)
    return max(epoch for epoch, waited in enumerate(stalled) if waited == 0)


def epochs_without_gain(scores: Sequence[float], least_gain: float = 0.0) -> list[int]:
    """After every epoch, how many have gone by since the last new best by more than `least_gain`."""
    waited, best, counts = 0, -math.inf, []
    for score in scores:
        waited = 0 if score > best + least_gain else waited + 1
        best = score if waited == 0 else best
        counts.append(waited)
    return counts


def kept_gain(patience_on: str, least_gain: float) -> float:
    """By more than this must an epoch be better than the best one before to be kept in its place."""
    return least_gain if patience_on == "score" else 0.0


def recorded_gain(recipe: Path) -> float:
    """`kept_gain` of a run's recipe.json, whatever method or model that names.

    Raises:
        UserError: it is not JSON, or the gain is no number.
    """
    try:
        recorded = renamed_fields(json.loads(recipe.read_text()))
        return float(kept_gain(recorded.get("patience_on", "score"), recorded.get("least_gain", 0.0)))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{recipe} is not a recipe ({error})") from error
