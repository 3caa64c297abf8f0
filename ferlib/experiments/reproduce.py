"""The checks of `ferlib reproduce` before it trains, its quick studies, and its results file as a table.

Every entry of the file says how it was made: data set, backbone, seeds, epochs, faces, recipe, commit and command.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from ferlib.data.dataset import FaceDataset
from ferlib.errors import UserError
from ferlib.experiments.runner import check_splits, subsampled, untrained
from ferlib.experiments.study import Study, Table
from ferlib.experiments.tables import TABLES
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
BEST_ROWS = "best on validation"  # in place of a row's name, where more seeds may make it another
QUICK_FACES = 160  # trained on by a quick study


def check_study(table: Table, study: Study, data: FaceDataset) -> None:
    """Refuse before any training what a study could not finish, or what would make its table say something else.

    Raises:
        UserError: a split is empty, a row or recipe field unknown, a field is set that tells the rows apart, a method
            does not fit the faces that are trained on, the backbone or its weights are not to be had.
    """
    check_splits(data)
    table.check(data)
    _check_rows(table, study, data)
    if study.more_seeds and not table.has_best:
        raise UserError(f"{table.name} has no rows that validation ranks, which --more-seeds are for")
    if study.flipped and not table.flips_labels:
        raise UserError(f"{table.name} flips no labels, which --flipped is for")
    if wrong := [part for part in study.flipped or () if not 0 < part <= 1]:
        raise UserError(f"--flipped must be above 0 and at most 1, not {wrong[0]:g}")
    _check_settings(table, study, data)
    list(table.runs(replace(study, seeds=[*study.seeds, *study.more_seeds]), data))  # every recipe can be made
    runs = table.first_runs(study, data)
    if table.on_backbone:
        untrained(runs[0][0], study.backbone.weights)
    asking = [run for run in runs if run[0].method != "plain"]  # plain training asks for nothing
    for _, own in groupby(asking, key=lambda run: run[0].config):
        alike = list(own)
        model = untrained(alike[0][0], None)
        for recipe, train in alike:
            fitted_method(recipe, train, model)


def _check_rows(table: Table, study: Study, data: FaceDataset) -> None:
    if not study.rows:
        return
    if not table.has_rows:
        raise UserError(f"{table.name} has no rows to choose from")
    names = table.row_names(replace(study, rows=None), data)
    if unknown := sorted(set(study.rows) - set(names)):
        raise UserError(f"{table.name} has no row {unknown[0]}; it has {', '.join(names)}")


def _check_settings(table: Table, study: Study, data: FaceDataset) -> None:
    decided = ON_BACKBONE if table.on_backbone else {}
    decided = decided | dict.fromkeys(_told_apart_by(table, study, data), "its rows are told apart by it") | DECIDED_BY
    decided |= table.decides
    if wrong := sorted(decided.keys() & study.settings.keys()):
        raise UserError(f"{wrong[0]} cannot be set for a table: {decided[wrong[0]]}")


def _told_apart_by(table: Table, study: Study, data: FaceDataset) -> set[str]:
    """Fields in which the rows of a table differ, all of a recipe, and of the configs those of one kind of network."""
    groups: dict[type, list[dict[str, Any]]] = defaultdict(list)
    for recipe, _ in table.first_runs(replace(study, settings={}, rows=None), data):
        groups[Recipe].append(vars(recipe) | {"targets": recipe.target_kind})
        groups[type(recipe.config)].append(vars(recipe.config))
    differing = {
        name for group in groups.values() for name in group[0] if any(one[name] != group[0][name] for one in group)
    }
    return differing - SET_ALIKE


def check_kept(entries: Sequence[dict], table: Table, study: Study, data: FaceDataset) -> None:
    """Refuse a study whose entries would take the place of others that have more.

    Args:
        entries: of the results file.
        table: to be made.
        study: its settings.
        data: its data set.

    Raises:
        UserError: an entry of the same thing has a row or a seed that the study leaves out.
    """
    names = {one.name for one in table.versions(study, data)}
    backbone = study.backbone.to_json() if table.on_backbone else None
    rows = table.row_names(study, data) or [""]
    wanted = {(row, str(seed)) for row in rows for seed in study.seeds}
    wanted |= {(BEST_ROWS, str(seed)) for seed in (*study.seeds, *study.more_seeds)}
    for entry in entries:
        same = (entry["table"], entry.get("backbone")) == (table.name, backbone) and entry["data"] in names
        if same and (lost := sorted(figures_of(entry) - wanted, key=lambda one: (one[0] == BEST_ROWS, one))):
            name, seed = lost[0]
            raise UserError(
                f"the results file has {table.name} of {entry['data']} with {f'the row {name}, ' if name else ''}seed "
                f"{seed}, which this command leaves out; ask for it, too (--rows, --seeds, --more-seeds), or take "
                "another --out"
            )


def figures_of(entry: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Row and seed of every run that an entry has figures of; the row is "" in a table without rows.

    Seeds that only some rows have are those of `BEST_ROWS`, whichever these were.
    """
    rows = entry.get("rows") or [{"name": ""}]
    there = {(row["name"], str(seed)) for row in rows for seed in row.get("seeds", entry["seeds"])}
    of_all = set(map(str, entry["seeds"]))
    return {(name, seed) for name, seed in there if seed in of_all} | {(BEST_ROWS, seed) for _, seed in there}


def results_frame(entries: Sequence[dict]) -> pd.DataFrame:
    """Entries of a results file as one table, a row a figure; columns that a table lacks are empty."""
    parts: dict[Callable, list[dict]] = {}
    for entry in entries:
        parts.setdefault(TABLES[entry["table"]].frame, []).append(entry)
    return pd.concat([frame(own) for frame, own in parts.items()], ignore_index=True)


def quick(study: Study, table: Table, data: FaceDataset) -> Study:
    """The same study so small that its figures mean nothing: to see that everything works on this data."""
    faces = study.train_faces or _quick_faces(data)
    few = replace(study, seeds=study.seeds[:1], more_seeds=study.more_seeds[:1])
    return table.quick(replace(few, epochs=study.epochs or 1, train_faces=faces))


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
