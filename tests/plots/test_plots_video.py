"""Figures of chapter 10."""

import numpy as np
import pandas as pd
import pytest
from figures import titles, written

from ferlib import plots
from ferlib.labels import COLOURS
from ferlib.video.predictor import FramePrediction, TrackedFace
from ferlib.video.table import VideoTable

CLASSES = ("neutral", "happiness", "surprise")


def test_timeline():
    """Single frames that waver and a smoothed label that stays; a face that leaves early."""
    table = VideoTable(CLASSES)
    for number in range(4):
        raw, smoothed = ([0.8, 0.1, 0.1], [0.1, 0.8, 0.1]), [0.7, 0.2, 0.1]
        faces = [
            TrackedFace(track, (0, 0, 9, 9), dict(zip(CLASSES, raw[number % 2], strict=True)),
                        dict(zip(CLASSES, smoothed, strict=True)), 0.0)
            for track in ((1, 2) if number < 2 else (1,))
        ]  # fmt: skip
        table.add(FramePrediction(number, number / 10, tuple(faces), np.zeros((9, 9, 3), np.uint8)))
    table.end()
    figure = plots.timeline(table, "a film")
    areas = [one for one in figure.data if one.type == "scatter"]
    first, second = (one for one in figure.data if one.type == "heatmap")
    assert [one.name for one in areas if one.showlegend] == list(CLASSES)
    assert list(areas[0].y) == pytest.approx([0.7] * 4) and list(areas[3].y) == pytest.approx([0.7, 0.7, 0, 0])
    assert list(first.y) == ["single frames", "smoothed"]
    np.testing.assert_array_equal(first.z, [[0, 1, 0, 1], [0, 0, 0, 0]])
    np.testing.assert_array_equal(second.z[0], [0, 1, np.nan, np.nan])
    assert second.customdata[1][3] == "not seen"
    assert titles(figure) == ["<b>face 1</b>, 0.4 s", "<b>face 2</b>, 0.2 s"]
    assert written(figure)["layout"]["title"]["text"] == "Expressions over time in a film"


def test_timeline_says_how_many_faces_it_leaves_out():
    """Of thirteen faces the first is seen for one frame, the second for two, and so on: the first has no panel."""
    table, scores = VideoTable(CLASSES), dict(zip(CLASSES, (0.8, 0.1, 0.1), strict=True))
    for number in range(13):
        faces = tuple(TrackedFace(track, (0, 0, 9, 9), scores, scores, 0.0) for track in range(number + 1, 14))
        table.add(FramePrediction(number, number / 10, faces, np.zeros((9, 9, 3), np.uint8)))
    table.end()
    figure = plots.timeline(table, "a film")
    assert figure.layout.title.text == "Expressions over time in a film, the 12 faces seen longest of 13"
    assert [text.partition(",")[0] for text in titles(figure)] == [f"<b>face {track}</b>" for track in range(2, 14)]


def test_label_bands_leave_a_gap_where_the_face_was_not_seen():
    times = np.array([0.0, 0.1, 0.2, 1.2, 1.3])
    told = {"truth": np.array([0, 0, 1, 1, 2]), "single frames": np.array([0, 1, 1, 1, 1])}
    figure = plots.label_bands(times, told, CLASSES, "one face")
    band = figure.data[0]
    assert list(band.y) == ["single frames", "truth"]  # from below
    np.testing.assert_allclose(band.x, [0, 0.1, 0.2, 0.3, 1.2, 1.3, 1.4])
    np.testing.assert_array_equal(band.z[1], [0, 0, 1, np.nan, 1, 2])
    assert list(band.customdata[1]) == ["neutral", "neutral", "happiness", "not seen", "happiness", "surprise"]
    assert [(one.name, one.marker.color) for one in figure.data[1:]] == [(name, COLOURS[name]) for name in CLASSES]
    assert written(figure)["layout"]["title"]["text"] == "one face"


def test_smoothing_tradeoff_joins_what_needs_no_future():
    table = pd.DataFrame(
        {
            "name": ["single frames", "as they come, 0.1 s", "as they come, 0.5 s", "whole film"],
            "label_changes_a_minute": [100, 50, 20, 20],
            "accuracy": [0.8, 0.7, 0.6, 0.9],
        }
    )
    figure = plots.smoothing_tradeoff(table, 15)
    online, others = figure.data
    assert list(online.text) == ["0.1 s", "0.5 s"] and online.mode.startswith("lines")
    assert list(others.text) == ["single frames", "whole film"] and others.mode.startswith("markers")
    assert list(online.x) == [50, 20] and list(online.y) == pytest.approx([70, 60])
    assert [shape.x0 for shape in figure.layout.shapes] == [15] and titles(figure) == ["the truth"]


def test_faces_by_size():
    figure = plots.faces_by_size((24, 48), {"found": [(0, 10), (9, 10)], "right": [(0, 0), (6, 9)]})
    found, right = figure.data
    assert list(found.y) == pytest.approx([0, 90]) and list(right.y) == pytest.approx([200 / 3])
    assert len(right.x) == 1 and right.x[0] == pytest.approx(48, rel=0.05)  # of no face there is no fraction
    n, p, z2 = 10, 0.9, 1.959964**2  # Wilson 1927
    high = (p + z2 / (2 * n) + np.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))) / (1 + z2 / n)
    assert found.error_y.array[1] == pytest.approx(100 * (high - p), rel=1e-5)
