"""`ferlib reproduce`: which tables there are, on which data, and how one becomes an entry of a results file.

Every entry says how it was made: data set, backbone, seeds, epochs, faces, recipe, commit and command. Runs are kept in
a work folder and shared between tables, between calls and between processes.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from ferlib.data.dataset import FaceDataset
from ferlib.errors import UserError
from ferlib.experiments import annotators, paper_tables, planned, protocols, purity, rivals
from ferlib.experiments.planned import METHODS_TABLES, Study
from ferlib.experiments.prediction_logger import SINGLE, LoggedRun
from ferlib.experiments.runner import check_splits, runs_as_they_end, subsampled, untrained, watched_runs
from ferlib.models.registry import load_model
from ferlib.training.loop import fitted_method
from ferlib.training.recipes import Recipe

#: Fields of a recipe that a table decides, and by what.
DECIDED_BY = {
    "seed": "its runs have those of --seeds",
    "epochs": "they are those of --epochs",
    "classes": "they are the data's",
    "first_epoch": "a run begins with its first",
    "after": "no run goes on from another recipe's",
    "architecture": "the networks are its own",
    "protocol": "it chooses its epochs itself",
}
#: The same, where the networks stand on the study's backbone.
ON_BACKBONE = {
    "backbone": "give --backbone",
    "keep_stages": "give --keep-stages",
    "input_size": "give --input-size",
}
SET_ALIKE = {"mean", "std", "dropout"}  # rows whose networks have other ones may all be given the same
#: Two entries of a results file are of the same thing, and the later takes the place of the earlier, if these agree.
KEYS = ("table", "data", "model", "backbone")
QUICK_FACES = 160  # trained on by a quick study
QUICK_ROWS = ("SCN",)  # of the tables with noise
TOLD_EVERY = 120  # seconds


@dataclass(frozen=True)
class Table:
    """One table that can be reproduced.

    Attributes:
        about: one line.
        data: the data set's name where none is given.
        make: its entries from the study, the data set and the table's name, one after the other.
        frame: the entries as a table, a row a figure.
        check: raises a DataError, in a sentence, where a data set lacks what this table needs.
    """

    about: str
    data: str
    make: Callable[[Study, FaceDataset, str], Iterable[dict]]
    frame: Callable[[Sequence[dict]], pd.DataFrame] = paper_tables.paper_table
    check: Callable[[FaceDataset], None] = lambda data: None


def check_study(table: str, study: Study, data: FaceDataset) -> None:
    """Refuse before any training what a study could not finish, or what would make its table say something else.

    Raises:
        UserError: a split is empty, a row or recipe field unknown, a field is set that tells the rows apart, a method
            does not fit the faces that are trained on, the backbone or its weights are not to be had.
    """
    check_splits(data)
    TABLES[table].check(data)
    _check_rows(table, study, data)
    _check_settings(table, study, data)
    runs = planned.first_runs(table, study, data)
    if not table.startswith("ivsa"):
        untrained(runs[0][0], study.backbone.weights)
    asking = [run for run in runs if run[0].method != "plain"]  # plain training asks for nothing
    for _, own in groupby(asking, key=lambda run: run[0].config):
        alike = list(own)
        model = untrained(alike[0][0], None)
        for recipe, train in alike:
            fitted_method(recipe, train, model)


def _check_rows(table: str, study: Study, data: FaceDataset) -> None:
    rows = planned.rows_of(table, replace(study, rows=None), data)
    if study.rows and (not rows or table == "annotators"):
        raise UserError(f"{table} has no rows to choose from")
    if unknown := sorted(set(study.rows or ()) - {row.name for row in rows}):
        raise UserError(f"{table} has no row {unknown[0]}; it has {', '.join(row.name for row in rows)}")


def _check_settings(table: str, study: Study, data: FaceDataset) -> None:
    decided = {} if table.startswith("ivsa") else ON_BACKBONE
    decided = decided | dict.fromkeys(_told_apart_by(table, study, data), "its rows are told apart by it") | DECIDED_BY
    if table in METHODS_TABLES:
        decided |= {"freeze_backbone": "methods trains the backbone, methods-frozen does not"}
    if wrong := sorted(decided.keys() & study.settings.keys()):
        raise UserError(f"{wrong[0]} cannot be set for a table: {decided[wrong[0]]}")
    if table == "purity" and study.settings.get("flip_tta"):
        raise UserError("purity asks networks for the features of one side of a face; leave flip_tta out")


def _told_apart_by(table: str, study: Study, data: FaceDataset) -> set[str]:
    """Fields in which the rows of a table differ, all of a recipe, and of the configs those of one kind of network."""
    groups: dict[type, list[dict[str, Any]]] = defaultdict(list)
    for recipe, _ in planned.first_runs(table, replace(study, settings={}, rows=None), data):
        groups[Recipe].append(vars(recipe) | {"targets": recipe.target_kind})
        groups[type(recipe.config)].append(vars(recipe.config))
    differing = {
        name for group in groups.values() for name in group[0] if any(one[name] != group[0][name] for one in group)
    }
    return differing - SET_ALIKE


def check_kept(entries: Sequence[dict], table: str, study: Study, data: FaceDataset) -> None:
    """Refuse a study whose entries would take the place of others that have more.

    Args:
        entries: of the results file.
        table: to be made.
        study: its settings.
        data: its data set.

    Raises:
        UserError: an entry of the same thing has a row or a seed that the study leaves out.
    """
    names = {one.name for one in planned.versions(table, study, data)}
    backbone = None if table.startswith("ivsa") else study.backbone.to_json()
    rows = [row.name for row in planned.rows_of(table, study, data)] or [""]
    wanted = {(row, str(seed)) for row in rows for seed in study.seeds}
    for entry in entries:
        same = (entry["table"], entry.get("backbone")) == (table, backbone) and entry["data"] in names
        if same and (lost := sorted(figures_of(entry) - wanted)):
            name, seed = lost[0]
            raise UserError(
                f"the results file has {table} of {entry['data']} with {f'the row {name}, ' if name else ''}seed "
                f"{seed}, which this command leaves out; ask for it, too (--rows, --seeds), or take another --out"
            )


def figures_of(entry: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Row and seed of every run that an entry has figures of; the row is "" in a table without rows."""
    rows = entry.get("rows") or [{"name": ""}]
    return {(row["name"], str(seed)) for row in rows for seed in row.get("seeds", entry["seeds"])}


