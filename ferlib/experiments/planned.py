"""The runs of a study: the rows of its table, the data sets it is made for, and the recipes that are trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ferlib.data.dataset import RANDOM_SPLIT, FaceDataset
from ferlib.data.label_noise import with_flipped_labels
from ferlib.data.splits import split_at_random
from ferlib.experiments import annotators, paper_tables, protocols, rivals
from ferlib.experiments.prediction_logger import LoggedRun
from ferlib.experiments.runner import BackboneChoice, subsampled, watched_runs
from ferlib.training.recipes import Recipe

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


def versions(table: str, study: Study, whole: FaceDataset) -> list[FaceDataset]:
    """The data sets that a table has entries of, with the training faces that the study takes.

    Of CK+ they are the loader's split by subject, and a split at random, as often published.
    """
    if table == "ivsa-table2":
        frame = whole.frame.assign(split=split_at_random(len(whole)))
        mixed = FaceDataset(f"{whole.name}{RANDOM_SPLIT}", whole.classes, frame, whole.pixels, whole.notes)
        return [subsampled(data, study.train_faces) for data in (whole, mixed)]
    data = subsampled(whole, study.train_faces)
    return [with_flipped_labels(data, fraction) for fraction in rivals.FLIPPED] if table.endswith("noise") else [data]


def rows_of(
    table: str, study: Study, data: FaceDataset
) -> Sequence[rivals.Rival | paper_tables.Row] | Sequence[annotators.Row]:
    """The rows of a table that the study wants; none of a table without rows."""
    if table in METHODS_TABLES:
        return rivals_wanted(study, data, table)
    if table == "annotators":
        return annotators.ROWS
    return _paper_rows(table, study)


def _paper_rows(table: str, study: Study) -> list[paper_tables.Row]:
    return [row for row in paper_tables.TABLES.get(table, ()) if study.rows is None or row.name in study.rows]


def first_runs(table: str, study: Study, whole: FaceDataset) -> list[tuple[Recipe, FaceDataset]]:
    """Recipe and training faces of a table's runs with the first seed; UserError where a recipe cannot be made."""
    one = replace(study, seeds=study.seeds[:1])
    found = []
    for data in versions(table, study, whole):
        train = data.split("train")
        if table == "annotators":
            for row in annotators.ROWS:
                labelled = annotators.labelled_by(train, row.labels)
                found += [(recipe, labelled) for recipe in annotator_recipes(one, row, labelled).values()]
        else:
            found += [(recipe, train) for recipe in _recipes_of(table, one, data)]
    return found


def _recipes_of(table: str, study: Study, data: FaceDataset) -> list[Recipe]:
    """The recipes of a table whose rows are all trained on the same faces."""
    if table in METHODS_TABLES:
        wanted = rivals_wanted(study, data, table)
        return [method_recipe(study, rival, data, table, seed) for seed in study.seeds for rival in wanted]
    if table in paper_tables.TABLES:
        return [recipe for own in recipes_by_row(study, data, table).values() for recipe in own.values()]
    models = protocols.NETWORKS if table == "protocols" else ("convcut",)
    return [recipe for model in models for recipe in network_recipes(study, data, model).values()]


def rivals_wanted(study: Study, data: FaceDataset, table: str) -> list[rivals.Rival]:
    """The rows of a table of the rivals' methods that the study wants, plain training always among them."""
    rows = rivals.rivals_for(data, frozen="frozen" in table, noise=table.endswith("noise"))
    return [rival for rival in rows if study.rows is None or rival.name in (rivals.PLAIN, *study.rows)]


def method_recipe(study: Study, rival: rivals.Rival, data: FaceDataset, table: str, seed: int) -> Recipe:
    """The recipe of one run of such a row, on the table's host."""
    host = rivals.FROZEN if "frozen" in table else rivals.FINE_TUNED
    return rivals.rival_recipe(rival, data, study.backbone, study.epochs, seed, study.settings, host)


def network_recipes(study: Study, data: FaceDataset, model: str) -> dict[tuple[int, str], Recipe]:
    """(seed, network) -> recipe of a model's networks, see `protocols.NETWORKS`."""
    recipes = protocols.protocol_recipes(model, data, study.backbone, study.epochs or protocols.EPOCHS, study.seeds)
    return {key: recipe.override(dict(study.settings)) for key, recipe in recipes.items()}


def recipes_by_row(study: Study, data: FaceDataset, table: str) -> dict[str, dict[tuple[int, str], Recipe]]:
    """Name of a row -> its recipes, of the rows that are wanted."""
    epochs = study.epochs or (None if table.startswith("ivsa") else protocols.EPOCHS)
    return {
        row.name: paper_tables.row_recipes(table, row, data, study.backbone, epochs, study.seeds, study.settings)
        for row in _paper_rows(table, study)
    }


def annotator_recipes(study: Study, row: annotators.Row, labelled: FaceDataset) -> dict[int, Recipe]:
    """Seed -> recipe of one row of "annotators"; the training faces have its labels."""
    epochs = study.epochs or protocols.EPOCHS
    return annotators.row_recipes(row, labelled, study.backbone, epochs, study.seeds, study.settings)
