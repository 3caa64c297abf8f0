"""The table's columns, and one part of it as a Parquet file."""

from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from ferlib.results import MEASURES, ImagePrediction, csv_columns, table_rows

if TYPE_CHECKING:
    import pyarrow

_WHOLE = ("face", "x0", "y0", "x1", "y1")  # numbers
_TEXT = ("image", "label", "answer", "prediction_set", "warnings", "error")


def part_name(number: int) -> str:
    """Name of a shard's file."""
    return f"part-{number:06d}.parquet"


class Part:
    """The rows of some photos.

    Columns are those of a CSV of results (`ferlib.results.csv_columns`), after `photo`, a photo's place among all. Each
    photo has a row a face, or one with an error. `photo` and `face` name a row.

    Args:
        classes: the model's.
        sets, measures: of the columns.
    """

    def __init__(self, classes: Sequence[str], sets: bool = False, measures: bool = False):
        self._classes, self._sets, self._measures = classes, sets, measures
        self._rows: list[list] = []
        self.names = ("photo", *csv_columns(classes, sets, measures))

    def add(self, photo: int, result: ImagePrediction) -> None:
        """Append the rows of a photo."""
        name, error = _text(result.name), _text(result.error)
        for row in table_rows(result, self._classes, self._sets, self._measures):
            row[0], row[len(self.names) - 2 - self._measures * len(MEASURES)] = name, error
            self._rows.append([photo, *row])

    def schema(self) -> "pyarrow.Schema":
        """Names and types of the columns."""
        import pyarrow

        types = dict.fromkeys(_WHOLE, pyarrow.int32()) | dict.fromkeys(_TEXT, pyarrow.string())
        types["photo"] = pyarrow.int64()
        return pyarrow.schema([(name, types.get(name, pyarrow.float32())) for name in self.names])

    def write(self, file: IO[bytes]) -> None:
        """Write all rows, which are the same bytes for the same rows."""
        import pyarrow
        from pyarrow import parquet

        schema = self.schema()
        columns = list(zip(*self._rows, strict=True)) or [()] * len(self.names)
        arrays = [pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        parquet.write_table(pyarrow.table(arrays, schema=schema), file, compression="zstd")


def _text(name: str | None) -> str | None:
    """A text without what Unicode cannot say: a file's name may have bytes of any kind."""
    return name and name.encode("utf-8", "backslashreplace").decode()