def _protocols(study: Study, whole: FaceDataset, table: str) -> Iterator[dict]:
    """Conv-cut's and PAtt-Lite's networks under every protocol; duplicates are looked for in `whole`."""
    data = subsampled(whole, study.train_faces)
    for model in protocols.NETWORKS:
        recipes = planned.network_recipes(study, data, model)
        runs = dict(zip(recipes, study.run(list(recipes.values()), data), strict=True))
        if not study.judges:
            continue
        entry = protocols.protocols_entry(model, study.backbone, recipes, runs, data, whole)
        print(protocols.sentence(entry), flush=True)
        yield entry


def _purity(study: Study, whole: FaceDataset, table: str) -> list[dict]:
    """Two networks of "protocols" taken apart, and one of them trained on random labels; runs are shared with it."""
    data = subsampled(whole, study.train_faces)
    relabelled = purity.with_random_labels(data)
    every = planned.network_recipes(study, data, "convcut")
    recipes = {key: recipe for key, recipe in every.items() if key[1] in ("batch", "none")}
    batch = {seed: recipe for (seed, network), recipe in recipes.items() if network == "batch"}
    runs = dict(zip(recipes, study.run(list(recipes.values()), data), strict=True))
    misled = dict(zip(batch, study.run(list(batch.values()), relabelled), strict=True))
    if not study.judges:
        return []
    models: dict[str, dict[int, Any]] = {"batch": {}, "none": {}}
    for (seed, network), run in runs.items():
        models[network][seed] = load_model(run.folder / "best")
    found = purity.measure_purity(models["batch"], list(models["none"].values()), misled, data, relabelled)
    made = paper_tables.how_made(study.backbone, study.seeds, data, recipes)
    return [{"table": table, "data": data.name, "model": "convcut"} | made | found]


def _paper_table(study: Study, whole: FaceDataset, table: str) -> Iterator[dict]:
    for data in planned.versions(table, study, whole):
        recipes = planned.recipes_by_row(study, data, table)
        runs = {name: dict(zip(own, study.run(list(own.values()), data), strict=True)) for name, own in recipes.items()}
        if study.judges:
            yield paper_tables.table_entry(table, study.backbone, recipes, runs, data)


def _methods(study: Study, whole: FaceDataset, table: str) -> Iterator[dict]:
    """The entries of the methods' tables, of every version of the data; faces are drawn first, then labels flipped."""
    for data in planned.versions(table, study, whole):
        yield from _methods_so_far(study, data, table)


def _methods_so_far(study: Study, data: FaceDataset, table: str) -> Iterator[dict]:
    """The entry with the runs that are there so far, again and again, at most once in `TOLD_EVERY` seconds."""
    rows = planned.rivals_wanted(study, data, table)
    wanted = [(seed, rival) for seed in study.seeds for rival in rows]  # plain training is the first of every seed
    recipes = [planned.method_recipe(study, rival, data, table, seed) for seed, rival in wanted]
    made = paper_tables.how_made(study.backbone, study.seeds, data, {(study.seeds[0], rivals.PLAIN): recipes[0]})
    runs: dict[str, dict[int, LoggedRun]] = {}
    told = time.monotonic()
    ended = runs_as_they_end(recipes, data, study.work, study.backbone.weights, [SINGLE], rivals.SELECT_BY)
    for number, (place, run) in enumerate(ended, start=1):
        seed, rival = wanted[place]
        runs.setdefault(rival.name, {})[seed] = run
        if not study.judges:
            continue
        if number == len(wanted) or (rivals.PLAIN in runs and time.monotonic() - told > TOLD_EVERY):
            yield {"table": table, "data": data.name} | made | {"rows": rivals.compare_rivals(runs, data, rows=rows)}
            told = time.monotonic()


