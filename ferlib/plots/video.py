"""Chapter 10, film and crowds: a film's timeline, what smoothing does to its labels, and how small a face may be."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ferlib.evaluation.wilson import wilson
from ferlib.labels import COLOURS
from ferlib.plots.style import GRID, INK, KEPT, OTHER_COLOUR, legend_above, styled
from ferlib.video.table import VideoTable

BINS = 1500  # of time, at most: a long film has more frames than a figure has pixels
MOST = 12  # faces: those that are seen longest
_AREA, _BANDS = 90, 44  # heights of a face's two panels, in pixels
_KINDS = ("raw", "smoothed")  # from below
_NAMES = {"raw": "single frames", "smoothed": "smoothed"}


def timeline(table: VideoTable, name: str = "") -> go.Figure:
    """Of every face its smoothed probabilities over time, and below them its labels, smoothed and of single frames.

    Args:
        table: of a film.
        name: of the film, for the title.

    Returns:
        The figure: the `MOST` faces seen longest, means and most frequent labels of at most `BINS` equal parts of time.
    """
    found = sorted(table.summary(), key=lambda track: -track["seconds"])
    tracks = found[:MOST]
    tracks.sort(key=lambda track: track["track"])
    count, places = max(1, len(tracks)), table.tracks()
    edges = np.linspace(0, max(table.seconds, 1e-3), min(BINS, max(table.frames, 1)) + 1)
    titles = [text for t in tracks for text in (f"<b>face {t['track']}</b>, {t['seconds']:.1f} s", "")]
    figure = make_subplots(
        2 * count, 1, shared_xaxes=True, subplot_titles=titles, row_heights=[_AREA, _BANDS] * count,
        vertical_spacing=0.2 / (2 * count),
    )  # fmt: skip
    middles = (edges[1:] + edges[:-1]) / 2
    for number, track in enumerate(tracks):
        rows = np.array(table.rows[places[track["track"]]])
        rows, bins = _in_bins(rows, edges)
        _areas(figure, 2 * number + 1, table.classes, middles, _means(rows["smoothed"], bins, len(middles)))
        labels = np.stack([_most_frequent(rows[kind].argmax(axis=1), bins, len(middles)) for kind in _KINDS])
        _bands(figure, 2 * number + 2, table.classes, middles, np.where(labels < 0, np.nan, labels))
    figure.update_xaxes(range=[0, edges[-1]], showticklabels=False)
    figure.update_xaxes(title_text="seconds", showticklabels=True, row=2 * count, col=1)
    figure.update_annotations(x=0, xanchor="left", font_size=13)
    height = 160 + (_AREA + _BANDS + 30) * count
    left_out = f", the {MOST} faces seen longest of {len(found)}" if len(found) > MOST else ""
    title = f"Expressions over time{f' in {name}' if name else ''}{left_out}"
    return styled(figure, title, height, legend=legend_above("left", 1 + 30 / (height - 150)))


def label_bands(
    times: np.ndarray, labels: Mapping[str, np.ndarray], classes: Sequence[str], title: str = "Labels over time"
) -> go.Figure:
    """One face's label of every frame by several methods, a coloured band each.

    Args:
        times: of the frames, (N,) in seconds, ascending.
        labels: method, from above -> places in `classes`, (N,).
        classes: names.
        title: of the figure.
    """
    figure = go.Figure()
    gaps = np.flatnonzero(np.diff(times) > 1.5 * np.median(np.diff(times))) + 1  # where the face was not seen
    step = np.median(np.diff(times))
    x = np.insert(times, gaps, times[gaps - 1] + step)  # an empty cell, as wide as the gap, follows
    names = list(labels)[::-1]  # from below
    shown = np.stack([np.insert(labels[name].astype(float), gaps, np.nan) for name in names])
    figure.add_heatmap(
        x=np.append(x, x[-1] + step), y=names, z=shown, customdata=_names(shown, classes),
        colorscale=_steps(classes), zmin=-0.5, zmax=len(classes) - 0.5, showscale=False, ygap=3,
        hovertemplate="%{x:.2f} s, %{y}: %{customdata}<extra></extra>",
    )  # fmt: skip
    for place in np.unique(shown[~np.isnan(shown)]).astype(int):  # the legend
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=classes[place],
            marker={"symbol": "square", "size": 12, "color": _colour(classes[place])},
        )  # fmt: skip
    figure.update_xaxes(title_text="seconds", showgrid=False)
    figure.update_yaxes(showgrid=False)
    return styled(figure, title, 150 + 36 * len(labels), legend=legend_above("left")).update_layout(
        margin_l=140, plot_bgcolor=GRID
    )


def smoothing_tradeoff(table: pd.DataFrame, truth: float) -> go.Figure:
    """Accuracy over label changes a minute, a point a way to smooth; those that answer as frames come are joined.

    Args:
        table: `name` ("as they come, 0.2 s" for a time constant), `label_changes_a_minute` and `accuracy` (0..1).
        truth: changes a minute that there really were.
    """
    figure = go.Figure()
    online = table["name"].str.startswith("as they come")
    name = "as the frames come, by time constant"
    for own, colour, mode in ((table[online], KEPT, "lines+markers+text"), (table[~online], INK, "markers+text")):
        figure.add_scatter(
            x=own["label_changes_a_minute"],
            y=100 * own["accuracy"],
            name=name,
            mode=mode,
            text=[label.removeprefix("as they come, ") for label in own["name"]],
            textposition="bottom right",
            marker={"color": colour, "size": 11},
            line={"color": colour, "width": 1, "dash": "dot"},
            showlegend=colour == KEPT,
            hovertemplate="%{text}: %{x:.1f} changes a minute, %{y:.1f} % right<extra></extra>",
        )
    figure.add_vline(
        truth, line={"color": OTHER_COLOUR, "width": 1, "dash": "dot"}, annotation_text="the truth",
        annotation_position="bottom left",
    )  # fmt: skip
    figure.update_xaxes(title_text="label changes a minute", range=[0, 1.2 * table["label_changes_a_minute"].max()])
    figure.update_yaxes(title_text="frames whose label is right (%)")
    title = "What smoothing takes away, and what it costs"
    return styled(figure, title, 420, legend=legend_above("right"))


def faces_by_size(sizes: Sequence[int], counts: Mapping[str, Sequence[tuple[int, int]]]) -> go.Figure:
    """Fractions of the faces over their size, a line each, with 95 % Wilson intervals.

    Args:
        sizes: of the faces, in pixels.
        counts: name -> of every size how many, and of how many; a size with none of them is left out.
    """
    figure = go.Figure()
    colours = (KEPT, OTHER_COLOUR, COLOURS["happiness"], COLOURS["disgust"])
    for number, ((name, pairs), colour) in enumerate(zip(counts.items(), cycle(colours))):
        found = [
            (size, 100 * np.array([hits / faces, *wilson(hits, faces)]))
            for size, (hits, faces) in zip(sizes, pairs, strict=True)
            if faces
        ]
        value, low, high = np.array([row for _, row in found]).T
        figure.add_scatter(
            x=[size * (1 + 0.012 * number) for size, _ in found],  # side by side
            y=value,
            error_y={"array": high - value, "arrayminus": value - low, "color": colour, "thickness": 1.3, "width": 4},
            name=name,
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"size": 8},
            hovertemplate="%{y:.0f} %",
        )
    figure.update_xaxes(title_text="size of a synthetic face (pixels, log)", type="log", tickvals=list(sizes))
    figure.update_yaxes(title_text="faces (%)", range=[-3, 103])
    return styled(figure, "How small a face may be", 420, legend=legend_above("left"))


def _colour(name: str) -> str:
    return COLOURS.get(name, OTHER_COLOUR)


def _steps(classes: Sequence[str]) -> list[list[float | str]]:
    """A heat map's colour scale with one flat colour a class."""
    return [[(place + end) / len(classes), _colour(name)] for place, name in enumerate(classes) for end in (0, 1)]


