"""Slices of a split: intervals beside fairlearn's, the test within classes beside permutations, one's own columns."""

import re
import time

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame
from sklearn.metrics import accuracy_score

from ferlib.data.dataset import FaceDataset
from ferlib.errors import UserError
from ferlib.evaluation.slices import (
    UNKNOWN,
    grouped,
    mantel_haenszel,
    matched_columns,
    measured_columns,
    slice_columns,
    slice_notes,
    slices,
)
from ferlib.evaluation.wilson import wilson


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, answers and a column "group" of 900 faces: in "b" more of the hard class, and no harm beside that."""
    rng = np.random.default_rng(0)
    group = rng.choice(["a", "b"], 900)
    labels = (rng.random(900) < np.where(group == "b", 0.7, 0.2)).astype(int)
    predicted = np.where(rng.random(900) < np.where(labels == 1, 0.5, 0.95), labels, 1 - labels)
    return labels, predicted, group


def test_accuracy_and_intervals_are_those_of_fairlearn(answers):
    labels, predicted, group = answers
    frame = MetricFrame(
        metrics=accuracy_score, y_true=labels, y_pred=predicted, sensitive_features=group,
        n_boot=400, ci_quantiles=[0.025, 0.975], random_state=0,
    )  # fmt: skip
    for one in slices(labels, predicted, pd.DataFrame({"group": group})):
        assert one["accuracy"]["value"] == pytest.approx(frame.by_group[one["group"]])
        for end, theirs in zip(("low", "high"), frame.by_group_ci, strict=True):
            assert one["accuracy"][end] == pytest.approx(theirs[one["group"]], abs=0.012)


def test_a_slice_with_more_of_a_hard_class_is_not_called_worse(answers):
    labels, predicted, group = answers
    a, b = slices(labels, predicted, pd.DataFrame({"group": group}))
    assert a["accuracy"]["low"] > b["accuracy"]["high"]  # the classes alone make it so
    assert not a["more_than_noise"] and not b["more_than_noise"] and abs(b["difference"]) < 0.03


def test_a_slice_that_is_worse_in_every_class_is_found(answers):
    labels, predicted, _ = answers
    dark = np.arange(len(labels)) % 5 == 0
    worse = np.where(dark & (np.arange(len(labels)) % 2 == 0), 1 - labels, predicted)
    found = slices(labels, worse, pd.DataFrame({"dark": dark, "noise": np.arange(len(labels)) % 7 < 3}))
    marked = {(one["column"], one["group"]) for one in found if one["more_than_noise"]}
    assert marked == {("dark", "True"), ("dark", "False")}
    assert all(one["adjusted_p"] >= one["p"] for one in found)


def test_the_test_is_that_of_groups_drawn_again_within_classes(answers):
    labels, predicted, group = answers
    right, inside = predicted == labels, (group == "b") & (np.arange(len(labels)) % 3 > 0)
    rng, drawn = np.random.default_rng(1), []
    for _ in range(4000):
        other = np.empty_like(inside)
        for label in (0, 1):
            other[labels == label] = rng.permutation(inside[labels == label])
        drawn.append(right[other].sum())
    expected, p = mantel_haenszel(labels, right, inside)
    assert expected * inside.sum() == pytest.approx(np.mean(drawn), abs=0.3)
    away = np.abs(np.array(drawn) - np.mean(drawn)) >= abs(right[inside].sum() - expected * inside.sum()) - 1e-9
    assert p == pytest.approx(away.mean(), abs=0.05)


def test_nothing_is_said_of_a_group_that_decides_nothing():
    labels, right = np.array([0, 0, 1]), np.array([True, True, False])
    assert mantel_haenszel(labels, right, np.array([True, False, True])) == (0.5, 1.0)


def test_groups_of_numbers_words_and_what_is_missing():
    ages = pd.Series([*range(40), np.nan])
    parts = grouped(ages)
    assert list(parts.cat.categories) == ["0 to 9", "10 to 19", "20 to 29", "30 to 39"]
    assert parts.value_counts().tolist() == [10, 10, 10, 10] and parts.isna().sum() == 1
    assert list(grouped(pd.Series([2, 1, 2, 10])).cat.categories) == ["1", "2", "10"]
    words = grouped(pd.Series(["x", None, "a", "zz"]))
    assert list(words.cat.categories) == ["a", "x", "zz", UNKNOWN] and words.iloc[1] == UNKNOWN


def test_a_number_that_many_faces_have_is_a_group_by_itself():
    rng = np.random.default_rng(0)
    mostly_none = pd.Series(np.where(np.arange(1000) < 800, 0, rng.uniform(0.1, 0.9, 1000)))
    parts = grouped(mostly_none).value_counts(sort=False)
    assert parts.index[0] == "0" and sorted(parts) == [66, 67, 67, 800]
    full = grouped(pd.Series(np.where(np.arange(1000) % 2, 5.0, rng.uniform(0, 10, 1000))))
    assert "5" in full.cat.categories and full.value_counts()["5"] == 500 and full.notna().all()


@pytest.mark.parametrize("unit", [1e-310, 1.0, 1e306])
def test_numbers_of_any_size_are_grouped(unit):
    parts = grouped(pd.Series(np.arange(1, 101) * unit))
    assert parts.value_counts().tolist() == [25, 25, 25, 25] and parts.notna().all()


def test_groups_of_numbers_are_those_of_their_quarters():
    values = pd.Series(np.random.default_rng(0).normal(size=401))
    expected = pd.qcut(values, 4).cat.codes
    assert (grouped(values).cat.codes == expected).all()


def test_small_groups_are_left_out(answers):
    labels, predicted, group = answers
    few = pd.DataFrame({"group": np.where(np.arange(900) < 19, "few", group)})
    assert [one["group"] for one in slices(labels, predicted, few)] == ["a", "b"]


def test_columns_and_faces_of_which_nothing_is_said_are_named(answers):
    labels, predicted, group = answers
    ages = [*map(str, np.random.default_rng(0).normal(40, 9, 899)), "?"]
    columns = pd.DataFrame({"age": ages, "height": np.nan, "group": group})
    columns.loc[:9] = np.nan
    notes = slice_notes(columns)
    assert "age is left out" in notes[0] and "890 different values" in notes[0]
    assert "height is left out" in notes[1] and "all of them missing" in notes[1]
    assert notes[2:] == ["the columns say nothing about 10 of the 900 faces"]
    assert {one["column"] for one in slices(labels, predicted, columns)} == {"group"}
    assert slice_notes(pd.DataFrame({"group": group})) == []
    (note,) = slice_notes(pd.DataFrame({"height": [1.5] * 3}))
    assert note.endswith("1 different value, e.g. 1.5")


def test_a_slice_of_one_person_has_the_interval_of_its_faces_and_that_is_said():
    people = np.r_[np.zeros(25, int), np.arange(1, 101)]
    labels, columns = np.zeros(125, int), pd.DataFrame({"who": np.where(people, "others", "one")})
    predicted = np.r_[np.ones(2, int), np.zeros(123, int)]
    (one,) = [found for found in slices(labels, predicted, columns, people=people) if found["group"] == "one"]
    low, high = wilson(23, 25)
    assert one["accuracy"] == pytest.approx({"value": 0.92, "low": low, "high": high})
    assert slice_notes(columns) == []
    assert slice_notes(columns, people) == [
        "column who: all faces of 'one' are one person's; its interval is over faces"
    ]


@pytest.mark.parametrize("people", [None, np.arange(20_000) // 2])
def test_a_column_of_names_costs_nothing(people):
    labels, names = np.zeros(20_000, int), pd.DataFrame({"name": [f"face {row}" for row in range(20_000)]})
    began = time.monotonic()
    assert slices(labels, labels, names, people=people) == []
    names["name"] = np.where(np.arange(20_000) < 50, "somebody", names["name"])
    (one,) = slices(labels, labels, names, people=people)
    assert (one["group"], one["faces"]) == ("somebody", 50) and time.monotonic() - began < 20


def test_a_column_of_which_nothing_is_known_has_no_slices(answers):
    labels, predicted, group = answers
    columns = pd.DataFrame({"age": np.nan, "height": np.inf, "group": group})
    assert {one["column"] for one in slices(labels, predicted, columns)} == {"group"}


def test_columns_of_ones_own_are_matched_by_name(synthetic_faces: FaceDataset, tmp_path):
    faces = synthetic_faces.split("test")
    rows = faces.frame["row"].to_numpy()
    table = pd.DataFrame({"row": rows[::-1], "glasses": np.where(rows[::-1] % 2, "yes", "no")}).iloc[1:]
    table.to_csv(tmp_path / "columns.csv", index=False)
    found = slice_columns(faces, tmp_path / "columns.csv")["glasses"]
    assert found.iloc[:-1].tolist() == np.where(rows[:-1] % 2, "yes", "no").tolist() and found.isna().iloc[-1]


def test_a_comma_at_the_end_of_lines_moves_no_column(synthetic_faces, tmp_path):
    rows = synthetic_faces.frame["row"]
    lines = [" Row,age,sex", *(f"{row},{20 + row % 9},{'fm'[row % 2]}," for row in rows), ",,"]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    found = slice_columns(synthetic_faces, tmp_path / "table.csv")
    assert (found["age"] == 20 + rows.to_numpy() % 9).all() and set(found["sex"]) == {"f", "m"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"row;age\n1;2\n", "it has 'row;age'. Was it saved with other separators"),
        (b"row,name\n1,Zo\xeb\n", "not in UTF-8"),
        (b"row,name\n1,a,b\n", "more values than names of columns"),
        (b"row,name\n999999,a\n", "it has 999999, where synthetic has"),
    ],
)
def test_a_file_that_does_not_fit_is_one_sentence(synthetic_faces, tmp_path, content, sentence):
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(UserError, match=re.escape(sentence)):
        slice_columns(synthetic_faces, tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"name": [1]}, "needs a column row"),
        ({"row": [1, 1], "a": [1, 2]}, "names row 1 twice"),
        ({"row": [10**6], "a": [1]}, r"names none of the .* faces; it has 1000000, where synthetic has \d+$"),
        ({"row": [1], "Row ": [1], "a": [1]}, "has two columns row"),
        ({"row": "all"}, "has no column beside row"),
    ],
)
def test_a_table_that_does_not_fit_is_one_sentence(synthetic_faces, table, sentence):
    if table.get("row") == "all":
        table = {"row": synthetic_faces.frame["row"]}
    with pytest.raises(UserError, match=sentence):
        matched_columns(synthetic_faces, pd.DataFrame(table))


def test_a_line_whose_row_is_no_number_leaves_the_others_in_place(synthetic_faces):
    rows = synthetic_faces.frame["row"].tolist()
    table = pd.DataFrame({"row": [*map(str, rows), "total"], "number": range(len(rows) + 1)})
    assert matched_columns(synthetic_faces, table)["number"].tolist() == list(range(len(rows)))


def test_no_table_is_one_sentence(synthetic_faces, tmp_path):
    with pytest.raises(UserError, match="is not a table"):
        slice_columns(synthetic_faces, tmp_path / "none.csv")


def test_what_is_measured_follows_the_picture(synthetic_faces):
    faces = synthetic_faces.subset(np.arange(6))
    dark = FaceDataset(faces.name, faces.classes, faces.frame, (faces.pixels * 0.4).byte())
    before, after = measured_columns(faces), measured_columns(dark)
    assert len(before) == 6 and (after["brightness"] < 0.5 * before["brightness"]).all()
    assert set(before["landmarks"]) <= {"found", "not found"}
    assert (before.filter(["yaw", "pitch", "roll"]).fillna(0) >= 0).to_numpy().all()


def test_what_three_people_are_is_not_what_their_light_is():
    """A few people whom the model does not know, all in the dark: faces say "more than noise", people do not."""
    rng = np.random.default_rng(0)
    people, labels = np.repeat(np.arange(60), 40), np.tile([0, 1], 1200)
    dark = (people < 3) | (rng.random(2400) < 0.2)
    wrong = np.where(people < 3, rng.random(2400) < 0.6, rng.random(2400) < 0.1)
    columns = pd.DataFrame({"dark": dark})
    faces, whole = (slices(labels, np.where(wrong, 1 - labels, labels), columns, people=who) for who in (None, people))
    assert all(one["more_than_noise"] for one in faces) and not any(one["more_than_noise"] for one in whole)
    for one, other in zip(faces, whole, strict=True):
        assert one["accuracy"]["value"] == other["accuracy"]["value"] and one["difference"] == other["difference"]
    widths = [[one["accuracy"]["high"] - one["accuracy"]["low"] for one in found] for found in (faces, whole)]
    assert widths[1][1] > 1.5 * widths[0][1]


def test_people_of_one_face_each_are_faces(answers):
    labels, predicted, group = answers
    columns = pd.DataFrame({"group": group})
    for one, other in zip(
        slices(labels, predicted, columns),
        slices(labels, predicted, columns, people=np.arange(len(labels))),
        strict=True,
    ):
        assert other["p"] == pytest.approx(one["p"], rel=0.1) and other["expected"] == one["expected"]
        for end in ("low", "high"):
            assert other["accuracy"][end] == pytest.approx(one["accuracy"][end], abs=0.01)


@pytest.mark.parametrize("columns", [pd.DataFrame({"light": ["dark"] * 3}), pd.DataFrame(index=range(4))])
def test_columns_have_a_line_for_every_face(columns):
    with pytest.raises(UserError, match="4 faces need a line of columns each"):
        slices(np.zeros(4, int), np.zeros(4, int), columns)
