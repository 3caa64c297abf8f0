"""The figures: they show the numbers they were given, name their units, and can be written as JSON."""

import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

go = pytest.importorskip("plotly.graph_objects")

from ferlib import plots  # noqa: E402
from ferlib.labels import COLOURS, FERPLUS  # noqa: E402
from ferlib.predict import FacePrediction  # noqa: E402


@pytest.fixture
def costs() -> pd.DataFrame:
    stages = ["stage 1", "stage 2", "stage 3"]
    return pd.DataFrame(
        {
            "trunk": ["one"] * 3 + ["two"] * 3,
            "stage": stages * 2,
            "parameters": [1_000_000, 2_000_000, 5_000_000, 1_000, 1_000_000, 3_000_000],
            "multiply_adds": [3_000_000_000, 2_000_000_000, 1_000_000_000, 0, 500_000_000, 500_000_000],
        }
    )


def prediction(classes=FERPLUS, seed=0) -> FacePrediction:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(len(classes)))
    return FacePrediction(
        (0, 0, 10, 10),
        dict(zip(classes, scores.tolist(), strict=True)),
        rng.integers(0, 255, (224, 224, 3), np.uint8),
        rng.random((112, 112), np.float32),
    )


def written(figure: go.Figure) -> dict:
    """The figure as a browser gets it."""
    return json.loads(figure.to_json())


def titles(figure: go.Figure) -> list[str]:
    return [note.text for note in figure.layout.annotations]


def test_stage_costs(costs):
    figure = plots.stage_costs(costs, cut_after="stage 2")
    assert [titles(figure)[place] for place in (0, 3)] == [
        "<b>one</b>: 3.00 of 8.00 M kept",
        "<b>two</b>: 0.50 of 1.00 G kept",
    ]
    bars = [trace for trace in figure.data if trace.type == "bar" and trace.y[0] is not None]
    assert len(bars) == 4
    np.testing.assert_allclose(bars[0].x, [1, 2, 5])
    assert list(bars[0].y) == ["stage 1", "stage 2", "stage 3"]
    assert bars[0].marker.color == (plots.KEPT, plots.KEPT, plots.CUT)
    assert bars[2].text[0].strip() == "0.001 (<1%)" and bars[3].text[0].strip() == "0.000 (0%)"
    assert [line.y0 for line in figure.layout.shapes] == [1.5] * 4  # between the second and the third bar
    assert figure.layout.yaxis.autorange == "reversed"  # the first stage on top
    assert "millions" in figure.layout.xaxis.title.text and "billions" in figure.layout.xaxis2.title.text
    written(figure)


def test_stage_costs_needs_a_stage_that_exists(costs):
    with pytest.raises(ValueError, match="stage 9"):
        plots.stage_costs(costs, cut_after="stage 9")


def test_influence():
    square = np.full((3, 3), 0.5)
    figure = plots.influence({"token": np.eye(3), "batch": square})
    assert titles(figure) == ["<b>token</b>", "<b>batch</b>"]
    np.testing.assert_array_equal(figure.data[0].z, np.eye(3))
    np.testing.assert_array_equal(figure.data[1].z, square)
    assert list(figure.data[0].x) == ["1", "2", "3"]
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)
    assert figure.layout.xaxis.title.text == "image replaced" and figure.layout.yaxis.title.text == "output watched"
    written(figure)


def test_accuracy_by_batch():
    rows = [("batch", "sorted by class", 1, 0.5), ("batch", "sorted by class", 16, 0.9), ("none", "any", 1, 0.5)]
    frame = pd.DataFrame(rows, columns=["attention", "order", "batch_size", "accuracy"])
    figure = plots.accuracy_by_batch(frame, chance=0.125)
    assert [line.name for line in figure.data] == ["batch attention, sorted by class", "no attention, any order"]
    np.testing.assert_allclose(figure.data[0].y, [50, 90])
    assert list(figure.data[0].x) == ["1", "16"]
    assert figure.layout.shapes[0].y0 == 12.5
    assert "%" in figure.layout.yaxis.title.text
    assert not plots.accuracy_by_batch(frame).layout.shapes
    written(figure)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_face_predictions(count):
    faces = {f"face {number}": prediction(seed=number) for number in range(count)}
    figure = plots.face_predictions(faces)
    assert titles(figure) == list(faces)
    pictures = [trace for trace in figure.data if trace.type == "image"]
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert (len(pictures), len(bars)) == (2 * count, count)
    for bar, face in zip(bars, faces.values(), strict=True):
        assert tuple(bar.y) == FERPLUS
        np.testing.assert_allclose(bar.x, [100 * score for score in face.scores.values()])
        assert bar.marker.color == tuple(COLOURS[name] for name in FERPLUS)
    with Image.open(io.BytesIO(base64.b64decode(pictures[0].source.partition(",")[2]))) as shown:
        assert shown.size == (224, 224)
    assert 500 <= figure.layout.width <= plots.WIDTH and figure.layout.height < 900
    written(figure)


