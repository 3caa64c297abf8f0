"""Differences with their intervals, a line a row, in panels side by side: on which side of zero is it?"""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ferlib.labels import COLOURS
from ferlib.plots.style import INK, legend_above, styled

#: Colours of what `ferlib.evaluation.bootstrap.verdict` says.
VERDICT_COLOURS = {"helps": COLOURS["disgust"], "harms": COLOURS["anger"], "cannot be told": COLOURS["neutral"]}


def differences(table: pd.DataFrame, name: str, prefix: str) -> pd.DataFrame:
    """The rows of a table that have a difference, as a panel of `forest`.

    Args:
        table: with columns `{prefix}_value`, `{prefix}_low`, `{prefix}_high` and `{prefix}_verdict`.
        name: column of the rows' names.
        prefix: of the difference.
    """
    rows = table[table[f"{prefix}_value"].notna()]
    return pd.DataFrame({"name": rows[name]} | {e: rows[f"{prefix}_{e}"] for e in ("value", "low", "high", "verdict")})


def forest(
    panels: Sequence[tuple[str, pd.DataFrame]],
    columns: int,
    title: str,
    left: int = 170,
) -> go.Figure:
    """A figure with a panel a table, all with the same names in the same order.

    Args:
        panels: title, and `name`, `value`, `low`, `high` (shares) and `verdict`, in the order of reading; a `symbol`
            for the marker, if it is no dot.
        columns: panels beside each other.
        title: of the figure.
        left: pixels for the names.
    """
    lines = -(-len(panels) // columns)
    names = list(dict.fromkeys(name for _, part in panels for name in part["name"]))
    figure = make_subplots(
        lines,
        columns,
        subplot_titles=[title for title, _ in panels],
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.24 / lines,
    )
    for place, (_, part) in enumerate(panels):
        row, column = place // columns + 1, place % columns + 1
        value, low, high = (part[end] * 100 for end in ("value", "low", "high"))
        symbols = list(part.get("symbol", ["circle"] * len(part)))
        figure.add_scatter(
            x=value,
            y=part["name"],
            mode="markers",
            marker={
                "size": 9,
                "color": [VERDICT_COLOURS[verdict] for verdict in part["verdict"]],
                "symbol": symbols,
                "line": {"width": [2.5 if symbol.endswith("-open") else 0 for symbol in symbols]},
            },
            error_x={"array": high - value, "arrayminus": value - low, "color": INK, "thickness": 1.3, "width": 3},
            hovertemplate="%{y}: %{x:+.1f} points<extra></extra>",
            showlegend=False,
            row=row,
            col=column,
        )
        figure.add_vline(x=0, line={"color": INK, "width": 1, "dash": "dot"}, row=row, col=column)
        figure.update_xaxes(title_text="points" if row == lines else None, row=row, col=column)
    for verdict, colour in VERDICT_COLOURS.items():
        marker = {"size": 9, "color": colour}
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=verdict)
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1])
    figure.update_annotations(font_size=13)
    height = 150 + (75 + 26 * len(names)) * lines
    legend = legend_above("right", 1 + 60 / (height - 170))
    return styled(figure, title, height, legend=legend).update_layout(margin={"l": left, "t": 110})
