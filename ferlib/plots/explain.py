"""Chapter 6, what the model sees: maps side by side, where they lie, whether they are faithful, faces in a plane."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ferlib.detection.regions import REGIONS
from ferlib.images import data_url
from ferlib.labels import COLOURS
from ferlib.names import display_name
from ferlib.plots.deletion import HEAT_TICKS, add_heat_scale
from ferlib.plots.style import INK, OTHER_COLOUR, WIDTH, styled

if TYPE_CHECKING:
    from ferlib.predict import FacePrediction

CONTROL_COLOUR, MAP_COLOUR = COLOURS["anger"], COLOURS["sadness"]
CONTROL_NAMES = {"random": "control: random", "centre": "control: centre blob"}
SCORES = {
    "deletion": "deletion (low is good)",
    "insertion": "insertion (high is good)",
    "road": "ROAD (high is good)",
}
SIGNED_TICKS = ("against", "0", "for")  # of maps with zero in the middle of the colours
_ABOVE = {"orientation": "h", "y": 1, "yref": "container", "yanchor": "top", "x": 1, "xanchor": "right"}

#: For `Figure.to_html(post_script=...)`: shows a point's face (its `customdata`) beside the pointer.
HOVER_FACES = """
const plot = document.getElementById("{plot_id}"), face = document.createElement("img");
face.style.cssText = "position:fixed;width:96px;display:none;pointer-events:none;border:2px solid #fff;" +
  "border-radius:6px;box-shadow:0 2px 8px #0006;z-index:9";
