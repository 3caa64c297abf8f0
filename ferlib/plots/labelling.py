"""Chapter 7's small page: networks trained on the labels given so far, beside the chapter's learning curve."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from ferlib.labels import COLOURS
from ferlib.plots.style import KEPT, OTHER_COLOUR, legend_above, styled


def trainings(
    done: pd.DataFrame, curve: pd.DataFrame | None = None, references: Mapping[str, float] | None = None
) -> go.Figure:
    """Accuracy on the test people over the number of labelled faces, a point for every training.

    Args:
        done: one row a training, in order: `faces`, and `value`, `low` and `high` in 0..1.
        curve: from `ferlib.experiments.learning_curve.learning_curve`, drawn behind the points.
        references: name -> value 0..1 of what to compare with; a dashed line each.
    """
    figure = go.Figure()
    for name, level in (references or {}).items():
        figure.add_hline(
            100 * level, line={"color": OTHER_COLOUR, "dash": "dash", "width": 1.5},
            annotation={"text": f"{name}: {100 * level:.0f} %", "x": 1, "xanchor": "right", "yanchor": "bottom"},
        )  # fmt: skip
    parts = [] if curve is None else [("the chapter's curve", curve[curve["metric"] == "accuracy"], OTHER_COLOUR)]
    for name, rows, colour in [*parts, ("your trainings", done, KEPT)]:
        value = 100 * rows["value"]
        own = rows is done
        figure.add_scatter(
            x=rows["faces"], y=value, name=name, mode="markers+text" if own else "lines+markers",
            marker={"size": 11 if own else 6, "color": COLOURS["anger"] if own else colour}, line_color=colour,
            text=[f"{number}: {share:.0f}" for number, share in enumerate(value, 1)] if own else None,
            textposition="middle right", cliponaxis=False,
            error_y={"array": 100 * rows["high"] - value, "arrayminus": value - 100 * rows["low"], "symmetric": False,
                     "color": COLOURS["anger"] if own else colour, "thickness": 1.2, "width": 4},
            hovertemplate="%{x} faces: %{y:.1f} %<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="labelled training faces", rangemode="tozero")
    figure.update_yaxes(title_text="accuracy on the test people (%)", range=[0, 103])
    return styled(figure, "What the labels are worth (95 % intervals)", 380, width=560, legend=legend_above("left"))