def test_face_predictions_with_classes_of_your_own():
    (bar,) = (
        trace
        for trace in plots.face_predictions({"me": prediction(("happiness", "confusion"))}).data
        if trace.type == "bar"
    )
    assert bar.marker.color == (COLOURS["happiness"], plots.OTHER_COLOUR)


def test_face_predictions_need_a_heat_map():
    face = prediction()
    bare = FacePrediction(face.box, face.scores, face.face)
    with pytest.raises(ValueError, match="heat map"):
        plots.face_predictions({"me": bare})


def test_every_attention_has_its_colour():
    from ferlib.models.layers import ATTENTIONS

    assert set(plots.ATTENTION_COLOURS) == set(ATTENTIONS)
    assert len(set(plots.ATTENTION_COLOURS.values())) == len(ATTENTIONS)


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


def test_budgets():
    rows = [
        ("one", "stage 1", 9_000_000, 0, 2_500_000_000),
        ("one", "attention", 0, 0, 1_500),
        ("one", "classifier", 1_000_000, 1_000_000, 264),
        ("two", "stage 1", 5_000, 5_000, 70),
    ]
    table = pd.DataFrame(rows, columns=["model", "part", "parameters", "trained", "multiply_adds"])
    figure = plots.budgets(table)
    assert titles(figure) == [
        "<b>one</b>: 10.0 M parameters, 1.00 M trained",
        "<b>one</b>: 2.50 G multiply-adds",
        "<b>two</b>: 5.00 k parameters, all trained",
        "<b>two</b>: 70 multiply-adds",
    ]
    bars = [trace for trace in figure.data if trace.type == "bar" and trace.y is not None and trace.y[0] is not None]
    assert len(bars) == 4 and list(bars[0].y) == ["stage 1", "attention", "classifier"]
    np.testing.assert_allclose(bars[0].x, [90, 0, 10])
    assert [text.strip() for text in bars[0].text] == ["9.00 M (90%)", "0 (0%)", "1.00 M (10%)"]
    assert [text.strip() for text in bars[1].text] == ["2.50 G (100%)", "1.50 k (<1%)", "264 (<1%)"]
    assert bars[0].marker.color == (plots.FROZEN, plots.KEPT, plots.KEPT)  # what has no parameters is not frozen
    assert figure.layout.yaxis.autorange == "reversed" and "%" in figure.layout.xaxis3.title.text
    written(figure)


def test_receptive_fields():
    pictures = {"large": np.zeros((224, 224, 3), np.uint8), "small": np.zeros((40, 40), np.uint8)}
    rows = [("large", "a", 56), ("large", "b", 224), ("large", "c", 2824), ("small", "a", 10)]
    figure = plots.receptive_fields(pictures, pd.DataFrame(rows, columns=["model", "part", "field"]))
    assert [(image.sizex, image.sizey) for image in figure.layout.images] == [(224, 224), (40, 40)]
    squares = [shape for shape in figure.layout.shapes if shape.name]
    assert [square.name for square in squares] == ["a", "b", "c", "a"]
    assert [square.line.color for square in squares] == [*plots.STAGE_COLOURS[:3], plots.STAGE_COLOURS[0]]
    assert (squares[0].x0, squares[0].x1, squares[0].y0, squares[0].y1) == (84, 140, 84, 140)
    assert (squares[3].xref, squares[3].x0, squares[3].x1) == ("x2", 15, 25)
    # frames stand around the picture, one around the other, and inside the panel
    assert squares[0].line.dash == "solid" and squares[1].line.dash == squares[2].line.dash == "dash"
    assert figure.layout.xaxis.range[0] < squares[2].x0 < squares[1].x0 < 0
    large, small = titles(figure)
    assert "a: 56 px, 25% of the side" in large and "b: 224 px, just all of it" in large
    assert "c: 2,824 px, more than all of it" in large and "small</b>, 40 × 40 px" in small
    with Image.open(io.BytesIO(base64.b64decode(figure.layout.images[1].source.partition(",")[2]))) as shown:
        assert shown.size == (448, 448)
    written(figure)


