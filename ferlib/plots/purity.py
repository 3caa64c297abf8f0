"""Chapter 5, the mechanism: what batch attention says of a face in purer and purer batches."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ferlib.labels import COLOURS
from ferlib.names import display_name
from ferlib.plots.style import INK, OTHER_COLOUR, legend_above, legend_below, styled

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
    for colour, (backbone, rows) in zip(cycle(LINES), table.groupby("backbone", sort=False)):
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
            name=display_name(backbone),
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
                name=f"{display_name(backbone)}, on {'its class' if column == 'on_class' else 'itself'}",
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
        f"The company decides: the same networks and faces of {display_name(table['data'].iloc[0])}",
        440,
        legend=legend_above("left", 1.1),
    ).update_layout(margin_t=110)


def company_figure(
    published: Mapping[str, np.ndarray],
    honest: Mapping[str, np.ndarray],
    classes: Sequence[str],
    expression: str,
    order: str,
    own: int,
) -> go.Figure:
    """One face's probabilities in one batch, and the probability of its neighbours' class in purer and purer ones.

    Args:
        published, honest: order of the test set -> probabilities (16, classes) with 0 to 15 such neighbours.
        classes: their names.
        expression: of those neighbours.
        order: the one of the batch that is shown; its line is drawn thick.
        own: how many neighbours of the expression that batch has.
    """
    batch, alone = COLOURS["anger"], COLOURS["sadness"]
    place = list(classes).index(expression)
    size = len(published[order])
    figure = make_subplots(
        1, 2, horizontal_spacing=0.13, column_widths=[0.45, 0.55],
        subplot_titles=["in this batch", f"its answer \"{expression}\" in all batches"],
    )  # fmt: skip
    for name, found, colour in (
        ("attention across the batch", published, batch),
        ("one face at a time", honest, alone),
    ):
        figure.add_bar(
            y=list(classes), x=100 * found[order][own], orientation="h", name=name, marker_color=colour, row=1,
            col=1,
        )  # fmt: skip
    for other, scores in published.items():
        line = {"color": batch, "width": 3 if other == order else 1.5, "dash": "solid" if other == order else "dot"}
        figure.add_scatter(
            x=list(range(size)), y=100 * scores[:, place], mode="lines", line=line, name=f"all batches, {other}",
            row=1, col=2,
        )  # fmt: skip
    figure.add_scatter(
        x=list(range(size)), y=100 * honest[order][:, place], mode="lines", line={"color": alone, "width": 3},
        showlegend=False, row=1, col=2,
    )  # fmt: skip
    for found, colour in ((published, batch), (honest, alone)):
        figure.add_scatter(
            x=[own], y=[100 * found[order][own, place]], mode="markers", showlegend=False, cliponaxis=False,
            marker={"size": 12, "color": colour, "line": {"width": 2, "color": "white"}}, row=1, col=2,
        )  # fmt: skip
    figure.add_vline(own, line={"color": OTHER_COLOUR, "dash": "dot", "width": 1}, row=1, col=2)
    figure.update_yaxes(autorange="reversed", showgrid=False, row=1, col=1)
    figure.update_xaxes(title_text="probability (%)", range=[0, 103], row=1, col=1)
    figure.update_xaxes(title_text=f"neighbours of {size - 1} that show {expression}", dtick=3, row=1, col=2)
    figure.update_yaxes(title_text="probability (%)", range=[-3, 103], row=1, col=2)
    figure.update_annotations(font_size=13)
    return styled(figure, "", 400, 660, barmode="group", bargap=0.3).update_layout(
        margin={"l": 90, "t": 35, "b": 95}, legend=legend_below(-0.22)
    )
