"""Chapter 1, the data: how unequal the classes, how alike the faces, how divided the voters."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ferlib.data.imbalance import BETA
from ferlib.images import data_url
from ferlib.labels import COLOURS
from ferlib.names import display_name
from ferlib.plots.style import INK, OTHER_COLOUR, WIDTH, legend_above, percent, styled

SCALE = [[0, "#ffffff"], [0.02, "#eaf1f6"], [0.4, "#66a9d4"], [1, "#00446b"]]  # only 0 is white
METRIC_COLOURS = (COLOURS["neutral"], COLOURS["sadness"], COLOURS["happiness"])


def class_shares(counts: Mapping[str, pd.Series]) -> go.Figure:
    """Class distribution of some data sets, a panel for each.

    Args:
        counts: title -> faces by class. Classes stand in the order of the longest list, then those it lacks; a set may
            lack some.
    """
    classes = _all_classes([list(faces.index) for faces in counts.values()])
    figure = _panels([f"<b>{display_name(title)}</b>, {faces.sum():,} faces" for title, faces in counts.items()], 65)
    widest = max((faces / faces.sum()).max() for faces in counts.values()) * 100
    for place, faces in enumerate(counts.values()):
        row, column = place // 2 + 1, place % 2 + 1
        shares = (faces / faces.sum() * 100).reindex(classes)
        figure.add_bar(
            y=classes,
            x=shares.fillna(0),
            orientation="h",
            marker_color=[COLOURS.get(name, OTHER_COLOUR) for name in classes],
            text=[
                f" {_share(shares[name])} ({faces[name]:,})" if name in faces else " not a class here"
                for name in classes
            ],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.2f} %<extra></extra>",
            row=row,
            col=column,
        )
        figure.update_xaxes(title_text="fraction of the faces (%)", range=[0, widest * 1.4], row=row, col=column)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    rows = (len(counts) + 1) // 2
    return styled(figure, "Class distribution", 120 + 290 * rows, showlegend=False, bargap=0.25).update_layout(
        margin_l=95
    )


def effective_numbers(statistics: pd.DataFrame, beta: float = BETA) -> go.Figure:
    """Faces of every class and the effective number that they are worth, a line a class, a panel a data set.

    Args:
        statistics: `set`, `class`, `faces`, `effective_number`.
        beta: of the effective numbers, for the title.
    """
    sets = dict(iter(statistics.groupby("set", sort=False)))
    classes = _all_classes([list(rows["class"]) for rows in sets.values()])
    figure = _panels([f"<b>{display_name(name)}</b>" for name in sets], 65)
    for place, (name, rows) in enumerate(sets.items()):
        row, column = place // 2 + 1, place % 2 + 1
        for line in rows.itertuples():
            colour = COLOURS.get(line[2], OTHER_COLOUR)
            figure.add_scatter(
                x=[line.effective_number, line.faces],
                y=[line[2]] * 2,
                mode="lines+markers",
                line={"color": colour, "width": 2},
                marker={"size": [13, 9], "color": [colour, "white"], "line": {"color": colour, "width": 2}},
                hovertemplate=f"{name}, {line[2]}: %{{x:,.0f}}<extra></extra>",
                showlegend=False,
                row=row,
                col=column,
            )
        figure.update_xaxes(title_text="training faces (log)", row=row, col=column)
    for text, fill in (("faces", "white"), ("effective number", INK)):
        marker = {"color": fill, "size": 11, "line": {"color": INK, "width": 2}}
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=text)
    top = np.log10(max(statistics["faces"].max(), 10) * 1.6)
    figure.update_xaxes(type="log", dtick=1, tickformat=",", range=[-0.1, top])
    figure.update_yaxes(categoryorder="array", categoryarray=classes[::-1])
    rows = (len(sets) + 1) // 2
    return styled(
        figure,
        f"What a class's faces count for (β = {beta})",
        120 + 260 * rows,
        legend=legend_above("right", 1 + 0.11 / rows),
    ).update_layout(margin_l=95)


def baselines(values: pd.DataFrame, title: str) -> go.Figure:
    """Several metrics of a classifier that needs no picture, by data set.

    Args:
        values: one row a data set, one column a metric, in 0..1.
        title: which classifier.
    """
    figure = go.Figure()
    for metric, colour in zip(values, cycle(METRIC_COLOURS)):
        figure.add_bar(
            x=[display_name(name) for name in values.index],
            y=values[metric] * 100,
            name=display_name(metric),
            marker_color=colour,
            text=[f"{value:.1f}" for value in values[metric] * 100],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{x}: %{y:.1f} %<extra></extra>",
        )
    figure.update_yaxes(title_text="score (%)", range=[0, 103])
    legend = legend_above("left")
    return styled(figure, title, 380, legend=legend, bargap=0.3)


def class_matrices(matrices: Mapping[str, pd.DataFrame], title: str, rows: str, columns: str) -> go.Figure:
    """Tables of shares as heat maps, a panel for each.

    Args:
        matrices: title -> shares in 0..1; rows sum to 1, a row of NaN stays empty.
        title: of the figure.
        rows: what a row stands for, e.g. "true class".
        columns: what a column stands for.
    """
    figure = _panels([f"<b>{display_name(name)}</b>" for name in matrices], 95, shared_yaxes=False)
    for place, matrix in enumerate(matrices.values()):
        row, column = place // 2 + 1, place % 2 + 1
        shares = matrix.to_numpy(float) * 100
        figure.add_heatmap(
            z=shares,
            x=list(matrix.columns),
            y=list(matrix.index),
            text=[["" if np.isnan(share) else _whole(share) for share in line] for line in shares],
            texttemplate="%{text}",
            textfont_size=11,
            coloraxis="coloraxis",
            xgap=1,
            ygap=1,
            hovertemplate="%{y} → %{x}: %{z:.1f} %<extra></extra>",
            row=row,
            col=column,
        )
        figure.update_yaxes(title_text=rows if column == 1 else None, row=row, col=column)
        figure.update_xaxes(title_text=columns, row=row, col=column)
    figure.update_xaxes(showgrid=False, tickangle=-45, title_standoff=8)
    figure.update_yaxes(showgrid=False, autorange="reversed", title_standoff=6)
    count = (len(matrices) + 1) // 2
    return styled(
        figure,
        title,
        100 + 400 * count,
        width=WIDTH if len(matrices) > 1 else 600,
        coloraxis={"colorscale": SCALE, "cmin": 0, "cmax": 100, "colorbar": {"title": {"text": "%"}, "thickness": 14}},
    ).update_layout(margin={"l": 115, "b": 95})


def similarities(values: Mapping[str, Mapping[str, np.ndarray]], title: str, axis: str) -> go.Figure:
    """Histograms of the similarity of pairs of faces, over one another, a panel for each data set.

    Args:
        values: data set -> kind of pair -> numbers; up to three kinds.
        title: of the figure.
        axis: what the numbers are.
    """
    figure = _panels([f"<b>{display_name(name)}</b>" for name in values], 60)
    everything = np.concatenate([numbers for kinds in values.values() for numbers in kinds.values()])
    low, high = everything.min(), everything.max()
    edges = np.linspace(low, high, 61)
    for place, kinds in enumerate(values.values()):
        row, column = place // 2 + 1, place % 2 + 1
        for kind, colour in zip(kinds, cycle((COLOURS["sadness"], COLOURS["anger"], COLOURS["disgust"]))):
            shares = np.histogram(kinds[kind], edges)[0] / len(kinds[kind]) * 100
            figure.add_scatter(
                x=np.repeat(edges, 2),  # from edge to edge, so that the outer bins are as wide as the others
                y=[0, *np.repeat(shares, 2), 0],
                mode="lines",
                line={"color": colour, "width": 2},
                fill="tozeroy",
                opacity=0.6,
                name=kind,
                legendgroup=kind,
                showlegend=place == 0,
                hovertemplate=f"{kind}, %{{x:.2f}}: %{{y:.1f}} %<extra></extra>",
                row=row,
                col=column,
            )
        figure.update_xaxes(title_text=axis, range=[low, high], row=row, col=column)
        figure.update_yaxes(title_text="pairs (%)" if column == 1 else None, row=row, col=column)
    figure.update_yaxes(rangemode="tozero", matches="y")
    rows = (len(values) + 1) // 2
    return styled(figure, title, 120 + 270 * rows, legend=legend_above("right", 1 + 0.12 / rows))


def face_grid(
    rows: Sequence[Sequence[tuple[np.ndarray, str]]], title: str, columns: Sequence[str] = (), side: int = 100
) -> go.Figure:
    """Faces in rows, each under its caption.

    Args:
        rows: of (picture, caption); a picture is (H, W), (H, W, 1) or (H, W, 3) uint8. Rows may differ in length.
        title: of the figure.
        columns: a note below each column.
        side: of a face on the page, in pixels.
    """
    count = max(map(len, rows))
    figure = make_subplots(
        len(rows),
        count,
        subplot_titles=[row[place][1] if place < len(row) else "" for row in rows for place in range(count)],
        horizontal_spacing=0.1 / count,
        vertical_spacing=0.24 / len(rows),
    )
    for number, row in enumerate(rows, 1):
        for place, (picture, _) in enumerate(row, 1):
            figure.add_trace(_image(picture), row=number, col=place)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_annotations(font_size=12)
    figure = styled(
        figure, title, int((side + 32) * len(rows) + 105), int(min(max(50 + 1.1 * side * count, 560), WIDTH))
    )
    for place, note in enumerate(columns, 1):
        domain = figure.layout[f"xaxis{place if place > 1 else ''}"].domain
        figure.add_annotation(
            text=note,
            x=sum(domain) / 2,
            y=0,
            xref="paper",
            yref="paper",
            xanchor="center",
            yanchor="top",
            showarrow=False,
            font_size=12,
        )
    return figure.update_layout(margin={"l": 25, "b": 45 if columns else 15})


def votes(faces: Sequence[tuple[np.ndarray, str, Mapping[str, int]]], title: str) -> go.Figure:
    """Faces side by side, each above its votes.

    Args:
        faces: of (picture, caption, votes by answer); all have the same answers, in the same order.
        title: of the figure.
    """
    figure = make_subplots(
        2,
        len(faces),
        row_heights=[0.3, 0.7],
        subplot_titles=[caption for _, caption, _ in faces],
        horizontal_spacing=0.02,
        vertical_spacing=0.04,
    )
    most = max(max(given.values()) for _, _, given in faces)
    for column, (picture, _, given) in enumerate(faces, 1):
        figure.add_trace(_image(picture), row=1, col=column)
        figure.update_xaxes(visible=False, row=1, col=column)
        figure.update_yaxes(visible=False, row=1, col=column)
        figure.add_bar(
            y=list(given),
            x=list(given.values()),
            orientation="h",
            marker_color=[COLOURS.get(name, OTHER_COLOUR) for name in given],
            text=[str(number) if number else "" for number in given.values()],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x}<extra></extra>",
            row=2,
            col=column,
        )
        figure.update_xaxes(title_text="votes", range=[0, most * 1.25], dtick=2, row=2, col=column)
        figure.update_yaxes(autorange="reversed", showticklabels=column == 1, showgrid=False, row=2, col=column)
    figure.update_annotations(font_size=12)
    return styled(figure, title, 460, showlegend=False, bargap=0.2).update_layout(margin_l=95)


def entropies(values: pd.DataFrame) -> go.Figure:
    """Box plots of the annotators' disagreement by class: quartiles, and whiskers from 5 to 95 % of the faces.

    Args:
        values: one row a face: `class`, `entropy` in bits.
    """
    figure = go.Figure()
    for name, part in values.groupby("class", sort=False):
        low, first, middle, third, high = part["entropy"].quantile([0.05, 0.25, 0.5, 0.75, 0.95])
        figure.add_box(
            y=[f"{name} ({len(part):,})"],
            q1=[first],
            median=[middle],
            q3=[third],
            lowerfence=[low],
            upperfence=[high],
            orientation="h",
            marker_color=COLOURS.get(name, OTHER_COLOUR),
            line_width=2,
        )
    figure.update_xaxes(
        title_text="entropy of the votes (bits); 0: all agree, 1: two answers, half each",
        range=[-0.02, values.groupby("class")["entropy"].quantile(0.95).max() * 1.05 + 0.02],
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure = styled(figure, "How divided the voters were, by the class that won", 400, showlegend=False)
    return figure.update_layout(margin_l=145)


def _all_classes(lists: Sequence[Sequence[str]]) -> list[str]:
    """The longest list of classes, then what stands in the others alone."""
    return list(dict.fromkeys([*max(lists, key=len), *(name for names in lists for name in names)]))


def _panels(titles: Sequence[str], gap: int, shared_yaxes: bool = True) -> go.Figure:
    """Two panels a row; a gap of some pixels, about, between rows of 290 and columns of 390."""
    rows = (len(titles) + 1) // 2
    columns = min(len(titles), 2)
    return make_subplots(
        rows,
        columns,
        subplot_titles=list(titles),
        shared_yaxes=shared_yaxes,
        horizontal_spacing=(0.05 if shared_yaxes else gap / 700) if columns > 1 else None,
        vertical_spacing=(gap + 45) / (290 * rows + 60) if rows > 1 else None,
    )


def _image(picture: np.ndarray) -> go.Image:
    """(H, W), (H, W, 1) or (H, W, 3) uint8."""
    return go.Image(source=data_url(picture), hoverinfo="skip", zsmooth="fast")


def _share(share: float) -> str:
    """Percent: 35 %, 4.2 %, 0.47 %."""
    return f"{share:.0f} %" if share >= 10 else f"{share:.1f} %" if share >= 1 else f"{share:.2f} %"


def _whole(share: float) -> str:
    """Whole percent, but never 0 for something."""
    return "" if share == 0 else percent(share / 100).removesuffix("%")
