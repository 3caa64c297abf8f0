"""Chapter 5, evaluation: what the batches of a test set do, protocols, selection, calibration, confusion."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ferlib.labels import COLOURS
from ferlib.names import display_name
from ferlib.plots.ablation import PROTOCOL_COLOURS
from ferlib.plots.style import BLUES, INK, KEPT, OTHER_COLOUR, WIDTH, legend_above, styled

#: One colour per order of the test set, as in the audit.
ORDER_COLOURS = {"sorted": COLOURS["anger"], "shuffled": COLOURS["sadness"], "single": INK}
LEAKY, HONEST, MARK = PROTOCOL_COLOURS["published"], PROTOCOL_COLOURS["honest"], PROTOCOL_COLOURS["paper"]


def batch_audit(batches: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Accuracy and changed predictions over the batch size, a column of panels a model.

    Args:
        batches: name of the model -> the frame of its audit (`ferlib.evaluation.audit.AuditReport.frame`).
    """
    measures = {"accuracy": "accuracy (%)", "changed": "changed predictions (%)"}
    figure = make_subplots(
        2,
        len(batches),
        subplot_titles=[f"<b>{name}</b>" for name in batches],
        shared_xaxes=True,
        shared_yaxes=True,
        vertical_spacing=0.07,
        horizontal_spacing=0.04,
    )
    for column, frame in enumerate(batches.values(), 1):
        alone = frame[frame["batch_order"] == "single"]
        for row, (measure, label) in enumerate(measures.items(), 1):
            for order in ("sorted", "shuffled"):
                line = frame[frame["batch_order"] == order]
                line = pd.concat([alone, line]) if len(alone) else line
                figure.add_scatter(
                    x=[str(size) for size in line["batch_size"]],
                    y=line[measure] * 100,
                    name={"sorted": "faces sorted by class", "shuffled": "faces shuffled"}[order],
                    legendgroup=order,
                    showlegend=row == column == 1,
                    mode="lines+markers",
                    line={"color": ORDER_COLOURS[order], "width": 3, "dash": "solid" if order == "sorted" else "dash"},
                    marker_size=8,
                    hovertemplate="batches of %{x}: %{y:.1f} %<extra></extra>",
                    row=row,
                    col=column,
                )
            figure.update_yaxes(range=[-3, 103], title_text=label if column == 1 else None, row=row, col=column)
        figure.update_xaxes(type="category", row=1, col=column)
        figure.update_xaxes(type="category", title_text="faces in a batch", row=2, col=column)
    figure.update_annotations(font_size=13)
    return styled(
        figure,
        "The same model and the same faces: only the batches differ",
        560,
        legend=legend_above("right", 1.07),
    ).update_layout(margin_t=100)


