"""Chapter 1's figures show the numbers they were given and name their units."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytest.importorskip("plotly")

from figures import titles, written

from ferlib import plots
from ferlib.labels import COLOURS


def test_class_shares():
    counts = {
        "rafdb": pd.Series([30, 60, 10], index=["neutral", "happiness", "contempt"]),
        "seven": pd.Series([3, 1], index=["happiness", "neutral"]),  # another order, and no contempt
    }
    figure = plots.class_shares(counts)
    assert titles(figure) == ["<b>RAF-DB</b>, 100 faces", "<b>seven</b>, 4 faces"]
    np.testing.assert_allclose(figure.data[0].x, [30, 60, 10])
    np.testing.assert_allclose(figure.data[1].x, [25, 75, 0])
    assert [text.strip() for text in figure.data[1].text] == ["25 % (1)", "75 % (3)", "not a class here"]
    for bar in figure.data:
        assert list(bar.y) == ["neutral", "happiness", "contempt"]
        assert bar.marker.color == tuple(COLOURS[name] for name in bar.y)
    assert figure.layout.yaxis.autorange == "reversed" and "%" in figure.layout.xaxis.title.text
    written(figure)


def test_classes_that_one_set_alone_has():
    counts = {"two": pd.Series([3, 1], index=["fear", "anger"]), "own": pd.Series([5], index=["tired"])}
    for bar in plots.class_shares(counts).data:
        assert list(bar.y) == ["fear", "anger", "tired"]


def test_small_shares_are_not_rounded_away():
    (bar,) = plots.class_shares({"one": pd.Series([9990, 10, 0], index=["neutral", "fear", "anger"])}).data
    assert [text.split(" (")[0].strip() for text in bar.text] == ["100 %", "0.10 %", "0.00 %"]


def test_effective_numbers():
    rows = [("a", "neutral", 1000, 632.3), ("a", "fear", 1, 1.0), ("b", "neutral", 10, 9.96)]
    table = pd.DataFrame(rows, columns=["set", "class", "faces", "effective_number"])
    figure = plots.effective_numbers(table, beta=0.999)
    lines = [trace for trace in figure.data if trace.x[0] is not None]
    assert [(*line.x, line.y[0]) for line in lines] == [(632.3, 1000, "neutral"), (1, 1, "fear"), (9.96, 10, "neutral")]
    assert [line.line.color for line in lines] == [COLOURS[name] for name in ("neutral", "fear", "neutral")]
    assert [line.xaxis for line in lines] == ["x", "x", "x2"] and titles(figure) == ["<b>a</b>", "<b>b</b>"]
    assert [trace.name for trace in figure.data if trace.x[0] is None] == ["faces", "effective number"]
    assert figure.layout.xaxis.type == figure.layout.xaxis2.type == "log"
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range  # to be compared
    assert figure.layout.yaxis.categoryarray == ("fear", "neutral") and "0.999" in figure.layout.title.text
    written(figure)


def test_baselines():
    values = pd.DataFrame({"accuracy": [0.5, 0.25], "macro_f1": [0.083, 0.05]}, index=["one", "two"])
    figure = plots.baselines(values, "guess")
    assert [bar.name for bar in figure.data] == ["accuracy", "macro-F1"]
    np.testing.assert_allclose(figure.data[1].y, [8.3, 5])
    assert figure.data[0].text == ("50.0", "25.0") and figure.data[1].text == ("8.3", "5.0")
    assert figure.layout.title.text == "guess" and "%" in figure.layout.yaxis.title.text
    written(figure)
    four = plots.baselines(pd.DataFrame([[0.5, 0.4, 0.3, 0.2]], ["one"], list("abcd")), "guess")
    assert [bar.name for bar in four.data] == list("abcd")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_class_matrices(count):
    matrix = pd.DataFrame([[0.995, 0.005], [0.0, 1.0]], index=["fear", "anger"], columns=["fear", "anger"])
    figure = plots.class_matrices({f"set {n}": matrix for n in range(count)}, "who", "from", "to")
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    assert len(maps) == count
    np.testing.assert_allclose(maps[0].z, [[99.5, 0.5], [0, 100]])
    assert [list(line) for line in maps[0].text] == [["100", "<1"], ["", "100"]]
    assert (figure.layout.yaxis.title.text, figure.layout.xaxis.title.text) == ("from", "to")
    written(figure)


def test_similarities():
    rng = np.random.default_rng(0)
    values = {
        "one": {"same": rng.normal(0.5, 0.1, 500), "other": rng.normal(0, 0.1, 900)},
        "two": {"same": rng.normal(0.8, 0.1, 500)},
    }
    figure = plots.similarities(values, "alike", "cosine")
    assert [line.name for line in figure.data] == ["same", "other", "same"]
    drawn = [numbers for kinds in values.values() for numbers in kinds.values()]
    for line, numbers in zip(figure.data, drawn, strict=True):
        x, y = np.array(line.x), np.array(line.y)
        widths, heights = np.diff(x[::2]), y[1:-1:2]
        assert widths == pytest.approx(widths[0]) and (np.diff(x[1:-1:2]) == pytest.approx(widths[0]))
        assert sum(heights) == pytest.approx(100) and (y[0], y[-1]) == (0, 0)
        middles = (x[:-2:2] + x[2::2]) / 2
        assert np.average(middles, weights=heights) == pytest.approx(numbers.mean(), abs=0.02)
    assert figure.data[0].x[-1] == np.concatenate(drawn).max()  # the last bin ends where the numbers do
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range and figure.layout.yaxis2.matches == "y"
    assert figure.layout.xaxis.title.text == "cosine"
    written(figure)


def test_face_grid():
    grey, thin = np.zeros((48, 48, 1), np.uint8), np.full((48, 48), 7, np.uint8)
    colour = np.zeros((64, 64, 3), np.uint8)
    figure = plots.face_grid([[(grey, "a"), (colour, "b")], [(thin, "c")]], "faces", columns=["x", "y"])
    assert titles(figure)[:3] == ["a", "b", "c"] and titles(figure)[-2:] == ["x", "y"]
    sizes = []
    for trace in figure.data:
        with Image.open(io.BytesIO(base64.b64decode(trace.source.partition(",")[2]))) as shown:
            sizes.append(shown.size)
    assert sizes == [(48, 48), (64, 64), (48, 48)]
    assert not figure.layout.xaxis.visible and figure.layout.width <= plots.WIDTH
    written(figure)


def test_votes():
    faces = [(np.zeros((48, 48), np.uint8), f"face {n}", {"neutral": n, "fear": 3, "unknown": 0}) for n in (1, 2)]
    figure = plots.votes(faces, "votes")
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert titles(figure) == ["face 1", "face 2"] and len(bars) == 2
    assert list(bars[1].x) == [2, 3, 0] and list(bars[1].y) == ["neutral", "fear", "unknown"]
    assert bars[1].text == ("2", "3", "")
    assert bars[0].marker.color == (COLOURS["neutral"], COLOURS["fear"], plots.OTHER_COLOUR)
    written(figure)


def test_entropies():
    values = pd.DataFrame({"class": ["fear"] * 101 + ["anger"], "entropy": [*np.linspace(0, 2, 101), 0.5]})
    fear, anger = plots.entropies(values).data
    assert list(fear.y) == ["fear (101)"] and list(anger.y) == ["anger (1)"]
    box = [fear.lowerfence[0], fear.q1[0], fear.median[0], fear.q3[0], fear.upperfence[0]]
    np.testing.assert_allclose(box, [0.1, 0.5, 1, 1.5, 1.9])
    assert fear.marker.color == COLOURS["fear"]
