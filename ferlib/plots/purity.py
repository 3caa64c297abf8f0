"""Chapter 5, the mechanism: what batch attention says of a face in purer and purer batches."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ferlib.labels import COLOURS
from ferlib.plots.style import INK, legend_above, styled

LINES = ("anger", "happiness", "sadness", "surprise")  # colours of the backbones' lines


def purity_curve(table: pd.DataFrame, alone: dict[str, float] | None = None) -> go.Figure:
    """Accuracy on a face, and the attention's weight on its class, by the faces of its class in the batch.

    Args:
        table: of `ferlib.experiments.purity.purity_table`, of one data set: one row a backbone and number of faces.
        alone: backbone -> accuracy (0..1) of a network without attention, drawn as a dotted line of its colour.
    """
    figure = make_subplots(
        1, 2, horizontal_spacing=0.12, subplot_titles=["accuracy on the face", "weight of the attention"]
    )
    size = int(table["own"].max())
    for colour, (backbone, rows) in zip(LINES, table.groupby("backbone", sort=False), strict=False):
        shade = COLOURS[colour]
        common = {"x": rows["own"], "legendgroup": backbone, "mode": "lines+markers"}
        figure.add_scatter(
            y=100 * rows["value"],
            error_y={
                "array": 100 * (rows["high"] - rows["value"]),
                "arrayminus": 100 * (rows["value"] - rows["low"]),
                "symmetric": False,
                "thickness": 1.2,
                "width": 3,
            },
            name=str(backbone),
            line={"color": shade, "width": 2.5},
            row=1,
            col=1,
            **common,
        )
        if alone and backbone in alone:
            figure.add_hline(y=100 * alone[str(backbone)], line={"color": shade, "dash": "dot"}, row=1, col=1)
        for column, dash in (("on_class", "solid"), ("on_itself", "dash")):
            figure.add_scatter(
                y=100 * rows[column],
                showlegend=False,
                line={"color": shade, "dash": dash, "width": 2.5},
                name=f"{backbone}, on {'its class' if column == 'on_class' else 'itself'}",
                row=1,
                col=2,
                **common,
            )
    for text, column in (("on its class, itself included", "on_class"), ("on itself", "on_itself")):
        last = table[table["own"] == size][column]
        figure.add_annotation(
            x=size,
            y=100 * last.max(),
            text=text,
            showarrow=False,
            xanchor="right",
            yanchor="bottom",
            yshift=8,
            font={"color": INK, "size": 13},
            row=1,
            col=2,
        )
    if alone:
        figure.add_annotation(
            x=size,
            y=100 * min(alone.values()),
            text="dotted: without attention",
            showarrow=False,
            xanchor="right",
            yanchor="top",
            font={"color": INK, "size": 13},
            row=1,
            col=1,
        )
    for panel in (1, 2):
        figure.update_xaxes(title_text=f"faces of its own class among the {size} of the batch", row=1, col=panel)
    figure.update_xaxes(dtick=3, tick0=1)
    figure.update_yaxes(title_text="accuracy, %", row=1, col=1)
    figure.update_yaxes(title_text="share of the weight, %", range=[0, 112], row=1, col=2)
    return styled(
        figure,
        f"The company decides: the same networks and faces on {table['data'].iloc[0]}, purer and purer batches",
        440,
        legend=legend_above("left", 1.1),
    ).update_layout(margin_t=110)
