"""Chapter 3's figures show the numbers they were given."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("plotly")

from figures import titles, written

from ferlib import plots


def history(scores: list[float]) -> pd.DataFrame:
    epochs = range(len(scores))
    return pd.DataFrame({"epoch": epochs, "train_loss": [2.0 - 0.1 * i for i in epochs], "accuracy": scores})


def test_curves_mark_the_epoch_that_is_kept():
    figure = plots.curves({"one": history([0.2, 0.5, 0.5, 0.4]), "two": history([0.1, 0.2])})
    dots = [trace for trace in figure.data if trace.mode == "markers"]
    assert [(list(trace.x), list(trace.y)) for trace in dots] == [([3], [0.5]), ([2], [0.2])]  # the last of equals
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [list(trace.y) for trace in lines[:2]] == [[2.0, 1.9, 1.8, 1.7], [0.2, 0.5, 0.5, 0.4]]
    assert [trace.name for trace in lines if trace.showlegend] == ["one", "two"]
    assert written(figure)["layout"]["yaxis2"]["title"]["text"] == "accuracy"


def test_curves_mark_it_by_the_rule_of_the_training():
    run = history([0.6, 0.7, 0.702]).assign(macro_f1=[0.5, 0.4, 0.3])

    def dot(**rule):
        (found,) = (trace for trace in plots.curves({"one": run}, **rule).data if trace.mode == "markers")
        return found.x[0], found.y[0]

    assert dot() == (3, 0.702) and dot(least_gain=0.003) == (2, 0.7)
    assert dot(metric="macro_f1") == (3, 0.3)  # accuracy chose the epoch
    assert dot(metric="macro_f1", select_by="macro_f1") == (1, 0.5)


def test_curves_draw_guessing_where_it_is_given():
    runs = {"one": history([0.2, 0.5])}
    lines = plots.curves(runs, chance=(1.95, 0.14)).layout.shapes
    assert [(line.y0, line.y1, line.yref) for line in lines] == [(1.95, 1.95, "y"), (0.14, 0.14, "y2")]
    assert not plots.curves(runs).layout.shapes


def test_step_sizes():
    after, before = {"this batch": [1.5, 2.5], "others": [1.8, 3.0]}, {"this batch": 2, "others": 1.9}
    figure = plots.step_sizes([0.1, 1.0], after, before)
    assert {trace.name: list(trace.y) for trace in figure.data} == {"this batch": [1.5, 2.5], "others": [1.8, 3.0]}
    assert [line.y0 for line in figure.layout.shapes] == [2, 1.9]
    assert figure.layout.xaxis.type == "log" and list(figure.data[0].x) == [0.1, 1.0]
    low, high = figure.layout.yaxis.range
    assert low < 1.5 and 2 < high < 3.0  # all that is gained; the worst overshoot is cut off


def test_learning_rates():
    figure = plots.learning_rates({"onecycle": [1, 1, 1], "two_phases": [1, 0.1, 0.01]})
    assert [trace.name for trace in figure.data] == ["one cycle", "two phases"]
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
    figure = plots.costs({"slow": {"head": 1.0, "backbone": 24.0}, "fast": {"head": 1.0}})
    assert figure.layout.barmode == "stack"
    assert {trace.name: list(trace.x) for trace in figure.data} == {"head": [1.0, 1.0], "backbone": [24.0, 0.0]}
    assert titles(figure) == [" 25 s", " 1 s"]
    assert titles(plots.costs({"fast": {"head": 0.25}})) == [" 0.25 s"]
    assert len(plots.costs({"slow": {f"part {number}": 1.0 for number in range(6)}}).data) == 6


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
    assert "macro-F1" in figure.layout.yaxis.title.text and figure.layout.xaxis.type == "log"
    assert figure.layout.shapes[0].y0 == pytest.approx(100 / 7)
    assert any("chance: 14 %" in note.text for note in figure.layout.annotations)
    written(figure)
