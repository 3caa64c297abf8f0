"""Chapter 2's diagrams: the networks as boxes and arrows, the shape of what flows on every arrow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from ferlib.plots.style import CUT, INK, WIDTH, styled

Shape = Sequence[int]
FILLS = {"data": "#ffffff", "frozen": "#d3d8de", "trained": "#cfe3f2", "attention": "#fbdcb8", "cut": "#f7f8f9"}
BAND = "#f4f6f8"
TALL, GAP, TOP = 58, 62, 34  # pixels: a box, the room between two rows, a row's title


@dataclass(frozen=True)
class Step:
    """A box of `flow`.

    Attributes:
        text: what stands in it; `<br>` breaks a line.
        kind: one of `FILLS`; "cut" boxes are left out by the network.
        shape: of what comes out of it, without the batch; None behind the last one.
    """

    text: str
    kind: str
    shape: Shape | None = None


def flow(rows: Sequence[tuple[str, Sequence[Step]]], title: str) -> go.Figure:
    """A network as rows of boxes, read like a text, with the shape of what flows on every arrow.

    Args:
        rows: (what the row is, its steps).
        title: of the figure.
    """
    canvas, most = _Canvas(), max(len(steps) for _, steps in rows)
    pitch = (WIDTH - 30) / most
    box, height = pitch * 0.5, TOP + TALL + 14
    for number, (name, steps) in enumerate(rows):
        top = number * (height + GAP)
        canvas.band(0, top, WIDTH - 30, height, name, pitch * 0.3 + box / 2)
        middle = top + TOP + TALL / 2
        kept = [step for step in steps if step.kind != "cut"]
        for place, step in enumerate(steps):
            x = pitch * (place + 0.5) - pitch * 0.2
            canvas.box(x, middle, box, TALL, step.text, step.kind)
            if place + 1 < len(steps):
                dead = steps[place + 1].kind == "cut"
                canvas.arrow(
                    (x + box / 2, middle), (x + pitch - box / 2, middle), "" if dead else shaped(step.shape), dead
                )
        if number + 1 < len(rows):
            start, end = pitch * (len(kept) - 0.5) - pitch * 0.2, pitch * 0.3
            turn, foot = top + height + GAP / 2, top + height + GAP + TOP
            canvas.line([(start, middle + TALL / 2), (start, turn), (end, turn)])
            canvas.arrow((end, turn), (end, foot), "")
            canvas.text((start + end) / 2, turn - 9, shaped(kept[-1].shape))
    return canvas.figure(title, len(rows) * (height + GAP) - GAP, {step.kind for _, steps in rows for step in steps})


def salient_block(shapes: Mapping[str, Shape], kernel: int, title: str) -> go.Figure:
    """IVSA's Salient Attention Block, its channel part above its spatial part.

    Args:
        shapes: of one face's tensors: `F` (in), `pooled` (a number a channel), `hidden` (in the MLP), `W_c`, `F_c`
            (behind the channel part), `map` (one map over the positions), `two` (both), `W_s` and `O` (out).
        kernel: of the spatial part's convolution.
        title: of the figure.
    """
    canvas, at = _Canvas(), {name: shaped(shape) for name, shape in shapes.items()}
    canvas.band(105, 0, 665, 205, "channel part: which channels (eq. 3, 5, 6)")
    canvas.band(105, 265, 665, 165, "spatial part: which positions (eq. 4, 7, 8)")
    high, low = 112, 352  # the middle of each part
    canvas.box(45, high, 70, TALL, "<b>F</b>", "data")
    for y, name in ((55, "average"), (high, "maximum"), (169, "L2 norm")):
        canvas.box(236, y, 86, 36, name, "data")
        canvas.line([(80, high), (146, high), (146, y)])
        canvas.arrow((146, y), (193, y), "")
        canvas.line([(279, y), (325, y), (325, high)] if y != high else [(279, y), (325, y)])
        canvas.text(302, y - 8, at["pooled"])
    canvas.text(113, high - 9, at["F"])
    canvas.arrow((325, high), (345, high), "")
    canvas.box(360, high, 30, 30, "+", "data")
    canvas.arrow((375, high), (437, high), at["pooled"])
    widths = " → ".join((at["pooled"], at["hidden"], at["pooled"]))
    canvas.box(485, high, 96, TALL, f"shared MLP<br>{widths}", "attention")
    canvas.arrow((533, high), (577, high), at["pooled"])
    canvas.box(592, high, 30, 30, "σ", "data")
    canvas.arrow((607, high), (661, high), at["W_c"], above=18)
    canvas.box(712, high, 102, TALL, "<b>W′</b> = W · γ<br>re-scaled by the<br>batch norm", "attention")
    canvas.arrow((763, high), (815, high), at["W_c"], above=18)
    canvas.box(830, high, 30, 30, "⊗", "data")
    canvas.line([(45, high - TALL / 2), (45, -22), (830, -22)])
    canvas.arrow((830, -22), (830, high - 15), "")
    canvas.text(437, -31, f"F, {at['F']}")

    canvas.line([(830, high + 15), (830, 236), (45, 236)])
    canvas.arrow((45, 236), (45, low - TALL / 2), "")
    canvas.text(437, 227, f"F′ = W′ ⊗ F, {at['F_c']}")
    canvas.box(45, low, 70, TALL, "<b>F′</b>", "data")
    for y, name in ((low - 32, "mean over<br>channels"), (low + 36, "maximum over<br>channels")):
        canvas.box(243, y, 100, 44, name, "data")
        canvas.line([(80, low), (146, low), (146, y)])
        canvas.arrow((146, y), (193, y), "")
        canvas.line([(293, y), (356, y), (356, low)])
        canvas.text(325, y - 8, at["map"])
    canvas.text(113, low - 9, at["F_c"])
    canvas.arrow((356, low), (376, low), "")
    canvas.box(411, low, 70, 40, "concat", "data")
    canvas.arrow((446, low), (506, low), at["two"])
    canvas.box(556, low, 100, TALL, f"convolution<br>{kernel} × {kernel}", "attention")
    canvas.arrow((606, low), (666, low), at["W_s"])
    canvas.box(681, low, 30, 30, "σ", "data")
    canvas.arrow((696, low), (815, low), f"<b>W<sub>s</sub></b> {at['W_s']}")
    canvas.box(830, low, 30, 30, "⊗", "data")
    canvas.line([(45, low + TALL / 2), (45, 452), (830, 452)])
    canvas.arrow((830, 452), (830, low + 15), "")
    canvas.text(437, 443, f"F′, {at['F_c']}")
    canvas.arrow((830, low - 15), (830, 268), "", head=True)
    canvas.text(830, 258, f"<b>O</b>, {at['O']}")
    return canvas.figure(title, 470, set(), top=40)


def shaped(shape: Shape | None) -> str:
    """256×2×2."""
    return "" if shape is None else "×".join(map(str, shape))


class _Canvas:
    """Boxes, arrows and texts in pixels, y downwards."""

    def __init__(self) -> None:
        self.shapes: list[dict] = []
        self.notes: list[dict] = []

    def band(self, x: float, y: float, width: float, height: float, name: str, indent: float = 8) -> None:
        self.shapes.append(
            {"type": "rect", "x0": x, "y0": y, "x1": x + width, "y1": y + height, "fillcolor": BAND, "layer": "below"}
            | {"line": {"width": 0}}
        )
        self.text(x + indent, y + 15, f"<b>{name}</b>", anchor="left")

    def box(self, x: float, y: float, width: float, height: float, text: str, kind: str) -> None:
        dash = {"color": CUT, "width": 1.5, "dash": "dot"} if kind == "cut" else {"color": INK, "width": 1.2}
        edges = {"x0": x - width / 2, "x1": x + width / 2, "y0": y - height / 2, "y1": y + height / 2}
        self.shapes.append({"type": "rect", "fillcolor": FILLS[kind], "line": dash, "layer": "below"} | edges)
        self.text(x, y, text, colour="#8b95a1" if kind == "cut" else INK)

    def line(self, points: Sequence[tuple[float, float]]) -> None:
        path = "M " + " L ".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.shapes.append({"type": "path", "path": path, "line": {"color": INK, "width": 1.3}, "layer": "below"})

    def arrow(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        text: str,
        dead: bool = False,
        above: float = 9,
        head: bool = True,
    ) -> None:
        self.notes.append(
            {"x": end[0], "y": end[1], "ax": start[0], "ay": start[1], "axref": "x", "ayref": "y", "text": ""}
            | {"showarrow": True, "arrowhead": 2 if head else 0, "arrowwidth": 1.3, "arrowcolor": CUT if dead else INK}
        )
        if dead:
            self.text((start[0] + end[0]) / 2, start[1], "✕", colour="#c0392b")
        elif text:
            self.text((start[0] + end[0]) / 2, start[1] - above, text)

    def text(self, x: float, y: float, text: str, anchor: str = "center", colour: str = INK) -> None:
        font = {"size": 11, "color": colour}
        self.notes.append({"x": x, "y": y, "text": text, "showarrow": False, "xanchor": anchor, "font": font})

    def figure(self, title: str, height: float, kinds: set[str], top: float = 8) -> go.Figure:
        names = {"frozen": "frozen", "trained": "trained", "attention": "attention", "cut": "cut away"}
        figure = go.Figure()
        for kind, name in names.items():
            if kind in kinds:
                line = {"color": CUT if kind == "cut" else INK, "width": 1}
                marker = {"symbol": "square", "size": 13, "color": FILLS[kind], "line": line}
                figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=name)
        figure.add_scatter(x=[0], y=[0], mode="markers", marker_opacity=0, hoverinfo="skip", showlegend=False)
        figure.update_xaxes(range=[-5, WIDTH - 25], visible=False)
        figure.update_yaxes(range=[height + 8, -top], visible=False)
        legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"}
        figure = styled(figure, title, int(height + top + 8 + 65), legend=legend)
        return figure.update_layout(
            shapes=self.shapes, annotations=self.notes, margin={"l": 0, "r": 0, "t": 60, "b": 5}, plot_bgcolor="white"
        )
