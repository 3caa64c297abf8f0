"""The look that all figures share, and small helpers."""

import numpy as np
import plotly.graph_objects as go

from ferlib.labels import COLOURS

WIDTH = 900  # pixels
KEPT, CUT = COLOURS["sadness"], "#d3d8de"
INK, GRID = "#2a2f36", "#e6e9ed"
OTHER_COLOUR = "#5b6573"  # of a class that is not an expression
BLUES = [[0, "#ffffff"], [0.5, "#8fb8d8"], [1, "#0b4a7a"]]  # of a confusion matrix, from none to all


def styled(figure: go.Figure, title: str, height: int, width: int = WIDTH, **layout: object) -> go.Figure:
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


def legend_above(end: str, y: float = 1.01) -> dict[str, object]:
    """A legend in one line above the panels, at their "left" or "right" end, its foot at y in parts of their height."""
    place: dict[str, object] = {"x": 0} if end == "left" else {"x": 1, "xanchor": "right"}
    return {"orientation": "h", "y": y, "yanchor": "bottom"} | place


def legend_below(y: float) -> dict[str, object]:
    """A legend in one line, centred below the panels, its head at y in parts of their height."""
    return {"orientation": "h", "y": y, "x": 0.5, "xanchor": "center"}


def short(value: float) -> str:
    """Two decimals, or three where two would leave nothing."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def percent(share: float) -> str:
    """Whole percent, but never 0 % for something."""
    text = f"{share:.0%}"
    return "<1%" if share > 0 and text == "0%" else text


def in_colour(picture: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, 1) or (H, W, 3) -> (H, W, 3)."""
    picture = picture[..., None] if picture.ndim == 2 else picture
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