def protocols(table: pd.DataFrame, metric: str = "accuracy") -> go.Figure:
    """From a published figure to an honest one: a panel a model, a bar a protocol, with its interval.

    Args:
        table: of `ferlib.experiments.protocols.protocols_table`: one row a `data`, `model`, `backbone`, `protocol` and
            `metric`, with `part` ("protocol" or "reference"), `seeds`, and `value`, `low`, `high` in 0..1. A panel is
            a data set, model and backbone; titles name the backbone where there are several.
        metric: which to show.
    """
    panels = dict(iter(table[table["metric"] == metric].groupby(["data", "model", "backbone"], sort=False)))
    several = table["backbone"].nunique() > 1
    bars = max(len(rows) for rows in panels.values())
    columns = len(panels) if len(panels) <= 3 else 2
    lines = -(-len(panels) // columns)
    titles = []
    for (data, model, backbone), rows in panels.items():
        named = f"<br>{display_name(backbone)}," if several else ""
        titles.append(f"<b>{display_name(model)}</b> on {display_name(data)},{named} seeds: {rows['seeds'].iloc[0]}")
    figure = make_subplots(
        lines,
        columns,
        subplot_titles=titles,
        shared_yaxes=True,
        horizontal_spacing=0.04,
        vertical_spacing=0.22 / lines,
    )
    for place, rows in enumerate(panels.values()):
        rows = pd.concat([rows[rows["part"] == part] for part in ("protocol", "reference")])
        by_network = rows["network"].map({"token": HONEST}).fillna(LEAKY)
        colours = list(by_network.mask(rows["part"] == "reference", MARK))
        value, low, high = (100 * rows[name] for name in ("value", "low", "high"))
        figure.add_bar(
            x=value,
            y=list(rows["protocol"]),
            orientation="h",
            marker_color=colours,
            error_x={
                "array": high - value,
                "arrayminus": value - low,
                "symmetric": False,
                "color": INK,
                "thickness": 1.5,
                "width": 4,
            },
            text=[f"{number:.1f}" for number in value],
            textposition="inside",
            insidetextanchor="start",
            textfont={"color": [INK if colour == MARK else "white" for colour in colours], "size": 13},
            hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
            showlegend=False,
            row=place // columns + 1,
            col=place % columns + 1,
        )
    for name, colour in (
        ("attention across the batch", LEAKY),
        ("attention within a face", HONEST),
        ("for comparison", MARK),
    ):
        figure.add_bar(x=[None], y=[None], marker_color=colour, name=name)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(range=[0, 104])
    for column in range(1, columns + 1):
        last = lines if column <= len(panels) - (lines - 1) * columns else lines - 1
        figure.update_xaxes(title_text=f"{metric.replace('_', ' ')} (%)", row=last, col=column)
    figure.update_annotations(font_size=14)
    return styled(
        figure,
        "The same faces, one leak less at every step",
        150 + lines * (34 * bars + 70),
        legend=legend_above("right", 1 + 34 / (lines * 34 * bars)),
        bargap=0.25,
    ).update_layout(margin={"l": 235, "t": 110})


def selection(history: pd.DataFrame, chosen: int, claimed: int, validation: str, test: str) -> go.Figure:
    """Validation and test accuracy over the epochs, and what each way to choose the epoch reports.

    Args:
        history: one row an epoch, with the two columns in 0..1.
        chosen: the epoch (from 1) that is best on validation.
        claimed: the epoch that is best on the test set.
        validation, test: the columns' names.
    """
    epochs = np.arange(1, len(history) + 1)
    figure = go.Figure()
    for column, name, colour in ((validation, "validation", MARK), (test, "test", INK)):
        figure.add_scatter(
            x=epochs, y=100 * history[column], name=name, mode="lines+markers", line={"color": colour, "width": 3}
        )
    for epoch, name, colour, symbol, size in (
        (claimed, "chosen on test", LEAKY, "star", 12),
        (chosen, "chosen on validation", HONEST, "circle-open", 22),  # around the star, where they agree
    ):
        value = 100 * history[test].iloc[epoch - 1]
        figure.add_scatter(
            x=[epoch],
            y=[value],
            name=f"{name}: {value:.1f} %",
            mode="markers",
            marker={"size": size, "color": colour, "symbol": symbol, "line": {"width": 3, "color": colour}},
        )
    figure.update_xaxes(title_text="epoch", dtick=max(1, len(history) // 15))
    figure.update_yaxes(title_text="accuracy (%)")
    return styled(
        figure,
        "One run, two ways to choose its epoch",
        420,
        legend=legend_above("left"),
    )


def reliability_diagrams(curves: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Reliability diagrams: accuracy at each confidence, a panel a curve; below, the number of faces.

    Args:
        curves: title -> `ferlib.evaluation.calibration.reliability`.
    """
    figure = make_subplots(
        2,
        len(curves),
        subplot_titles=[f"<b>{name}</b>" for name in curves],
        row_heights=[0.75, 0.25],
        shared_xaxes=True,
        shared_yaxes=True,
        vertical_spacing=0.06,
        horizontal_spacing=0.05,
    )
    for column, curve in enumerate(curves.values(), 1):
        middle = 50 * (curve["start"] + curve["end"])
        width = 100 * (curve["end"] - curve["start"]) * 0.9
        accuracy = 100 * curve["accuracy"]
        first = column == 1
        figure.add_bar(
            x=middle,
            y=accuracy,
            width=width,
            marker_color=KEPT,
            error_y={
                "array": 100 * curve["high"] - accuracy,
                "arrayminus": accuracy - 100 * curve["low"],
                "symmetric": False,
                "color": INK,
                "thickness": 1.2,
                "width": 3,
            },
            name="share that is right, 95 % interval",
            showlegend=first,
            hovertemplate="%{y:.1f} % right<extra></extra>",
            row=1,
            col=column,
        )
        figure.add_scatter(
            x=[0, 100],
            y=[0, 100],
            mode="lines",
            line={"color": LEAKY, "dash": "dash", "width": 2},
            name="calibrated",
            showlegend=first,
            row=1,
            col=column,
        )
        share = 100 * curve["faces"] / curve["faces"].sum()
        figure.add_bar(x=middle, y=share, width=width, marker_color=MARK, showlegend=False, row=2, col=column)
        figure.update_xaxes(range=[0, 100], row=1, col=column)
        figure.update_xaxes(range=[0, 100], title_text="confidence (%)", row=2, col=column)
    highest = max(100 * (curve["faces"] / curve["faces"].sum()).max() for curve in curves.values())
    figure.update_yaxes(range=[0, 103], row=1)
    figure.update_yaxes(range=[0, 1.1 * highest], row=2)
    figure.update_yaxes(title_text="right (%)", row=1, col=1)
    figure.update_yaxes(title_text="faces (%)", row=2, col=1)
    figure.update_annotations(font_size=13)
    return styled(
        figure,
        "Does a confidence mean what it says?",
        540,
        legend=legend_above("right", 1.07),
    ).update_layout(margin_t=100)


def add_percent_map(
    figure: go.Figure,
    column: int,
    z: np.ndarray,
    x: Sequence[str],
    y: Sequence[str],
    text: Sequence[Sequence[str]],
    size: int,
    hover: str,
) -> None:
    """Put a table of percentages (rows y, columns x) into a column of a figure, with a text in every cell."""
    figure.add_heatmap(
        z=z,
        x=list(x),
        y=list(y),
        text=text,
        texttemplate="%{text}",
        textfont_size=size,
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
        hovertemplate=hover,
        row=1,
        col=column,
    )


def percent_maps(figure: go.Figure, title: str, x_title: str, y_title: str) -> go.Figure:
    """A figure of some `add_percent_map` side by side, finished: titles, axes, one scale of colours, 0 to 100 %."""
    figure.update_xaxes(title_text=x_title, showgrid=False, tickangle=-45, title_standoff=8)
    figure.update_yaxes(showgrid=False, autorange="reversed", title_standoff=6)
    figure.update_yaxes(title_text=y_title, row=1, col=1)
    figure.update_annotations(font_size=14)
    return styled(
        figure,
        title,
        500,
        width=WIDTH + 60,
        coloraxis={"colorscale": BLUES, "cmin": 0, "cmax": 100, "colorbar": {"title": {"text": "%"}, "thickness": 14}},
    ).update_layout(margin={"l": 110, "b": 95})


def confusion_matrices(counts: np.ndarray, classes: Sequence[str], title: str) -> go.Figure:
    """A confusion matrix as counts and, beside it, as fractions of each true class; both are coloured by the shares.

    Args:
        counts: (K, K), rows the true classes.
        classes: their names.
        title: of the figure.
    """
    counts = np.asarray(counts)
    faces = counts.sum(axis=1, keepdims=True)
    shares = 100 * np.divide(counts, faces, out=np.full(counts.shape, np.nan), where=faces > 0)
    texts = {
        "<b>faces</b>": [[f"{count:,}" if count else "" for count in row] for row in counts],
        "<b>fraction of the true class (%)</b>": [
            [f"{share:.1f}" if share > 0 else "" for share in row] for row in shares
        ],
    }
    figure = make_subplots(1, 2, subplot_titles=list(texts), shared_yaxes=True, horizontal_spacing=0.04)
    for column, text in enumerate(texts.values(), 1):
        hover = "%{y} called %{x}: %{z:.1f} %<extra></extra>"
        add_percent_map(figure, column, shares, classes, classes, text, 11, hover)
    return percent_maps(figure, title, "predicted", "true")


def class_scores(tables: Mapping[str, pd.DataFrame], measure: str = "recall") -> go.Figure:
    """One score of every class, beside each other for several models, in the tables' order as in every other figure.

    Args:
        tables: model -> `ferlib.evaluation.metrics.per_class`, of the same test faces.
        measure: "precision", "recall" or "f1".
    """
    order = next(iter(tables.values())).index
    colours = [HONEST, MARK, OTHER_COLOUR, COLOURS["happiness"]]
    figure = go.Figure()
    for (name, table), colour in zip(tables.items(), cycle(colours)):
        table = table.loc[order]
        figure.add_bar(
            x=[f"{label}<br>({faces:,.0f})" for label, faces in table["support"].items()],
            y=100 * table[measure],
            name=name,
            marker_color=colour,
            text=[f"{100 * value:.0f}" for value in table[measure]],
            textposition="outside",
            cliponaxis=False,
        )
    figure.update_yaxes(title_text=f"{measure} (%)", range=[0, 105])
    figure.update_xaxes(title_text="class (test faces)", showgrid=False)
    return styled(
        figure,
        f"{measure.capitalize()} of every class",
        430,
        legend=legend_above("right"),
        bargap=0.25,
    )
