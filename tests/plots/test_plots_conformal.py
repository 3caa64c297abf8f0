"""Figures of chapter 9."""

import numpy as np
import pandas as pd
import pytest
from figures import titles, written
from scipy.stats import betabinom

from ferlib import plots
from ferlib.evaluation.selective import accuracy_of_answered

ESTIMATES = {"value": [0.9, 0.4], "low": [0.85, 0.3], "high": [0.93, 0.5]}


def test_answered_curves():
    curve = accuracy_of_answered(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True]))
    (line,) = written(plots.answered_curves({"ours": curve}))["data"]
    assert line["name"] == "ours"
    figure = plots.answered_curves({"ours": curve, "another": curve})
    assert [list(one.x) for one in figure.data] == [[25, 50, 75, 100]] * 2
    assert list(figure.data[0].y) == pytest.approx([100, 100, 200 / 3, 75])


def test_promised_and_held():
    rows = [
        {"model": model, "truth": truth, "promised": promised, "value": 0.9, "low": 0.88, "high": 0.92}
        for model, truths in (("convcut_ferplus_mirror", ("label", "votes")), ("ivsa_fer2013", ("label",)))
        for truth in truths
        for promised in (0.8, 0.9)
    ]
    figure = plots.promised_and_held(pd.DataFrame(rows))
    assert titles(figure) == ["Conv-cut, both sides", "IVSA"]
    points = [one for one in figure.data if one.mode == "markers"]
    assert [(one.name, one.showlegend) for one in points] == [
        ("the label is in the set", True),
        ("a label drawn from the votes is in the set", True),
        ("the label is in the set", False),
    ]
    assert list(points[0].error_y.array) == pytest.approx([2, 2])


def test_coverage_by_class():
    rows = pd.DataFrame({"name": ["happiness", "fear"], "faces": [80, 7], **ESTIMATES})
    figure = plots.coverage_by_class({"whole": rows, "by class": rows}, 0.9)
    assert titles(figure)[:2] == ["whole", "by class"]
    assert list(figure.data[0].y) == ["happiness (80)", "fear (7)"] and list(figure.data[1].x) == [90, 40]
    assert [shape.x0 for shape in figure.layout.shapes] == [90, 90]


def test_coverage_spread_is_beside_its_theory():
    rng = np.random.default_rng(0)
    calibration, test = rng.random((4000, 39)), rng.random((4000, 50))
    limits = np.sort(calibration, axis=1)[:, 35]  # the 36th of 39: ceil(40 * 0.9)
    held = (test <= limits[:, None]).mean(axis=1)
    figure = plots.coverage_spread(held, 39, 50, 0.9)
    drawn, theory = figure.data
    assert np.abs(np.array(drawn.y) - np.array(theory.y)).max() < 1.5  # percent of the draws
    middle = list(theory.x).index(90)
    assert theory.y[middle] == pytest.approx(100 * betabinom(50, 36, 4).pmf(45))


def test_coverage_off_the_path():
    table = pd.DataFrame(
        {"name": ["fog", "mask"], "coverage": [0.7, 0.6], "accuracy": [0.65, 0.5], "cannot say": [0, 0.1]}
    )
    figure = plots.coverage_off_the_path(table, 0.9)
    assert [one.name for one in figure.data] == ["label in the set", "first class right", "cannot say"]
    assert list(figure.data[2].x) == [0, 10]
