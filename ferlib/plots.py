"""Figures: data in, plotly `Figure` out. Nothing here reads, writes or shows anything.

One look for the whole project: white, with colours from `ferlib.labels.COLOURS`, where an expression has the same one
in every figure. Titles, axes and units say enough for a figure to be read without the text around it.
"""

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from ferlib.labels import COLOURS

if TYPE_CHECKING:
    from ferlib.predict import FacePrediction

__all__ = ["accuracy_by_batch", "face_predictions", "influence", "stage_costs"]

WIDTH = 900  # pixels
KEPT, CUT = COLOURS["sadness"], "#d3d8de"
INK, GRID = "#2a2f36", "#e6e9ed"
#: One colour per reading of the attention.
ATTENTION_COLOURS = {
    "none": COLOURS["neutral"],
    "channel": COLOURS["disgust"],
    "token": COLOURS["sadness"],
    "batch": COLOURS["anger"],
}
OTHER_COLOUR = "#5b6573"  # of a class that is not an expression


def _styled(figure: go.Figure, title: str, height: int, width: int = WIDTH, **layout: object) -> go.Figure:
    """The project's look."""
    figure.update_layout(
        template="plotly_white",
        title={"text": title, "x": 0.01, "xanchor": "left", "y": 1 - 20 / height, "yanchor": "top", "font_size": 17},
        font={"family": "Open Sans, DejaVu Sans, Arial, sans-serif", "size": 13, "color": INK},
        width=width,
        height=height,
        margin={"l": 70, "r": 25, "t": 90, "b": 60},
        **layout,
    )
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GRID, title_font_size=13)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GRID, title_font_size=13, ticklabelstandoff=5)
    return figure


