"""Can this model's test accuracy be believed? Three things that raise it without any better recognition:

1. **neighbours**: predictions that depend on the other faces of the batch. In a test set stored class by class, the
   neighbours give the label away;
2. **duplicates**: test faces that also stand in training;
3. **selection**: the epoch chosen by its accuracy on the test set.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.duplicates import find_duplicates, find_flaws
from ferlib.errors import UserError
from ferlib.evaluation.batches import Logits, ordered_batches, pixel_logits, predict_batches, predict_in_order
from ferlib.evaluation.external_model import AnyModel
from ferlib.evaluation.kept_epoch import best_epoch
from ferlib.models.base import evaluating

BATCH_SIZES = (1, 4, 16, 64, 256)

#: A probability may move by this much before it counts. In a batch of another size the same numbers are summed up in
#: another order, and rounding moves the probabilities: in single precision by less than 1e-4 for each of our models.
#: A dependence that moves none by a thousandth would not show in any table. Between two classes that are as good as
#: equally probable, rounding alone may decide: that is a tie, no change of the prediction.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class BatchResult:
    """One way to cut the test set into batches, and what it does to the predictions.

    Attributes:
        batch_order: "single", "sorted" or "shuffled", see `ferlib.evaluation.batches.ordered_batches`.
        batch_size: faces a batch.
        accuracy: fraction of right predictions.
        moved: fraction of faces with a probability that is further than the tolerance from that of the face alone.
        changed: fraction of faces that, beyond the tolerance, are called something else than alone.
        furthest: largest change of a probability.

    Without predictions of faces alone the last three are NaN.
    """

    batch_order: str
    batch_size: int
    accuracy: float
    moved: float
    changed: float
    furthest: float


@dataclass(frozen=True)
class Duplicates:
    """Test faces that are not new, and what they do to the accuracy.

    Attributes:
        near: whether near duplicates count as the same face, see `ferlib.data.duplicates`.
        in_train: test faces that also stand in training.
        accuracy_on_them: fraction of right predictions among these; NaN when there are none.
        left_out: test faces with any flaw: in another split, copied, labelled in conflict, or blank.
        accuracy: of the whole test split.
        accuracy_without: of the test split without flaws.
    """

    near: bool
    in_train: int
    accuracy_on_them: float
    left_out: int
    accuracy: float
    accuracy_without: float


@dataclass(frozen=True)
class Selection:
    """Accuracy claimed by choosing the best epoch on the test set, beside the honest one. Epochs count from 1.

    Attributes:
        epochs: in the history.
        epoch: the one that is kept for its score on validation, as in training.
        accuracy: on the test set, of that epoch: the honest figure.
        claimed_epoch: the best on the test set.
        claimed: its accuracy there.
    """

    epochs: int
    epoch: int
    accuracy: float
    claimed_epoch: int
    claimed: float

    @property
    def bias(self) -> float:
        """Excess of the claim over the honest figure, 0..1."""
        return self.claimed - self.accuracy


@dataclass(frozen=True)
class AuditReport:
    """Findings of `audit`; accuracies and fractions are 0..1.

    Attributes:
        model: its name.
        data: the data set's name.
        split: which was audited.
        faces: in it.
        tolerance: how far a probability may move.
        alone: whether the model can predict a single face at all.
        deterministic: whether it gives the same batch the same answer twice.
        batches: one entry a way to cut the split into batches, single faces first.
        duplicates: None where they were not looked for.
        selection: None where there was no history.
    """

    model: str
    data: str
    split: str
    faces: int
    tolerance: float
    alone: bool
    deterministic: bool
    batches: tuple[BatchResult, ...]
    duplicates: Duplicates | None = None
    selection: Selection | None = None

    @property
    def depends_on_neighbours(self) -> bool:
        """True if a prediction depends on the other faces of its batch, or needs some."""
        return not self.alone or (self.deterministic and any(row.moved > 0 for row in self.batches))

    @property
    def passed(self) -> bool:
        """True if a face always gets the same answer, whatever stands beside it."""
        return self.deterministic and not self.depends_on_neighbours

    @property
    def verdict(self) -> str:
        """The findings in one sentence."""
        parts = [self._about_batches()]
        if self.duplicates and self.duplicates.left_out:
            found = self.duplicates
            rest = (
                f"without all {found.left_out:,} flawed ones its accuracy is {found.accuracy_without:.1%} instead of "
                f"{found.accuracy:.1%}"
                if found.left_out < self.faces
                else "all of them are flawed, so that none is left to measure it on"
            )
            parts.append(f"{found.in_train:,} of the faces also stand in training, and {rest}")
        if self.selection:
            parts.append(
                f"choosing the epoch on the test set would have claimed {self.selection.claimed:.1%} "
                f"where validation gives {self.selection.accuracy:.1%}"
            )
        return f"{self.model} {'; '.join(parts)}."

    def _about_batches(self) -> str:
        low, high = (pick(self.batches, key=lambda row: row.accuracy) for pick in (min, max))
        span = f"{low.accuracy:.1%} ({_name(low)}) to {high.accuracy:.1%} ({_name(high)})"
        if not self.deterministic:
            return "fails: it gives the same batch another answer the second time"
        if not self.alone:
            return f"fails: it cannot predict a face alone, and its accuracy depends on the batches, {span}"
        if self.depends_on_neighbours:
            changed = max(row.changed for row in self.batches)
            return (
                f"fails: its predictions depend on their neighbours; with nothing but other batches up to "
                f"{changed:.1%} of them change, and its accuracy goes from {span}"
            )
        furthest = max(row.furthest for row in self.batches)
        return (
            f"passes: each of {self.faces:,} faces gets the same answer alone and in {len(self.batches) - 1} kinds of "
            f"batches (no probability moves by more than {furthest:.0e}), accuracy {self.batches[0].accuracy:.1%}"
        )

    def frame(self) -> pd.DataFrame:
        """One row a way to cut the split into batches: the fields of `BatchResult`."""
        return pd.DataFrame(list(self.batches))

    def to_json(self) -> dict:
        """For a file; NaN becomes None."""
        report = {"verdict": self.verdict, "passed": self.passed, **asdict(self)}
        return _without_nan(report)


def audit(
    model: AnyModel,
    dataset: FaceDataset,
    split: str = "test",
    *,
    without: Sequence[str] = (),
    clean: bool = False,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    near: bool = False,
    history: pd.DataFrame | None = None,
    select_by: str = "accuracy",
    least_gain: float = 0.0,
) -> AuditReport:
    """Audit a model on one split of a data set. Afterwards its parts are in the modes they were in.

    Args:
        model: any module that maps normalised images to logits and has a `config` with its classes and how images are
            prepared; see `ferlib.evaluation.external_model` for one that has none.
        dataset: with all its splits, so that faces in several of them can be found.
        split: the one that is audited.
        without: classes whose faces and logits are left out.
        clean: leave out flawed faces, as `ferlib.evaluation.evaluate.evaluate` does.
        batch_sizes: faces a batch, for class-sorted and for shuffled batches.
        near: look for near duplicates too (minutes, the first time).
        history: of the model's training, for `selection_bias`.
        select_by: the column of the history that chose the epoch in that training.
        least_gain: of that training, see `selection_bias`.

    Raises:
        DataError: the split is empty, or has classes that the model does not know.
    """
    classes = [name for name in dataset.classes if name not in without]
    wanted = dataset.frame["label"].isin([dataset.classes.index(name) for name in classes])
    inside = ((dataset.frame["split"] == split) & wanted).to_numpy()
    faces = find_duplicates(dataset, near)
    flawed = find_flaws(dataset, near, faces).any(axis=1).to_numpy()
    tested = inside & ~flawed if clean else inside
    if not tested.any():
        raise DataError(nothing_left(dataset, split, clean and inside.any()))
    part = dataset.subset(tested).of_classes(classes)
    labels = part.labels().numpy()
    logits = pixel_logits(model, part, classes=classes)
    with evaluating(model):
        batches, alone = audit_batches(logits, labels, batch_sizes)
        deterministic, probabilities = is_deterministic(logits, labels), alone
        if probabilities is None:
            probabilities = predict_in_order(logits, labels, "shuffled", max(batch_sizes))
    right, known = probabilities.argmax(axis=1) == labels, _in_train(dataset, faces, inside)
    return AuditReport(
        model=model.config.architecture,
        data=dataset.name,
        split=split,
        faces=len(part),
        tolerance=TOLERANCE,
        alone=alone is not None,
        deterministic=deterministic,
        batches=batches,
        duplicates=_duplicates(near, right, known[tested], flawed[tested]),
        selection=None if history is None else selection_bias(history, select_by, least_gain=least_gain),
    )


def nothing_left(dataset: FaceDataset, split: str, all_flawed: bool) -> str:
    """A sentence for an error: a split has no faces, or none that could be left after a cleaning."""
    if not all_flawed:
        return f"{dataset.name} has no faces in its {split} split"
    return (
        f"nothing of the {split} split of {dataset.name} is left when it is cleaned (--clean): every face stands in "
        "another split too, or twice with different labels, or is blank"
    )


def audit_batches(
    logits: Logits, labels: np.ndarray, batch_sizes: Sequence[int] = BATCH_SIZES
) -> tuple[tuple[BatchResult, ...], np.ndarray | None]:
    """Predict the same faces in batches of several batch orders and sizes.

    Args:
        logits: of these positions, see `ferlib.evaluation.batches`.
        labels: true classes (N,).
        batch_sizes: for class-sorted and for shuffled batches; 1 stands for faces alone, which are always there.

    Returns:
        What each did, and the probabilities (N, classes) of faces alone: None where the model needs more than one.

    Raises:
        UserError: no size is above 1: faces alone tell nothing of neighbours.
        ValueError: the model's probabilities are not numbers.
    """
    if max(batch_sizes, default=1) < 2:
        raise UserError("an audit needs batches of two faces or more")
    cuts = [("single", 1), *((name, size) for name in ("sorted", "shuffled") for size in batch_sizes if size > 1)]
    rows, alone = [], None
    for batch_order, size in tqdm(cuts, desc="batches", leave=False, disable=None):
        try:
            probabilities = predict_in_order(logits, labels, batch_order, size)
        except (ValueError, RuntimeError) as error:
            if batch_order != "single" or len(cuts) == 1 or isinstance(error, UserError):
                raise
            continue  # a batch norm that wants more than one value a channel, say; any other error comes again
        alone = probabilities if batch_order == "single" else alone
        predicted, changes = probabilities.argmax(axis=1), (np.nan, np.nan, np.nan)
        if alone is not None:
            moves = np.abs(probabilities - alone).max(axis=1)
            moved = moves > TOLERANCE
            changes = moved.mean(), (moved & (predicted != alone.argmax(axis=1))).mean(), moves.max()
        rows.append(BatchResult(batch_order, size, _share(predicted == labels), *map(float, changes)))
    return tuple(rows), alone


def is_deterministic(logits: Logits, labels: np.ndarray) -> bool:
    """True if a model gives the same 64 faces the same answer twice; with dropout left on it does not."""
    some, count = _some_faces(logits, labels)
    one, two = (predict_batches(some, [np.arange(count)]) for _ in range(2))
    return bool(np.abs(one - two).max() <= TOLERANCE)


def mixes_neighbours(logits: Logits, labels: np.ndarray) -> bool:
    """True if 64 faces get other answers together than one at a time: a quick test, `audit_batches` is thorough.

    Raises:
        UserError: the model answers them together, but none alone; or its probabilities are not numbers.
    """
    some, count = _some_faces(logits, labels)
    together = predict_batches(some, [np.arange(count)])
    try:
        alone = predict_batches(some, [np.array([place]) for place in range(count)])
    except (ValueError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"the model cannot predict a face alone ({error}); --protocol published asks it in batches, --audit too"
        ) from error
    return bool(np.abs(together - alone).max() > TOLERANCE)


def _some_faces(logits: Logits, labels: np.ndarray) -> tuple[Logits, int]:
    """The logits of up to 64 faces, drawn at random, by their places among them; and how many they are."""
    rows = torch.from_numpy(ordered_batches(labels, "shuffled", 64)[0])
    return lambda places: logits(rows[places]), len(rows)


def audit_duplicates(dataset: FaceDataset, inside: np.ndarray, right: np.ndarray, near: bool = False) -> Duplicates:
    """Accuracy with and without test faces that also stand in the training split.

    Args:
        dataset: with all its splits.
        inside: which of its faces were tested, bool (N,).
        right: which of these were predicted right, bool (faces tested,).
        near: near duplicates count as the same face.
    """
    faces = find_duplicates(dataset, near)
    flawed = find_flaws(dataset, near, faces).any(axis=1).to_numpy()
    return _duplicates(near, right, _in_train(dataset, faces, inside)[inside], flawed[inside])


def _in_train(dataset: FaceDataset, faces: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Flag what stands in training beside the faces `inside`, bool (N,), by the groups of `find_duplicates` (N,)."""
    train = (dataset.frame["split"] == "train").to_numpy()
    return np.isin(faces, faces[train & ~inside])


