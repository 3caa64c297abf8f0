"""The papers' ablation tables, every row under the published protocol and an honest one.

A row is one network, or the same with its attention read over the positions of a face ("honest reading"). Each trained
network is read twice: as published (class-sorted batches of 16, epoch chosen on test; the papers' own figures are from
batches of 32) and one face at a time (epoch chosen on validation). For a network that sees every face alone, the two
differ in the choice of the epoch only.

Departures from the papers: all rows of a Conv-cut table stand on the same truncated backbone (the paper's first row is
the whole ConvNeXt; "convcut-backbone" has that comparison), and follow Algorithm 1 with attention over the batch, which
is what its authors' code computes. IVSA's networks hold no batch attention. They are a quarter as wide as the paper's,
trained by a one-cycle over 4 epochs where the paper has 100, and judged on the centre crop, all rows alike: what the
blocks do early on in small networks, not how good they get.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ferlib.data.dataset import FaceDataset
from ferlib.evaluation.bootstrap import RESAMPLES, Resampling, intervals
from ferlib.evaluation.metrics import METRICS
from ferlib.experiments.prediction_logger import SINGLE, SORTED, Batching, WatchedRun
from ferlib.experiments.protocols import on_backbone
from ferlib.experiments.published import read_published
from ferlib.experiments.runner import Backbone, judge_runs
from ferlib.models.base import ModelConfig
from ferlib.models.ivsa import IVSAConfig
from ferlib.models.registry import MODELS
from ferlib.training.recipes import RECIPES, Recipe, fitted_config
from ferlib.utils.commit import commit

BATCH, TOKEN, NONE = "convcut_batch", "convcut", "convcut_none"


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: as in `ferlib.experiments.published`, where the paper has the row.
        model: the network, a name in the registry; judged under both protocols.
        within: the network that reads the attention within a face, where there is one to train.
        settings: fields of their configs.
    """

    name: str
    model: str
    within: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


#: Rows in the papers' order. Every difference is to the row before.
TABLES: dict[str, tuple[Row, ...]] = {
    "convcut-attention": (
        Row("neither", "linear_probe"),
        Row("attention", BATCH, TOKEN, {"detail_layers": 0}),
        Row("detail extraction", NONE),
        Row("both", BATCH, TOKEN),
    ),
    "convcut-layers": (
        Row("one layer", BATCH, None, {"detail_layers": 1}),
        Row("three layers", BATCH, None, {"detail_layers": 3}),
        Row("two layers", BATCH, TOKEN),
    ),
    "convcut-backbone": tuple(
        Row(f"{stages} stages, {name}", model, None, {"keep_stages": stages})
        for name, model in (("linear probe", "linear_probe"), ("both", BATCH))
        for stages in (2, 3, 4)
    ),
    "pattlite-attention": (
        Row("no attention", "pattlite_none"),
        Row("attention", "pattlite_published", "pattlite"),
    ),
    "ivsa-attention": (
        Row("plain", "ivsa_plain"),
        Row("cbam", "ivsa_cbam"),
        Row("sab", "ivsa"),
    ),
}
#: The published table that a table of ours stands beside.
PUBLISHED = {
    "convcut-attention": "convcut_table2",
    "convcut-layers": "convcut_table3",
    "ivsa-attention": "ivsa_table3",
}


def row_recipes(
    table: str, row: Row, data: FaceDataset, backbone: Backbone, epochs: int | None, seeds: Sequence[int]
) -> dict[tuple[int, str], Recipe]:
    """(seed, "model" or "within") -> recipe of one row."""
    readings = {"model": row.model} | ({"within": row.within} if row.within else {})
    base = RECIPES["convcut"]
    if table.startswith("ivsa"):  # the rate is that of benchmarks/ivsa_readings.py
        small = {"widths": (16, 32, 64, 128), "epochs": 4, "schedule": "onecycle", "lr": 0.05}
        base = RECIPES["ivsa"].override(small)
    return {
        (seed, reading): replace(
            base,
            config=row_config(base.config, MODELS[name].config, row, data, backbone),
            epochs=epochs or base.epochs,
            seed=seed,
        )
        for seed in seeds
        for reading, name in readings.items()
    }


def row_config(base: ModelConfig, config: ModelConfig, row: Row, data: FaceDataset, backbone: Backbone) -> ModelConfig:
    """The config of a row: the named model's, on this backbone or in this recipe's widths, for these classes."""
    if isinstance(config, IVSAConfig) and isinstance(base, IVSAConfig):
        return replace(config, widths=base.widths, classes=data.classes, **row.settings)
    return fitted_config(replace(on_backbone(config, backbone), **row.settings), data)


