"""Many photos as rows and as CSV."""

import base64
import csv
import io
from dataclasses import replace

import pytest
from people import face, result_of

from ferlib.app.batch_table import COLUMNS, as_csv, as_parquet, table_rows
from ferlib.labels import FERPLUS
from ferlib.predict import ImagePrediction

TWO = result_of(face(fear=0.6, anger=0.2), face((1, 2, 31, 32), happiness=0.9), name="up/load/two, faces.jpg")
BAD = ImagePrediction("/tmp/x/empty.jpg", (), "empty.jpg is empty: it holds 0 bytes.")


def test_a_face_is_a_row_and_so_is_a_problem():
    assert table_rows(TWO)[0] == ["two, faces.jpg", 1, "fear", 60.0, 40.0, "", ""]
    assert table_rows(BAD) == [["empty.jpg", None, "", None, None, "", "empty.jpg is empty: it holds 0 bytes."]]
    assert all(len(row) == len(COLUMNS) for row in table_rows(TWO) + table_rows(BAD))


def test_the_csv_holds_everything():
    rows = list(csv.DictReader(io.StringIO(as_csv([TWO, BAD], FERPLUS))))
    assert [row["image"] for row in rows] == ["two, faces.jpg", "two, faces.jpg", "empty.jpg"]
    assert [float(rows[1][side]) for side in ("x0", "y0", "x1", "y1")] == [1, 2, 31, 32]
    assert sum(float(rows[0][name]) for name in FERPLUS) == pytest.approx(1, abs=1e-5)
    assert rows[2]["error"] == BAD.error and rows[2]["face"] == rows[2]["fear"] == ""


def test_prediction_sets_stand_in_both():
    one = replace(face(fear=0.6, anger=0.2), coverage=0.9, prediction_set=("fear", "anger"))
    assert table_rows(result_of(one))[0][5] == "fear or anger"
    (row,) = csv.DictReader(io.StringIO(as_csv([result_of(one)], FERPLUS)))
    assert (row["answer"], row["coverage"], row["prediction_set"]) == ("fear or anger", "0.9", "fear anger")


def test_no_name_is_a_formula():
    named = ImagePrediction("=cmd|' calc'!A0.jpg", (), "-1 is not among the pictures")
    (row,) = csv.DictReader(io.StringIO(as_csv([named], FERPLUS)))
    assert row["image"] == "'=cmd|' calc'!A0.jpg" and row["error"].startswith("'-1")


def test_parquet_holds_the_same_with_numbers_as_numbers():
    parquet = pytest.importorskip("pyarrow.parquet")
    one = replace(face(fear=0.6, anger=0.2), coverage=0.9, prediction_set=("fear", "anger"))
    results = [TWO, BAD, result_of(one)]
    table = parquet.read_table(io.BytesIO(base64.b64decode(as_parquet(results, FERPLUS)))).to_pylist()
    rows = list(csv.DictReader(io.StringIO(as_csv(results, FERPLUS))))
    assert list(table[0]) == ["photo", *rows[0]]
    for cells, texts in zip(table, rows, strict=True):
        del cells["photo"]
        for name, cell in cells.items():
            assert texts[name] == ("" if cell is None else texts[name]) and type(cell) is not bool
            if name in (*FERPLUS, "margin") and cell is not None:
                assert isinstance(cell, float) and cell == pytest.approx(float(texts[name]), abs=1e-6)
    assert [row["face"] for row in table] == [1, 2, None, 1] and table[3]["coverage"] == pytest.approx(0.9)
    assert table[2]["error"] == BAD.error and table[2]["label"] is None
