"""Chapter 3, training: curves of runs, learning rates, a backbone's two views of a face, and where the time goes."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ferlib.evaluation.kept_epoch import best_epoch
from ferlib.images import data_url
from ferlib.labels import COLOURS
from ferlib.names import display_name
from ferlib.plots.style import CUT, INK, KEPT, OTHER_COLOUR, legend_below, short, styled

#: Colours for runs side by side, in order.
RUN_COLOURS = (COLOURS["sadness"], COLOURS["anger"], COLOURS["disgust"], COLOURS["fear"], COLOURS["happiness"])
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def step_sizes(rates: Sequence[float], losses: Mapping[str, Sequence[float]], before: Mapping[str, float]) -> go.Figure:
    """Loss after one step along the gradient, over the size of the step.

    Args:
        rates: the learning rates tried, all from the same weights.
        losses: whose loss it is -> the loss after the step, one a rate.
        before: the same names -> the loss before it, a dashed line each.
    """
    figure = go.Figure()
    for i, (name, values) in enumerate(losses.items()):
        colour = RUN_COLOURS[i % len(RUN_COLOURS)]
        figure.add_scatter(
            x=list(rates), y=list(values), mode="lines+markers", name=name, line={"color": colour, "width": 2}
        )
        figure.add_hline(before[name], line={"color": colour, "dash": "dash", "width": 1.5})
    low, high = min(min(values) for values in losses.values()), max(before.values())
    margin = max(high - low, 0.1)  # what overshoots leaves the frame: it would flatten the rest
    figure.update_xaxes(title_text="learning rate (log)", type="log", dtick=1)
    figure.update_yaxes(title_text="cross-entropy after the step", range=[low - margin / 4, high + margin])
    figure = styled(figure, "One step, from the same weights (dashed: the loss before it)", 380)
    return figure.update_layout(legend=legend_below(-0.22), margin_b=100)


def curves(
    histories: Mapping[str, pd.DataFrame],
    metric: str = "accuracy",
    chance: tuple[float, float] | None = None,
    select_by: str = "accuracy",
    least_gain: float = 0.0,
) -> go.Figure:
    """Training loss and a validation metric of some runs over the epochs; the epoch that `fit` keeps is marked.

    Args:
        histories: a run's name -> its history, as `ferlib.training.loop.fit` returns it.
        metric: a column of the histories.
        chance: loss and metric of guessing, a dashed line each.
        select_by, least_gain: by which `fit` kept an epoch, see `ferlib.evaluation.kept_epoch.best_epoch`.
    """
    name = display_name(metric)
    figure = make_subplots(1, 2, subplot_titles=("loss on the training faces", f"{name} on the validation faces"))
    for i, (run, history) in enumerate(histories.items()):
        line = {"color": RUN_COLOURS[i % len(RUN_COLOURS)], "dash": DASHES[i % len(DASHES)], "width": 2}
        epochs = history["epoch"] + 1
        best = best_epoch(history, select_by, least_gain)
        for column, values in ((1, history["train_loss"]), (2, history[metric])):
            figure.add_scatter(
                x=epochs, y=values, mode="lines+markers", marker_size=5, line=line, name=run, legendgroup=run,
                showlegend=column == 1, row=1, col=column,
            )  # fmt: skip
        figure.add_scatter(
            x=[epochs[best]], y=[history[metric][best]], mode="markers", showlegend=False, legendgroup=run,
            marker={"color": line["color"], "size": 10, "line": {"color": "white", "width": 1}}, row=1, col=2,
        )  # fmt: skip
    for column, level in enumerate(chance or (), 1):
        figure.add_hline(
            level, row=1, col=column, line={"color": OTHER_COLOUR, "dash": "dash", "width": 1.5},
            annotation={"text": "guessing", "x": 1, "xanchor": "right", "yanchor": "bottom"},
        )  # fmt: skip
    last = max(len(history) for history in histories.values())
    figure.update_xaxes(title_text="epoch", range=[0, last + 0.3])
    figure.update_yaxes(title_text="cross-entropy", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title_text=name, tickformat=".0%", row=1, col=2)
    figure = styled(figure, "How the runs went (dots: the epochs that are kept)", 420)
    return figure.update_layout(legend=legend_below(-0.2), margin_b=100)


def learning_rates(rates: Mapping[str, Sequence[float]]) -> go.Figure:
    """Learning-rate schedules, each as fractions of its recipe's rate, over the run.

    Args:
        rates: schedule -> shares at equally spaced moments of the run, from its start to its end.
    """
    figure = go.Figure()
    for i, (name, values) in enumerate(rates.items()):
        line = {"color": RUN_COLOURS[i % len(RUN_COLOURS)], "dash": DASHES[i % len(DASHES)], "width": 2}
        figure.add_scatter(
            x=np.linspace(0, 1, len(values)), y=list(values), mode="lines", line=line, name=display_name(name)
        )
    figure.update_xaxes(title_text="fraction of the run", tickformat=".0%")
    figure.update_yaxes(title_text="fraction of the recipe's rate (log)", type="log", tickvals=[1, 0.1, 0.01, 0.001])
    figure = styled(figure, "Learning rates over a run", 380)
    return figure.update_layout(legend=legend_below(-0.22), margin_b=100)


def two_views(face: np.ndarray, maps: np.ndarray, channels: Sequence[int]) -> go.Figure:
    """Feature maps of a picture and of its mirror image: one row each, some channels.

    Args:
        face: (H, W) or (H, W, 3) uint8.
        maps: of the picture and of its mirror image, (2, C, h, w).
        channels: which of the C to draw.
    """
    titles = ["what the backbone sees", *(f"channel {channel}" for channel in channels)]
    figure = make_subplots(
        2, len(titles), subplot_titles=titles + [""] * len(titles), horizontal_spacing=0.02, vertical_spacing=0.05
    )
    for row, view in enumerate((face, face[:, ::-1]), start=1):
        figure.add_image(source=data_url(np.ascontiguousarray(view)), row=row, col=1)
        for column, channel in enumerate(channels, start=2):
            low, high = maps[:, channel].min(), maps[:, channel].max()  # one scale for both views
            figure.add_heatmap(
                z=maps[row - 1, channel],
                zmin=low,
                zmax=high,
                colorscale="Viridis",
                showscale=False,
                row=row,
                col=column,
            )
    figure.update_xaxes(visible=False, constrain="domain")
    figure.update_yaxes(visible=False, autorange="reversed", scaleanchor="x")
    for row in (1, 2):
        for column in range(1, len(titles) + 1):
            axis = "x" if (row, column) == (1, 1) else f"x{(row - 1) * len(titles) + column}"
            figure.update_yaxes(scaleanchor=axis, row=row, col=column)
    for text, y in (("picture", 0.77), ("mirrored", 0.23)):
        figure.add_annotation(
            text=text,
            textangle=-90,
            x=-0.03,
            y=y,
            xref="paper",
            yref="paper",
            yanchor="middle",
            showarrow=False,
            font_color=INK,
        )
    figure.update_annotations(font_size=13)
    return styled(figure, "All that the head can ever see of this face: two maps, computed once", 430)


def costs(seconds: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """Time of a run by part of the work, added up from the times of steps: one stacked bar a way of training.

    Args:
        seconds: way -> part of the work -> seconds, of steps times their number.
    """
    parts = list(dict.fromkeys(part for work in seconds.values() for part in work))
    colours = dict(zip(parts, cycle((KEPT, COLOURS["happiness"], OTHER_COLOUR, CUT))))
    figure = go.Figure()
    for part in parts:
        values = [work.get(part, 0.0) for work in seconds.values()]
        figure.add_bar(y=list(seconds), x=values, orientation="h", name=part, marker_color=colours[part])
    totals = [sum(work.values()) for work in seconds.values()]
    for way, total in zip(seconds, totals, strict=True):
        text = f"{total:.0f}" if total >= 1 else short(total)
        figure.add_annotation(x=total, y=way, text=f" {text} s", showarrow=False, xanchor="left")
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title_text="seconds, added up from step times", range=[0, max(totals) * 1.15])
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure = styled(figure, "Where the time goes", 200 + 60 * len(seconds))
    return figure.update_layout(legend=legend_below(-0.35), margin={"l": 190, "b": 110})


def learning_curve(table: pd.DataFrame, references: Mapping[str, float], metric: str = "accuracy") -> go.Figure:
    """A test metric over the number of training faces of each class, with intervals.

    Args:
        table: from `ferlib.experiments.learning_curve.learning_curve`.
        references: name -> value 0..1 of what to compare with, e.g. chance; a dashed line each.
        metric: one of the table's.
    """
    rows = table[table["metric"] == metric]
    value = 100 * rows["value"]
    spread = {"array": 100 * rows["high"] - value, "arrayminus": value - 100 * rows["low"], "symmetric": False}
    figure = go.Figure()
    for name, level in references.items():
        figure.add_hline(
            100 * level, line={"color": OTHER_COLOUR, "dash": "dash", "width": 1.5},
            annotation={"text": f"{name}: {100 * level:.0f} %", "x": 0, "xanchor": "left", "yanchor": "bottom"},
        )  # fmt: skip
    figure.add_scatter(
        x=rows["count"], y=value, mode="lines+markers+text", line={"color": KEPT, "width": 2}, marker_size=9,
        error_y=spread | {"color": KEPT, "thickness": 1.3, "width": 5}, showlegend=False,
        text=[f"{share:.0f}" for share in value], textposition="bottom right",
    )  # fmt: skip
    name = display_name(metric)
    figure.update_xaxes(title_text="training faces of each class (log)", type="log", tickvals=list(rows["count"]))
    figure.update_yaxes(title_text=f"{name} on the test faces (%)", range=[0, 103])
    return styled(figure, "How many faces are enough? (95 % intervals over test people and seeds)", 420)
