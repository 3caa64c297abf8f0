"""A film's table as a file, CSV or Parquet, written some rows at a time."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

import numpy as np

from ferlib.errors import UserError
from ferlib.utils.atomic import atomic_write
from ferlib.utils.csv_safety import SafeWriter
from ferlib.utils.packages import require

if TYPE_CHECKING:
    import pyarrow

    from ferlib.video.table import VideoTable

_DIGITS = 6  # after the point


class RowFile(Protocol):
    """A table that takes rows of `ferlib.video.table.row_type`."""

    def write(self, rows: np.ndarray) -> None: ...


def table_kind(path: str | Path) -> str:
    """A table's form by its name, "csv" or "parquet".

    Raises:
        UserError: it is neither.
        MissingPackage: Parquet without pyarrow.
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in ("csv", "parquet"):
        raise UserError(f"a table is written as .csv or .parquet, not {Path(path).name}")
    if kind == "parquet":
        require("a table in Parquet", "pyarrow")
    return kind


@contextmanager
def open_table(path: str | Path, table: "VideoTable", growing: bool = False) -> Iterator[RowFile]:
    """A file for a table's rows.

    Args:
        path: ends in .csv or .parquet.
        table: whose columns it has.
        growing: have the file's name from the start, for a stream's table that somebody watches; otherwise it has it
            when the block ends, and is deleted when the block fails.
    """
    kind, path = table_kind(path), Path(path)
    with ExitStack() as stack:
        if growing:
            path.parent.mkdir(parents=True, exist_ok=True)
        target = path if growing else stack.enter_context(atomic_write(path))
        if kind == "csv":
            yield _Csv(stack.enter_context(target.open("w", encoding="utf-8", newline="")), table)
        else:
            parquet = _Parquet(target, table)
            stack.callback(parquet.close)
            yield parquet


class _Csv:
    """Text, with the columns' names first; every call is on the disk when it returns."""

    def __init__(self, file: IO[str], table: "VideoTable"):
        self._file, self._table, self._rows = file, table, SafeWriter(file)
        self._rows.writerow(table.columns(np.empty(0, table.type)))

    def write(self, rows: np.ndarray) -> None:
        columns = self._table.columns(rows).values()
        for row in zip(*(_texts(column) for column in columns), strict=True):
            self._rows.writerow(row)
        self._file.flush()


def _texts(column: np.ndarray) -> list:
    """A column's cells: numbers with as many digits as mean something."""
    if column.dtype.kind == "f":
        rounded = (column.astype(float).round(_DIGITS) + 0.0).tolist()  # numbers, as a text's "-" begins a formula
        return [int(value) if value.is_integer() else value for value in rounded]
    return column.tolist()


class _Parquet:
    """Row groups of at most so many rows as come together, or as are kept back until there are some thousand."""

    _TOGETHER = 4096

    def __init__(self, path: Path, table: "VideoTable"):
        import pyarrow.parquet

        self._table, self._kept = table, [np.empty(0, table.type)]
        schema = self._arrow(self._kept[0]).schema
        self._file = pyarrow.parquet.ParquetWriter(path, schema)

    def write(self, rows: np.ndarray) -> None:
        self._kept.append(rows)
        if sum(map(len, self._kept)) >= self._TOGETHER:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        self._file.write_table(self._arrow(np.concatenate(self._kept)))
        self._kept = [np.empty(0, self._table.type)]

    def _arrow(self, rows: np.ndarray) -> "pyarrow.Table":
        import pyarrow

        arrays = {
            name: pyarrow.array(column, pyarrow.string() if column.dtype == object else None)
            for name, column in self._table.columns(rows).items()
        }
        return pyarrow.table(arrays)
