"""Figures of the methods against class imbalance show the numbers they were given and name their units."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("plotly")

from figures import titles, written

from ferlib import plots


def test_imbalance_methods():
    rows = [
        ("one", "none", "macro_f1", None, None, None, None),
        ("one", "class_balanced", "macro_f1", 0.02, 0.01, 0.04, "helps"),
        ("one", "focal", "macro_f1", -0.01, -0.03, 0.01, "cannot be told"),
        ("one", "focal", "accuracy", -0.02, -0.03, -0.01, "harms"),
        ("two", "focal", "macro_f1", 0.0, -0.1, 0.1, "cannot be told"),
    ]
    columns = ["data", "method", "metric", *(f"minus_none_{end}" for end in ("value", "low", "high", "verdict"))]
    figure = plots.imbalance_methods(pd.DataFrame(rows, columns=columns), ["macro_f1", "accuracy"])
    assert titles(figure) == [f"<b>{place}</b><br>{m}" for place in ("one", "two") for m in ("macro-F1", "accuracy")]
    first = figure.data[0]
    assert list(first.y) == ["class-balanced weights", "focal"]  # plain training is the zero line, not a row
    np.testing.assert_allclose(first.x, [2, -1])
    np.testing.assert_allclose(first.x + first.error_x.array, [4, 1])
    np.testing.assert_allclose(first.x - first.error_x.arrayminus, [1, -3])
    assert first.marker.color == tuple(plots.VERDICT_COLOURS[name] for name in ("helps", "cannot be told"))
    assert figure.layout.yaxis.categoryarray == ("focal", "class-balanced weights")  # the first on top
    ranges = {tuple(axis.range) for axis in figure.select_xaxes()}
    assert len(ranges) == 1 and min(ranges)[0] < -10 and max(ranges)[1] > 10  # one scale for what is compared
    with_recall = pd.DataFrame([*rows, ("one", "weights", "recall_rarest", 0.3, 0.2, 0.5, "helps")], columns=columns)
    figure = plots.imbalance_methods(with_recall, ["macro_f1", "recall_rarest"])
    first, second, *_ = figure.select_xaxes()
    assert second.range[1] > 50 > first.range[1]
    assert {axis.title.text for axis in figure.select_xaxes()} == {None, "points", "points, on another scale"}
    written(figure)


def test_tau_sweep():
    scores = pd.DataFrame({"accuracy": [0.9, 0.8], "macro_f1": [0.5, 0.6]}, index=[0, 1])
    figure = plots.tau_sweep(scores, "shifted")
    assert [line.name for line in figure.data] == ["accuracy", "macro-F1"]
    np.testing.assert_allclose(figure.data[1].y, [50, 60])
    assert list(figure.data[0].x) == [0, 1] and "τ" in figure.layout.xaxis.title.text
    four = plots.tau_sweep(pd.DataFrame([[0.5, 0.4, 0.3, 0.2]], [0], list("abcd")), "shifted")
    assert [line.name for line in four.data] == list("abcd")
    written(figure)
