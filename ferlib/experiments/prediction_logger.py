"""Watching a run: what each way of batching the validation and test faces would have said after every epoch.

So every protocol can be read from one training run: which epoch each would have chosen, and what it would have
claimed. Nothing of it flows back into training.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ferlib.data.dataset import FaceDataset
from ferlib.evaluation.batches import (
    Logits,
    ordered_batches,
    pixel_logits,
    predict_batches,
)
from ferlib.models.backbone import AttentionModel
from ferlib.models.base import FaceModel, evaluating
from ferlib.models.inference import run_batches
from ferlib.models.layers import BatchAttention
from ferlib.training.features import FeatureCache, feature_logits
from ferlib.utils.atomic import atomic_write
from ferlib.utils.devices import device_of


@dataclass(frozen=True)
class Batching:
    """A way to cut a set of faces into batches, see `ferlib.evaluation.batches.ordered_batches`."""

    batch_order: str
    size: int = 1

    def __str__(self) -> str:
        return self.batch_order if self.batch_order == "single" else f"{self.batch_order} {self.size}"


SINGLE = Batching("single")
SORTED, SHUFFLED, WIDE = Batching("sorted", 16), Batching("shuffled", 16), Batching("sorted", 64)
FINAL = Batching("sorted", 32)  # of the published code's last evaluation; it chooses the epoch by `SORTED`
BATCHINGS = (SORTED, SHUFFLED, SINGLE, WIDE, FINAL)


@dataclass(frozen=True)
class LoggedRun:
    """Predictions of a run after every epoch.

    Attributes:
        history: one row an epoch, as `fit` returns it.
        predicted: (split, batching as text) -> predicted classes, uint8 (epochs, N), in the order of the split.
        labels: split -> true classes (N,).
        folder: of the run, see `ferlib.training.checkpoint`.
        ten_crops: classes (N,) that the network of the epoch chosen on validation gives the test faces by ten crops of
            each; None where the network sees whole faces.
        kept_gain: of its recipe, see `ferlib.training.recipes.Recipe.kept_gain`.
        select_by: the metric of the validation faces that chose its epoch.
    """

    history: pd.DataFrame
    predicted: Mapping[tuple[str, str], np.ndarray]
    labels: Mapping[str, np.ndarray]
    folder: Path = Path()
    ten_crops: np.ndarray | None = None
    kept_gain: float = 0.0
    select_by: str = "accuracy"

    def accuracy(self, split: str, batching: Batching) -> np.ndarray:
        """Fraction of right answers after every epoch (epochs,)."""
        return (self.predicted[split, str(batching)] == self.labels[split]).mean(axis=1)

    def best_epoch(self, split: str, batching: Batching) -> int:
        """The epoch (from 0) with the highest accuracy, the last of equals; "last": the last epoch."""
        if split == "last":
            return len(self.predicted["test", str(batching)]) - 1
        accuracy = self.accuracy(split, batching)
        return int(len(accuracy) - 1 - accuracy[::-1].argmax())


class PredictionLogger:
    """For `fit(observe=...)`: predicts the validation and test faces after every epoch, and keeps what it sees on disk.

    A model without batch attention sees every face alone however they are batched; it is asked once for all batchings.

    Args:
        data: with the splits "validation" and "test".
        folder: gets one file an epoch.
        batchings: ways to cut a split into batches.
        seed: of shuffled batches.
        cached: whether the maps of the model's frozen backbone come from the feature cache.
    """

    SPLITS = ("validation", "test")

    def __init__(
        self,
        data: FaceDataset,
        folder: Path,
        batchings: Sequence[Batching] = BATCHINGS,
        seed: int = 0,
        cached: bool = True,
    ):
        self.parts = {split: data.split(split) for split in self.SPLITS}
        self.labels = {split: part.frame["label"].to_numpy() for split, part in self.parts.items()}
        self.folder, self.batchings, self.seed = folder, tuple(batchings), seed
        self.cached = cached
        self.caches: dict[str, FeatureCache] = {}

    def __call__(self, model: FaceModel) -> dict[str, float]:
        """The accuracies "test sorted 16" and so on, and "seen", the number of the file with the predictions."""
        predicted = {
            (split, str(batching)): predictions
            for split, part in self.parts.items()
            for batching, predictions in self.predict(model, split, part).items()
        }
        seen = 1 + max((int(path.stem) for path in self.folder.glob("*.npz")), default=-1)
        arrays: dict[str, Any] = {"/".join(key): value for key, value in predicted.items()}
        with atomic_write(self.folder / f"{seen:04d}.npz") as partial, partial.open("wb") as handle:
            np.savez_compressed(handle, **arrays)
        accuracies = {
            f"{split} {batching}": float((value == self.labels[split]).mean())
            for (split, batching), value in predicted.items()
        }
        return accuracies | {"seen": seen}

    def predict(self, model: FaceModel, split: str, part: FaceDataset) -> dict[Batching, np.ndarray]:
        """Predicted classes, uint8 (N,), under every batching."""
        with evaluating(model):
            if not self.cached:
                logits = pixel_logits(model, part)
            else:
                if split not in self.caches:
                    self.caches[split] = FeatureCache.build(model, part)
                logits = feature_logits(model, self.caches[split])
            if not (isinstance(model, AttentionModel) and isinstance(model.pooled_attention, BatchAttention)):
                alone = predict_batches(logits, ordered_batches(self.labels[split], "stored", 128))
                return dict.fromkeys(self.batchings, alone.argmax(axis=1).astype(np.uint8))
            if self.cached:
                logits = attending_logits(model, self.caches[split])
            cuts = {b: ordered_batches(self.labels[split], b.batch_order, b.size, self.seed) for b in self.batchings}
            return {b: predict_batches(logits, cut).argmax(axis=1).astype(np.uint8) for b, cut in cuts.items()}

    def run(self, history: pd.DataFrame) -> LoggedRun:
        """Everything seen in the run with this history."""
        epochs = []
        for seen in history["seen"]:
            with np.load(self.folder / f"{int(seen):04d}.npz", allow_pickle=False) as file:
                epochs.append({tuple(key.split("/")): file[key] for key in file.files})
        predicted = {key: np.stack([epoch[key] for epoch in epochs]) for key in epochs[0]}
        return LoggedRun(history, predicted, self.labels, self.folder.parent)


@torch.inference_mode()
def attention_inputs(model: AttentionModel, cache: FeatureCache) -> Tensor:
    """Vectors that the pooled attention mixes, (N, D), one a face: everything before it sees faces alone.

    Args:
        model: in evaluation mode.
        cache: of its frozen backbone.
    """
    logits = feature_logits(model, cache)
    with bypassed(model):
        return torch.cat(list(run_batches(logits, torch.arange(len(cache)).split(128))))


def attending_logits(model: AttentionModel, cache: FeatureCache) -> Logits:
    """`feature_logits`, faster: everything up to the batch attention is computed once for all batches."""
    vectors = attention_inputs(model, cache)

    def attended(rows: Tensor) -> Tensor:
        return model.classifier(model.head_norm(model.pooled_attention(vectors[rows.to(device_of(model))])))

    return attended


@contextmanager
def bypassed(model: AttentionModel) -> Iterator[None]:
    """Inside, the model stops before its pooled attention: what it returns are the vectors that go in, (B, D)."""
    kept = model.pooled_attention, model.head_norm, model.classifier
    model.pooled_attention, model.head_norm, model.classifier = nn.Identity(), nn.Identity(), nn.Identity()
    try:
        yield
    finally:
        model.pooled_attention, model.head_norm, model.classifier = kept
