"""Chapter 9, knowing when not to answer: what prediction sets cover, and what is answered at all."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy.stats import betabinom

from ferlib.labels import COLOURS
from ferlib.names import display_name
from ferlib.plots.style import CUT, INK, KEPT, OTHER_COLOUR, legend_above, styled

#: One colour per truth that sets are calibrated for.
TRUTH_COLOURS = {"label": KEPT, "votes": COLOURS["happiness"]}
TRUTH_NAMES = {"label": "the label is in the set", "votes": "a label drawn from the votes is in the set"}


def _interval(low: pd.Series, value: pd.Series, high: pd.Series) -> dict[str, object]:
    """An error bar in the unit of the values."""
    return {"array": high - value, "arrayminus": value - low, "color": INK, "thickness": 1.3, "width": 4}


def answered_curves(curves: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Accuracy over the fraction of faces that are answered, a line a model.

    Args:
        curves: name -> of `ferlib.evaluation.selective.accuracy_of_answered`.
    """
    figure = go.Figure()
    for (name, curve), colour in zip(
        curves.items(), cycle((KEPT, COLOURS["happiness"], OTHER_COLOUR, *COLOURS.values()))
    ):
        figure.add_scatter(
            x=100 * curve["answered"],
            y=100 * curve["accuracy"],
            name=name,
            mode="lines",
            line={"color": colour, "width": 3},
            customdata=curve["limit"],
            hovertemplate="%{x:.0f} % answered, %{y:.1f} % of these right; probability at least %{customdata:.2f}",
        )
    figure.update_xaxes(title_text="faces answered, the surest first (%)", range=[0, 101])
    figure.update_yaxes(title_text="of these right (%)", range=[None, 101])
    return styled(
        figure, "The fewer faces are answered, the more of the answers are right", 430, legend=legend_above("right")
    )


def promised_and_held(table: pd.DataFrame) -> go.Figure:
    """Coverage that was promised and that was held, a panel a model.

    Args:
        table: a row a model, truth and coverage, with `model`, `truth` ("label" or "votes"), `promised`, and `value`,
            `low`, `high` of what was held, all in 0..1.
    """
    models = list(dict.fromkeys(table["model"]))
    figure = make_subplots(
        1,
        len(models),
        subplot_titles=[display_name(model) for model in models],
        shared_yaxes=True,
        horizontal_spacing=0.04,
    )
    for column, model in enumerate(models, 1):
        for number, (truth, colour) in enumerate(TRUTH_COLOURS.items()):
            own = table[(table["model"] == model) & (table["truth"] == truth)]
            if own.empty:
                continue
            promised, value, low, high = (100 * own[name] for name in ("promised", "value", "low", "high"))
            figure.add_scatter(
                x=promised + (number - 0.5) * 0.8,  # beside each other
                y=value,
                name=TRUTH_NAMES[truth],
                legendgroup=truth,
                showlegend=model == table.loc[table["truth"] == truth, "model"].iloc[0],
                mode="markers",
                marker={"color": colour, "size": 10},
                error_y=_interval(low, value, high),
                customdata=promised,
                hovertemplate="promised %{customdata:.0f} %, held %{y:.1f} %<extra></extra>",
                row=1,
                col=column,
            )
        line = {"color": INK, "width": 1, "dash": "dot"}
        figure.add_scatter(
            x=[75, 100], y=[75, 100], mode="lines", line=line, showlegend=False, hoverinfo="skip", row=1, col=column
        )
        figure.update_xaxes(title_text="promised (%)", range=[77, 98], tickvals=[80, 90, 95], row=1, col=column)
    figure.update_yaxes(title_text="held (%)", row=1, col=1)
    figure.update_annotations(font_size=13)
    legend = legend_above("right", 1.11)
    return styled(figure, "What was promised, and what the test faces held", 440, legend=legend).update_layout(
        margin_t=105
    )


