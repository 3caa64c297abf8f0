"""Chapter 2, the models: what their parts cost and see, who changes whom in a batch, what eq. 5 of IVSA does."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from ferlib.images import data_url
from ferlib.labels import COLOURS
from ferlib.names import display_name
from ferlib.plots.style import CUT, INK, KEPT, WIDTH, in_colour, legend_above, percent, short, styled

#: One colour per reading of the attention.
ATTENTION_COLOURS = {
    "none": COLOURS["neutral"],
    "channel": COLOURS["disgust"],
    "token": COLOURS["sadness"],
    "batch": COLOURS["anger"],
}
#: One per reading of IVSA's eq. 5.
RESCALE_COLOURS = {"none": COLOURS["neutral"], "normalised": COLOURS["sadness"], "literal": COLOURS["anger"]}
FROZEN = "#a9b4c0"  # parts that are not trained
STAGE_COLOURS = (COLOURS["happiness"], COLOURS["disgust"], COLOURS["sadness"], COLOURS["fear"])  # as one goes deeper


def stage_costs(costs: pd.DataFrame, cut_after: str) -> go.Figure:
    """Cost of every stage of some backbones, and of what a cut leaves: one row of panels a backbone.

    Args:
        costs: one row a backbone and stage, in order: `backbone`, `stage`, `parameters` and `multiply_adds` (of one
            image).
        cut_after: the last stage that is kept.
    """
    measures = {
        "parameters": ("parameters (millions)", 1e6, "M"),
        "multiply_adds": ("multiply-adds (billions)", 1e9, "G"),
    }
    backbones = list(dict.fromkeys(costs["backbone"]))
    titles, bars = [], []
    for backbone in backbones:
        stages = costs[costs["backbone"] == backbone]
        kept = np.arange(len(stages)) <= list(stages["stage"]).index(cut_after)
        for column, (_, unit, letter) in measures.items():
            values = stages[column].to_numpy() / unit
            titles.append(
                f"<b>{display_name(backbone)}</b>: {values[kept].sum():.2f} of {values.sum():.2f} {letter} kept"
            )
            bars.append((stages["stage"], values, kept))
    figure = make_subplots(
        len(backbones),
        2,
        subplot_titles=titles,
        shared_yaxes=True,
        horizontal_spacing=0.06,
        vertical_spacing=0.36 / len(backbones),
    )
    for place, (stages, values, kept) in enumerate(bars):
        row, col = place // 2 + 1, place % 2 + 1
        colours = [KEPT if keep else CUT for keep in kept]
        texts = [f" {short(value)} ({percent(value / values.sum())})" for value in values]
        figure.add_trace(_bars(stages, values, colours, texts), row=row, col=col)
        figure.add_hline(
            y=kept.sum() - 0.5, line={"color": COLOURS["anger"], "width": 2, "dash": "dash"}, row=row, col=col
        )
        figure.update_xaxes(
            range=[0, values.max() * 1.3], title_text=list(measures.values())[col - 1][0], row=row, col=col
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
        130 + 290 * len(backbones),
        legend=legend_above("right", 1.08),
        bargap=0.3,
    ).update_layout(margin_l=120)


def budgets(costs: pd.DataFrame) -> go.Figure:
    """Parameters and multiply-adds of some models by part: a row of panels a model, a bar a part.

    Args:
        costs: one row a model and part, in order: `model`, `part`, `parameters`, `trained` (how many of them are) and
            `multiply_adds` (of one face).
    """
    measures = {"parameters": "fraction of the parameters (%)", "multiply_adds": "fraction of the multiply-adds (%)"}
    models = dict(iter(costs.groupby("model", sort=False)))
    titles = []
    for name, rows in models.items():
        whole, trained = rows["parameters"].sum(), rows["trained"].sum()
        learns = "all" if trained == whole else amount(trained)
        titles.append(f"<b>{display_name(name)}</b>: {amount(whole)} parameters, {learns} trained")
        titles.append(f"<b>{display_name(name)}</b>: {amount(rows['multiply_adds'].sum())} multiply-adds")
    counts = [len(rows) for rows in models.values()]
    height = 24 * sum(counts) + 60 * len(counts) + 100  # pixels
    figure = make_subplots(
        len(models),
        2,
        subplot_titles=titles,
        shared_yaxes=True,
        row_heights=counts,
        horizontal_spacing=0.07,
        vertical_spacing=50 / (height - 150),
    )
    for row, rows in enumerate(models.values(), 1):
        frozen = (rows["parameters"] > 0) & (rows["trained"] == 0)
        for column, (measure, label) in enumerate(measures.items(), 1):
            shares = rows[measure] / rows[measure].sum()
            colours = [FROZEN if still else KEPT for still in frozen]
            texts = [f" {amount(n)} ({percent(share)})" for n, share in zip(rows[measure], shares, strict=True)]
            figure.add_trace(_bars(rows["part"], shares * 100, colours, texts), row=row, col=column)
            last = row == len(models)
            axis = {"range": [0, 130], "tickvals": [0, 25, 50, 75, 100], "title_text": label if last else None}
            figure.update_xaxes(axis, showticklabels=last, row=row, col=column)
    for name, colour in (("frozen", FROZEN), ("trained", KEPT)):
        figure.add_bar(x=[None], y=[None], marker_color=colour, name=name)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_annotations(font_size=14)
    return styled(
        figure,
        "Where a model's parameters and its work are",
        height,
        legend=legend_above("right", 1 + 40 / (height - 150)),
        bargap=0.25,
    ).update_layout(margin_l=135)


def _bars(names: Sequence[str], values: Sequence[float], colours: list[str], texts: list[str]) -> go.Bar:
    """Horizontal bars, each with a text behind it."""
    return go.Bar(
        y=names,
        x=values,
        orientation="h",
        marker_color=colours,
        text=texts,
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        showlegend=False,
    )


def amount(value: float) -> str:
    """Three digits and a letter: 60.5 M, 207 k, 264."""
    for unit, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= unit:
            digits = 2 if value < 10 * unit else 1 if value < 100 * unit else 0
            return f"{value / unit:.{digits}f}{letter}"
    return f"{value:.0f}"


def receptive_fields(pictures: Mapping[str, np.ndarray], fields: pd.DataFrame) -> go.Figure:
    """Receptive field of the middle position of every stage's feature map on a face, a panel a model.

    A field as large as the picture or larger is a dashed frame around it.

    Args:
        pictures: model -> a face as the model gets it, (S, S) or (S, S, 3) uint8.
        fields: one row a model and part, in order: `model`, `part` and `field` (pixels); at most four a model.
    """
    figure = make_subplots(1, len(pictures), horizontal_spacing=0.03)
    most = int(fields.groupby("model").size().max())
    for column, (name, picture) in enumerate(pictures.items(), 1):
        side = len(picture)
        middle, edge = side / 2, side * 0.1
        shown = Image.fromarray(in_colour(picture)).resize(
            (448, 448), Image.Resampling.NEAREST
        )  # its pixels remain to be seen
        axes = {"xref": f"x{column}", "yref": f"y{column}"}
        dot = go.Scatter(x=[middle], y=[middle], mode="markers", marker={"size": 4, "color": "white"}, hoverinfo="skip")
        figure.add_trace(dot, row=1, col=column)
        below_lines = {"source": data_url(np.asarray(shown)), "sizing": "stretch", "layer": "below"}
        figure.add_layout_image(below_lines, x=0, y=0, sizex=side, sizey=side, **axes)
        lines, frames = [f"<b>{display_name(name)}</b>, {side} × {side} px"], 0
        for (_, row), line in zip(fields[fields["model"] == name].iterrows(), cycle(STAGE_COLOURS)):
            whole = row["field"] >= side
            frames += whole
            half = middle + side * (0.035 * frames - 0.015) if whole else row["field"] / 2
            square = {"x0": middle - half, "x1": middle + half, "y0": middle - half, "y1": middle + half}
            if not whole:  # a light edge lets the line stand out from dark hair
                figure.add_shape(type="rect", line={"color": "white", "width": 5}, **square, **axes)
            stroke = {"color": line, "width": 3, "dash": "dash" if whole else "solid"}
            figure.add_shape(type="rect", line=stroke, name=row["part"], **square, **axes)
            reach = f"{row['field'] / side:.0%} of the side" if row["field"] != side else "just all of it"
            reach = "more than all of it" if row["field"] > side else reach
            lines.append(f'<span style="color:{line}"><b>■</b></span> {row["part"]}: {row["field"]:,} px, {reach}')
        figure.update_xaxes(range=[-edge, side + edge], visible=False, row=1, col=column)
        figure.update_yaxes(range=[side + edge, -edge], visible=False, scaleanchor=f"x{column}", row=1, col=column)
        figure.add_annotation(
            text="<br>".join(lines),
            x=figure.get_subplot(1, column).xaxis.domain[0] + 0.02,
            y=-0.01,
            xref="paper",
            yref="paper",
            xanchor="left",
            yanchor="top",
            align="left",
            showarrow=False,
        )
    below = 24 + 19 * (most + 1)  # pixels
    panel = (WIDTH - 40) * (1 - 0.03 * (len(pictures) - 1)) / len(pictures)
    figure = styled(figure, "What one unit in the middle of a stage's map sees", int(panel + 55 + below))
    return figure.update_layout(margin={"l": 20, "r": 20, "t": 55, "b": below}, showlegend=False)


def shrinkage(sizes: pd.DataFrame, expected: Mapping[str, float]) -> go.Figure:
    """Size of the activations on their way through IVSA, a line a reading of eq. 5.

    Args:
        sizes: `rescale`, `seed`, `place` and `size`, places in order. Lines are geometric means over the seeds,
            whiskers reach from the smallest to the largest.
        expected: place -> the size that eq. 5 taken literally should leave there.
    """
    places = list(dict.fromkeys(sizes["place"]))
    names = {"literal": "γ / Σγ, literally", "normalised": "C · γ / Σγ", "none": "no re-scaling"}
    figure = go.Figure()
    for rescale, rows in sizes.groupby("rescale", sort=False):
        by_place = rows.groupby("place")["size"]
        middle = np.exp(by_place.agg(lambda values: np.log(values).mean())).reindex(places)
        figure.add_scatter(
            x=places,
            y=middle,
            error_y={
                "array": by_place.max().reindex(places) - middle,
                "arrayminus": middle - by_place.min().reindex(places),
                "symmetric": False,
                "thickness": 1.2,
                "width": 4,
            },
            name=names[rescale],
            mode="lines+markers",
            line={"color": RESCALE_COLOURS[rescale], "width": 7 if rescale == "none" else 2.5},
            marker_size=8,
            hovertemplate="%{x}: %{y:.2g}<extra></extra>",
        )
    figure.add_scatter(
        x=list(expected),
        y=list(expected.values()),
        name="expected of it: 1/C of no re-scaling",
        mode="markers",
        marker={"symbol": "diamond-open", "size": 15, "color": INK, "line_width": 2},
        hovertemplate="%{x}: %{y:.2g} expected<extra></extra>",
    )
    figure.update_xaxes(categoryorder="array", categoryarray=places, tickangle=0, tickfont_size=12)
    figure.update_xaxes(title_text="after a stage's two convolutions with norm and GELU, and after its attention block")
    figure.update_yaxes(
        title_text="root mean square of a map's numbers (log)",
        type="log",
        tickvals=[10.0**power for power in range(-8, 4)],
        ticktext=[f"{10.0**power:.{max(-power, 0)}f}" for power in range(-8, 4)],
    )
    return styled(
        figure,
        "Eq. 5 taken literally: what shrinks, and what grows back",
        490,
        legend=legend_above("left"),
    )


def influence(matrices: Mapping[str, np.ndarray]) -> go.Figure:
    """Heat map of the influence of every image of a batch on every other, a panel for each attention.

    Args:
        matrices: attention -> (B, B), entry [i, j] the change of image i's output when image j is replaced, in parts of
            the change that replacing image i itself makes.
    """
    figure = make_subplots(
        1, len(matrices), subplot_titles=[f"<b>{display_name(name)}</b>" for name in matrices], horizontal_spacing=0.04
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
        legend=legend_above("left"),
    )