def _names(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Names of places in `classes`; NaN is not seen."""
    return np.where(np.isnan(labels), "not seen", np.array(classes, object)[np.nan_to_num(labels).astype(int)])


def _areas(figure: go.Figure, row: int, classes: tuple[str, ...], x: np.ndarray, means: np.ndarray) -> None:
    """Probabilities stacked to 1, (bins, K)."""
    for place, name in enumerate(classes):
        figure.add_scatter(
            x=x, y=means[:, place].round(4), name=name, legendgroup=name, showlegend=row == 1, stackgroup=f"face{row}",
            mode="lines", line={"width": 0}, fillcolor=_colour(name), row=row, col=1,
            hovertemplate=f"%{{x:.2f}} s: {name} %{{y:.0%}}<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(range=[0, 1], tickvals=[0, 1], ticktext=["0", "1"], row=row, col=1)


def _bands(figure: go.Figure, row: int, classes: Sequence[str], x: np.ndarray, labels: np.ndarray) -> None:
    """Labels as coloured bands, (kinds, bins) places in `classes`; NaN leaves a gap."""
    figure.add_heatmap(
        x=x, y=[_NAMES[kind] for kind in _KINDS], z=labels, customdata=_names(labels, classes),
        colorscale=_steps(classes), zmin=-0.5, zmax=len(classes) - 0.5, showscale=False, ygap=3, row=row, col=1,
        hovertemplate="%{x:.2f} s, %{y}: %{customdata}<extra></extra>",
    )  # fmt: skip


def _in_bins(rows: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A face's rows and the bin that each is in; where a row lasts longer than a bin, it is in the next ones too."""
    bins = (np.searchsorted(edges, rows["time"], side="right") - 1).clip(0, len(edges) - 2)
    empty = np.setdiff1d(np.arange(len(edges) - 1), bins)
    middles = (edges[empty] + edges[empty + 1]) / 2
    last = np.searchsorted(rows["time"], middles) - 1
    shown = (last >= 0) & (middles <= rows["time"][last] + rows["seconds"][last])
    return np.concatenate([rows, rows[last[shown]]]), np.concatenate([bins, empty[shown]])


def _means(values: np.ndarray, bins: np.ndarray, count: int) -> np.ndarray:
    """Means of rows (N, K) in each bin, (count, K); 0 in an empty one."""
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, bins, values)
    return sums / np.maximum(np.bincount(bins, minlength=count), 1)[:, None]


def _most_frequent(labels: np.ndarray, bins: np.ndarray, count: int) -> np.ndarray:
    """The most frequent label of each bin, (count,); -1 in an empty one."""
    votes = np.zeros((count, labels.max(initial=0) + 1), int)
    np.add.at(votes, (bins, labels), 1)
    return np.where(votes.any(axis=1), votes.argmax(axis=1), -1)
