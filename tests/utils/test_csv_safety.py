"""Cells that stay cells."""

import csv
import io

import pytest

from ferlib.utils.csv_safety import BOM, SafeWriter, as_written, harmless


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_what_begins_like_a_formula_is_text(cell):
    assert harmless(cell) == f"'{cell}" and as_written(harmless(cell)) == cell


@pytest.mark.parametrize("cell", ["photo.jpg", "", "-", "a=b", -3, -0.5, None, "1"])
def test_everything_else_stays(cell):
    assert harmless(cell) is cell and as_written(cell) is cell


def test_rows_come_back_with_any_name():
    text = io.StringIO()
    SafeWriter(text).writerow(["Föto 你好.jpg", '=HYPERLINK("x"), y', -2, 0.5])
    assert next(csv.reader(io.StringIO(text.getvalue()))) == ["Föto 你好.jpg", '\'=HYPERLINK("x"), y', "-2", "0.5"]
    assert (BOM + text.getvalue()).encode().startswith(b"\xef\xbb\xbfF\xc3\xb6to")
