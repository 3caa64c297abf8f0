"""Two annotators of the same faces: the confusion matrices that LTNet learnt."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ferlib.plots.style import BLUES, WIDTH, styled

LEAST = 0.005  # numbers below it, less than 1 in percent, are left out


def annotator_matrices(entry: Mapping[str, Any], row: str = "both, LTNet") -> go.Figure:
    """The learnt confusion matrix of every annotator side by side, in percent of a row; equal classes in one order.

    Args:
        entry: of `ferlib reproduce annotators`, see `ferlib.experiments.annotators.compare_annotators`.
        row: whose matrices.
    """
    matrices, truth = entry["matrices"][row], entry["annotators"]["own"]
    titles = [f"<b>{entry['data'] if name == 'own' else name}</b>" for name in matrices]
    figure = make_subplots(1, len(matrices), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    for column, (name, matrix) in enumerate(matrices.items(), 1):
        table = pd.DataFrame(matrix, index=truth, columns=entry["annotators"][name])
        table = table[[*(one for one in truth if one in table), *(one for one in table if one not in truth)]]
        figure.add_heatmap(
            z=100 * table.to_numpy(),
            x=list(table),
            y=truth,
            text=[[f"{100 * value:.0f}" if value >= LEAST else "" for value in values] for values in table.to_numpy()],
            texttemplate="%{text}",
            textfont_size=12,
            coloraxis="coloraxis",
            xgap=1,
            ygap=1,
            hovertemplate=f"truth %{{y}}, {name} says %{{x}}: %{{z:.1f}} %<extra></extra>",
            row=1,
            col=column,
        )
        figure.update_xaxes(title_text="what the annotator says", row=1, col=column)
    figure.update_xaxes(showgrid=False, tickangle=-45, title_standoff=8)
    figure.update_yaxes(showgrid=False, autorange="reversed", title_standoff=6)
    figure.update_yaxes(title_text="latent truth", row=1, col=1)
    figure.update_annotations(font_size=14)
    return styled(
        figure,
        f"What LTNet learnt of the annotators of the same faces (mean of {len(entry['seeds'])} seeds)",
        500,
        width=WIDTH + 60,
        coloraxis={"colorscale": BLUES, "cmin": 0, "cmax": 100, "colorbar": {"title": {"text": "%"}, "thickness": 14}},
    ).update_layout(margin={"l": 110, "b": 95})