def judge(
    table: str,
    runs: Mapping[str, Mapping[tuple[int, str], WatchedRun]],
    data: FaceDataset,
    resamples: int = RESAMPLES,
) -> list[dict]:
    """A table's rows under the protocols.

    Args:
        table: a key of `TABLES`.
        runs: row name -> (seed, "model" or "within") -> run; of "model" all rows have the same seeds, of "within" any.
        data: with the test split.
        resamples: of the bootstrap.

    Returns:
        A dict a row: its definition; "published", "alone" and perhaps "honest", each with metrics and intervals, those
        of every seed, the chosen epochs (from 1), and the paired difference to the row before; the paper's figures.
    """
    rows = [row for row in TABLES[table] if row.name in runs]
    draws: dict[int, Resampling] = {}  # by number of seeds
    report = []
    paper = paper_figures(table)
    before: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for row in rows:
        entry = asdict(row) | {"paper": paper.get(row.name, {})}
        readings: tuple[tuple[str, str, Batching, str], ...] = (
            ("published", "model", SORTED, "test"),
            ("alone", "model", SINGLE, "validation"),
        )
        if any(reading == "within" for _, reading in runs[row.name]):
            readings += (("honest", "within", SINGLE, "validation"),)
        for protocol, reading, batching, split in readings:
            seeds = sorted(seed for seed, kind in runs[row.name] if kind == reading)
            own = {seed: runs[row.name][seed, reading] for seed in seeds}
            if len(seeds) not in draws:
                draws[len(seeds)] = Resampling(data.split("test"), len(seeds), resamples)
            entry[protocol], exact, resampled = judge_runs(own, split, batching, draws[len(seeds)])
            if protocol in before and protocol != "honest":
                last, last_resampled = before[protocol]
                entry[protocol]["minus_previous"] = intervals((exact - last).mean(axis=0), resampled - last_resampled)
            before[protocol] = exact, resampled
        report.append(entry)
    return report


def paper_figures(table: str) -> dict[str, dict[str, float]]:
    """Row -> {"data metric": percent} of the published table, empty where there is none."""
    if table not in PUBLISHED:
        return {}
    frame = read_published(PUBLISHED[table])
    frame["key"] = frame["data"] + " " + frame["metric"]
    return {name: dict(zip(rows["key"], rows["value"], strict=True)) for name, rows in frame.groupby("model")}


def table_entry(
    table: str,
    backbone: Backbone,
    recipes: Mapping[str, Mapping[tuple[int, str], Recipe]],
    runs: Mapping[str, Mapping[tuple[int, str], WatchedRun]],
    data: FaceDataset,
) -> dict:
    """One table with everything that tells how it was made, JSON-ready."""
    own = recipes[next(iter(runs))]
    return {
        "table": table,
        "data": data.name,
        "backbone": None if table.startswith("ivsa") else backbone.to_json(),
        "seeds": sorted({seed for seed, _ in own}),
        "epochs": next(iter(own.values())).epochs,
        "faces": {split: int(count) for split, count in data.frame["split"].value_counts().items()},
        "rows": judge(table, runs, data),
        "recipe": next(iter(own.values())).to_json(),
        "commit": commit(),
    }


def ablation_table(entries: Sequence[dict]) -> pd.DataFrame:
    """One row a table, row, protocol and metric, the paper's figure (a fraction of 1) beside ours where it has one.

    A figure of the paper stands beside ours for the same data set if there is one, else for RAF-DB.
    """
    return pd.DataFrame(
        {
            "table": entry["table"],
            "data": entry["data"],
            "backbone": (entry["backbone"] or {}).get("name", ""),
            "row": row["name"],
            "protocol": protocol,
            "metric": metric,
            "seeds": len(row[protocol]["seeds"]),
        }
        | row[protocol]["metrics"][metric]
        | {f"minus_previous_{key}": v for key, v in row[protocol].get("minus_previous", {}).get(metric, {}).items()}
        | beside(row["paper"], entry["data"], metric)
        for entry in entries
        for row in entry["rows"]
        for protocol in ("published", "alone", "honest")
        if protocol in row
        for metric in METRICS
    )


def beside(paper: Mapping[str, float], data: str, metric: str) -> dict[str, object]:
    """The paper's figure for this data set, or else for RAF-DB, as a fraction of 1, and for which it is; or nothing."""
    place = next((name for name in (data, "rafdb") if f"{name} {metric}" in paper), None)
    return {} if place is None else {"paper": paper[f"{place} {metric}"] / 100, "paper_data": place}
