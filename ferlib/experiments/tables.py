"""The tables of `ferlib reproduce`: the runs that each kind of them needs, and how these become entries of a file.

What the figures of a table mean is told in the module that measures them: `protocols`, `purity`, `paper_tables`,
`rivals` and `annotators`. Runs are kept in the study's work folder and shared between tables, calls and processes.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ferlib.data.dataset import RANDOM_SPLIT, FaceDataset
from ferlib.data.label_noise import with_flipped_labels
from ferlib.data.splits import split_at_random
from ferlib.experiments import annotators, paper_tables, protocols, purity, rivals
from ferlib.experiments.prediction_logger import SINGLE, LoggedRun
from ferlib.experiments.runner import runs_as_they_end, subsampled
from ferlib.experiments.study import Study, Table
from ferlib.models.registry import load_model
from ferlib.training.recipes import Recipe

QUICK_ROWS = ("SCN",)  # of the tables with noise; the other methods are in those without
TOLD_EVERY = 120  # seconds


def network_recipes(study: Study, data: FaceDataset, model: str) -> dict[tuple[int, str], Recipe]:
    """(seed, network) -> recipe of a model's networks, see `protocols.NETWORKS`."""
    recipes = protocols.protocol_recipes(model, data, study.backbone, study.epochs or protocols.EPOCHS, study.seeds)
    return {key: recipe.override(dict(study.settings)) for key, recipe in recipes.items()}


class ProtocolsTable(Table):
    """Conv-cut's and PAtt-Lite's networks under every protocol; duplicates are looked for in all of the data."""

    frame = staticmethod(protocols.protocols_table)

    def runs(self, study: Study, data: FaceDataset) -> Iterator[tuple[Recipe, FaceDataset]]:
        for model in protocols.NETWORKS:
            yield from ((recipe, data) for recipe in network_recipes(study, data, model).values())

    def make(self, study: Study, whole: FaceDataset) -> Iterator[dict]:
        (data,) = self.versions(study, whole)
        for model in protocols.NETWORKS:
            recipes = network_recipes(study, data, model)
            runs = study.run(recipes, data)
            if not study.judges:
                continue
            entry = protocols.protocols_entry(model, study.backbone, recipes, runs, data, whole)
            print(protocols.sentence(entry), flush=True)
            yield entry


class PurityTable(Table):
    """Two networks of "protocols" taken apart, and one of them trained on random labels; runs are shared with it."""

    check = staticmethod(purity.check_purity)
    frame = staticmethod(purity.purity_table)

    @property
    def decides(self) -> dict[str, str]:
        return {"flip_tta": "networks are asked for the features of one side of a face"}

    def recipes(self, study: Study, data: FaceDataset) -> dict[tuple[int, str], Recipe]:
        """(seed, network) -> recipe."""
        every = network_recipes(study, data, "convcut")
        return {key: recipe for key, recipe in every.items() if key[1] in ("batch", "none")}

    def runs(self, study: Study, data: FaceDataset) -> list[tuple[Recipe, FaceDataset]]:
        return [(recipe, data) for recipe in self.recipes(study, data).values()]

    def make(self, study: Study, whole: FaceDataset) -> Iterator[dict]:
        (data,) = self.versions(study, whole)
        relabelled = purity.with_random_labels(data)
        recipes = self.recipes(study, data)
        runs = study.run(recipes, data)
        batch = {seed: recipe for (seed, network), recipe in recipes.items() if network == "batch"}
        misled = study.run(batch, relabelled)
        if not study.judges:
            return
        models: dict[str, dict[int, Any]] = {"batch": {}, "none": {}}
        for (seed, network), run in runs.items():
            models[network][seed] = load_model(run.folder / "best")
        found = purity.measure_purity(models["batch"], list(models["none"].values()), misled, data, relabelled)
        made = paper_tables.how_made(study.backbone, study.seeds, data, recipes)
        yield {"table": self.name, "data": data.name, "model": "convcut"} | made | found


