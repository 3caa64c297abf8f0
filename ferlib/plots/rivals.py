"""Chapter 8, the rivals: what every method brings over plain training, with wrong labels, and beside its paper."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ferlib.labels import COLOURS
from ferlib.names import display_name
from ferlib.plots.forest import differences, forest
from ferlib.plots.style import INK, legend_above, styled

LINES = ("sadness", "happiness", "disgust", "anger", "fear", "surprise", "contempt", "neutral")  # plain is in ink
SYMBOLS = ("square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star", "pentagon")
APART = 0.1  # percent of flipped labels between the lines of two methods, so that intervals are seen beside each other


def method_gains(table: pd.DataFrame, metric: str = "accuracy") -> go.Figure:
    """Every method's difference to plain training with its interval, a column a backbone, coloured by the verdict.

    A method with one seed, whose interval knows nothing of the luck of training, has an open dot.

    Args:
        table: of `ferlib.experiments.rivals.methods_table`, of one table.
        metric: accuracy, balanced accuracy or macro-F1.
    """
    own = table[(table["metric"] == metric) & table["minus_plain_value"].notna()]
    panels = [
        (
            f"<b>{display_name(backbone)}</b><br>{display_name(place)}",
            differences(part, "row", "minus_plain").assign(
                symbol=["circle-open" if seeds == 1 else "circle" for seeds in part["seeds"]]
            ),
        )
        for (place, backbone), part in own.groupby(["data", "backbone"], sort=False)
    ]
    host = display_name(table["table"].iloc[0])
    title = f"What methods add to plain training, {host}: {display_name(metric)}, 95 % intervals"
    figure = forest(panels, len(panels), title, left=200).update_xaxes(matches="x")
    _tell_open(figure, own)
    return figure.update_layout(height=figure.layout.height + 25, margin_t=135)


def noise_lines(table: pd.DataFrame, metric: str = "accuracy") -> go.Figure:
    """A metric against the fraction of flipped training labels, a line a method with intervals, a column a backbone.

    A figure of one seed, whose interval knows nothing of the luck of training, has an open mark.

    Args:
        table: of `ferlib.experiments.rival_tables.noise_table`, of one table.
        metric: one that has intervals.
    """
    own = table[table["metric"] == metric]
    names = list(dict.fromkeys(own["row"]))
    others = [name for name in names if name != "plain"]
    looks = {
        name: (LINES[place % len(LINES)], SYMBOLS[(place + place // len(LINES)) % len(SYMBOLS)])
        for place, name in enumerate(others)
    }
    figure = _panels(own, "backbone")
    for column, part in _columns(own, "backbone"):
        for place, name in enumerate(names):
            line = part[part["row"] == name]
            colour, symbol = looks.get(name, ("", "circle"))
            shade = COLOURS[colour] if colour else INK
            figure.add_scatter(
                x=100 * line["flipped"] + APART * (place - (len(names) - 1) / 2),
                y=100 * line["value"],
                error_y=_interval(line, shade),
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                mode="lines+markers",
                line={"color": shade, "width": 3 if name == "plain" else 2},
                marker={"symbol": [symbol + "-open" * (seeds == 1) for seeds in line["seeds"]], "size": 9},
                hovertemplate=f"{name}: %{{y:.1f}} %<extra></extra>",
                row=1,
                col=column,
            )
    figure.update_xaxes(title_text="training labels flipped, %", tickvals=sorted(100 * own["flipped"].unique()))
    figure.update_yaxes(title_text=f"{display_name(metric)}, %", row=1, col=1)
    _tell_open(figure, own)
    first = own.iloc[0]
    title = f"What wrong labels cost on {display_name(first['data'])}, {display_name(first['table'])}, 95 % intervals"
    return styled(figure, title, 480, legend={"x": 1.01, "y": 1}).update_layout(margin_t=100)


def _tell_open(figure: go.Figure, table: pd.DataFrame) -> None:
    """Say in the legend what an open mark is, where a row of the table has one."""
    if (table["seeds"] == 1).any():
        marker = {"size": 9, "color": INK, "symbol": "circle-open", "line_width": 2.5}
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name="open: one seed only")


def method_claims(table: pd.DataFrame) -> go.Figure:
    """The papers' accuracies beside those found here, chosen on test and on validation, a column a backbone.

    Args:
        table: of `ferlib.experiments.rival_tables.claims_table`, of one table.
    """
    figure = _panels(table, "backbone")
    for column, part in _columns(table, "backbone"):
        same = part["claimed_on"] == part["data"]
        marks = {
            "the paper, the same data": (part[same], "claimed", "diamond", INK, 11),
            "the paper, other data": (part[~same], "claimed", "diamond-open", INK, 11),
            "here, epoch chosen on validation": (part, "value", "circle", COLOURS["sadness"], 9),
            "here, epoch chosen on test": (part, "chosen_on_test", "line-ns", COLOURS["anger"], 11),
        }
        for name, (rows, values, symbol, colour, size) in marks.items():
            other = name.endswith("other data")
            figure.add_scatter(
                x=100 * rows[values],
                y=rows["row"],
                error_x=_interval(rows, colour) if values == "value" else None,
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                mode="markers+text" if other else "markers",
                text=[f"{display_name(place)}  " for place in rows["claimed_on"]] if other else None,
                textposition="middle left",
                marker={"symbol": symbol, "size": size, "color": colour, "line": {"width": 2.5, "color": colour}},
                hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
                row=1,
                col=column,
            )
    names = list(dict.fromkeys(table["row"]))
    figure.update_xaxes(title_text="accuracy, %", matches="x")
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1])
    height = 250 + 34 * len(names)
    host = display_name(table["table"].iloc[0])
    figure = styled(figure, f"What the papers report, and what their methods reach here, {host}", height)
    return figure.update_layout(margin={"l": 200, "t": 150}, legend=legend_above("left", 1 + 50 / (height - 210)))


def _columns(table: pd.DataFrame, by: str) -> Iterator[tuple[int, pd.DataFrame]]:
    yield from enumerate((part for _, part in table.groupby(by, sort=False)), 1)


def _panels(table: pd.DataFrame, by: str) -> go.Figure:
    """Columns beside each other, one a value, which is its title."""
    titles = [f"<b>{display_name(name)}</b>" for name in dict.fromkeys(table[by])]
    return make_subplots(1, len(titles), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)


def _interval(rows: pd.DataFrame, colour: str) -> dict[str, object]:
    """Error bars, in percent."""
    value, low, high = (100 * rows[end] for end in ("value", "low", "high"))
    return {"array": high - value, "arrayminus": value - low, "color": colour, "thickness": 1.3, "width": 3}
