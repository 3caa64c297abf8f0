"""A model on a split: one number a metric, with its interval, and everything needed to run it again."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.duplicates import clean_split
from ferlib.errors import UserError
from ferlib.evaluation.audit import mixes_neighbours, nothing_left
from ferlib.evaluation.batches import alone_order, pixel_logits, predict_in_order
from ferlib.evaluation.bootstrap import (
    ece_with_interval,
    people_in,
    people_notes,
    per_class_of_people,
    summary_with_intervals,
)
from ferlib.evaluation.calibration import temperature_scaled
from ferlib.evaluation.external_model import AnyModel
from ferlib.evaluation.metrics import confusion
from ferlib.evaluation.report_format import Estimate, Report
from ferlib.evaluation.slices import slice_columns, slice_notes, slices
from ferlib.models.base import evaluating
from ferlib.utils.commit import commit

PUBLISHED_BATCH = 32  # faces; Keras's default, in which the published figures were computed

#: How a test set may be read, in words.
PROTOCOLS = {
    "honest": "every face alone",
    "published": "class by class in batches of {batch}, as the published code reads the test set: where a "
    "model mixes the faces of a batch, the neighbours give the label away",
}
TOGETHER = (
    "the faces of a batch are answered together and were drawn one by one: another order of the same faces may move "
    "the figures by more than the intervals say"
)


def predict_dataset(
    model: AnyModel,
    dataset: FaceDataset,
    batch_size: int = 64,
    ten_crop: bool = False,
    batch_order: str | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> np.ndarray:
    """Class probabilities (N, classes), float64, in the data set's order.

    Args:
        model: any; its parts are left in the modes they were in.
        dataset: the faces.
        batch_size: faces a batch.
        ten_crop: mean over ten crops of every face (four corners, centre, and their mirror images).
        batch_order: which faces stand together in a batch, see `ferlib.evaluation.batches.ordered_batches`. None:
            one face at a time for a model of this project that mixes its batch, the stored order for any other.
        seed: of a shuffled batch_order.
        classes: the classes wanted, in this order, their probabilities scaled to sum to 1; None: all of the model's.

    Raises:
        DataError: the model does not know one of the classes.
    """
    order = batch_order or alone_order(getattr(model, "mixes_batch", False))
    with evaluating(model):
        logits = pixel_logits(model, dataset, ten_crop, classes)
        return predict_in_order(logits, dataset.frame["label"], order, batch_size, seed)


def report_metrics(
    truth: np.ndarray, probabilities: np.ndarray, temperature: float, people: np.ndarray | None = None
) -> dict[str, Estimate]:
    """The metrics of a report with their intervals.

    Args:
        truth: true classes (N,).
        probabilities: (N, classes), a model's.
        temperature: that the probabilities were made with; where it is not 1, the calibration error without it is among
            the metrics. (A mean over crops cannot be taken apart so; give 1.)
        people: the person of each face (N,), who is drawn whole for the intervals, or None.
    """
    metrics = summary_with_intervals(truth, probabilities, people)
    if temperature != 1:
        metrics["ece_uncalibrated"] = ece_with_interval(
            truth, temperature_scaled(probabilities, 1 / temperature), people
        )
    return metrics


def evaluate(
    model: AnyModel,
    dataset: FaceDataset,
    split: str = "test",
    without: Collection[str] = (),
    clean: bool = False,
    ten_crop: bool = False,
    protocol: str = "honest",
    published_batch: int = PUBLISHED_BATCH,
    selected_on: str | None = None,
    columns: str | Path | None = None,
) -> Report:
    """Metrics of a model on one split.

    A model may know classes the data lacks (a FERPlus model on FER2013): their probabilities are left out and the rest
    renormalised. The other way round is an error, unless those classes are left out with `without`.

    Args:
        model: trained.
        dataset: with the split.
        split: "train", "validation" or "test".
        without: classes whose faces and probabilities are left out.
        clean: leave out faces that also stand in another split, copies, conflicting labels and blank images, see
            `ferlib.data.duplicates.clean_split`.
        ten_crop: average over ten crops of every face, see `predict_dataset`.
        protocol: one of `PROTOCOLS`. "honest" is every face alone: a model that mixes the faces of a batch
            (`ferlib.evaluation.audit.mixes_neighbours`) gets them one at a time, any other in batches, which is quicker
            and the same.
        published_batch: faces a batch of the protocol "published".
        selected_on: the split that chose the model's epoch, for the protocol in words; None: not known.
        columns: a CSV file with columns about the faces, or "measured", for accuracy by `ferlib.evaluation.slices`.

    Returns:
        JSON-ready: model config, data, split, protocol in words, faces, metrics {name: {value, low, high}} with 95 %
        bootstrap intervals, for which people are drawn whole where they are known (of a calibrated model also
        "ece_uncalibrated", at temperature 1, but for ten crops), per_class, confusion (rows true), commit; notes on
        what the intervals do not say; with `columns` also slices and slice_notes.

    Raises:
        DataError: the split is empty, or has classes that the model does not know.
        ValueError: unknown protocol; the model cannot predict a face alone; its probabilities are not numbers.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"protocol must be one of {', '.join(PROTOCOLS)}, not {protocol!r}")
    part = clean_split(dataset, split) if clean else dataset.split(split)
    if unknown := sorted(set(without) - set(dataset.classes)):
        raise UserError(f"{dataset.name} has no class {', '.join(unknown)}; it has {', '.join(dataset.classes)}")
    classes = [name for name in dataset.classes if name not in without]
    if not classes:
        raise UserError(f"nothing is left of the classes of {dataset.name} without {', '.join(without)}")
    part = part.of_classes(classes)
    if not len(part):
        raise DataError(nothing_left(dataset, split, clean and len(dataset.split(split).of_classes(classes)) > 0))
    about = None if columns is None else slice_columns(part, columns)  # a table that does not fit is said at once
    truth = part.labels().numpy()
    batch_order, batch = "sorted", published_batch
    if protocol == "honest":
        batch = 64
        with evaluating(model):
            mixes = mixes_neighbours(pixel_logits(model, part, ten_crop, classes), truth)
        batch_order = alone_order(mixes)
    probabilities = predict_dataset(model, part, batch, ten_crop, batch_order, classes=classes)
    predicted, people = probabilities.argmax(axis=1), people_in(part)
    report: Report = {
        "model": asdict(model.config),
        "data": dataset.name,
        "split": split,
        "without": list(without),
        "clean": clean,
        "ten_crop": ten_crop,
        "protocol": PROTOCOLS[protocol].format(batch=batch) + _use_of(split, selected_on),
        "faces": len(part),
        "metrics": report_metrics(truth, probabilities, 1 if ten_crop else model.config.temperature, people),
        "per_class": per_class_of_people(truth, predicted, classes, people).to_dict(orient="index"),
        "confusion": {"classes": classes, "counts": confusion(truth, predicted, len(classes)).tolist()},
        "commit": commit(),
    }
    notes = people_notes(part)
    if protocol == "published" and _mixes_batch(model, part, ten_crop, classes):
        notes.append(TOGETHER)
    if notes:
        report["notes"] = notes
    if about is not None:
        report["slices"] = slices(truth, predicted, about, people=people)
        report["slice_notes"] = slice_notes(about, people)
    return report


def _mixes_batch(model: AnyModel, part: FaceDataset, ten_crop: bool, classes: Sequence[str]) -> bool:
    """True if a model mixes the faces of a batch: one of this project by its own word, any other by trying."""
    known = getattr(model, "mixes_batch", None)
    if known is not None:
        return bool(known)
    try:
        with evaluating(model):
            return mixes_neighbours(pixel_logits(model, part, ten_crop, classes), part.labels().numpy())
    except UserError:  # it answers no face alone
        return True


def _use_of(split: str, selected_on: str | None) -> str:
    """Words on how the training used the split that is measured, "" where that is not known."""
    if selected_on is None:
        return ""
    if split in ("train", selected_on):
        return f"; the split was used for {'training' if split == 'train' else 'choosing the epoch'}"
    return "; the split was not used for training or selection"
