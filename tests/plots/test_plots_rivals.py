"""The figures of the rivals, point by point."""

import re

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("plotly")

from figures import titles, written
from rival_entries import entry, with_noise

from ferlib import plots
from ferlib.experiments.rival_tables import claims_table, noise_table
from ferlib.experiments.rivals import RIVALS, methods_table

BACKBONES = ("mobilenetv1_100", "tf_efficientnet_lite0")
SHOWN = ("MobileNetV1", "EfficientNet-Lite0")


@pytest.mark.parametrize("backbones", [BACKBONES, BACKBONES[:1]])
def test_method_gains(backbones):
    table = methods_table([entry(backbone=name) for name in backbones])
    figure = plots.method_gains(table, "macro_f1")
    assert titles(figure) == [f"<b>{name}</b><br>FERPlus" for name in SHOWN[: len(backbones)]]
    first = figure.data[0]
    assert list(first.y) == ["mixup", "SCN", "LTNet", "DDAMFN"], "plain training is the zero line"
    np.testing.assert_allclose(first.x, [0.1, 2, -3, 0], atol=1e-9)
    np.testing.assert_allclose(first.x + first.error_x.array, [1.1, 3, -2, 1], atol=1e-9)
    np.testing.assert_allclose(first.x - first.error_x.arrayminus, [-0.9, 1, -4, -1], atol=1e-9)
    verdicts = ("cannot be told", "helps", "harms", "cannot be told")
    assert first.marker.color == tuple(plots.VERDICT_COLOURS[name] for name in verdicts)
    assert len(set(plots.VERDICT_COLOURS.values())) == 3
    assert {axis.matches for axis in figure.select_xaxes()} == {"x"}, "backbones are seen on one scale"
    assert [trace.name for trace in figure.data[len(backbones) :]] == list(plots.VERDICT_COLOURS)
    assert figure.layout.title.text == "What methods add to plain training, frozen host: macro-F1, 95 % intervals"
    written(figure)


def test_a_method_with_one_seed_has_an_open_dot():
    table = methods_table([entry()])
    assert set(plots.method_gains(table).data[0].marker.symbol) == {"circle"}
    table.loc[table["row"] == "SCN", "seeds"] = 1
    figure = plots.method_gains(table)
    assert list(figure.data[0].marker.symbol) == ["circle", "circle-open", "circle", "circle"]
    assert figure.data[-1].name == "open: one seed only"


@pytest.mark.parametrize("shown", ["method_gains", "noise_lines", "method_claims"])
def test_names_are_for_readers(shown):
    """No name of the code is in what a reader sees."""
    entries = [one for name in BACKBONES for one in with_noise(name)]
    tables = {"method_gains": methods_table(entries[2:3]), "noise_lines": noise_table(entries)}
    figure = getattr(plots, shown)(tables.get(shown, claims_table(entries)))
    text = " ".join([figure.layout.title.text, *titles(figure), *(trace.name or "" for trace in figure.data)])
    assert not re.search(r"ferplus|mobilenet|tf_|methods-|_", text)
    assert "MobileNetV1" in text


def test_noise_lines():
    entries = [one for name in BACKBONES for one in with_noise(name)]
    figure = plots.noise_lines(noise_table(entries))
    assert titles(figure) == [f"<b>{name}</b>" for name in SHOWN]
    lines = {trace.name: trace for trace in figure.data[:3]}
    assert list(lines) == ["plain", "SCN", "LTNet"] and len(figure.data) == 6
    np.testing.assert_allclose(lines["plain"].y, [80, 75, 70])
    np.testing.assert_allclose(lines["plain"].x, [0, 10, 20], atol=0.5)
    np.testing.assert_allclose(lines["LTNet"].y, [72, 67])
    np.testing.assert_allclose(lines["SCN"].error_y.array, [1, 1, 1])
    places = [trace.x[-1] for trace in lines.values()]
    assert len(set(places)) == 3, "intervals stand beside each other"
    assert len({trace.line.color for trace in lines.values()}) == len({t.marker.symbol[0] for t in lines.values()}) == 3
    assert [trace.showlegend for trace in figure.data] == [True] * 3 + [False] * 3
    entries[0]["rows"][1]["seeds"] = {"0": {}}
    figure = plots.noise_lines(noise_table(entries))
    assert figure.data[1].marker.symbol == ("square", "square", "square-open") and figure.data[1].name == "SCN"
    assert figure.data[-1].name == "open: one seed only"
    written(figure)


def test_every_method_with_flipped_labels_has_a_look_of_its_own():
    names = [rival.name for rival in RIVALS if rival.with_noise is not None] + ["one of ours", "and another"]
    table = methods_table([entry(rows=("plain", "SCN"))]).assign(flipped=0.1)
    every = [table[table["row"] == ("plain" if name == "plain" else "SCN")].assign(row=name) for name in names]
    figure = plots.noise_lines(pd.concat(every))
    assert [trace.name for trace in figure.data] == names
    assert len({(trace.line.color, trace.marker.symbol[0]) for trace in figure.data}) == len(names)


def test_method_claims():
    figure = plots.method_claims(claims_table([entry(backbone=name) for name in BACKBONES]))
    assert titles(figure) == [f"<b>{name}</b>" for name in SHOWN]
    same, other, own, on_test = figure.data[:4]
    assert list(same.y) == ["SCN", "DDAMFN"] and list(other.y) == ["LTNet"]
    np.testing.assert_allclose(same.x, [89.35, 90.74])
    np.testing.assert_allclose(other.x, [91.67])
    assert other.text == ("CK+  ",)
    np.testing.assert_allclose(own.x, [82, 77, 80])
    np.testing.assert_allclose(own.error_x.array, [1, 1, 1])
    np.testing.assert_allclose(on_test.x, [82.4, 77.4, 80.4])
    written(figure)