class PaperTable(Table):
    """A table of Conv-cut's, PAtt-Lite's or IVSA's paper, a key of `paper_tables.TABLES`."""

    frame = staticmethod(paper_tables.paper_table)
    has_rows = True

    @property
    def on_backbone(self) -> bool:
        return not paper_tables.is_of_ivsa(self.name)

    def row_names(self, study: Study, data: FaceDataset) -> list[str]:
        return [row.name for row in paper_tables.TABLES[self.name] if study.rows is None or row.name in study.rows]

    def recipes(self, study: Study, data: FaceDataset) -> dict[str, dict[tuple[int, str], Recipe]]:
        """Name of a row -> its recipes, of the rows that are wanted."""
        epochs = study.epochs or (protocols.EPOCHS if self.on_backbone else None)
        rows = {row.name: row for row in paper_tables.TABLES[self.name]}
        return {
            name: paper_tables.row_recipes(
                self.name, rows[name], data, study.backbone, epochs, study.seeds, study.settings
            )
            for name in self.row_names(study, data)
        }

    def runs(self, study: Study, data: FaceDataset) -> list[tuple[Recipe, FaceDataset]]:
        return [(recipe, data) for own in self.recipes(study, data).values() for recipe in own.values()]

    def make(self, study: Study, whole: FaceDataset) -> Iterator[dict]:
        if not self.on_backbone:  # its networks are trained from scratch, general ones too
            study = replace(study, backbone=replace(study.backbone, weights=None))
        for data in self.versions(study, whole):
            recipes = self.recipes(study, data)
            runs = {name: study.run(own, data) for name, own in recipes.items()}
            if study.judges:
                yield paper_tables.table_entry(self.name, study.backbone, recipes, runs, data)

    def quick(self, study: Study) -> Study:
        tiny = {} if self.on_backbone else {"widths": (4, 8, 8, 8), "hidden": 16}
        return replace(study, settings=tiny | dict(study.settings))


class TwoSplitsTable(PaperTable):
    """The same under the loader's split, by subject, and under one at random, as often published."""

    def versions(self, study: Study, whole: FaceDataset) -> list[FaceDataset]:
        frame = whole.frame.assign(split=split_at_random(len(whole)))
        mixed = FaceDataset(f"{whole.name}{RANDOM_SPLIT}", whole.classes, frame, whole.pixels, whole.notes)
        return [subsampled(data, study.train_faces) for data in (whole, mixed)]


@dataclass(frozen=True)
class MethodsTable(Table):
    """The rivals' methods on one host.

    Attributes:
        frozen: on a frozen backbone.
        noise: with a part of the training labels flipped; faces are drawn first, then labels flipped.
    """

    frozen: bool = False
    noise: bool = False

    frame = staticmethod(rivals.methods_table)
    has_rows = True
    has_best = True

    @property
    def decides(self) -> dict[str, str]:
        flipped = dict.fromkeys(("targets", "teacher"), "its rows learn from the flipped labels") if self.noise else {}
        return flipped | {"freeze_backbone": "methods trains the backbone, methods-frozen does not"}

    @property
    def flips_labels(self) -> bool:
        return self.noise

    def versions(self, study: Study, whole: FaceDataset) -> list[FaceDataset]:
        (data,) = super().versions(study, whole)
        return [with_flipped_labels(data, part) for part in study.flipped or rivals.FLIPPED] if self.noise else [data]

    def rivals_wanted(self, study: Study, data: FaceDataset) -> list[rivals.Rival]:
        """The rows that the study wants, plain training always among them."""
        rows = rivals.rivals_for(data, self.frozen, self.noise)
        return [rival for rival in rows if study.rows is None or rival.name in (rivals.PLAIN, *study.rows)]

    def row_names(self, study: Study, data: FaceDataset) -> list[str]:
        return [rival.name for rival in self.rivals_wanted(study, data)]

    def recipes(self, study: Study, data: FaceDataset) -> dict[tuple[int, str], Recipe]:
        """(seed, name of a row) -> recipe, whole seeds first, and plain training the first of every seed."""
        host = rivals.FROZEN if self.frozen else rivals.FINE_TUNED
        return {
            (seed, rival.name): rivals.rival_recipe(
                rival, data, study.backbone, study.epochs, seed, study.settings, host
            )
            for seed in study.seeds
            for rival in self.rivals_wanted(study, data)
        }

    def runs(self, study: Study, data: FaceDataset) -> list[tuple[Recipe, FaceDataset]]:
        return [(recipe, data) for recipe in self.recipes(study, data).values()]

    def make(self, study: Study, whole: FaceDataset) -> Iterator[dict]:
        for data in self.versions(study, whole):
            runs: dict[tuple[int, str], LoggedRun] = {}
            yield from self._entries_so_far(study, data, self.recipes(study, data), runs)
            if study.more_seeds:
                best = replace(study, seeds=study.more_seeds, rows=rivals.best_on_validation(rivals.by_row(runs)))
                yield from self._entries_so_far(study, data, self.recipes(best, data), runs)

    def _entries_so_far(
        self,
        study: Study,
        data: FaceDataset,
        recipes: dict[tuple[int, str], Recipe],
        runs: dict[tuple[int, str], LoggedRun],
    ) -> Iterator[dict]:
        """The entry of all runs so far, as those of the recipes are added: every `TOLD_EVERY` seconds, and at the end.

        Args:
            study: settings of the runs.
            data: of `versions`.
            recipes: of `recipes`.
            runs: those that are there already; gets these recipes' runs, too.
        """
        ended = runs_as_they_end(
            list(recipes.values()), data, study.work, study.backbone.weights, [SINGLE], rivals.SELECT_BY
        )
        told = time.monotonic()
        for place, run in ended:
            runs[list(recipes)[place]] = run
            if not study.judges:
                continue
            with_plain = any(name == rivals.PLAIN for _, name in runs)
            if recipes.keys() <= runs.keys() or (with_plain and time.monotonic() - told > TOLD_EVERY):
                yield self.entry(study, data, runs)
                told = time.monotonic()

    def entry(self, study: Study, data: FaceDataset, runs: dict[tuple[int, str], LoggedRun]) -> dict:
        """The entry of the runs that are there, JSON-ready.

        Args:
            study: settings of the runs.
            data: of `versions`.
            runs: by the keys of `recipes`; any of them, with one of plain training.
        """
        plain = {key: recipe for key, recipe in self.recipes(study, data).items() if key[1] == rivals.PLAIN}
        made = paper_tables.how_made(study.backbone, study.seeds, data, plain)
        rows = rivals.compare_rivals(rivals.by_row(runs), data, rows=self.rivals_wanted(study, data))
        return {"table": self.name, "data": data.name} | made | {"rows": rows}

    def quick(self, study: Study) -> Study:
        return replace(study, rows=QUICK_ROWS) if self.noise and not study.rows else study


