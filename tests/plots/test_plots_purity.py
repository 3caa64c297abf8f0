"""The figure of the purity of a batch, line by line."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("plotly")

from ferlib import plots


def test_purity_curve_has_a_line_a_backbone_and_the_shares():
    own = np.arange(1, 17)
    parts = [
        pd.DataFrame({
            "data": "ferplus", "backbone": name, "own": own, "value": 0.5 + own / 50, "low": 0.45 + own / 50,
            "high": 0.55 + own / 50, "on_class": own / 16, "on_itself": 1 / own,
        })
        for name in ("small", "large", "third", "fourth", "fifth")
    ]  # fmt: skip
    figure = plots.purity_curve(pd.concat(parts), {"small": 0.6, "large": 0.7})
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == [
        "small", "large", "third", "fourth", "fifth",
    ]  # fmt: skip
    accuracy, on_class, on_itself = figure.data[:3]
    assert list(accuracy.y) == pytest.approx(list(50 + 2 * own)) and list(accuracy.x) == list(own)
    assert on_class.y[-1] == 100 and on_itself.y[0] == 100
    dotted = [shape for shape in figure.layout.shapes if shape.line.dash == "dot"]
    assert [shape.y0 for shape in dotted] == pytest.approx([60, 70])
