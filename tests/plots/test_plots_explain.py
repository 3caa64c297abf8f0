"""Chapter 5's figures show the numbers they were given."""

import numpy as np
import pytest

pytest.importorskip("plotly")

from figures import written

from ferlib import plots
from ferlib.detection.regions import REGIONS
from ferlib.labels import COLOURS
from ferlib.runtime.overlay import turbo


def record(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.02}


def part(share: float, relative: float) -> dict[str, float]:
    return {"share": share, "low": share - 0.01, "high": share + 0.02, "relative": relative}


def test_picture_table():
    grey = np.full((8, 8, 3), 128, np.uint8)
    figure = plots.picture_table({"a": [grey, grey], "b": [grey]}, ["x", "y"], "title", {"a": ["one", "two"]})
    assert len(figure.layout.images) == 3
    assert {note.text for note in figure.layout.annotations} == {"a", "b", "x", "y", "one", "two"}
    first, second, below = figure.layout.images
    assert first.y == second.y == 0 and second.x > first.x and below.x == first.x and below.y < first.y
    assert not figure.data
    written(figure)


def test_picture_table_shows_the_colours_of_its_maps():
    (bar,) = plots.picture_table({"a": [np.zeros((8, 8, 3), np.uint8)]}, ["x"], "title", scale=True).data
    assert bar.marker.showscale and (bar.marker.cmin, bar.marker.cmax) == (0, 1)
    red, green, blue = turbo()[-1]
    assert bar.marker.colorscale[-1] == (1, f"rgb({red},{green},{blue})")


def test_picture_table_has_a_bar_for_rows_with_zero_in_the_middle():
    rows = {name: [np.zeros((8, 8, 3), np.uint8)] for name in ("face", "a", "b", "c")}
    bars = [
        trace.marker.colorbar for trace in plots.picture_table(rows, ["x"], "title", scale=True, signed=["a", "b"]).data
    ]
    below, beside = bars
    assert beside.ticktext == ("against", "0", "for") and below.ticktext[0] == "0"
    assert beside.y - beside.len / 2 > below.y


def test_picture_table_keeps_the_shape_of_pictures():
    (wide,) = plots.picture_table({"film": [np.zeros((9, 16, 3), np.uint8)]}, ["x"], "title", side=160).layout.images
    assert (wide.sizex, wide.sizey) == (160, 90)


def test_region_table():
    methods = {
        "integrated_gradients": dict(zip(REGIONS, [part(0.1 * i, 2.0**i / 4) for i in range(6)], strict=True)),
        "centre": dict(zip(REGIONS, [part(1 / 6, 1.0)] * 6, strict=True)),
    }
    figure = plots.region_table(methods, dict.fromkeys(REGIONS, 1 / 6), "title")
    (table,) = figure.data
    assert list(table.y) == ["integrated gradients", "control: centre blob"]
    np.testing.assert_allclose(table.z[0], [-2, -1, 0, 1, 2, 3])
    assert table.text[0][3] == "30% (2.0×)" and table.x[0] == "brows<br>area 17%"
    written(figure)


def test_class_regions():
    found = {"fear": {"eyes": part(0.2, 1), "mouth": part(0.3, 1)}}
    models = {"m": {"methods": {name: {"per_class": found} for name in ("gradcam", "centre")}}}
    figure = plots.class_regions(models, ("eyes", "mouth"), ("fear", "anger"), "title")
    dots = [trace for trace in figure.data if trace.mode == "markers"]
    assert [list(trace.x) for trace in dots] == [[20], [20], [30], [30]]
    assert all(list(trace.y) == ["fear"] for trace in dots)
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    np.testing.assert_allclose(lines[0].x, [19, 22])
    assert [note.text for note in figure.layout.annotations] == ["<b>m</b>: eyes", "<b>m</b>: mouth"]
    assert figure.layout.xaxis.range[1] > 22 and figure.layout.xaxis2.range[1] > 32
    written(figure)


def test_faithfulness():
    methods = {
        "gradcam": {"deletion": record(0.3), "insertion": record(0.7), "road": record(0.1)},
        "centre": {"deletion": record(0.4), "insertion": record(0.6), "road": record(0.05)},
    }
    figure = plots.faithfulness(methods, "title")
    dots = [trace for trace in figure.data if trace.mode == "markers"]
    assert [list(trace.x) for trace in dots] == [[0.3, 0.4], [0.7, 0.6], [0.1, 0.05]]
    assert dots[0].marker.color == (COLOURS["sadness"], COLOURS["anger"])
    assert [line.x0 for line in figure.layout.shapes] == [0.4, 0.6, 0.05]
    assert "low is good" in figure.layout.annotations[0].text
    low, high = figure.layout.xaxis.range  # no interval is cut off by the frame
    assert low < 0.29 and high > 0.42
    written(figure)


def test_planes_and_their_hover_faces():
    points, labels = np.arange(12.0).reshape(6, 2), np.array([0, 1, 0, 1, 2, 2])
    faces = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3), np.uint8)
    spaces = {"a": {"pca": points, "tsne": -points}, "b": {"pca": 2 * points}}
    figure = plots.planes(spaces, labels, ("fear", "anger", "joy"), "title", {("a", "tsne"): "purity 50%"}, faces)
    assert len(figure.data) == 9  # three panels of three classes
    np.testing.assert_array_equal(figure.data[1].x, points[labels == 1, 0])
    np.testing.assert_array_equal(figure.data[3].x, 2 * points[labels == 0, 0])  # the second space, first projection
    assert figure.data[0].marker.color == COLOURS["fear"] and figure.data[2].marker.color == plots.OTHER_COLOUR
    assert sum(trace.showlegend for trace in figure.data) == 3
    assert figure.data[0].customdata[0].startswith("data:image/jpeg;base64,")
    assert any("purity 50%" in note.text for note in figure.layout.annotations)
    page = figure.to_html(post_script=plots.HOVER_FACES, include_plotlyjs=False)
    assert "plotly_hover" in page and "{plot_id}" not in page
    assert plots.planes(spaces, labels, ("fear", "anger", "joy"), "title").data[0].customdata is None
