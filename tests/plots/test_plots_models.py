"""Chapter 2's figures show the numbers they were given and name their units."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytest.importorskip("plotly")

from figures import titles, written

from ferlib import plots
from ferlib.labels import COLOURS, FERPLUS
from ferlib.predict import FacePrediction


@pytest.fixture
def costs() -> pd.DataFrame:
    stages = ["stage 1", "stage 2", "stage 3"]
    return pd.DataFrame(
        {
            "backbone": ["convnext_base"] * 3 + ["two"] * 3,
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


def test_stage_costs(costs):
    figure = plots.stage_costs(costs, cut_after="stage 2")
    assert [titles(figure)[place] for place in (0, 3)] == [
        "<b>ConvNeXt-Base</b>: 3.00 of 8.00 M kept",
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
    from ferlib.models.attention_blocks import RESCALES

    assert set(plots.RESCALE_COLOURS) == set(RESCALES)


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


def test_every_attention_has_its_colour():
    from ferlib.models.layers import ATTENTIONS

    assert set(plots.ATTENTION_COLOURS) == set(ATTENTIONS)
    assert len(set(plots.ATTENTION_COLOURS.values())) == len(ATTENTIONS)


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
    assert "CAM" not in figure.layout.title.text  # the map may be any
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
