"""The timeline of a film: every face's expressions over time, smoothed, and beside them what single frames say."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ferlib.labels import COLOURS
from ferlib.plots.style import INK, KEPT, OTHER_COLOUR, legend_above, styled
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
    tracks = sorted(table.summary(), key=lambda track: -track["seconds"])[:MOST]
    tracks.sort(key=lambda track: track["track"])
    count, places = max(1, len(tracks)), table.tracks()
    edges = np.linspace(0, max(table.seconds, 1e-3), min(BINS, max(table.frames, 1)) + 1)
    titles = [text for t in tracks for text in (f"<b>face {t['track']}</b>, {t['seconds']:.1f} s", "")]
    figure = make_subplots(
        2 * count, 1, shared_xaxes=True, subplot_titles=titles, row_heights=[_AREA, _BANDS] * count,
        vertical_spacing=0.2 / (2 * count),
    )  # fmt: skip
    colours = [COLOURS.get(one, OTHER_COLOUR) for one in table.classes]
    middles = (edges[1:] + edges[:-1]) / 2
    for number, track in enumerate(tracks):
        rows = np.array(table.rows[places[track["track"]]])
        rows, bins = _in_bins(rows, edges)
        _areas(figure, 2 * number + 1, table.classes, colours, middles, _means(rows["smoothed"], bins, len(middles)))
        labels = np.stack([_most_frequent(rows[kind].argmax(axis=1), bins, len(middles)) for kind in _KINDS])
        _bands(figure, 2 * number + 2, table.classes, colours, middles, labels)
    figure.update_xaxes(range=[0, edges[-1]], showticklabels=False)
    figure.update_xaxes(title_text="seconds", showticklabels=True, row=2 * count, col=1)
    figure.update_annotations(x=0, xanchor="left", font_size=13)
    height = 160 + (_AREA + _BANDS + 30) * count
    title = f"Expressions over time{f' in {name}' if name else ''}"
    return styled(figure, title, height, legend=legend_above("left", 1 + 30 / (height - 150)))


def smoothing_tradeoff(table: pd.DataFrame, acted: float) -> go.Figure:
    """Accuracy over label changes a minute, a point a way to smooth; those that answer as frames come are joined.

    Args:
        table: `name` ("as they come, 0.2 s" for a time constant), `label_changes_a_minute` and `accuracy` (0..1).
        acted: changes a minute that there really were.
    """
    figure = go.Figure()
    online = table["name"].str.startswith("as they come")
    for own, colour, mode in ((table[online], KEPT, "lines+markers+text"), (table[~online], INK, "markers+text")):
        figure.add_scatter(
            x=own["label_changes_a_minute"],
            y=100 * own["accuracy"],
            mode=mode,
            text=[name.removeprefix("as they come, ") for name in own["name"]],
            textposition="middle right",
            marker={"color": colour, "size": 11},
            line={"color": colour, "width": 1, "dash": "dot"},
            showlegend=False,
            hovertemplate="%{text}: %{x:.1f} changes a minute, %{y:.1f} % right<extra></extra>",
        )
    figure.add_vline(x=acted, line={"color": OTHER_COLOUR, "width": 1, "dash": "dot"}, annotation_text="as acted")
    figure.update_xaxes(title_text="label changes a minute", range=[0, 1.2 * table["label_changes_a_minute"].max()])
    figure.update_yaxes(title_text="frames whose label is right (%)")
    return styled(figure, "Calm and right: what smoothing takes away, and what it costs", 420)


def _areas(
    figure: go.Figure, row: int, classes: tuple[str, ...], colours: list[str], x: np.ndarray, means: np.ndarray
) -> None:
    """Probabilities stacked to 1, (bins, K)."""
    for place, name in enumerate(classes):
        figure.add_scatter(
            x=x, y=means[:, place].round(4), name=name, legendgroup=name, showlegend=row == 1, stackgroup=f"face{row}",
            mode="lines", line={"width": 0}, fillcolor=colours[place], row=row, col=1,
            hovertemplate=f"%{{x:.2f}} s: {name} %{{y:.0%}}<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(range=[0, 1], tickvals=[0, 1], ticktext=["0", "1"], row=row, col=1)


def _bands(
    figure: go.Figure, row: int, classes: tuple[str, ...], colours: list[str], x: np.ndarray, labels: np.ndarray
) -> None:
    """Labels as coloured bands, (kinds, bins) places in `classes`; -1 leaves a gap."""
    steps = [[(place + end) / len(classes), colours[place]] for place in range(len(classes)) for end in (0, 1)]
    names = np.where(labels < 0, "not seen", np.array(classes, object)[labels])
    figure.add_heatmap(
        x=x, y=[_NAMES[kind] for kind in _KINDS], z=np.where(labels < 0, np.nan, labels), customdata=names,
        colorscale=steps, zmin=-0.5, zmax=len(classes) - 0.5, showscale=False, ygap=3, row=row, col=1,
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
