"""Chapter 5, answers adjusted after training: recall of every class and a reliability diagram, before and now."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ferlib.labels import COLOURS
from ferlib.plots.style import CUT, KEPT, legend_below, styled


def adjusted_figure(
    recalls: Mapping[str, np.ndarray], curves: Mapping[str, pd.DataFrame], classes: Sequence[str]
) -> go.Figure:
    """Recall of every class, and accuracy at every confidence, of two sets of answers.

    Args:
        recalls: name -> recall in 0..1 of every class; the first is drawn pale.
        curves: the same names -> `ferlib.evaluation.calibration.reliability`.
        classes: names, as they stand below the bars.
    """
    figure = make_subplots(
        1, 2, column_widths=[0.6, 0.4], horizontal_spacing=0.09,
        subplot_titles=["recall (%); below, the class's share of the training faces", "right (%) at a confidence"],
    )  # fmt: skip
    for (name, recall), colour in zip(recalls.items(), (CUT, KEPT), strict=True):
        curve = curves[name][curves[name]["faces"] > 0]
        figure.add_bar(x=list(classes), y=100 * recall, name=name, marker_color=colour, row=1, col=1)
        figure.add_scatter(
            x=100 * curve["confidence"], y=100 * curve["accuracy"], mode="lines+markers", showlegend=False,
            line={"color": "#9aa3ad" if colour == CUT else colour, "width": 2.5}, row=1, col=2,
        )  # fmt: skip
    figure.add_scatter(
        x=[0, 100], y=[0, 100], mode="lines", name="calibrated", line={"color": COLOURS["anger"], "dash": "dash"},
        row=1, col=2,
    )  # fmt: skip
    figure.update_xaxes(tickangle=0, showgrid=False, tickfont_size=11, row=1, col=1)
    figure.update_xaxes(title_text="confidence (%)", range=[0, 102], row=1, col=2)
    figure.update_yaxes(range=[0, 103])
    figure.update_annotations(font_size=13)
    return styled(figure, "", 370, 900, bargap=0.25).update_layout(
        margin={"l": 45, "t": 35, "b": 90}, legend=legend_below(-0.2) | {"x": 0.3}
    )
