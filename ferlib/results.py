"""The results of a prediction: every face of a photo with its scores, and their one form as JSON and as CSV."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ferlib.detection.measures import FaceMeasures
from ferlib.errors import MissingPackage, UserError
from ferlib.runtime.overlay import overlay

if TYPE_CHECKING:
    import pandas

Parts = dict[str, tuple[float, float]]

MEASURES = tuple(measure.name for measure in fields(FaceMeasures))
VIEW_SIZE = 224  # side in pixels of the face shown beside its result
MOST_NAMED = 2  # classes of a prediction set that are an answer; a larger set says too little
CANNOT_SAY = "cannot say"


def _no_parts() -> None:
    return None


@dataclass(frozen=True, eq=False)
class FacePrediction:
    """One face and what the model says about it.

    Attributes:
        box: the square (x0, y0, x1, y1) that the model saw, in the photo's pixels; may reach beyond its edge.
        scores: probability of every class, in the model's order; they sum to 1.
        crop: the square in the photo's own pixels, (S, S, 3) uint8.
        heatmap: what the model looked at, (S, S) float32 in 0..1 over the same square, if it was asked for.
        warnings: reasons to doubt the answer, keys of `ferlib.detection.quality.WARNINGS`.
        find_parts: makes `parts`.
        measures: pose of the head, openness of eyes and mouth, if they were asked for and the landmarks can be told.
        coverage: how often prediction sets like `prediction_set` hold the true class, 0..1; None: no set was asked for.
        prediction_set: classes the face may have, the most probable first, see `ferlib.runtime.prediction_sets`.
    """

    box: tuple[int, int, int, int]
    scores: dict[str, float]
    crop: np.ndarray = field(repr=False)
    heatmap: np.ndarray | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    find_parts: Callable[[], Parts | None] = field(default=_no_parts, repr=False)
    measures: FaceMeasures | None = None
    coverage: float | None = None
    prediction_set: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box
        if not (x0 < x1 and y0 < y1):
            raise UserError(f"a box is (x0, y0, x1, y1) with x0 < x1 and y0 < y1, not {self.box}")
        values = self.scores.values()
        if not (values and min(values) >= 0 and abs(sum(values) - 1) <= 1e-4):  # nor with NaN among them
            raise UserError(f"scores must be probabilities that sum to 1, not {self.scores}")
        if (self.coverage is None) != (self.prediction_set is None) or not set(self.prediction_set or ()) <= {
            *self.scores
        }:
            raise UserError(f"a prediction set has a coverage and names classes, not {self.prediction_set}")

    @property
    def label(self) -> str:
        """The most probable class."""
        return max(self.scores, key=self.scores.__getitem__)

    @property
    def answer(self) -> str:
        """The prediction set in words: "happiness", "sadness or neutral", or "cannot say"; without one, the label.

        It cannot say where the set is empty or has more than `MOST_NAMED` classes.
        """
        if self.prediction_set is None:
            return self.label
        return " or ".join(self.prediction_set) if 0 < len(self.prediction_set) <= MOST_NAMED else CANNOT_SAY

    @property
    def margin(self) -> float:
        """Probability of the first class minus that of the second, 0..1: small means undecided."""
        first, second = sorted(self.scores.values(), reverse=True)[:2]
        return first - second

    @cached_property
    def face(self) -> np.ndarray:
        """The square as it is shown, (224, 224, 3) uint8."""
        return np.array(Image.fromarray(self.crop).resize((VIEW_SIZE, VIEW_SIZE), Image.Resampling.BICUBIC))

    @cached_property
    def parts(self) -> Parts | None:
        """Fractions of the heat map and of the square on every part of the face; None where they are not known.

        Found when first asked for, as it takes landmarks. Parts are those of `ferlib.detection.regions.REGIONS`.
        """
        return self.find_parts()

    def to_dict(self) -> dict:
        """Box, label, margin, scores (the most probable class first) and warnings: for JSON.

        Measures and, with coverage, classes and answer in words, a prediction set follow where they were asked for.
        """
        data = {
            "box": list(self.box),
            "label": self.label,
            "margin": self.margin,
            "scores": dict(sorted(self.scores.items(), key=lambda item: -item[1])),
            "warnings": list(self.warnings),
            **({"measures": asdict(self.measures)} if self.measures else {}),
        }
        if self.prediction_set is None:
            return data
        return data | {
            "coverage": self.coverage,
            "prediction_set": list(self.prediction_set),
            "answer": self.answer,
        }

    def overlay(self, opacity: float = 0.5) -> np.ndarray:
        """The heat map over the face, (224, 224, 3) uint8.

        Raises:
            ValueError: no explanation was asked for.
        """
        if self.heatmap is None:
            raise UserError("there is no heat map; predict with explain='gradcam'")
        return overlay(self.face, self.heatmap, opacity)


@dataclass(frozen=True, eq=False)
class ImagePrediction:
    """A photo's faces in reading order, or the sentence that says why there are none.

    Attributes:
        name: the file's path as given, or "image".
        faces: empty when there is an error.
        error: None, or one sentence for the person who sent the photo.
        image: the photo, upright, (H, W, 3) uint8; None when it could not be read.
    """

    name: str
    faces: tuple[FacePrediction, ...]
    error: str | None = None
    image: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if bool(self.faces) == bool(self.error):
            raise UserError("a result has either faces or an error")

    def to_dict(self) -> dict:
        """The photo's name, size (width, height), error and numbered faces: the form of a result in all JSON."""
        size = None if self.image is None else [self.image.shape[1], self.image.shape[0]]
        faces = [{"number": number, **face.to_dict()} for number, face in enumerate(self.faces, start=1)]
        return {"image": self.name, "size": size, "error": self.error, "faces": faces}

    def to_frame(self) -> "pandas.DataFrame":
        """A pandas frame with a row a face, or one with the error; see `to_frame` of this module for many results."""
        return to_frame([self])


