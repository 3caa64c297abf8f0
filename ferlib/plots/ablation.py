"""Chapter 4, the ablations: what a network scores under each way of asking it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ferlib.labels import COLOURS
from ferlib.names import display_name
from ferlib.plots.style import INK, legend_above, styled

#: One colour a protocol, and one for what the paper prints.
PROTOCOL_COLOURS = {
    "paper": "#b9c0c9",
    "published": COLOURS["anger"],
    "alone": COLOURS["happiness"],
    "honest": COLOURS["sadness"],
    "ten crops": COLOURS["surprise"],
}
PROTOCOL_NAMES = {
    "paper": "the paper",
    "published": "ours, published protocol",
    "alone": "the same networks, one face at a time",
    "honest": "attention within a face",
    "ten crops": "mean over ten crops, epoch chosen on validation",
}
#: The tables of `ferlib.experiments.paper_tables` as titles.
TABLE_NAMES = {
    "convcut-table1": "Conv-cut, Table 1: backbones and heads",
    "convcut-table2": "Conv-cut, Table 2: attention and Detail Extraction",
    "convcut-table3": "Conv-cut, Table 3: layers of Detail Extraction",
    "convcut-attention": "Conv-cut, Table 2: attention and Detail Extraction",
    "convcut-layers": "Conv-cut, Table 3: layers of Detail Extraction",
    "convcut-backbone": "Conv-cut: stages of the backbone",
    "ivsa-table1": "IVSA, Table I: accuracy on FER2013",
    "ivsa-table2": "IVSA, Table II: accuracy on CK+",
    "ivsa-table3": "IVSA, Table III: attention blocks",
    "ivsa-attention": "IVSA, Table III: attention blocks",
    "pattlite-attention": "PAtt-Lite: with and without its attention",
}


def ablation_bars(table: pd.DataFrame, metric: str = "accuracy") -> go.Figure:
    """An ablation table as grouped bars: the paper's figure, and ours by protocol with 95 % intervals.

    Args:
        table: one table and data set of `ferlib.experiments.paper_tables.paper_table`.
        metric: one of its metrics.
    """
    own = table[table["metric"] == metric]
    rows = list(dict.fromkeys(own["row"]))
    figure = go.Figure()
    paper = own.drop_duplicates("row").set_index("row").get("paper", pd.Series(dtype=float)).reindex(rows)
    if paper.notna().any():
        place = own["paper_data"].dropna().iloc[0]
        frame = pd.DataFrame({"value": paper.to_numpy()})
        figure.add_trace(
            _bars(rows, frame, PROTOCOL_COLOURS["paper"], f"{PROTOCOL_NAMES['paper']}, {display_name(place)}")
        )
    for protocol in ("published", "alone", "honest", "ten crops"):
        part = own[own["protocol"] == protocol].set_index("row").reindex(rows)
        if part["value"].notna().any():
            figure.add_trace(_bars(rows, part, PROTOCOL_COLOURS[protocol], PROTOCOL_NAMES[protocol]))
    figure.update_yaxes(title_text=f"{display_name(metric)}, %", range=[0, 112], tickvals=list(range(0, 101, 20)))
    figure.update_xaxes(tickangle=0, showgrid=False)
    first = own.iloc[0]
    runs = "1 seed" if first["seeds"] == 1 else f"{first['seeds']} seeds"
    return styled(
        figure,
        f"{TABLE_NAMES.get(first['table'], first['table'])}; {display_name(first['data'])}, {runs}",
        430,
        barmode="group",
        legend=legend_above("left", 1.02),
        bargap=0.18,
    )


def _bars(names: Sequence[str], rows: pd.DataFrame, colour: str, label: str) -> go.Bar:
    """Percent bars with intervals where there are some, and their values above."""
    values = 100 * rows["value"].to_numpy(float)
    errors = None
    tops = values
    if "low" in rows:
        tops = 100 * rows["high"].to_numpy(float)
        errors = {
            "array": tops - values,
            "arrayminus": values - 100 * rows["low"].to_numpy(float),
            "color": INK,
            "thickness": 1.5,
            "width": 4,
        }
    return go.Bar(
        x=[display_name(name).replace(", ", ",<br>") for name in names],
        y=values,
        error_y=errors,
        marker_color=colour,
        name=label,
        showlegend=True,
        text=["" if np.isnan(value) else f"{value:.1f}" for value in values],
        textposition="inside",
        insidetextanchor="start",
        textangle=0,
        textfont={"size": 13},
    )


def watched_epochs(curves: Mapping[str, Sequence[float]], colours: Mapping[str, str] | None = None) -> go.Figure:
    """Accuracy after every epoch, a line a way of asking.

    Args:
        curves: name -> fractions of 1, one an epoch.
        colours: name -> colour.
    """
    figure = go.Figure()
    palette = [COLOURS[name] for name in ("anger", "fear", "happiness", "sadness", "disgust")]
    for i, (name, values) in enumerate(curves.items()):
        figure.add_scatter(
            x=list(range(1, len(values) + 1)),
            y=[100 * value for value in values],
            name=name,
            mode="lines+markers",
            line={"color": (colours or {}).get(name, palette[i % len(palette)]), "width": 2.5},
        )
    figure.update_xaxes(title_text="epoch", dtick=1)
    figure.update_yaxes(title_text="accuracy, %", rangemode="tozero")
    return styled(figure, "One run, several ways of asking it", 380)
