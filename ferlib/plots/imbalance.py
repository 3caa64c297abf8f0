"""Chapter 1, methods against class imbalance: what they bring, and the dial τ of one of them."""

from collections.abc import Sequence
from itertools import cycle

import pandas as pd
import plotly.graph_objects as go

from ferlib.evaluation.metrics import METRICS
from ferlib.names import display_name
from ferlib.plots.data import METRIC_COLOURS
from ferlib.plots.forest import differences, forest
from ferlib.plots.style import legend_above, styled


def imbalance_methods(table: pd.DataFrame, metrics: Sequence[str]) -> go.Figure:
    """Every method's difference to plain training with its interval: a row of panels a data set, a column a metric.

    Args:
        table: `data`, `method`, `metric`, and `minus_none_value`, `_low`, `_high` (shares) and `_verdict`.
        metrics: those to show. Panels of `METRICS` have one scale, others one in both rows.
    """
    named = table.assign(method=table["method"].map(display_name))
    panels = [
        (
            f"<b>{display_name(place)}</b><br>{display_name(metric)}",
            differences(named[(named["data"] == place) & (named["metric"] == metric)], "method", "minus_none"),
        )
        for place in dict.fromkeys(table["data"])
        for metric in metrics
    ]
    figure = forest(panels, len(metrics), "What methods add to plain training, 95 % intervals")
    scores = [metric for metric in metrics if metric in METRICS]
    for column, metric in enumerate(metrics, 1):
        alike = table[table["metric"].isin(scores if metric in scores else [metric])]
        low, high = 100 * alike["minus_none_low"].min(), 100 * alike["minus_none_high"].max()
        pad = 0.05 * (high - low)
        title = "points" if metric in scores else "points, on another scale"
        figure.update_xaxes(range=[low - pad, high + pad], col=column)
        figure.update_xaxes(title_text=title, row=len(panels) // len(metrics), col=column)
    return figure


def tau_sweep(scores: pd.DataFrame, title: str) -> go.Figure:
    """Scores of one model over the τ of its logit adjustment.

    Args:
        scores: one row a τ, which is the index; one column a metric, in 0..1.
        title: of the figure.
    """
    figure = go.Figure()
    for metric, colour in zip(scores, cycle(METRIC_COLOURS)):
        figure.add_scatter(
            x=scores.index,
            y=100 * scores[metric],
            name=display_name(metric),
            mode="lines+markers",
            line={"color": colour, "width": 2.5},
            marker_size=7,
            hovertemplate="τ = %{x}: %{y:.1f} %<extra></extra>",
        )
    figure.update_xaxes(title_text="τ: how much of the classes' log frequencies is taken off the logits")
    figure.update_yaxes(title_text="score (%)")
    return styled(figure, title, 380, legend=legend_above("right"))