def test_shrinkage():
    values = {"none": (0.1, 0.4), "normalised": (0.2, 0.2), "literal": (0.001, 0.004)}
    rows = [(rescale, seed, "block", size) for rescale, both in values.items() for seed, size in enumerate(both)]
    rows += [(rescale, 0, "after it", 1.0) for rescale in values]
    sizes = pd.DataFrame(rows, columns=["rescale", "seed", "place", "size"])
    figure = plots.shrinkage(sizes, {"block": 0.003})
    *lines, expected = figure.data
    assert [line.line.color for line in lines] == [plots.RESCALE_COLOURS[name] for name in values]
    np.testing.assert_allclose([line.y[0] for line in lines], [0.2, 0.2, 0.002])  # geometric means
    np.testing.assert_allclose([lines[0].error_y.array[0], lines[0].error_y.arrayminus[0]], [0.2, 0.1])
    assert list(lines[0].x) == ["block", "after it"] and lines[0].y[1] == 1
    assert list(expected.x) == ["block"] and list(expected.y) == [0.003]
    assert figure.layout.yaxis.type == "log"
    written(figure)


def test_every_rescaling_has_its_colour():
    from ferlib.models.layers import RESCALES

    assert set(plots.RESCALE_COLOURS) == set(RESCALES)


def history(scores: list[float]) -> pd.DataFrame:
    epochs = range(len(scores))
    return pd.DataFrame({"epoch": epochs, "train_loss": [2.0 - 0.1 * i for i in epochs], "accuracy": scores})


def test_curves_mark_the_epoch_that_is_kept():
    figure = plots.curves({"one": history([0.2, 0.5, 0.5, 0.4]), "two": history([0.1, 0.2])})
    dots = [trace for trace in figure.data if trace.mode == "markers"]
    assert [(list(trace.x), list(trace.y)) for trace in dots] == [([3], [0.5]), ([2], [0.2])]  # the last of equals
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert [list(trace.y) for trace in lines[:2]] == [[2.0, 1.9, 1.8, 1.7], [0.2, 0.5, 0.5, 0.4]]
    assert [trace.name for trace in lines if trace.showlegend] == ["one", "two"]
    assert written(figure)["layout"]["yaxis2"]["title"]["text"] == "accuracy"


def test_learning_rates():
    figure = plots.learning_rates({"constant": [1, 1, 1], "falling": [1, 0.1, 0.01]})
    assert [trace.name for trace in figure.data] == ["constant", "falling"]
    assert list(figure.data[1].y) == [1, 0.1, 0.01] and list(figure.data[1].x) == [0, 0.5, 1]
    assert figure.layout.yaxis.type == "log"


def test_two_views_share_one_scale_a_channel():
    maps = np.arange(2 * 3 * 4, dtype=float).reshape(2, 3, 2, 2)
    figure = plots.two_views(np.zeros((8, 8), np.uint8), maps, [2, 0])
    heat = [trace for trace in figure.data if trace.type == "heatmap"]
    assert len(heat) == 4
    np.testing.assert_array_equal(heat[0].z, maps[0, 2])
    np.testing.assert_array_equal(heat[3].z, maps[1, 0])
    assert heat[0].zmin == heat[2].zmin == maps[:, 2].min() and heat[1].zmax == heat[3].zmax == maps[:, 0].max()


def test_costs_add_up():
    figure = plots.costs({"slow": {"head": 1.0, "trunk": 24.0}, "fast": {"head": 1.0}})
    assert figure.layout.barmode == "stack"
    assert {trace.name: list(trace.x) for trace in figure.data} == {"head": [1.0, 1.0], "trunk": [24.0, 0.0]}
    assert titles(figure) == [" 25.00 s", " 1.00 s"]


def test_learning_curve():
    rows = [
        {"count": count, "faces": 7 * count, "metric": metric, "value": value, "low": value - 0.1, "high": value + 0.05}
        for metric, values in {"accuracy": (0.4, 0.6), "macro_f1": (0.3, 0.5)}.items()
        for count, value in zip((5, 40), values, strict=True)
    ]
    figure = plots.learning_curve(pd.DataFrame(rows), {"chance": 1 / 7}, "macro_f1")
    (line,) = figure.data
    assert list(line.x) == [5, 40] and list(line.y) == [30, 50]
    assert list(line.error_y.array) == pytest.approx([5, 5])
    assert list(line.error_y.arrayminus) == pytest.approx([10, 10])
    assert "macro f1" in figure.layout.yaxis.title.text and figure.layout.xaxis.type == "log"
    assert figure.layout.shapes[0].y0 == pytest.approx(100 / 7)
    assert any("chance: 14 %" in note.text for note in figure.layout.annotations)
    json.loads(figure.to_json())