def _duplicates(near: bool, right: np.ndarray, known: np.ndarray, flawed: np.ndarray) -> Duplicates:
    """Of tested faces, bool (N,) each: those called right, those that stand in training, and those with any flaw."""
    return Duplicates(
        near, int(known.sum()), _share(right[known]), int(flawed.sum()), _share(right), _share(right[~flawed])
    )


def selection_bias(
    history: pd.DataFrame, validation: str = "accuracy", test: str = "test_accuracy", least_gain: float = 0.0
) -> Selection:
    """Compare choosing the epoch on the test set with choosing it on the validation set.

    Args:
        history: one row an epoch, as from `ferlib.training.loop.fit` with an `observe` that looks at the test set.
        validation: the column of the validation metric.
        test: the column of the test metric.
        least_gain: by which an epoch had to be better to be kept, see `ferlib.evaluation.kept_epoch.best_epoch`.

    Raises:
        ValueError: a column is missing, or a number in it.
    """
    if missing := [name for name in (validation, test) if name not in history]:
        raise UserError(f"the history has no column {', '.join(missing)}; it has {', '.join(map(str, history))}")
    if not len(history) or not all(pd.api.types.is_numeric_dtype(history[name]) for name in (validation, test)):
        raise UserError(f"the history needs a row an epoch, with numbers in {validation} and {test}")
    if history[[validation, test]].isna().any(axis=None):
        raise UserError(f"the history lacks a number in {validation} or {test}")
    history = history.reset_index(drop=True)
    epoch, claimed = best_epoch(history, validation, least_gain), best_epoch(history, test)
    values = history[test]
    return Selection(len(values), epoch + 1, float(values[epoch]), claimed + 1, float(values[claimed]))


def _share(right: np.ndarray) -> float:
    return float(right.mean()) if len(right) else float("nan")


def _name(row: BatchResult) -> str:
    return "one at a time" if row.batch_order == "single" else f"{row.batch_order}, {row.batch_size} a batch"


def _without_nan(value: Any) -> Any:
    """The same with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value