def coverage_by_class(panels: Mapping[str, pd.DataFrame], promised: float) -> go.Figure:
    """Coverage of every class with its interval, a panel a rule.

    Args:
        panels: title -> rows with `name`, `faces`, `value`, `low`, `high` in 0..1, in the order of reading.
        promised: coverage, 0..1.
    """
    figure = make_subplots(1, len(panels), subplot_titles=list(panels), shared_yaxes=True, horizontal_spacing=0.04)
    for column, own in enumerate(panels.values(), 1):
        value, low, high = (100 * own[name] for name in ("value", "low", "high"))
        figure.add_scatter(
            x=value,
            y=[f"{name} ({faces})" for name, faces in zip(own["name"], own["faces"], strict=True)],
            mode="markers",
            marker={"size": 10, "color": [COLOURS.get(name, OTHER_COLOUR) for name in own["name"]]},
            error_x=_interval(low, value, high),
            hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
            showlegend=False,
            row=1,
            col=column,
        )
        figure.add_vline(x=100 * promised, line={"color": INK, "width": 1, "dash": "dot"}, row=1, col=column)
        figure.update_xaxes(title_text="label in the set (%)", range=[-3, 103], row=1, col=column)
    figure.update_yaxes(autorange="reversed")
    figure.update_annotations(font_size=13)
    rows = max(len(own) for own in panels.values())
    title = f"Promised to {100 * promised:.0f} % of all faces, and held class by class"
    return styled(figure, title, 170 + 34 * rows).update_layout(margin={"l": 140, "t": 85})


def coverage_spread(coverages: np.ndarray, faces: int, tested: int, promised: float) -> go.Figure:
    """Coverage held in many draws of calibration and test faces, beside what theory says of it.

    Exchangeable faces give the number covered of `tested` a beta-binomial distribution: Angelopoulos and Bates, "A
    Gentle Introduction to Conformal Prediction" (2021), section 3.2.

    Args:
        coverages: held, 0..1, a number a draw.
        faces: calibrated on in every draw.
        tested: faces, in every draw.
        promised: coverage, 0..1.
    """
    rank = int(np.ceil((faces + 1) * promised - 1e-9))
    counts = np.arange(tested + 1)
    chances = betabinom(tested, rank, faces + 1 - rank).pmf(counts)
    found = np.bincount(np.rint(coverages * tested).astype(int), minlength=tested + 1) / len(coverages)
    shown = (chances > 1e-4) | (found > 0)
    figure = go.Figure()
    figure.add_bar(x=100 * counts[shown] / tested, y=100 * found[shown], name="drawn", marker_color=CUT)
    figure.add_scatter(
        x=100 * counts[shown] / tested, y=100 * chances[shown], name="by theory", line={"color": KEPT, "width": 3}
    )
    figure.add_vline(x=100 * promised, line={"color": INK, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text="label in the set (%)")
    figure.update_yaxes(title_text="of the draws (%)")
    title = f"The same promise made {len(coverages):,} times: {faces} faces to calibrate, {tested} to test"
    return styled(figure, title, 400, legend=legend_above("right"), bargap=0.05)


def coverage_off_the_path(table: pd.DataFrame, promised: float) -> go.Figure:
    """Coverage and refusals on faces that are not like the calibration faces.

    Args:
        table: a row a condition: `name`, `coverage`, `accuracy` and `cannot say` in 0..1, in the order of reading.
        promised: coverage, 0..1.
    """
    figure = go.Figure()
    looks = {
        "coverage": ("label in the set", KEPT, "circle"),
        "accuracy": ("first class right", OTHER_COLOUR, "diamond"),
        "cannot say": ("cannot say", COLOURS["anger"], "x"),
    }
    for column, (name, colour, symbol) in looks.items():
        figure.add_scatter(
            x=100 * table[column],
            y=table["name"],
            name=name,
            mode="markers",
            marker={"color": colour, "size": 9, "symbol": symbol},
            hovertemplate="%{y}: %{x:.1f} %<extra>" + name + "</extra>",
        )
    figure.add_vline(x=100 * promised, line={"color": INK, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text="of the faces (%)", range=[-2, 102])
    figure.update_yaxes(autorange="reversed")
    title = f"Sets that promise {100 * promised:.0f} %, on spoilt pictures"
    height = 150 + 24 * len(table)
    return styled(figure, title, height, legend=legend_above("right")).update_layout(margin_l=160)
