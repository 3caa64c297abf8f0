"""The figures of the ablations, bar by bar."""

import json
from pathlib import Path

import pytest

pytest.importorskip("plotly")

from ferlib import plots
from ferlib.experiments.paper_tables import paper_table

RESULTS = Path(__file__).parents[2] / "results"


def test_ablation_bars():
    table = paper_table(json.loads((RESULTS / "former" / "ablation.json").read_text())["entries"])
    own = table.query("table == 'convcut-attention' and data == 'ferplus'")
    figure = plots.ablation_bars(own)
    by_name = {trace.name: trace for trace in figure.data}
    assert list(by_name["the paper, FERPlus"].y) == pytest.approx([75.71, 78.31, 82.46, 95.69])
    ours = own.query("metric == 'accuracy' and protocol == 'published'")
    bars = by_name["ours, published protocol"]
    assert list(bars.x) == ours["row"].tolist() and list(bars.y) == pytest.approx((100 * ours["value"]).tolist())
    assert figure.layout.title.text == "Conv-cut, Table 2: attention and Detail Extraction; FERPlus, 3 seeds"
    assert plots.ablation_bars(own, "macro_f1").layout.yaxis.title.text == "macro-F1, %"


def test_watched_epochs():
    figure = plots.watched_epochs({"sorted": [0.5, 0.75], "alone": [0.25, 0.5]}, {"sorted": "#123456"})
    assert [trace.name for trace in figure.data] == ["sorted", "alone"]
    assert list(figure.data[0].x) == [1, 2] and list(figure.data[0].y) == [50, 75]
    assert figure.data[0].line.color == "#123456" and figure.layout.xaxis.title.text == "epoch"