document.body.appendChild(face);
plot.on("plotly_hover", (data) => {
  face.src = data.points[0].customdata;
  face.style.left = Math.min(data.event.clientX + 14, innerWidth - 110) + "px";
  face.style.top = Math.min(data.event.clientY + 14, innerHeight - 110) + "px";
  face.style.display = "block";
});
plot.on("plotly_unhover", () => { face.style.display = "none"; });
"""


def picture_table(
    rows: Mapping[str, Sequence[np.ndarray]],
    columns: Sequence[str],
    title: str,
    captions: Mapping[str, Sequence[str]] | None = None,
    side: int = 104,
    scale: bool = False,
    signed: Sequence[str] = (),
) -> go.Figure:
    """Pictures in rows and columns, both named.

    Args:
        rows: name -> pictures (H, W, 3) uint8, one a column, of one shape.
        columns: their names.
        title: of the figure.
        captions: of some rows, name -> a line below each picture.
        side: width of a picture on the page, in pixels.
        scale: the colours of heat maps stand on the right, for pictures made by `ferlib.runtime.overlay.overlay`.
        signed: rows one below the other, above others, that have zero in the middle of the colours and a bar of theirs.
    """
    captions, left, gap = captions or {}, 150, 8
    figure = go.Figure()
    top, ends = 0, {}
    for name, pictures in rows.items():
        height = side * pictures[0].shape[0] / pictures[0].shape[1]
        for place, picture in enumerate(pictures):
            x = place * (side + gap)
            figure.add_layout_image(
                source=data_url(picture), x=x, y=-top, xref="x", yref="y", sizex=side, sizey=height, sizing="stretch"
            )
            if name in captions:
                figure.add_annotation(
                    text=captions[name][place], x=x + side / 2, y=-top - height, yanchor="top", font_size=11,
                    showarrow=False, borderpad=1,
                )  # fmt: skip
        figure.add_annotation(text=name, x=-10, y=-top - height / 2, xanchor="right", showarrow=False, align="right")
        start, top = top, top + height + (26 if name in captions else gap)
        ends[name] = (start, top)
    for place, name in enumerate(columns):
        figure.add_annotation(
            text=name, x=place * (side + gap) + side / 2, y=4, yanchor="bottom", showarrow=False, font_size=11
        )
    breadth = max(len(columns) * (side + gap), 420)  # room for the title
    figure.update_xaxes(visible=False, range=[-left, breadth])
    figure.update_yaxes(visible=False, range=[-top, 44])
    right = 95 if scale else 10
    figure = styled(figure, title, top + 44 + 64, left + breadth + 10 + right)
    figure.update_layout(margin={"l": 10, "r": right, "t": 54, "b": 10}, plot_bgcolor="white")
    if scale:
        end = ends[signed[-1]][1] if signed else 0
        bars = {HEAT_TICKS: (end, top)} | ({SIGNED_TICKS: (ends[signed[0]][0], end)} if signed else {})
        for ticks, (upper, lower) in bars.items():
            room, middle = top + 44, top - (upper + lower) / 2
            add_heat_scale(figure, 1.01, min(260, lower - upper + 44) / room, middle / room, ticks)
    return figure


def region_table(methods: Mapping[str, Mapping], area: Mapping[str, float], title: str) -> go.Figure:
    """Fraction of the energy on every part of the face; the colour is the share relative to the part's area.

    Args:
        methods: map -> part -> {"share", "relative"}, e.g. from `results/explain_regions.json`.
        area: part -> its fraction of the picture.
        title: of the figure.
    """
    names = [map_name(method) for method in methods]
    relative = np.array([[parts[part]["relative"] for part in REGIONS] for parts in methods.values()])
    texts = [
        [f"{parts[part]['share']:.0%} ({parts[part]['relative']:.1f}×)" for part in REGIONS]
        for parts in methods.values()
    ]
    figure = go.Figure(
        go.Heatmap(
            z=np.log2(np.maximum(relative, 1 / 8)),
            x=[f"{part}<br>area {area[part]:.0%}" for part in REGIONS],
            y=names,
            text=texts,
            texttemplate="%{text}",
            colorscale="RdBu_r",
            zmid=0,
            zmin=-2,
            zmax=2,
            xgap=2,
            ygap=2,
            colorbar={
                "title": "energy<br>÷ area",
                "tickvals": [-2, -1, 0, 1, 2],
                "ticktext": ["¼", "½", "1", "2", "4"],
            },
        )
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False, side="top", tickangle=0, tickfont_size=12)
    return styled(figure, title, 150 + 34 * len(names)).update_layout(margin={"l": 160, "t": 110, "b": 20})


def class_regions(
    models: Mapping[str, Mapping], parts: Sequence[str], classes: Sequence[str], title: str, method: str = "gradcam"
) -> go.Figure:
    """Fraction of a map's energy on some parts, class by class, with intervals, beside the centre blob's.

    Args:
        models: model -> "methods" -> map -> "per_class" -> class -> part -> {"share", "low", "high"}.
        parts: of the face, one column of panels each.
        classes: in the order to show.
        title: of the figure.
        method: the map.
    """
    figure = make_subplots(
        len(models),
        len(parts),
        subplot_titles=[f"<b>{display_name(model)}</b>: {part}" for model in models for part in parts],
        shared_yaxes=True,
        vertical_spacing=0.3 / len(models),
        horizontal_spacing=0.06,
    )
    for row, tables in enumerate(models.values(), 1):
        for column, part in enumerate(parts, 1):
            for name, colour, symbol in ((method, MAP_COLOUR, "circle"), ("centre", CONTROL_COLOUR, "line-ns-open")):
                found = tables["methods"][name]["per_class"]
                shown = [label for label in classes if label in found]
                _dots(
                    figure,
                    [found[label][part] | {"value": found[label][part]["share"]} for label in shown],
                    shown,
                    [colour] * len(shown),
                    (row, column),
                    100,
                    symbol,
                    map_name(name) if row == column == 1 else None,
                )
            highest = 100 * max(
                one[part]["high"]
                for own in models.values()
                for name in (method, "centre")
                for one in own["methods"][name]["per_class"].values()
            )
            figure.update_xaxes(title_text="energy (%)", range=[0, 1.04 * highest], row=row, col=column)
    figure.update_yaxes(autorange="reversed")
    figure.update_annotations(font_size=14)
    return styled(figure, title, 150 + 290 * len(models)).update_layout(
        margin={"l": 100, "t": 110},
        legend=_ABOVE,
    )


def faithfulness(methods: Mapping[str, Mapping], title: str) -> go.Figure:
    """Deletion, insertion and ROAD of every map with intervals; the dashed line is the centre blob.

    Args:
        methods: map -> score -> {"value", "low", "high"}, e.g. from `results/explain_faithfulness.json`.
        title: of the figure.
    """
    figure = make_subplots(
        1, len(SCORES), shared_yaxes=True, horizontal_spacing=0.04, subplot_titles=list(SCORES.values())
    )
    names = [map_name(method) for method in methods]
    colours = [CONTROL_COLOUR if method in CONTROL_NAMES else MAP_COLOUR for method in methods]
    for column, score in enumerate(SCORES, 1):
        _dots(figure, [found[score] for found in methods.values()], names, colours, (1, column))
        figure.add_vline(
            x=methods["centre"][score]["value"], line={"color": CONTROL_COLOUR, "dash": "dash", "width": 1},
            row=1, col=column,
        )  # fmt: skip
        low, high = (
            pick(found[score][end] for found in methods.values()) for pick, end in ((min, "low"), (max, "high"))
        )
        figure.update_xaxes(
            title_text="area under probability" if score != "road" else "difference of probability",
            range=[low - 0.04 * (high - low), high + 0.04 * (high - low)],
            row=1,
            col=column,
        )
    figure.update_yaxes(autorange="reversed")
    figure.update_annotations(font_size=13)
    return styled(figure, title, 160 + 30 * len(names)).update_layout(margin={"l": 160}, showlegend=False)


def _dots(
    figure: go.Figure,
    records: Sequence[Mapping],
    names: Sequence[str],
    colours: Sequence[str],
    cell: tuple[int, int],
    unit: float = 1,
    symbol: str = "circle",
    legend: str | None = None,
) -> None:
    """A dot and its interval for each name, in a cell (row, column)."""
    values, low, high = (np.array([record[key] for record in records]) * unit for key in ("value", "low", "high"))
    for i, colour in enumerate(colours):
        figure.add_scatter(
            x=[low[i], high[i]], y=[names[i]] * 2, mode="lines", line={"color": colour, "width": 2}, showlegend=False,
            hoverinfo="skip", row=cell[0], col=cell[1],
        )  # fmt: skip
    figure.add_scatter(
        x=values, y=list(names), mode="markers", marker={"color": list(colours), "size": 9, "symbol": symbol},
        name=legend, showlegend=legend is not None, row=cell[0], col=cell[1],
    )  # fmt: skip


def planes(
    spaces: Mapping[str, Mapping[str, np.ndarray]],
    labels: np.ndarray,
    classes: Sequence[str],
    title: str,
    notes: Mapping[tuple[str, str], str] | None = None,
    faces: Sequence[np.ndarray] | None = None,
) -> go.Figure:
    """Faces as points, a row a projection and a column a space of features.

    Args:
        spaces: space -> projection -> points (N, 2).
        labels: indices (N,) into `classes`.
        classes: class names.
        title: of the figure.
        notes: (space, projection) -> a line above its panel.
        faces: (H, W, 3) uint8 each; with them and `HOVER_FACES`, pointing at a point shows its face.
    """
    notes = notes or {}
    rows = list(dict.fromkeys(method for found in spaces.values() for method in found))
    figure = make_subplots(
        len(rows),
        len(spaces),
        subplot_titles=[
            f"<b>{display_name(space)}</b>, {display_name(method)}<br>{notes.get((space, method), '')}"
            if method in spaces[space]
            else ""
            for method in rows
            for space in spaces
        ],
        horizontal_spacing=0.02,
        vertical_spacing=0.22 / len(rows),
    )
    urls = np.array([data_url(face) for face in faces], object) if faces is not None else None
    for row, method in enumerate(rows, 1):
        for column, found in enumerate(spaces.values(), 1):
            for place, name in enumerate(classes):
                mine = np.asarray(labels) == place
                if method in found and mine.any():
                    points = np.asarray(found[method])[mine]
                    figure.add_scatter(
                        x=points[:, 0],
                        y=points[:, 1],
                        mode="markers",
                        marker={"color": COLOURS.get(name, OTHER_COLOUR), "size": 4 if len(labels) > 300 else 7},
                        name=name,
                        legendgroup=name,
                        showlegend=row == column == 1,
                        customdata=None if urls is None else urls[mine],
                        hovertemplate=f"{name}<extra></extra>",
                        row=row,
                        col=column,
                    )
    figure.update_xaxes(showticklabels=False, showgrid=False, zeroline=False, linecolor=INK, mirror=True)
    figure.update_yaxes(showticklabels=False, showgrid=False, zeroline=False, linecolor=INK, mirror=True)
    figure.update_annotations(font_size=12)
    figure = styled(figure, title, 170 + (WIDTH // len(spaces) + 45) * len(rows))
    return figure.update_layout(
        margin={"l": 20, "r": 20, "b": 70}, legend={"orientation": "h", "y": -0.02, "itemsizing": "constant"}
    )


def map_name(method: str) -> str:
    """A map as a figure calls it: the method's name, or which control it is."""
    return CONTROL_NAMES.get(method) or display_name(method)


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
            figure.add_trace(go.Image(source=data_url(picture), hoverinfo="skip"), row=row, col=column)
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
    side = min((WIDTH - 115) / count, 170)  # pixels
    figure = styled(
        figure,
        "Face, heat map and probabilities",
        height=int(side * 2 + 380),
        width=int(max(115 + side * count, 560)),
        bargap=0.25,
    )
    figure.update_annotations(font_size=13)
    return figure.update_layout(showlegend=False, margin_l=90)
