"""The report of a model on a split, as it stands in JSON: in results/, in model folders, and in what commands print."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from ferlib.errors import UserError


class Estimate(TypedDict):
    """A number with its 95 % interval, `low` to `high`."""

    value: float
    low: float
    high: float


def in_percent(estimate: Mapping[str, Any]) -> str:
    """An estimate as "73.0 (71.5 to 74.4)", in percent; without an interval where it has none."""
    text = f"{100 * estimate['value']:.1f}"
    return f"{text} ({100 * estimate['low']:.1f} to {100 * estimate['high']:.1f})" if "low" in estimate else text


def in_points(difference: Mapping[str, Any]) -> str:
    """A difference of fractions with its interval as "+0.1 (-0.4 to +0.6)", in points.

    What would round to 0.0 has a second digit, "-0.03": on which side of nothing it lies decides a verdict.
    """
    value, low, high = (_signed(100 * difference[key]) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _signed(points: float) -> str:
    digits = 1 if round(points, 1) or not round(points, 2) else 2
    return f"{round(points, digits) + 0:+.{digits}f}"  # -0.0 + 0 is 0.0


class ClassScores(TypedDict):
    """Scores of one class, fractions of 1; `support` is its number of faces."""

    precision: float
    recall: float
    f1: float
    support: float
    recall_low: float
    recall_high: float


class Confusion(TypedDict):
    """A confusion matrix: counts[i][j] faces of class i were called j."""

    classes: list[str]
    counts: list[list[int]]


class Slice(TypedDict):
    """Accuracy on one part of a split.

    Attributes:
        column: what the split is divided by.
        group: the value, or range of values, of this part.
        faces: how many.
        accuracy: with its 95 % bootstrap interval.
        expected: accuracy if each of its faces were answered as well as the whole split's faces of the same class.
        difference: accuracy - expected.
        p: of such a difference or a greater one, if within a class the column made none.
        adjusted_p: for the number of slices.
        more_than_noise: adjusted_p is at most `ferlib.evaluation.slices.FALSE_DISCOVERIES`.
    """

    column: str
    group: str
    faces: int
    accuracy: Estimate
    expected: float
    difference: float
    p: float
    adjusted_p: float
    more_than_noise: bool


class Report(TypedDict):
    """Metrics of a model on one split, from `ferlib.evaluation.evaluate.evaluate`.

    Attributes:
        name: of the model, where it has one.
        model: its config.
        data: the data set's name.
        split: "train", "validation" or "test".
        without: classes that were left out.
        clean: true if duplicates, conflicting labels and blank pictures were left out.
        ten_crop: true if answers are means over ten crops.
        protocol: how the faces were batched, in words.
        faces: how many.
        metrics: by name.
        per_class: by the classes' names.
        confusion: rows true.
        commit: of the code.
        notes: sentences about the intervals, where there is something to say.
        audit: `ferlib.evaluation.audit.AuditReport.to_json`, where the model was audited too.
        slices: accuracy on parts of the split, see `ferlib.evaluation.slices`, where it was asked for.
        slice_notes: sentences about columns and faces that the slices say nothing of.
    """

    name: NotRequired[str]
    model: dict[str, Any]
    data: str
    split: str
    without: list[str]
    clean: bool
    ten_crop: bool
    protocol: str
    faces: int
    metrics: dict[str, Estimate]
    per_class: dict[str, ClassScores]
    confusion: Confusion
    commit: str
    notes: NotRequired[list[str]]
    audit: NotRequired[dict[str, Any]]
    slices: NotRequired[list[Slice]]
    slice_notes: NotRequired[list[str]]


_KINDS = {
    "data": str,
    "split": str,
    "faces": int,
    "metrics": dict,
    "per_class": dict,
    "confusion": dict,
    "commit": str,
}


def read_report(path: Path) -> Report:
    """The report in a file.

    Raises:
        UserError: the file is not a report of `evaluate`; the message says what is missing.
        OSError: it cannot be read.
    """
    try:
        content = json.loads(path.read_text())
        wrong = [key for key, kind in _KINDS.items() if not isinstance(content[key], kind)]
        numbers = [] if wrong else [estimate["value"] for estimate in content["metrics"].values()]
        wrong += ["metrics"] if not all(isinstance(number, float | int) for number in numbers) else []
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a report of `ferlib evaluate`: {error!r}") from error
    if wrong:
        raise UserError(f"{path} is not a report of `ferlib evaluate`: {wrong[0]} is of another kind")
    return cast(Report, content)
