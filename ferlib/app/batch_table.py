"""Many photos at once: a row a face, as a table and as CSV."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ferlib.app.messages import doubts
from ferlib.utils.csv_safety import SafeWriter

if TYPE_CHECKING:  # brings torch along; the page opens before it is imported
    from ferlib.predict import ImagePrediction

COLUMNS = ("file", "face", "expression", "probability, %", "margin, %", "problem")
TYPES: tuple[Literal["str", "number"], ...] = ("str", "number", "str", "number", "number", "str")
MOST_FILES = 500


def table_rows(result: "ImagePrediction") -> list[list]:
    """A photo's faces as rows of `COLUMNS`, probability and margin in percent; or one row with the problem."""
    name = Path(result.name).name
    if result.error:
        return [[name, None, "", None, None, result.error]]
    return [
        [
            name,
            number,
            face.label,
            round(100 * face.scores[face.label], 1),
            round(100 * face.margin, 1),
            " ".join(doubts(face)),
        ]
        for number, face in enumerate(result.faces, start=1)
    ]


def as_csv(results: "Sequence[ImagePrediction]", classes: Sequence[str]) -> str:
    """All faces as CSV: file, face, box, expression, margin, the probability of every class, problem.

    No cell is a formula (`ferlib.utils.csv_safety`); a file of it begins with `BOM`.
    """
    text = io.StringIO()
    writer = SafeWriter(text)
    writer.writerow(["file", "face", "x0", "y0", "x1", "y1", "expression", "margin", *classes, "problem"])
    for result in results:
        name = Path(result.name).name
        for number, face in enumerate(result.faces, start=1):
            scores = (f"{face.scores[label]:.6f}" for label in classes)
            writer.writerow(
                [name, number, *face.box, face.label, f"{face.margin:.6f}", *scores, " ".join(doubts(face))]
            )
        if result.error:
            writer.writerow([name, *[""] * (len(classes) + 7), result.error])
    return text.getvalue()
