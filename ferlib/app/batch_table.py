"""Many photos at once: a row a face, as a table and as CSV."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ferlib.app.messages import doubts
from ferlib.results import ImagePrediction, csv_columns, csv_rows
from ferlib.utils.csv_safety import SafeWriter

COLUMNS = ("file", "face", "expression", "probability, %", "margin, %", "at 90 % coverage", "problem")
TYPES: tuple[Literal["str", "number"], ...] = ("str", "number", "str", "number", "number", "str", "str")
MOST_FILES = 500


def table_rows(result: ImagePrediction) -> list[list]:
    """A photo's faces as rows of `COLUMNS`, probability and margin in percent; or one row with the problem."""
    name = Path(result.name).name
    if result.error:
        return [[name, None, "", None, None, "", result.error]]
    return [
        [
            name,
            number,
            face.label,
            round(100 * face.scores[face.label], 1),
            round(100 * face.margin, 1),
            "" if face.prediction_set is None else face.answer,
            " ".join(doubts(face)),
        ]
        for number, face in enumerate(result.faces, start=1)
    ]


def as_csv(results: Sequence[ImagePrediction], classes: Sequence[str]) -> str:
    """All faces as CSV, with the columns of `ferlib.results.csv_columns`; photos by their names without folders.

    Where faces have prediction sets, there are columns for these. No cell is a formula (`ferlib.utils.csv_safety`); a
    file of it begins with `BOM`.
    """
    text = io.StringIO()
    writer = SafeWriter(text)
    sets = any(face.prediction_set is not None for result in results for face in result.faces)
    writer.writerow(csv_columns(classes, sets))
    for result in results:
        for row in csv_rows(replace(result, name=Path(result.name).name), classes, sets):
            writer.writerow(row)
    return text.getvalue()
