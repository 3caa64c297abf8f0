"""The papers' tables, every row under the published protocol and under an honest one.

A row is one network, or the same with its attention read over the positions of a face ("honest"). Each trained network
is read twice: as published (class-sorted batches; the epoch chosen on test in batches of 16, the figure from batches of
32, as the code of Conv-cut's authors does it) and one face at a time (epoch chosen on validation). For a network that
sees every face alone, the two differ in the choice of the epoch only. IVSA's networks have a third reading: ten crops
of a face, as in its paper, at the epoch that validation chooses.

Departures from the papers: the rows of Conv-cut's tables 2 and 3 stand on the same truncated backbone (the paper's
first row is the whole ConvNeXt; "convcut-backbone" has that comparison) and follow Algorithm 1 with attention over the
batch, which is what its authors' code computes, with a batch norm before the classifier in every row; the rows
of table 1 are that code's network. Which epochs, widths and schedule were taken stands beside every table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from ferlib.data.dataset import FaceDataset
from ferlib.errors import UserError
from ferlib.evaluation.bootstrap import RESAMPLES, Resampling, difference
from ferlib.evaluation.metrics import METRICS
from ferlib.experiments import published
from ferlib.experiments.prediction_logger import FINAL, SINGLE, SORTED, Batching, LoggedRun
from ferlib.experiments.protocols import on_backbone, with_head_norm
from ferlib.experiments.published import published_name
from ferlib.experiments.runner import BackboneChoice, judge_runs
from ferlib.models.base import ModelConfig
from ferlib.models.ivsa import IVSAConfig
from ferlib.models.registry import MODELS, with_normalisation
from ferlib.training.recipes import RECIPES, Recipe, at_ivsa_size, fitted_config
from ferlib.utils.commit import commit

IVSA_SIZES = {"widths", "hidden"}
BATCH, TOKEN, NONE, CODE = "convcut_batch", "convcut", "convcut_none", "convcut_published"
TEN_CROPS = "ten crops"
PROTOCOLS = ("published", "alone", "honest", TEN_CROPS)


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


_IVSA_BLOCKS = (Row("plain", "ivsa_plain"), Row("cbam", "ivsa_cbam"), Row("sab", "ivsa"))
#: Rows in the papers' order; the names are those of `ferlib.experiments.published` where the paper has the row.
TABLES: dict[str, tuple[Row, ...]] = {
    "convcut-table1": (
        Row("PAtt-Lite", "pattlite_published", "pattlite"),
        Row("Conv-cut", CODE, TOKEN),
    ),
    "convcut-table2": (
        Row("neither", "linear_probe"),
        Row("attention", BATCH, TOKEN, {"detail_layers": 0}),
        Row("detail extraction", NONE),
        Row("both", BATCH, TOKEN),
    ),
    "convcut-table3": (
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
    "ivsa-table1": (
        Row("VGG", "vgg16"),
        Row("GoogleNet", "googlenet"),
        Row("ResNet-18", "resnet18"),
        Row("Inception", "inception_v3"),
        Row("IVSA without SAB", "ivsa_plain"),
        Row("IVSA", "ivsa"),
    ),
    "ivsa-table2": (Row("IVSA without SAB", "ivsa_plain"), Row("IVSA", "ivsa")),
    "ivsa-table3": (
        *_IVSA_BLOCKS,
        Row("sab, channel gate alone", "ivsa", None, {"block": "sab_channel"}),
        Row("sab, spatial gate alone", "ivsa", None, {"block": "sab_spatial"}),
        Row("sab, γ on both gates", "ivsa", None, {"gamma": "both"}),
    ),
}
#: The published table that a table of ours stands beside.
PUBLISHED = {name: name.replace("-", "_") for name in TABLES if name.replace("-", "_") in published.TABLES}


def is_of_ivsa(table: str) -> bool:
    """True for a table of IVSA's paper, whose networks are trained from scratch and stand on no backbone given."""
    return table.startswith("ivsa")


