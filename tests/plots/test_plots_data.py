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
        "eight": pd.Series([30, 60, 10], index=["neutral", "happiness", "contempt"]),
        "seven": pd.Series([3, 1], index=["happiness", "neutral"]),  # another order, and no contempt
    }
    figure = plots.class_shares(counts)
    assert titles(figure) == ["<b>eight</b>, 100 faces", "<b>seven</b>, 4 faces"]
    np.testing.assert_allclose(figure.data[0].x, [30, 60, 10])
    np.testing.assert_allclose(figure.data[1].x, [25, 75, 0])
    assert [text.strip() for text in figure.data[1].text] == ["25 % (1)", "75 % (3)", "not a class here"]
    for bar in figure.data:
        assert list(bar.y) == ["neutral", "happiness", "contempt"]
        assert bar.marker.color == tuple(COLOURS[name] for name in bar.y)
    assert figure.layout.yaxis.autorange == "reversed" and "%" in figure.layout.xaxis.title.text
    written(figure)


def test_small_shares_are_not_rounded_away():
    (bar,) = plots.class_shares({"one": pd.Series([9990, 10, 0], index=["neutral", "fear", "anger"])}).data
    assert [text.split(" (")[0].strip() for text in bar.text] == ["100 %", "0.10 %", "0.00 %"]


def test_effective_numbers():
    rows = [("a", "neutral", 1000, 632.3), ("a", "fear", 1, 1.0), ("b", "neutral", 10, 9.96)]
    table = pd.DataFrame(rows, columns=["set", "class", "faces", "effective_number"])
    figure = plots.effective_numbers(table, beta=0.999)
    diagonal, curve = figure.data[:2]
    np.testing.assert_allclose(diagonal.x, diagonal.y)
    naive = [sum(0.999**step for step in range(round(n))) for n in curve.x]  # the n-th face adds β^(n-1)
    np.testing.assert_allclose(curve.y, naive, rtol=0.01, atol=0.5)
    points = [trace for trace in figure.data if trace.mode == "markers" and trace.x[0] is not None]
    assert sorted((point.x[0], point.y[0]) for point in points) == [(1, 1.0), (10, 9.96), (1000, 632.3)]
    assert {point.marker.color for point in points} == {COLOURS["neutral"], COLOURS["fear"]}
    legend = [trace.name for trace in figure.data if trace.showlegend is None]
    assert legend[2:] == ["neutral", "fear", "a", "b"]
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    written(figure)


def test_baselines():
    values = pd.DataFrame({"accuracy": [0.5, 0.25], "macro_f1": [0.083, 0.05]}, index=["one", "two"])
    figure = plots.baselines(values, "guess")
    assert [bar.name for bar in figure.data] == ["accuracy", "macro-F1"]
    np.testing.assert_allclose(figure.data[1].y, [8.3, 5])
    assert figure.data[0].text == ("50.0", "25.0") and figure.data[1].text == ("8.3", "5.0")
    assert figure.layout.title.text == "guess" and "%" in figure.layout.yaxis.title.text
    written(figure)


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
    values = {"one": {"same": rng.normal(0.5, 0.1, 500), "other": rng.normal(0, 0.1, 900)}}
    figure = plots.similarities(values, "alike", "cosine")
    assert [line.name for line in figure.data] == ["same", "other"]
    for line, kind in zip(figure.data, values["one"].values(), strict=True):
        assert np.average(line.x, weights=line.y) == pytest.approx(kind.mean(), abs=0.02)
        assert sum(line.y) == pytest.approx(100)
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


def test_remedies():
    rows = [
        ("one", "none", "macro_f1", None, None, None, None),
        ("one", "weights", "macro_f1", 0.02, 0.01, 0.04, "better"),
        ("one", "focal", "macro_f1", -0.01, -0.03, 0.01, "no difference shown"),
        ("one", "focal", "accuracy", -0.02, -0.03, -0.01, "worse"),
        ("two", "focal", "macro_f1", 0.0, -0.1, 0.1, "no difference shown"),
    ]
    columns = ["data", "remedy", "metric", *(f"minus_none_{end}" for end in ("value", "low", "high", "verdict"))]
    figure = plots.remedies(pd.DataFrame(rows, columns=columns), ["macro_f1", "accuracy"])
    assert titles(figure) == [f"<b>{place}</b><br>{m}" for place in ("one", "two") for m in ("macro-F1", "accuracy")]
    first = figure.data[0]
    assert list(first.y) == ["weights", "focal"]  # plain training is the zero line, not a row
    np.testing.assert_allclose(first.x, [2, -1])
    np.testing.assert_allclose(first.x + first.error_x.array, [4, 1])
    np.testing.assert_allclose(first.x - first.error_x.arrayminus, [1, -3])
    assert first.marker.color == tuple(plots.VERDICT_COLOURS[name] for name in ("better", "no difference shown"))
    assert figure.layout.yaxis.categoryarray == ("focal", "weights")  # the first on top
    written(figure)
