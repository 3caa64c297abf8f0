"""Chapter 4's figures show the numbers they were given and can be written as JSON."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("plotly")

from figures import titles, written

from ferlib import plots
from ferlib.evaluation.calibration import reliability
from ferlib.evaluation.metrics import per_class
from ferlib.names import display_name


def named(figure, name: str) -> list:
    return [trace for trace in figure.data if trace.name == name]


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = [("single", 1, 0.5, 0.0)]
    rows += [("sorted", size, 0.5 + size / 100, size / 50) for size in (4, 16)]
    rows += [("shuffled", size, 0.5 - size / 100, size / 40) for size in (4, 16)]
    return pd.DataFrame(rows, columns=["batch_order", "batch_size", "accuracy", "changed"])


def test_batch_audit(frame):
    figure = plots.batch_audit({"theirs": frame, "ours": frame})
    assert titles(figure) == ["<b>theirs</b>", "<b>ours</b>"]
    accuracy, changed, *_ = named(figure, "faces sorted by class")
    assert list(accuracy.x) == ["1", "4", "16"]  # faces alone are batches of one
    np.testing.assert_allclose(accuracy.y, [50, 54, 66])
    np.testing.assert_allclose(changed.y, [0, 8, 32])
    np.testing.assert_allclose(named(figure, "faces shuffled")[0].y, [50, 46, 34])
    assert [trace.showlegend for trace in figure.data].count(True) == 2
    assert figure.layout.yaxis.title.text == "accuracy (%)"
    written(figure)


def test_batch_audit_of_a_model_that_needs_neighbours(frame):
    figure = plots.batch_audit({"theirs": frame[frame["batch_order"] != "single"]})
    assert list(figure.data[0].x) == ["4", "16"]


@pytest.fixture
def table() -> pd.DataFrame:
    protocols = [
        ("published", "protocol", "batch", 0.9),
        ("honest", "protocol", "token", 0.7),
        ("no attention", "reference", "none", 0.72),
    ]
    return pd.DataFrame(
        [
            {
                "data": data,
                "model": model,
                "backbone": "a backbone",
                "part": part,
                "protocol": protocol,
                "network": network,
                "metric": metric,
                "seeds": 3,
                "value": value,
                "low": value - 0.02,
                "high": value + 0.01,
            }
            for data in ("ferplus", "other")
            for model in ("convcut", "pattlite")
            for protocol, part, network, value in protocols[::-1]
            for metric in ("accuracy", "macro_f1")
        ]
    )


@pytest.mark.parametrize("panels", [1, 2, 3, 4])
def test_protocols(table, panels):
    keys = list(table.groupby(["data", "model"]).groups)[:panels]
    figure = plots.protocols(
        pd.concat([table[(table["data"] == data) & (table["model"] == name)] for data, name in keys])
    )
    assert titles(figure) == [f"<b>{display_name(name)}</b> on {display_name(data)}, seeds: 3" for data, name in keys]
    assert titles(figure)[0].startswith("<b>Conv-cut</b> on FERPlus")
    bars = [trace for trace in figure.data if trace.x[0] is not None]
    assert len(bars) == panels
    assert list(bars[0].y) == ["honest", "published", "no attention"]  # protocols in their order, then the references
    np.testing.assert_allclose(bars[0].x, [70, 90, 72])
    np.testing.assert_allclose(bars[0].error_x.array, 1)
    np.testing.assert_allclose(bars[0].error_x.arrayminus, 2)
    assert bars[0].marker.color == tuple(plots.PROTOCOL_COLOURS[key] for key in ("honest", "published", "paper"))
    labelled = [axis.title.text for axis in figure.select_xaxes() if axis.title.text]
    assert labelled == ["accuracy (%)"] * (panels if panels <= 3 else 2)
    written(figure)


def test_protocols_on_two_backbones_are_two_panels(table):
    table = table[(table["data"] == "other") & (table["model"] == "convcut")]
    figure = plots.protocols(pd.concat([table, table.assign(backbone="another", value=0.5)]))
    assert titles(figure) == [
        f"<b>Conv-cut</b> on other,<br>{backbone}, seeds: 3" for backbone in ("a backbone", "another")
    ]
    assert [list(trace.x) for trace in figure.data[:2]] == [[70, 90, 72], [50, 50, 50]]


def test_selection():
    history = pd.DataFrame({"accuracy": [0.5, 0.7, 0.6], "test": [0.4, 0.55, 0.65]})
    figure = plots.selection(history, chosen=2, claimed=3, validation="accuracy", test="test")
    np.testing.assert_allclose(named(figure, "test")[0].y, [40, 55, 65])
    assert (named(figure, "chosen on test: 65.0 %")[0].x, named(figure, "chosen on validation: 55.0 %")[0].x) == (
        (3,),
        (2,),
    )


def test_reliability_diagrams():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 300)
    curve = reliability(rng.integers(0, 4, 300), probabilities, bins=10)
    figure = plots.reliability_diagrams({"before": curve, "after": curve})
    right, faces = figure.data[0], figure.data[2]
    assert figure.layout.yaxis3.range[1] > max(faces.y)
    np.testing.assert_allclose(right.y, 100 * curve["accuracy"])
    np.testing.assert_allclose(right.x, np.arange(5, 100, 10))
    assert sum(faces.y) == pytest.approx(100)
    filled = curve["faces"] > 0
    np.testing.assert_allclose(np.array(right.y + right.error_y.array)[filled], (100 * curve["high"])[filled])
    written(figure)


def test_confusion_matrices():
    counts = np.array([[8, 2, 0], [1, 1000, 0], [0, 0, 0]])
    figure = plots.confusion_matrices(counts, ["a", "b", "c"], "who is taken for whom")
    faces, shares = figure.data
    assert list(faces.text[0]) == ["8", "2", ""] and faces.text[1][1] == "1,000"
    assert list(shares.text[0]) == ["80.0", "20.0", ""]
    np.testing.assert_allclose(shares.z[0], [80, 20, 0])
    assert np.isnan(np.array(shares.z[2], float)).all()  # a class without faces has no shares
    assert figure.layout.yaxis.autorange == "reversed" and figure.layout.yaxis.title.text == "true"
    written(figure)


def test_class_scores():
    labels = np.array([0] * 5 + [1] * 20)
    tables = {
        name: per_class(labels, np.full(25, guess), ["rare", "common"]) for guess, name in enumerate(("one", "two"))
    }
    figure = plots.class_scores(tables)
    assert list(figure.data[0].x) == ["rare<br>(5)", "common<br>(20)"]  # the classes' own order
    assert list(figure.data[0].y) == [100, 0] and list(figure.data[1].y) == [0, 100]
    many = plots.class_scores({f"model {number}": tables["one"] for number in range(6)})
    assert [bar.name for bar in many.data] == [f"model {number}" for number in range(6)]