def row_recipes(
    table: str,
    row: Row,
    data: FaceDataset,
    backbone: BackboneChoice,
    epochs: int | None,
    seeds: Sequence[int],
    settings: Mapping[str, Any] | None = None,
) -> dict[tuple[int, str], Recipe]:
    """(seed, "model" or "within") -> recipe of one row.

    Args:
        table: a key of `TABLES`, that the row is of.
        row: of the table.
        data: that will be trained on.
        backbone: that Conv-cut's and PAtt-Lite's rows stand on.
        epochs: of every run; None: the recipe's.
        seeds: of the runs.
        settings: fields to change in the table's recipe, "convcut" or "ivsa", see `Recipe.override`.
    """
    readings = {"model": row.model} | ({"within": row.within} if row.within else {})
    changes, ivsa = dict(settings or {}), is_of_ivsa(table)
    base = RECIPES["ivsa"].override(changes) if ivsa else RECIPES["convcut"]
    recipes = {
        (seed, reading): replace(
            base,
            config=row_config(base.config, MODELS[name].config, row, data, backbone, changes),
            epochs=epochs or base.epochs,
            seed=seed,
        )
        for seed in seeds
        for reading, name in readings.items()
    }
    return recipes if ivsa else {key: recipe.override(changes) for key, recipe in recipes.items()}


def row_config(
    base: ModelConfig,
    config: ModelConfig,
    row: Row,
    data: FaceDataset,
    backbone: BackboneChoice,
    changes: Mapping[str, Any],
) -> ModelConfig:
    """The config of a row: the named model's, on this backbone or in this recipe's sizes, for these classes.

    Args:
        base: of the table's recipe, changed as asked.
        config: of the row's model.
        row: of the table.
        data: that will be trained on.
        backbone: see `row_recipes`.
        changes: asked for; those of IVSA's config are taken over, sizes where the network has them.

    Raises:
        UserError: another change is of a field that the row's network lacks.
    """
    if isinstance(base, IVSAConfig):
        sized: ModelConfig = with_normalisation(at_ivsa_size(config), None)
        if isinstance(config, IVSAConfig):
            sized = replace(config, widths=base.widths, hidden=base.hidden)
        asked = {one.name for one in fields(base)} & changes.keys() - IVSA_SIZES
        if wrong := sorted(asked - {one.name for one in fields(config)}):
            raise UserError(f"{wrong[0]} cannot be set for {row.name}; it has none")
        taken = {name: getattr(base, name) for name in asked} | {"classes": data.classes}
        return replace(sized, **taken | dict(row.settings))
    placed = replace(on_backbone(config, backbone), **row.settings)
    return fitted_config(placed if placed.architecture == CODE else with_head_norm(placed), data)


