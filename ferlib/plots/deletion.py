"""Chapter 6, deletion step by step: a map over its face, the face without the hottest pixels, and what is left."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ferlib.images import data_url
from ferlib.labels import COLOURS
from ferlib.plots.style import OTHER_COLOUR, styled
from ferlib.runtime.overlay import overlay, turbo

#: A curve's key -> its name in a figure, its colour and its dash.
CURVES = {
    "map": ("this map", COLOURS["sadness"], "solid"),
    "centre": ("blob in the middle", COLOURS["anger"], "dash"),
    "random": ("smooth noise", OTHER_COLOUR, "dot"),
}
#: The colour map of `ferlib.runtime.overlay.overlay` as plotly takes it.
HEAT_SCALE = [[i / 255, f"rgb({r},{g},{b})"] for i, (r, g, b) in enumerate(turbo().tolist())]
#: What stands at 0, ½ and 1 of its bar.
HEAT_TICKS = ("0", "½", "1, most<br>relevant")
SIDE = 240  # pixels of an enlarged face


def add_heat_scale(
    figure: go.Figure, x: float, height: float = 1.0, y: float = 0.5, ticks: Sequence[str] = HEAT_TICKS
) -> None:
    """Put the colours of overlays beside a figure that has pictures only, from "least" to "most".

    Args:
        figure: gets an invisible trace with a colour bar.
        x, y: left end and middle of the bar, in parts of the figure's width and height.
        height: of the bar, in parts of the figure's.
        ticks: what its lower end, middle and upper end are called.
    """
    bar = {"x": x, "y": y, "len": height, "thickness": 12, "tickvals": [0, 0.5, 1], "tickfont": {"size": 11}}
    bar |= {"ticktext": list(ticks), "xanchor": "left"}
    figure.add_scatter(
        x=[None], y=[None], mode="markers", showlegend=False, hoverinfo="skip",
        marker={"color": [0], "colorscale": HEAT_SCALE, "cmin": 0, "cmax": 1, "showscale": True, "colorbar": bar},
    )  # fmt: skip


def deletion_figure(
    face: np.ndarray,
    heatmap: np.ndarray,
    without: np.ndarray,
    curves: Mapping[str, np.ndarray],
    share: float,
    label: str,
) -> go.Figure:
    """A map over its face, the face without its hottest pixels, and the probability as ever more of them go.

    Args:
        face, without: (S, S, 3) uint8.
        heatmap: (S, S) in 0..1.
        curves: some of `CURVES` -> probabilities at equal steps from no pixel gone to all.
        share: of the pixels gone in `without`, 0..1.
        label: class whose probability it is.
    """
    figure = make_subplots(
        1, 3, column_widths=[0.27, 0.27, 0.46], horizontal_spacing=0.05,
        subplot_titles=["the map", f"hottest {share:.0%} gone", f'probability of "{label}" (%)'],
    )  # fmt: skip
    enlarged = face.repeat(SIDE // face.shape[0], axis=0).repeat(SIDE // face.shape[1], axis=1)
    gone = without.repeat(SIDE // face.shape[0], axis=0).repeat(SIDE // face.shape[1], axis=1)
    for column, picture in ((1, overlay(enlarged, heatmap)), (2, gone)):
        figure.add_trace(go.Image(source=data_url(picture), hoverinfo="skip"), row=1, col=column)
        figure.update_xaxes(visible=False, row=1, col=column)
        figure.update_yaxes(visible=False, row=1, col=column)
    for key, curve in curves.items():
        name, colour, dash = CURVES[key]
        figure.add_scatter(
            x=np.linspace(0, 100, len(curve)), y=100 * np.asarray(curve), mode="lines", name=name,
            line={"color": colour, "dash": dash, "width": 3 if key == "map" else 2}, row=1, col=3,
        )  # fmt: skip
    left = curves["map"][round(share * (len(curves["map"]) - 1))]
    figure.add_scatter(
        x=[100 * share], y=[100 * left], mode="markers", showlegend=False, cliponaxis=False,
        marker={"size": 12, "color": CURVES["map"][1], "line": {"width": 2, "color": "white"}}, row=1, col=3,
    )  # fmt: skip
    figure.update_xaxes(title_text="pixels gone (%)", range=[0, 100], row=1, col=3)
    figure.update_yaxes(range=[-2, 102], row=1, col=3)
    figure.update_annotations(font_size=13)
    add_heat_scale(figure, -0.01, 0.62, 0.5)
    figure.data[-1].marker.colorbar.xanchor = "right"
    figure = styled(figure, "", 330, 720)
    return figure.update_layout(
        margin={"l": 80, "r": 15, "t": 35, "b": 80}, legend={"orientation": "h", "y": -0.25, "x": 1, "xanchor": "right"}
    )
