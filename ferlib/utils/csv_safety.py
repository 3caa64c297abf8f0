"""CSV that a spreadsheet shows as it is: no cell becomes a formula, and names in any script stay readable."""

import csv
from collections.abc import Iterable
from typing import Protocol

BOM = "\ufeff"
"""Put before the text of a CSV file that people will open: without it Excel takes UTF-8 for the country's old code."""

# the first characters that spreadsheets take for the beginning of a formula, wide ones of East Asian keyboards too
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class Writer(Protocol):
    """Anything text is written to."""

    def write(self, text: str, /) -> object: ...


def harmless(cell: object) -> object:
    """The cell with an apostrophe before it if a spreadsheet would take its text for a formula.

    Numbers stay, and so does a lone "-", which is no formula.
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) and cell != "-" else cell


def as_written(cell: object) -> object:
    """The cell that `harmless` made this one of, for a table that is read again."""
    return cell[1:] if isinstance(cell, str) and cell[:1] == "'" and harmless(cell[1:]) == cell else cell


class SafeWriter:
    """`csv.writer` whose cells are `harmless`."""

    def __init__(self, file: Writer):
        self._rows = csv.writer(file)

    def writerow(self, cells: Iterable[object]) -> None:
        """Write one row."""
        self._rows.writerow([harmless(cell) for cell in cells])
