"""The committed ladder and ablations, and the figures of the latter, bar by bar."""

import json
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("plotly")

from ferlib import plots
from ferlib.evaluation.ablation import ablation_table
from ferlib.evaluation.ladder import ladder_table

RESULTS = Path(__file__).parents[1] / "results"


def entries(name: str) -> list[dict]:
    return json.loads((RESULTS / f"{name}.json").read_text())["entries"]


@pytest.mark.parametrize(("name", "rebuild"), [("ladder", ladder_table), ("ablation", ablation_table)])
def test_the_tables_are_those_of_the_reports(name, rebuild):
    committed = pd.read_csv(RESULTS / f"{name}.csv", keep_default_na=False, na_values=[""])
    again = rebuild(entries(name)).reset_index(drop=True)
    assert list(committed) == list(again)
    for column in committed:
        if pd.api.types.is_numeric_dtype(again[column]):
            assert committed[column].to_numpy() == pytest.approx(again[column].to_numpy(), abs=1e-5, nan_ok=True)
        else:
            assert committed[column].fillna("").tolist() == again[column].fillna("").tolist()


def test_reports_say_how_they_were_made():
    for entry in entries("ladder") + entries("ablation"):
        assert entry["command"].startswith("python -m ferlib ") and entry["commit"]
        assert entry["seeds"] and entry["faces"]["test"] > 1000


def test_what_the_ladder_is_quoted_for():
    """Batch attention loses at least ten points on the way from class-sorted batches to single faces, on FERPlus."""
    key = ("ferplus", "convcut", "convnext_nano")
    (ladder,) = (e for e in entries("ladder") if (e["data"], e["model"], e["trunk"]["name"]) == key)
    published, alone, none = ladder["rungs"][0], ladder["rungs"][3], ladder["marks"][0]
    assert published["metrics"]["accuracy"]["low"] > alone["metrics"]["accuracy"]["high"] + 0.1
    assert none["metrics"]["accuracy"]["low"] > alone["metrics"]["accuracy"]["high"]


def test_ablation_bars():
    table = ablation_table(entries("ablation"))
    own = table.query("table == 'convcut-attention' and data == 'ferplus'")
    figure = plots.ablation_bars(own)
    by_name = {trace.name: trace for trace in figure.data}
    assert list(by_name["the paper, ferplus"].y) == pytest.approx([75.71, 78.31, 82.46, 95.69])
    ours = own.query("metric == 'accuracy' and protocol == 'published'")
    bars = by_name["ours, published protocol"]
    assert list(bars.x) == ours["row"].tolist() and list(bars.y) == pytest.approx((100 * ours["value"]).tolist())
    assert plots.ablation_bars(own, "macro_f1").layout.yaxis.title.text == "macro-F1, %"


def test_watched_epochs():
    figure = plots.watched_epochs({"sorted": [0.5, 0.75], "alone": [0.25, 0.5]}, {"sorted": "#123456"})
    assert [trace.name for trace in figure.data] == ["sorted", "alone"]
    assert list(figure.data[0].x) == [1, 2] and list(figure.data[0].y) == [50, 75]
    assert figure.data[0].line.color == "#123456" and figure.layout.xaxis.title.text == "epoch"