def judge(
    table: str,
    runs: Mapping[str, Mapping[tuple[int, str], LoggedRun]],
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
        A dict a row: its definition; "published", "alone" and perhaps "honest" and "ten crops", each with metrics and
        intervals, those of every seed, the chosen epochs (from 1), and the paired difference to the row before; the
        paper's figures.
    """
    rows = [row for row in TABLES[table] if row.name in runs]
    draws: dict[int, Resampling] = {}  # by number of seeds
    report = []
    paper = paper_figures(table)
    before: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for row in rows:
        entry = asdict(row) | {"paper": paper.get(row.name, {})}
        readings: list[tuple[str, str, Batching, str]] = [
            ("published", "model", FINAL, "test"),
            ("alone", "model", SINGLE, "validation"),
        ]
        if any(reading == "within" for _, reading in runs[row.name]):
            readings.append(("honest", "within", SINGLE, "validation"))
        if all(run.ten_crops is not None for run in runs[row.name].values()):
            readings.append((TEN_CROPS, "model", SINGLE, "validation"))
        for protocol, reading, batching, split in readings:
            seeds = sorted(seed for seed, kind in runs[row.name] if kind == reading)
            own = {seed: runs[row.name][seed, reading] for seed in seeds}
            if len(seeds) not in draws:
                draws[len(seeds)] = Resampling(data.split("test"), len(seeds), resamples)
            chosen_in = SORTED if batching == FINAL else None
            ten_crops = protocol == TEN_CROPS
            entry[protocol], exact, resampled = judge_runs(
                own, split, batching, draws[len(seeds)], None, chosen_in, ten_crops
            )
            if protocol in before and protocol != "honest":
                entry[protocol]["minus_previous"] = difference((exact, resampled), before[protocol])
            before[protocol] = exact, resampled
        report.append(entry)
    return report


def paper_figures(table: str) -> dict[str, dict[str, float]]:
    """Row -> {"data metric": percent} of the published table, empty where there is none."""
    if table not in PUBLISHED:
        return {}
    frame = published.read_published(PUBLISHED[table])
    frame["key"] = frame["data"] + " " + frame["metric"]
    return {name: dict(zip(rows["key"], rows["value"], strict=True)) for name, rows in frame.groupby("model")}


def table_entry(
    table: str,
    backbone: BackboneChoice,
    recipes: Mapping[str, Mapping[tuple[int, str], Recipe]],
    runs: Mapping[str, Mapping[tuple[int, str], LoggedRun]],
    data: FaceDataset,
) -> dict:
    """One table with everything that tells how it was made, JSON-ready."""
    own = recipes[next(iter(runs))]
    made = how_made(None if is_of_ivsa(table) else backbone, sorted({seed for seed, _ in own}), data, own)
    return {"table": table, "data": data.name} | made | {"rows": judge(table, runs, data)}


def how_made(
    backbone: BackboneChoice | None, seeds: Sequence[int], data: FaceDataset, recipes: Mapping[Any, Recipe]
) -> dict:
    """Facts of its making that every entry of a results file has, JSON-ready; the recipe is the first one's."""
    recipe = next(iter(recipes.values()))
    return {
        "backbone": backbone and backbone.to_json(),
        "seeds": list(seeds),
        "epochs": recipe.epochs,
        "faces": {split: int(count) for split, count in data.frame["split"].value_counts().items()},
        "recipe": recipe.to_json(),
        "commit": commit(),
    }


def paper_table(entries: Sequence[dict]) -> pd.DataFrame:
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
        for protocol in PROTOCOLS
        if protocol in row
        for metric in METRICS
    )


def beside(paper: Mapping[str, float], data: str, metric: str) -> dict[str, object]:
    """The paper's figure for this data set, or else for RAF-DB, as a fraction of 1, and for which it is; or nothing."""
    place = next((name for name in (published_name(data), "rafdb") if f"{name} {metric}" in paper), None)
    return {} if place is None else {"paper": paper[f"{place} {metric}"] / 100, "paper_data": place}


def pattern(table: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """The steps of a paper's table, theirs and ours, and if they appear: every row less the one before.

    Args:
        table: of `paper_table`, one table, data set and backbone.
        metric: that the paper prints too.

    Returns:
        A row a step and protocol: `step`, `protocol`, `paper` (points), `ours`, `low`, `high` (points), and `appears`:
        "yes" where our interval lies on the side of the paper's step, "reversed" on the other, else "not told apart".
    """
    columns = dict.fromkeys([*table.columns, "paper", "minus_previous_value"])  # the last two may be missing
    own = table[table["metric"] == metric].reindex(columns=list(columns))
    printed = own.drop_duplicates("row").set_index("row")["paper"]
    steps = []
    for row in own[own["minus_previous_value"].notna() & own["paper"].notna()].itertuples():
        before = printed.index[printed.index.get_loc(row.row) - 1]
        theirs = 100 * (printed[row.row] - printed[before])
        if pd.isna(theirs) or not theirs:  # the paper has no figure for the row before, or shows no step
            continue
        ours, low, high = (100 * getattr(row, f"minus_previous_{name}") for name in ("value", "low", "high"))
        same = low > 0 if theirs > 0 else high < 0
        opposite = high < 0 if theirs > 0 else low > 0
        appears = "yes" if same else "reversed" if opposite else "not told apart"
        steps.append(
            {
                "step": f"{before} → {row.row}",
                "protocol": row.protocol,
                "paper": theirs,
                "ours": ours,
                "low": low,
                "high": high,
                "appears": appears,
            }
        )
    return pd.DataFrame(steps)
