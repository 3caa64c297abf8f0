"""Many photos at once: a row a face, as a table and as CSV."""

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ferlib.app.messages import doubts
from ferlib.bulk.table import Part
from ferlib.results import ImagePrediction, csv_columns, csv_rows
from ferlib.utils.csv_safety import SafeWriter
from ferlib.utils.packages import is_installed

COLUMNS = ("file", "face", "expression", "probability, %", "margin, %", "at 90 % coverage", "problem")
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
    sets = _have_sets(results)
    writer.writerow(csv_columns(classes, sets))
    for result in _without_folders(results):
        for row in csv_rows(result, classes, sets):
            writer.writerow(row)
    return text.getvalue()


def as_parquet(results: Sequence[ImagePrediction], classes: Sequence[str]) -> str:
    """The same as a Parquet file in base64, see `ferlib.bulk.table.Part`; "" where pyarrow is not installed."""
    if not is_installed("pyarrow"):
        return ""
    part, file = Part(classes, _have_sets(results)), io.BytesIO()
    for photo, result in enumerate(_without_folders(results)):
        part.add(photo, result)
    part.write(file)
    return base64.b64encode(file.getvalue()).decode()


def _have_sets(results: Sequence[ImagePrediction]) -> bool:
    return any(face.prediction_set is not None for result in results for face in result.faces)


def _without_folders(results: Sequence[ImagePrediction]) -> list[ImagePrediction]:
    return [replace(result, name=Path(result.name).name) for result in results]