def csv_columns(classes: Sequence[str], sets: bool = False, measures: bool = False) -> list[str]:
    """Header of a CSV of results: photo, face, box, label, margin, probability of every class, warnings, error.

    With `sets`, answer, coverage and prediction set (its classes with a space between them, or "; " where one of the
    model's has a space in its name) stand before the warnings; with `measures`, those of
    `ferlib.detection.measures.FaceMeasures` follow at the end.
    """
    more = ["answer", "coverage", "prediction_set"] if sets else []
    head = ["image", "face", "x0", "y0", "x1", "y1", "label", "margin", *classes, *more, "warnings", "error"]
    return [*head, *MEASURES] if measures else head


def table_rows(
    result: ImagePrediction, classes: Sequence[str], sets: bool = False, measures: bool = False
) -> list[list]:
    """The rows of a table with `csv_columns(classes, sets, measures)`: one a face, or one with the photo's error.

    Numbers are numbers, and None stands where there is nothing.
    """
    if result.error:
        empty = [None] * (len(csv_columns(classes, sets)) - 2)
        return [[result.name, *empty, result.error, *[None] * (measures * len(MEASURES))]]
    mark = "; " if any(" " in name for name in classes) else " "
    return [
        [result.name, number, *face.box, face.label, face.margin, *(face.scores[name] for name in classes)]
        + ([face.answer, face.coverage, mark.join(face.prediction_set or ())] if sets else [])
        + [" ".join(face.warnings), None]
        + [getattr(face.measures, name) if face.measures else None for name in MEASURES * measures]
        for number, face in enumerate(result.faces, start=1)
    ]


def csv_rows(result: ImagePrediction, classes: Sequence[str], sets: bool = False, measures: bool = False) -> list[list]:
    """`table_rows` as a CSV has them: six digits after the point, of measures three, and "" for nothing."""
    names = csv_columns(classes, sets, measures)

    def cell(name: str, value: Any) -> Any:
        if value is None:
            return ""
        if name == "margin" or name in classes:
            return f"{value:.6f}"
        return round(value, 3) if name in MEASURES else value

    rows = table_rows(result, classes, sets, measures)
    return [[cell(name, value) for name, value in zip(names, row, strict=True)] for row in rows]


def to_frame(results: Iterable[ImagePrediction]) -> "pandas.DataFrame":
    """A pandas frame of results, a row a face, or one with a photo's error; columns as `csv_columns`.

    Columns of prediction sets and measures are there where a face has them, the classes where there is a face.

    Args:
        results: taken one after the other; their pictures are not kept.

    Raises:
        MissingPackage: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingPackage("a data frame needs pandas, not installed: pip install pandas") from error
    rows: list[dict[str, Any]] = []
    classes: tuple[str, ...] = ()
    sets = measures = False
    for result in results:
        own = tuple(result.faces[0].scores) if result.faces else ()
        classes = tuple(dict.fromkeys((*classes, *own)))  # of two models, those of both
        of_sets = any(face.prediction_set is not None for face in result.faces)
        of_measures = any(face.measures for face in result.faces)
        sets, measures = sets or of_sets, measures or of_measures
        names = csv_columns(own, of_sets, of_measures)
        rows += [dict(zip(names, row, strict=True)) for row in table_rows(result, own, of_sets, of_measures)]
    frame = pandas.DataFrame(rows, columns=csv_columns(classes, sets, measures))
    return frame.astype(dict.fromkeys(("face", "x0", "y0", "x1", "y1"), "Int32"))