class AnnotatorsTable(Table):
    """LTNet's two annotators of the same faces, and their latent truth; its rows belong together, all of them."""

    check = staticmethod(annotators.check_annotators)
    frame = staticmethod(annotators.annotators_table)

    def row_names(self, study: Study, data: FaceDataset) -> list[str]:
        return [row.name for row in annotators.ROWS]

    def recipes(self, study: Study, data: FaceDataset) -> dict[str, tuple[FaceDataset, dict[int, Recipe]]]:
        """Name of a row -> the data with its labels, and seed -> recipe."""
        epochs, found = study.epochs or protocols.EPOCHS, {}
        for row in annotators.ROWS:
            labelled = annotators.labelled_by(data, row.labels)
            own = annotators.row_recipes(row, labelled, study.backbone, epochs, study.seeds, study.settings)
            found[row.name] = labelled, own
        return found

    def runs(self, study: Study, data: FaceDataset) -> Iterator[tuple[Recipe, FaceDataset]]:
        for labelled, own in self.recipes(study, data).values():
            yield from ((recipe, labelled) for recipe in own.values())

    def make(self, study: Study, whole: FaceDataset) -> Iterator[dict]:
        (data,) = self.versions(study, whole)
        recipes, runs = self.recipes(study, data), {}
        for name, (labelled, own) in recipes.items():
            runs[name] = study.run(own, labelled, [SINGLE], rivals.SELECT_BY)
        if not study.judges:
            return
        _, plain = recipes[annotators.OWN]
        made = paper_tables.how_made(study.backbone, study.seeds, data, plain)
        yield {"table": self.name, "data": data.name} | made | annotators.compare_annotators(runs, data)


#: Every table by its name, in the order in which "all" makes them.
TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        ProtocolsTable("protocols", "ferplus"),
        PurityTable("purity", "ferplus"),
        PaperTable("convcut-table1", "ferplus"),  # the networks of the authors' code
        PaperTable("convcut-table2", "ferplus"),  # attention and Detail Extraction
        PaperTable("convcut-table3", "ferplus"),  # layers in Detail Extraction
        PaperTable("convcut-backbone", "ferplus"),  # stages of the backbone kept
        PaperTable("pattlite-attention", "ferplus"),
        PaperTable("ivsa-table1", "fer2013"),  # general networks
        TwoSplitsTable("ivsa-table2", "ckplus"),
        PaperTable("ivsa-table3", "fer2013"),  # attention blocks
        MethodsTable("methods", "ferplus"),
        MethodsTable("methods-noise", "ferplus", noise=True),
        MethodsTable("methods-frozen", "ferplus", frozen=True),
        MethodsTable("methods-frozen-noise", "ferplus", frozen=True, noise=True),
        AnnotatorsTable("annotators", "ferplus"),
    )
}
