"""A model on a split: one number a metric, with its interval, and everything needed to run it again."""

import subprocess
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ferlib import labels
from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.splits import clean_split
from ferlib.evaluation.batches import compose, evaluating, pixel_logits, predict_batches
from ferlib.evaluation.metrics import per_class, summary_with_intervals
from ferlib.models.base import FaceModel


def predict_dataset(
    model: FaceModel,
    dataset: FaceDataset,
    batch_size: int = 64,
    ten_crop: bool = False,
    composition: str = "stored",
    seed: int = 0,
) -> np.ndarray:
    """Class probabilities (N, classes of the model), float64, in the order of the data set.

    Args:
        model: any; its parts are left in the modes they were in.
        dataset: the faces.
        batch_size: faces a batch.
        ten_crop: mean over ten crops of every face (four corners, centre, and their mirror images).
        composition: which faces stand together in a batch, see `ferlib.evaluation.batches.compose`.
        seed: of a shuffled composition.
    """
    batches = compose(dataset.frame["label"], composition, batch_size, seed)
    with evaluating(model):
        return predict_batches(pixel_logits(model, dataset, ten_crop), batches)


def evaluate(
    model: FaceModel,
    dataset: FaceDataset,
    split: str = "test",
    without: Collection[str] = (),
    clean: bool = False,
    ten_crop: bool = False,
) -> dict:
    """Metrics of a model on one split.

    A model may know classes the data lacks (a FERPlus model on FER2013): their probabilities are left out and the rest
    renormalised. The other way round is an error, unless those classes are left out with `without`.

    Args:
        model: trained.
        dataset: with the split.
        split: "train", "validation" or "test".
        without: classes whose faces and probabilities are left out.
        clean: leave out faces that also stand in another split, copies, conflicting labels and blank images, see
            `ferlib.data.splits.clean_split`.
        ten_crop: average over ten crops of every face, see `predict_dataset`.

    Returns:
        JSON-ready: model config, data, split, faces, metrics {name: {value, low, high}} with 95 % bootstrap intervals,
        per_class, confusion (rows true), commit.
    """
    part = clean_split(dataset, split) if clean else dataset.split(split)
    classes = [name for name in dataset.classes if name not in without]
    unknown = [name for name in classes if name not in model.config.classes]
    if unknown:
        raise DataError(f"the model does not know {', '.join(unknown)}, classes of {dataset.name}; leave them out")
    kept = labels.mapping(dataset.classes, classes)  # old label -> new label, -1 left out
    part = part.subset(np.array([kept[label] >= 0 for label in part.frame["label"]]))
    if not len(part):
        raise DataError(f"{dataset.name} has no faces in its {split} split")
    truth = np.array(kept)[part.frame["label"]]
    probabilities = predict_dataset(model, part, ten_crop=ten_crop)[:, labels.mapping(classes, model.config.classes)]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    counts = np.bincount(truth * len(classes) + predicted, minlength=len(classes) ** 2)
    return {
        "model": asdict(model.config),
        "data": dataset.name,
        "split": split,
        "without": list(without),
        "clean": clean,
        "ten_crop": ten_crop,
        "protocol": "every face alone; the split was not used for training or selection" if split == "test" else split,
        "faces": len(part),
        "metrics": summary_with_intervals(truth, probabilities),
        "per_class": per_class(truth, predicted, classes).to_dict(orient="index"),
        "confusion": {"classes": classes, "counts": counts.reshape(len(classes), -1).tolist()},
        "commit": commit(),
    }


def commit() -> str | None:
    """The project's git commit, with "+" when files differ from it; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