def _annotators(study: Study, whole: FaceDataset, table: str) -> list[dict]:
    data = subsampled(whole, study.train_faces)
    recipes, runs = {}, {}
    for row in annotators.ROWS:
        labelled = annotators.labelled_by(data, row.labels)
        own = planned.annotator_recipes(study, row, labelled)
        found = watched_runs(
            list(own.values()), labelled, study.work, study.backbone.weights, [SINGLE], rivals.SELECT_BY
        )
        recipes[row.name], runs[row.name] = own, dict(zip(own, found, strict=True))
    if not study.judges:
        return []
    plain = {(seed, annotators.OWN): recipe for seed, recipe in recipes[annotators.OWN].items()}
    made = paper_tables.how_made(study.backbone, study.seeds, data, plain)
    return [{"table": table, "data": data.name} | made | annotators.compare_annotators(runs, data)]


TABLES = {
    "protocols": Table(
        "from a published figure to an honest one, one leak less at every step",
        "ferplus",
        _protocols,
        protocols.protocols_table,
    ),
    "purity": Table(
        "what batch attention says of a face in purer and purer batches",
        "ferplus",
        _purity,
        purity.purity_table,
        purity.check_purity,
    ),
    "convcut-table1": Table("Conv-cut's Table 1: the networks of the authors' code", "ferplus", _paper_table),
    "convcut-table2": Table("Conv-cut's Table 2: attention and Detail Extraction", "ferplus", _paper_table),
    "convcut-table3": Table("Conv-cut's Table 3: layers in Detail Extraction", "ferplus", _paper_table),
    "convcut-backbone": Table("Conv-cut: stages of the backbone kept", "ferplus", _paper_table),
    "pattlite-attention": Table("PAtt-Lite with and without its attention", "ferplus", _paper_table),
    "ivsa-table1": Table("IVSA's Table I: general networks", "fer2013", _paper_table),
    "ivsa-table2": Table("IVSA's Table II: by subject and at random", "ckplus", _paper_table),
    "ivsa-table3": Table("IVSA's Table III: attention blocks", "fer2013", _paper_table),
    "methods": Table("the rivals' methods on one host", "ferplus", _methods, rivals.methods_table),
    "methods-noise": Table(
        "the same, a part of the training labels flipped", "ferplus", _methods, rivals.methods_table
    ),
    "methods-frozen": Table("the rivals' methods on a frozen backbone", "ferplus", _methods, rivals.methods_table),
    "methods-frozen-noise": Table(
        "the same, a part of the training labels flipped", "ferplus", _methods, rivals.methods_table
    ),
    "annotators": Table(
        "LTNet's two annotators of the same faces, and their latent truth",
        "ferplus",
        _annotators,
        annotators.annotators_table,
        annotators.check_annotators,
    ),
}


def results_frame(entries: Sequence[dict]) -> pd.DataFrame:
    """Entries of a results file as one table, a row a figure; columns that a table lacks are empty."""
    parts: dict[Callable, list[dict]] = {}
    for entry in entries:
        parts.setdefault(TABLES[entry["table"]].frame, []).append(entry)
    return pd.concat([frame(own) for frame, own in parts.items()], ignore_index=True)


def quick(study: Study, table: str, data: FaceDataset) -> Study:
    """The same study so small that its figures mean nothing: to see that everything works on this data."""
    tiny = {"widths": (4, 8, 8, 8), "hidden": 16} if table.startswith("ivsa") else {}
    rows = study.rows or (QUICK_ROWS if table.endswith("noise") else None)  # the other methods are in "methods"
    settings = tiny | dict(study.settings)
    faces = study.train_faces or _quick_faces(data)
    return replace(
        study, epochs=study.epochs or 1, seeds=study.seeds[:1], train_faces=faces, settings=settings, rows=rows
    )


def _quick_faces(data: FaceDataset) -> int:
    """Training faces of a quick study: `QUICK_FACES`, doubled until two of every class are drawn, where it has two."""
    faces, enough = QUICK_FACES, _training_counts(data).clip(max=2)
    while (_training_counts(subsampled(data, faces)) < enough).any():
        faces *= 2
    return faces


def _training_counts(data: FaceDataset) -> np.ndarray:
    """Training faces of every class, (classes,)."""
    labels = data.frame.loc[data.frame["split"] == "train", "label"]
    return np.bincount(labels, minlength=len(data.classes))
