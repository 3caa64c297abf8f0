"""The HTML of many photos."""

import json
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest
from people import face, result_of

from ferlib.app.drawing import colour_of
from ferlib.app.many_table import SHOWN, face_rows, faces_table, totals, totals_chart
from ferlib.predict import ImagePrediction
from ferlib.results import CANNOT_SAY

ODD = '<img src=x onerror="alert(1)">.jpg'
TWO = result_of(face(fear=0.6, anger=0.2), face((1, 2, 31, 32), happiness=0.9), name=ODD)
UNSURE = replace(face(fear=0.4), coverage=0.9, prediction_set=("fear", "anger", "sadness"))


class Cells(HTMLParser):
    """The texts of a row's cells, and the row's own attributes."""

    def __init__(self, html: str):
        super().__init__()
        self.cells: list[str] = []
        self.row: dict[str, str | None] = {}
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.row = dict(attrs)
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data):
        self.cells[-1] += data


def test_a_row_says_what_was_found_and_brings_its_card_along():
    first, second = map(Cells, face_rows(TWO))
    assert first.cells == ["", ODD, "1", "fear", "60\xa0%", "40\xa0%", "", ""]
    assert second.cells[2:5] == ["2", "happiness", "90\xa0%"] and first.tags.count("img") == 1
    assert Cells(face_rows(result_of(UNSURE))[0]).cells[3] == "fear?"
    card = json.loads(first.row["data-card"])
    assert card["words"].startswith("Face 1: fear, 60 %")
    assert [bar[0] for bar in card["bars"]][:2] == ["fear", "anger"] and card["bars"][0][1:3] == ["60 %", 0.6]
    unsure = json.loads(Cells(face_rows(result_of(UNSURE))[0]).row["data-card"])
    assert "At 90 % coverage: cannot say" in unsure["words"], "on a phone the column is left out"
    assert sum(bar[2] for bar in card["bars"]) == pytest.approx(1, abs=1e-3)


def test_a_problem_is_a_row_without_a_card():
    (row,) = face_rows(ImagePrediction(ODD, (), "<b> is empty."))
    cells = Cells(row)
    assert cells.cells == ["", ODD, "<b> is empty."] and "data-card" not in row


def test_the_page_shows_so_many_rows_and_says_how_many_more_there_are():
    rows = face_rows(TWO) * (SHOWN // 2)
    html = faces_table(rows, 2 * SHOWN)
    assert html.count('<tr class="row"') == SHOWN and f"{SHOWN} rows more" in html
    assert "rows more" not in faces_table(rows, SHOWN) and faces_table([], 0) == ""
    assert len(face_rows(TWO, 1)) == 1 and face_rows(TWO, 0) == []
    assert face_rows(ImagePrediction(ODD, (), "<b> is empty."), 0) == []


def test_totals_count_faces_and_those_of_which_nothing_can_be_said():
    counts = totals([TWO, result_of(UNSURE), result_of(face(fear=0.9)), ImagePrediction("x", (), "No.")])
    assert counts == {"fear": 2, "happiness": 1, CANNOT_SAY: 1}
    html = totals_chart(counts)
    assert unescape(html).index("fear") < html.index("happiness") and "width:100.0%" in html and "width:50.0%" in html
    assert f"background:{colour_of(UNSURE)}" in html and totals_chart(totals([])) == ""
