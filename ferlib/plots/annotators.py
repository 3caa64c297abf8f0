"""Two annotators of the same faces: the confusion matrices that LTNet learnt."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ferlib.names import display_name
from ferlib.plots.evaluation import add_percent_map, percent_maps

LEAST = 0.005  # numbers below it, less than 1 in percent, are left out


def annotator_matrices(entry: Mapping[str, Any], row: str = "both, LTNet") -> go.Figure:
    """The learnt confusion matrix of every annotator side by side, in percent of a row; equal classes in one order.

    Args:
        entry: of `ferlib reproduce annotators`, see `ferlib.experiments.annotators.compare_annotators`.
        row: whose matrices.
    """
    matrices, truth = entry["matrices"][row], entry["annotators"]["own"]
    called = {name: display_name(entry["data"] if name == "own" else name) for name in matrices}
    titles = [f"<b>{name}</b>" for name in called.values()]
    figure = make_subplots(1, len(matrices), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    for column, (name, matrix) in enumerate(matrices.items(), 1):
        table = pd.DataFrame(matrix, index=truth, columns=entry["annotators"][name])
        table = table[[*(one for one in truth if one in table), *(one for one in table if one not in truth)]]
        values = table.to_numpy()
        text = [[f"{100 * value:.0f}" if value >= LEAST else "" for value in row_values] for row_values in values]
        hover = f"truth %{{y}}, {called[name]} says %{{x}}: %{{z:.1f}} %<extra></extra>"
        add_percent_map(figure, column, 100 * values, list(table), truth, text, 12, hover)
    title = f"What LTNet learnt of the annotators of the same faces (mean of {len(entry['seeds'])} seeds)"
    return percent_maps(figure, title, "what the annotator says", "latent truth")
