"""A table of `ferlib reproduce`: the runs it asks for and the entries it gives, and the settings it is made with."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pandas as pd

from ferlib.data.dataset import FaceDataset
from ferlib.experiments.prediction_logger import BATCHINGS, Batching, LoggedRun
from ferlib.experiments.runner import BackboneChoice, subsampled, watched_runs
from ferlib.training.recipes import Recipe

Key = TypeVar("Key")


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
        more_seeds: of the rows best on validation alone, in a table that has such.
        flipped: fractions of the training labels, 0..1, in a table with flipped labels; None: the table's own.
    """

    backbone: BackboneChoice
    epochs: int | None
    seeds: Sequence[int]
    work: Path
    train_faces: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[str] | None = None
    judges: bool = True
    more_seeds: Sequence[int] = ()
    flipped: Sequence[float] | None = None

    def run(
        self,
        recipes: Mapping[Key, Recipe],
        data: FaceDataset,
        batchings: Sequence[Batching] = BATCHINGS,
        select_by: str = "accuracy",
    ) -> dict[Key, LoggedRun]:
        """The runs of these recipes, trained or read, by the same keys; see `ferlib.experiments.runner.watched_run`."""
        runs = watched_runs(list(recipes.values()), data, self.work, self.backbone.weights, batchings, select_by)
        return dict(zip(recipes, runs, strict=True))


@dataclass(frozen=True)
class Table(ABC):
    """One table that can be reproduced; the kinds of them are in `ferlib.experiments.tables`.

    Attributes:
        name: on the command line.
        data: the data set's name where none is given.
    """

    name: str
    data: str

    #: Makes entries a table, a row a figure.
    frame: ClassVar["staticmethod[[Sequence[dict]], pd.DataFrame]"]
    #: Refuses, with a DataError, a data set that lacks what this table needs.
    check: ClassVar["staticmethod[[FaceDataset], None]"] = staticmethod(lambda data: None)
    #: True if its rows can be chosen, see `row_names`.
    has_rows: ClassVar[bool] = False
    #: True if its rows that are best on validation can have more seeds.
    has_best: ClassVar[bool] = False

    @property
    def decides(self) -> dict[str, str]:
        """Fields of a recipe that it decides beside those that every table does, and by what."""
        return {}

    @property
    def on_backbone(self) -> bool:
        """True if its networks stand on the study's backbone."""
        return True

    @property
    def flips_labels(self) -> bool:
        """True if its training labels are flipped in part."""
        return False

    def versions(self, study: Study, whole: FaceDataset) -> list[FaceDataset]:
        """The data sets that it has entries of, with the training faces that the study takes."""
        return [subsampled(whole, study.train_faces)]

    def row_names(self, study: Study, data: FaceDataset) -> list[str]:
        """Names of the rows that the study wants; none of a table without rows."""
        return []

    @abstractmethod
    def runs(self, study: Study, data: FaceDataset) -> Iterable[tuple[Recipe, FaceDataset]]:
        """Recipe and data of every run on one of its versions; UserError where a recipe cannot be made."""

    @abstractmethod
    def make(self, study: Study, whole: FaceDataset) -> Iterator[dict]:
        """Train what is not there yet, and give its entries one after the other; none where the study does not judge.

        Args:
            study: settings of the runs.
            whole: the data set, of which the study may leave out training faces.
        """

    def quick(self, study: Study) -> Study:
        """The same study, as small as this table can be beyond fewer epochs, seeds and faces."""
        return study

    def first_runs(self, study: Study, whole: FaceDataset) -> list[tuple[Recipe, FaceDataset]]:
        """Recipe and training faces of its runs with the first seed."""
        one = replace(study, seeds=study.seeds[:1])
        runs = [run for data in self.versions(study, whole) for run in self.runs(one, data)]
        return [(recipe, data.split("train")) for recipe, data in runs]