def stage_costs(costs: pd.DataFrame, cut_after: str) -> go.Figure:
    """What every stage of some trunks costs, and what a cut leaves: one row of panels a trunk.

    Args:
        costs: one row a trunk and stage, in order: `trunk`, `stage`, `parameters` and `multiply_adds` (of one image).
        cut_after: the last stage that is kept.
    """
    measures = {
        "parameters": ("parameters (millions)", 1e6, "M"),
        "multiply_adds": ("multiply-adds (billions)", 1e9, "G"),
    }
    trunks = list(dict.fromkeys(costs["trunk"]))
    titles, bars = [], []
    for trunk in trunks:
        stages = costs[costs["trunk"] == trunk]
        kept = np.arange(len(stages)) <= list(stages["stage"]).index(cut_after)
        for column, (_, unit, letter) in measures.items():
            values = stages[column].to_numpy() / unit
            titles.append(f"<b>{trunk}</b>: {values[kept].sum():.2f} of {values.sum():.2f} {letter} kept")
            bars.append((stages["stage"], values, kept))
    figure = make_subplots(
        len(trunks),
        2,
        subplot_titles=titles,
        shared_yaxes=True,
        horizontal_spacing=0.06,
        vertical_spacing=0.36 / len(trunks),
    )
    for place, (stages, values, kept) in enumerate(bars):
        row, column = place // 2 + 1, place % 2 + 1
        figure.add_bar(
            y=stages,
            x=values,
            orientation="h",
            marker_color=[KEPT if keep else CUT for keep in kept],
            text=[f" {_short(value)} ({_percent(value / values.sum())})" for value in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
            showlegend=False,
            row=row,
            col=column,
        )
        figure.add_hline(
            y=kept.sum() - 0.5, line={"color": COLOURS["anger"], "width": 2, "dash": "dash"}, row=row, col=column
        )
        figure.update_xaxes(
            range=[0, values.max() * 1.3], title_text=list(measures.values())[column - 1][0], row=row, col=column
        )
    for name, colour in (("kept", KEPT), ("cut away", CUT)):
        figure.add_bar(x=[None], y=[None], marker_color=colour, name=name)
    figure.add_scatter(
        x=[None], y=[None], mode="lines", line={"color": COLOURS["anger"], "dash": "dash", "width": 2}, name="the cut"
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_annotations(font_size=14)
    return _styled(
        figure,
        "What every stage costs, for one image",
        130 + 290 * len(trunks),
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.08, "yanchor": "bottom"},
        bargap=0.3,
    ).update_layout(margin_l=120)


def influence(matrices: Mapping[str, np.ndarray]) -> go.Figure:
    """Who changes whom within a batch, a panel for each attention.

    Args:
        matrices: attention -> (B, B), entry [i, j] the change of image i's output when image j is replaced, in parts of
            the change that replacing image i itself makes.
    """
    figure = make_subplots(
        1, len(matrices), subplot_titles=[f"<b>{name}</b>" for name in matrices], horizontal_spacing=0.04
    )
    for place, matrix in enumerate(matrices.values(), 1):
        images = [str(number) for number in range(1, len(matrix) + 1)]
        figure.add_heatmap(
            z=matrix,
            x=images,
            y=images,
            coloraxis="coloraxis",
            xgap=2,
            ygap=2,
            hovertemplate="replacing image %{x} changes output %{y} by %{z:.2f}<extra></extra>",
            row=1,
            col=place,
        )
        figure.update_xaxes(title_text="image replaced", row=1, col=place)
        figure.update_yaxes(showticklabels=place == 1, row=1, col=place)
    figure.update_yaxes(title_text="output watched", row=1, col=1)
    figure.update_xaxes(showgrid=False, constrain="domain")
    figure.update_yaxes(showgrid=False, autorange="reversed", scaleanchor="x", constrain="domain")
    for place in range(2, len(matrices) + 1):
        figure.update_yaxes(scaleanchor=f"x{place}", row=1, col=place)
    return _styled(
        figure,
        "Replace one image of the batch: whose output changes?",
        330,
        coloraxis={
            "colorscale": [[0, "#f5f7f9"], [1, ATTENTION_COLOURS["batch"]]],
            "cmin": 0,
            "cmax": 1,
            "colorbar": {
                "thickness": 14,
                "tickvals": [0, 1],
                "ticktext": ["no change", "as much as<br>by its own"],
            },
        },
    )


def accuracy_by_batch(accuracy: pd.DataFrame, chance: float | None = None) -> go.Figure:
    """Accuracy over the batch size, a line for each attention and order of the test set.

    Args:
        accuracy: `attention`, `order` ("any", "sorted by class", "shuffled"), `batch_size`, `accuracy` in 0..1.
        chance: accuracy of guessing, 0..1, drawn as a dotted line.
    """
    dashes = {"any": "solid", "sorted by class": "solid", "shuffled": "dash"}
    figure = go.Figure()
    for (attention, order), line in accuracy.groupby(["attention", "order"], sort=False):
        sizes = [str(size) for size in line["batch_size"]]
        name = f"{attention} attention" if attention != "none" else "no attention"
        figure.add_scatter(
            x=sizes,
            y=line["accuracy"] * 100,
            name=f"{name}, {order}" if order != "any" else f"{name}, any order",
            mode="lines+markers",
            line={"color": ATTENTION_COLOURS[attention], "width": 3, "dash": dashes[order]},
            marker_size=9,
            hovertemplate="batches of %{x}: %{y:.1f} %<extra></extra>",
        )
    if chance is not None:
        figure.add_hline(
            y=chance * 100,
            line={"color": INK, "width": 1, "dash": "dot"},
            annotation_text="guessing",
            annotation_font_size=12,
        )
    figure.update_xaxes(title_text="images in a batch", type="category")
    figure.update_yaxes(title_text="accuracy (%)", range=[0, 103])
    return _styled(
        figure,
        "Same vectors, same labels, same classifier: only the batches differ",
        430,
        legend={"orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom"},
    )


def face_predictions(predictions: Mapping[str, "FacePrediction"]) -> go.Figure:
    """Faces side by side: the face, what the model looked at, and the probability of every class.

    Args:
        predictions: caption -> prediction with a heat map; best up to five.
    """
    count = len(predictions)
    figure = make_subplots(
        3,
        count,
        row_heights=[0.3, 0.3, 0.4],
        horizontal_spacing=0.02,
        vertical_spacing=0.03,
        subplot_titles=list(predictions),
    )
    for column, prediction in enumerate(predictions.values(), 1):
        for row, picture in ((1, prediction.face), (2, prediction.overlay())):
            figure.add_trace(go.Image(source=_data_uri(picture), hoverinfo="skip"), row=row, col=column)
            figure.update_xaxes(visible=False, row=row, col=column)
            figure.update_yaxes(visible=False, row=row, col=column)
        classes, scores = list(prediction.scores), np.array(list(prediction.scores.values())) * 100
        figure.add_bar(
            y=classes,
            x=scores,
            orientation="h",
            marker_color=[COLOURS.get(name, OTHER_COLOUR) for name in classes],
            text=[f"{score:.0f}" for score in scores],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
            row=3,
            col=column,
        )
        figure.update_xaxes(title_text="probability (%)", range=[0, 118], tickvals=[0, 50, 100], row=3, col=column)
        figure.update_yaxes(autorange="reversed", showticklabels=column == 1, showgrid=False, row=3, col=column)
    side = min((WIDTH - 115) / count, 230)  # pixels
    figure = _styled(
        figure,
        "Face, Grad-CAM of the predicted class, and probabilities",
        height=int(side * 2 + 380),
        width=int(max(115 + side * count, 560)),
        bargap=0.25,
    )
    figure.update_annotations(font_size=13)
    return figure.update_layout(showlegend=False, margin_l=90)


def _short(value: float) -> str:
    """Two decimals, or three where two would leave nothing."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _percent(share: float) -> str:
    """Whole percent, but never 0 % for something."""
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def _data_uri(picture: np.ndarray) -> str:
    """(H, W, 3) uint8 -> a JPEG that can stand in a figure's JSON."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
