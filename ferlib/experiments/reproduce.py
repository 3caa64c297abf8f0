"""`ferlib reproduce`: which tables there are, on which data, and how one becomes an entry of a results file.

Every entry says how it was made: data set, backbone, seeds, epochs, faces, recipe, commit and command. Runs are kept in
a work folder and shared between tables, between calls and between processes.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ferlib.data.dataset import FaceDataset
from ferlib.data.label_noise import with_flipped_labels
from ferlib.data.splits import split_at_random
from ferlib.errors import UserError
from ferlib.experiments import annotators, paper_tables, protocols, purity, rivals
from ferlib.experiments.prediction_logger import SINGLE, LoggedRun
from ferlib.experiments.runner import (
    BackboneChoice,
    check_splits,
    runs_as_they_end,
    subsampled,
    untrained,
    watched_runs,
)
from ferlib.models.registry import load_model
from ferlib.training.recipes import Recipe

#: Fields of a recipe that a table decides, and by what.
DECIDED_BY = {
    "seed": "its runs have those of --seeds",
    "epochs": "they are those of --epochs",
    "classes": "they are the data's",
    "first_epoch": "a run begins with its first",
}
#: Two entries of a results file are of the same thing, and the later takes the place of the earlier, if these agree.
KEYS = ("table", "data", "model", "backbone")
QUICK_FACES = 160  # trained on by a quick study
QUICK_ROWS = ("SCN",)  # of the tables with noise
TOLD_EVERY = 120  # seconds
METHODS_TABLES = ("methods", "methods-noise", "methods-frozen", "methods-frozen-noise")


@dataclass(frozen=True)
class Study:
    """Settings for the runs of a table.

    Attributes:
        backbone: under Conv-cut's and PAtt-Lite's networks, frozen; under the rivals' methods, fine-tuned or frozen.
        epochs: of every run; None: those of the rivals' host, six of other frozen backbones, else the recipe's.
        seeds: of every network.
        work: folder of the runs.
        train_faces: train on so many faces, drawn at random; None: on all.
        settings: fields to change in the recipe, see `Recipe.override`.
        rows: names of the rows wanted, of a table that has rows; None: all.
        judges: whether its runs are made a table; one of several processes does, the others train.
    """

    backbone: BackboneChoice
    epochs: int | None
    seeds: Sequence[int]
    work: Path
    train_faces: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[str] | None = None
    judges: bool = True

    def run(self, recipes: Sequence[Recipe], data: FaceDataset) -> list[LoggedRun]:
        """The runs of these recipes, trained or read."""
        return watched_runs(recipes, data, self.work, self.backbone.weights)


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
    """Refuse before any training what a study could not finish.

    Raises:
        UserError: a split is empty, a row or recipe field unknown, the backbone or its weights are not to be had.
    """
    check_splits(data)
    if decided := sorted(DECIDED_BY.keys() & set(study.settings)):
        raise UserError(f"{decided[0]} cannot be set for a table: {DECIDED_BY[decided[0]]}")
    TABLES[table].check(data)
    rows: Sequence[rivals.Rival | paper_tables.Row] = paper_tables.TABLES.get(table, ())
    if table in METHODS_TABLES:
        rows = _rivals(data, table)
    if study.rows and not rows:
        raise UserError(f"{table} has no rows to choose from")
    if unknown := sorted(set(study.rows or ()) - {row.name for row in rows}):
        raise UserError(f"{table} has no row {unknown[0]}; it has {', '.join(row.name for row in rows)}")
    if table == "purity" and study.settings.get("flip_tta"):
        raise UserError("purity asks networks for the features of one side of a face; leave flip_tta out")
    recipes = _all_recipes(table, study, data)
    if not table.startswith("ivsa"):
        untrained(recipes[0], study.backbone.weights)


def _all_recipes(table: str, study: Study, data: FaceDataset) -> list[Recipe]:
    """The recipes of a table, those of the first seed; UserError where one of them cannot be made."""
    one = replace(study, seeds=study.seeds[:1])
    if table in METHODS_TABLES:
        return [_rival_recipe(one, rival, data, table, one.seeds[0]) for rival in _rivals_wanted(one, data, table)]
    if table == "annotators":
        by_row = [_annotator_recipes(one, row, annotators.labelled_by(data, row.labels)) for row in annotators.ROWS]
        return [recipe for own in by_row for recipe in own.values()]
    if table in paper_tables.TABLES:
        return [recipe for own in _row_recipes(one, data, table).values() for recipe in own.values()]
    models = protocols.NETWORKS if table == "protocols" else ("convcut",)
    return [recipe for model in models for recipe in _protocol_recipes(one, data, model).values()]


def _protocols(study: Study, whole: FaceDataset, table: str) -> Iterator[dict]:
    """Conv-cut's and PAtt-Lite's networks under every protocol; duplicates are looked for in `whole`."""
    data = subsampled(whole, study.train_faces)
    for model in protocols.NETWORKS:
        recipes = _protocol_recipes(study, data, model)
        runs = dict(zip(recipes, study.run(list(recipes.values()), data), strict=True))
        if not study.judges:
            continue
        entry = protocols.protocols_entry(model, study.backbone, recipes, runs, data, whole)
        print(protocols.sentence(entry), flush=True)
        yield entry


def _protocol_recipes(study: Study, data: FaceDataset, model: str) -> dict[tuple[int, str], Recipe]:
    recipes = protocols.protocol_recipes(model, data, study.backbone, study.epochs or protocols.EPOCHS, study.seeds)
    return {key: recipe.override(dict(study.settings)) for key, recipe in recipes.items()}


def _purity(study: Study, whole: FaceDataset, table: str) -> list[dict]:
    """Two networks of "protocols" taken apart, and one of them trained on random labels; runs are shared with it."""
    data = subsampled(whole, study.train_faces)
    relabelled = purity.with_random_labels(data)
    every = _protocol_recipes(study, data, "convcut")
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


def _paper_table(study: Study, whole: FaceDataset, table: str) -> list[dict]:
    data = subsampled(whole, study.train_faces)
    recipes = _row_recipes(study, data, table)
    runs = {name: dict(zip(own, study.run(list(own.values()), data), strict=True)) for name, own in recipes.items()}
    return [paper_tables.table_entry(table, study.backbone, recipes, runs, data)] if study.judges else []


def _row_recipes(study: Study, data: FaceDataset, table: str) -> dict[str, dict[tuple[int, str], Recipe]]:
    """Name of a row -> its recipes, of the rows that are wanted."""
    epochs = study.epochs or (None if table.startswith("ivsa") else protocols.EPOCHS)
    return {
        row.name: paper_tables.row_recipes(table, row, data, study.backbone, epochs, study.seeds, study.settings)
        for row in paper_tables.TABLES[table]
        if study.rows is None or row.name in study.rows
    }


def _methods(study: Study, whole: FaceDataset, table: str) -> Iterator[dict]:
    """The entry with the runs that are there so far, again and again, at most once in `TOLD_EVERY` seconds."""
    data = subsampled(whole, study.train_faces)
    rows = _rivals_wanted(study, data, table)
    wanted = [(seed, rival) for seed in study.seeds for rival in rows]  # plain training is the first of every seed
    recipes = [_rival_recipe(study, rival, data, table, seed) for seed, rival in wanted]
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


def _rivals(data: FaceDataset, table: str) -> list[rivals.Rival]:
    return rivals.rivals_for(data, frozen="frozen" in table, noise=table.endswith("noise"))


def _rivals_wanted(study: Study, data: FaceDataset, table: str) -> list[rivals.Rival]:
    rows = _rivals(data, table)
    return [rival for rival in rows if study.rows is None or rival.name in (rivals.PLAIN, *study.rows)]


def _rival_recipe(study: Study, rival: rivals.Rival, data: FaceDataset, table: str, seed: int) -> Recipe:
    host = rivals.FROZEN if "frozen" in table else rivals.FINE_TUNED
    return rivals.rival_recipe(rival, data, study.backbone, study.epochs, seed, study.settings, host)


def _methods_with_noise(study: Study, whole: FaceDataset, table: str) -> Iterator[dict]:
    """The methods with a tenth, two and three tenths of the training labels flipped; faces are drawn first."""
    data = subsampled(whole, study.train_faces)
    for fraction in rivals.FLIPPED:
        yield from _methods(study, with_flipped_labels(data, fraction), table)


def _annotators(study: Study, whole: FaceDataset, table: str) -> list[dict]:
    data = subsampled(whole, study.train_faces)
    recipes, runs = {}, {}
    for row in annotators.ROWS:
        labelled = annotators.labelled_by(data, row.labels)
        own = _annotator_recipes(study, row, labelled)
        found = watched_runs(
            list(own.values()), labelled, study.work, study.backbone.weights, [SINGLE], rivals.SELECT_BY
        )
        recipes[row.name], runs[row.name] = own, dict(zip(own, found, strict=True))
    if not study.judges:
        return []
    plain = {(seed, annotators.OWN): recipe for seed, recipe in recipes[annotators.OWN].items()}
    made = paper_tables.how_made(study.backbone, study.seeds, data, plain)
    return [{"table": table, "data": data.name} | made | annotators.compare_annotators(runs, data)]


def _annotator_recipes(study: Study, row: annotators.Row, labelled: FaceDataset) -> dict[int, Recipe]:
    epochs = study.epochs or protocols.EPOCHS
    return annotators.row_recipes(row, labelled, study.backbone, epochs, study.seeds, study.settings)


def _by_person_and_at_random(study: Study, whole: FaceDataset, table: str) -> list[dict]:
    """CK+ as the data set's loader splits it, by subject, and split at random, as often published."""
    frame = whole.frame.assign(split=split_at_random(len(whole)))
    mixed = FaceDataset(f"{whole.name}_random_split", whole.classes, frame, whole.pixels, whole.notes)
    return [entry for data in (whole, mixed) for entry in _paper_table(study, data, table)]


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
    "ivsa-table2": Table("IVSA's Table II: by subject and at random", "ckplus", _by_person_and_at_random),
    "ivsa-table3": Table("IVSA's Table III: attention blocks", "fer2013", _paper_table),
    "methods": Table("the rivals' methods on one host", "ferplus", _methods, rivals.methods_table),
    "methods-noise": Table(
        "the same, a part of the training labels flipped", "ferplus", _methods_with_noise, rivals.methods_table
    ),
    "methods-frozen": Table("the rivals' methods on a frozen backbone", "ferplus", _methods, rivals.methods_table),
    "methods-frozen-noise": Table(
        "the same, a part of the training labels flipped", "ferplus", _methods_with_noise, rivals.methods_table
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


def quick(study: Study, table: str) -> Study:
    """The same study so small that its figures mean nothing: to see that everything works."""
    tiny = {"widths": (4, 8, 8, 8), "hidden": 16} if table.startswith("ivsa") else {}
    rows = study.rows or (QUICK_ROWS if table.endswith("noise") else None)  # the other methods are in "methods"
    settings = tiny | dict(study.settings)
    faces = study.train_faces or QUICK_FACES
    return replace(
        study, epochs=study.epochs or 1, seeds=study.seeds[:1], train_faces=faces, settings=settings, rows=rows
    )
