"""Chapter 2, the models: what a trunk costs, who changes whom in a batch, what a model sees in a face."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ferlib.labels import COLOURS
from ferlib.plots.style import CUT, INK, KEPT, OTHER_COLOUR, WIDTH, data_uri, percent, short, styled

if TYPE_CHECKING:
    from ferlib.predict import FacePrediction

#: One colour per reading of the attention.
ATTENTION_COLOURS = {
    "none": COLOURS["neutral"],
    "channel": COLOURS["disgust"],
    "token": COLOURS["sadness"],
    "batch": COLOURS["anger"],
}


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
            text=[f" {short(value)} ({percent(value / values.sum())})" for value in values],
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
    return styled(
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
    return styled(
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
    return styled(
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
            figure.add_trace(go.Image(source=data_uri(picture), hoverinfo="skip"), row=row, col=column)
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
    figure = styled(
        figure,
        "Face, Grad-CAM of the predicted class, and probabilities",
        height=int(side * 2 + 380),
        width=int(max(115 + side * count, 560)),
        bargap=0.25,
    )
    figure.update_annotations(font_size=13)
    return figure.update_layout(showlegend=False, margin_l=90)
