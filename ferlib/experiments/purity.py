"""The purity of a batch: what a network with batch attention says of a face in company of our choosing.

The ladder shows that class-sorted batches lift the accuracy of batch attention. Here the mechanism is taken apart on
the same trained networks:

- **curve**: every test face is put into batches of 16 with k - 1 faces of its own class and 16 - k of others, k = 1 to
  16, drawn at random. Accuracy on that face, and the attention's weight on itself and on its class, as functions of k.
- **foreign**: every face among fifteen of one other class: is it given its own label, theirs, or a third?
- **readings**: the same weights in the batches that a test set is really cut into.
- **controls**: the test set sorted by random labels (an order without information); a network trained on random labels
  and read in the order of these (an order with the labels, faces without); and a network without any attention, whose
  answers are averaged over class-sorted batches (the order's information, without attention).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import pandas as pd
import torch

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.evaluation.batches import ordered_batches, predict_batches
from ferlib.evaluation.bootstrap import RESAMPLES, Resampling, intervals
from ferlib.experiments.prediction_logger import (
    FINAL,
    SHUFFLED,
    SINGLE,
    SORTED,
    WIDE,
    WatchedRun,
    attention_inputs,
)
from ferlib.experiments.runner import judge_runs
from ferlib.models.backbone import BackboneModel
from ferlib.models.base import evaluating
from ferlib.models.layers import BatchAttention, unwarned
from ferlib.training.features import FeatureCache, feature_logits

#: From classes (N,) and a generator, a batch for every face: positions (N, B), the face itself first.
Draw = Callable[[np.ndarray, np.random.Generator], np.ndarray]
SIZE = 16  # faces a batch, as in the published protocol
RANDOM_LABELS = "random_labels"  # put behind the name of a data set
#: Controls, and what each is.
CONTROLS = {
    "sorted by random labels": "the trained network, test faces sorted by labels drawn at random",
    "trained on random labels": "a network trained on labels drawn at random, test faces sorted by such labels",
    "no attention, alone": "a network without attention, one face at a time",
    "no attention, averaged": "the same, its answers averaged over class-sorted batches of 16",
}


@dataclass(frozen=True)
class Answers:
    """A network's answers for faces in chosen company.

    Attributes:
        predicted: class of every face, (N,).
        on_itself: attention's weight on the face itself, (N,).
        on_class: attention's weight on all faces of its class, itself included, (N,).
    """

    predicted: np.ndarray
    on_itself: np.ndarray
    on_class: np.ndarray


class BatchReader:
    """A trained network with batch attention over the faces of one split, everything up to the attention computed once.

    Args:
        model: with batch attention.
        part: the split.
    """

    def __init__(self, model: BackboneModel, part: FaceDataset):
        if not isinstance(model.pooled_attention, BatchAttention):
            raise DataError(f"{model.config.architecture} has no attention over the batch")
        self.model, self.attention = model, model.pooled_attention
        self.labels = part.labels().numpy()
        with evaluating(model):
            self.vectors = attention_inputs(model, FeatureCache.build(model, part))  # (N, D)

    @torch.inference_mode()
    def ask(self, members: np.ndarray) -> Answers:
        """Answers for the first face of every batch.

        Args:
            members: positions in the split, (N, B): a batch a row. Rows of -1 are no batches; their answers mean
                nothing.
        """
        predicted, weights = [], []
        with evaluating(self.model), unwarned():
            for rows in torch.from_numpy(members).split(256):
                batch = self.vectors[rows]  # (m, B, D)
                share = self.attention.weights(batch)[:, :1]  # (m, 1, B)
                logits = self.model.classifier(self.model.head_norm((share @ batch).squeeze(1)))
                predicted.append(logits.argmax(dim=1))
                weights.append(share.squeeze(1))
        weight = torch.cat(weights).cpu().double().numpy()
        alike = self.labels[members] == self.labels[members[:, :1]]
        return Answers(torch.cat(predicted).cpu().numpy(), weight[:, 0], (weight * alike).sum(axis=1))

    def read(self, batches: Sequence[np.ndarray]) -> Answers:
        """Answers for every face of the split, cut into these batches, in the order of the split."""
        found = [self._whole(batch) for batch in batches]
        order = np.concatenate(batches)
        back = np.argsort(order)
        return Answers(*(np.concatenate([getattr(one, f.name) for one in found])[back] for f in fields(Answers)))

    @torch.inference_mode()
    def _whole(self, batch: np.ndarray) -> Answers:
        vectors = self.vectors[torch.from_numpy(batch)]
        with evaluating(self.model), unwarned():
            weights = self.attention.weights(vectors)
            predicted = self.model.classifier(self.model.head_norm(weights @ vectors)).argmax(dim=1)
        weight, labels = weights.cpu().double().numpy(), self.labels[batch]
        alike = labels[:, None] == labels
        return Answers(predicted.cpu().numpy(), weight.diagonal().copy(), (weight * alike).sum(axis=1))


def companies(labels: np.ndarray, rng: np.random.Generator, own: int, size: int) -> np.ndarray:
    """A batch for every face: itself, `own` - 1 others of its class, the rest of other classes, all different.

    Args:
        labels: classes (N,).
        rng: draws the others.
        own: faces of its class, itself included, 1 to `size`.
        size: of a batch.

    Returns:
        Positions (N, size), the face itself first; -1 throughout where its class has fewer than `size` faces.
    """
    members = np.full((len(labels), size), -1)
    inside = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}
    outside = {label: np.flatnonzero(labels != label) for label in inside}
    for face, label in enumerate(labels):
        if len(inside[label]) >= size:
            kin = inside[label][inside[label] != face]
            drawn = rng.choice(kin, own - 1, replace=False), rng.choice(outside[label], size - own, replace=False)
            members[face] = [face, *drawn[0], *drawn[1]]
    return members


def foreign_companies(labels: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """A batch for every face: itself, and `size` - 1 faces of one other class, drawn among those that have as many.

    Returns:
        Positions (N, size), the face itself first; -1 throughout where its own class has fewer than `size` faces, as in
        `companies`.
    """
    members = np.full((len(labels), size), -1)
    large = {label: rows for label in np.unique(labels) if len(rows := np.flatnonzero(labels == label)) >= size}
    for face, label in enumerate(labels):
        if label in large:
            theirs = rng.choice([other for other in large if other != label])
            members[face] = [face, *rng.choice(large[theirs], size - 1, replace=False)]
    return members


def random_labels(data: FaceDataset, seed: int = 0) -> FaceDataset:
    """The data with the labels of every split dealt out anew: as many of each class, true by chance alone."""
    rng, frame = np.random.default_rng(seed), data.frame.copy()
    for split in frame["split"].unique():
        rows = frame["split"] == split
        frame.loc[rows, "label"] = rng.permutation(frame.loc[rows, "label"])
    return FaceDataset(f"{data.name}_{RANDOM_LABELS}", data.classes, frame, data.pixels, data.notes)


def take_apart(
    attending: Mapping[int, BackboneModel],
    plain: Sequence[BackboneModel],
    deceived: Mapping[int, WatchedRun],
    data: FaceDataset,
    dealt: FaceDataset,
    resamples: int = RESAMPLES,
) -> dict:
    """Curve, foreign faces, readings and controls of some networks, JSON-ready; see this file's first lines.

    Args:
        attending: by seed, trained networks with batch attention.
        plain: as many without attention.
        deceived: by seed, runs of networks with batch attention on `dealt`.
        data: with the test split.
        dealt: `random_labels(data)`.
        resamples: of the bootstrap, over test faces (or people) and seeds.
    """
    part = data.split("test")
    labels, draws = part.labels().numpy(), Resampling(part, len(attending), resamples)
    kept = companies(labels, np.random.default_rng(0), 1, SIZE)[:, 0] >= 0
    if not kept.any():
        raise DataError(f"{data.name}: no class has {SIZE} test faces, which a batch of one class takes")
    readers = {seed: BatchReader(model, part) for seed, model in attending.items()}

    def judged(found: Sequence[Answers], counted: np.ndarray | None = None) -> dict:
        """Accuracy over the faces counted, and the attention's two shares."""
        exact, resampled = draws.measure([one.predicted for one in found], counted)
        shares = {
            name: float(np.mean([getattr(one, name)[counted if counted is not None else slice(None)] for one in found]))
            for name in ("on_itself", "on_class")
        }
        return {"accuracy": intervals(exact.mean(axis=0), resampled)["accuracy"]} | shares

    def asked(draw: Draw, salt: int) -> tuple[list[Answers], list[np.ndarray]]:
        """Every network's answers for the faces whose class fills a batch, and the batches drawn for them."""
        members = [draw(labels, np.random.default_rng([seed, salt])) for seed in readers]
        return [reader.ask(drawn) for reader, drawn in zip(readers.values(), members, strict=True)], members

    curve = []
    for own in range(1, SIZE + 1):
        found, _ = asked(partial(companies, own=own, size=SIZE), own)
        curve.append({"own": own} | judged(found, kept))
    found, members = asked(partial(foreign_companies, size=SIZE), 0)
    theirs = [(one.predicted == labels[drawn[:, 1]])[kept] for one, drawn in zip(found, members, strict=True)]
    readings = []
    for batching in (SORTED, FINAL, WIDE, SHUFFLED, SINGLE):
        cuts = {seed: ordered_batches(labels, batching.batch_order, batching.size, seed) for seed in readers}
        readings.append({"batches": str(batching)} | judged([readers[seed].read(cut) for seed, cut in cuts.items()]))
    return {
        "size": SIZE,
        "test_faces": {"all": len(labels), "whose class fills a batch": int(kept.sum())},
        "curve": curve,
        "foreign": judged(found, kept) | {"their label": float(np.mean(theirs))},
        "readings": readings,
        "controls": _controls(readers, plain, deceived, part, dealt, draws),
    }


def _controls(
    readers: Mapping[int, BatchReader],
    plain: Sequence[BackboneModel],
    deceived: Mapping[int, WatchedRun],
    part: FaceDataset,
    dealt: FaceDataset,
    draws: Resampling,
) -> dict[str, dict]:
    """Accuracy of each of `CONTROLS`, and of the class that is most frequent among the labels: chance."""
    labels = part.labels().numpy()
    said: dict[str, list[np.ndarray]] = {name: [] for name in CONTROLS}
    for seed, reader in readers.items():
        order = np.random.default_rng(seed).permutation(labels)
        said["sorted by random labels"].append(reader.read(ordered_batches(order, "sorted", SIZE)).predicted)
    for model in plain:
        with evaluating(model):
            logits = feature_logits(model, FeatureCache.build(model, part))
            alone = predict_batches(logits, ordered_batches(labels, "stored", 128))  # (N, classes)
        averaged = np.empty(len(labels), np.int64)
        for batch in ordered_batches(labels, "sorted", SIZE):
            averaged[batch] = alone[batch].mean(axis=0).argmax()
        said["no attention, alone"].append(alone.argmax(axis=1))
        said["no attention, averaged"].append(averaged)
    report = {}
    for name, about in CONTROLS.items():
        if said[name]:
            exact, resampled = draws.measure(said[name])
            accuracy = intervals(exact.mean(axis=0), resampled)["accuracy"]
        else:
            dealt_draws = Resampling(dealt.split("test"), len(deceived), len(draws.faces))
            accuracy = judge_runs(deceived, "test", SORTED, dealt_draws)[0]["metrics"]["accuracy"]
        report[name] = {"about": about, "accuracy": accuracy}
    return report | {"chance": {"accuracy": float(np.bincount(labels).max() / len(labels))}}


def purity_table(entries: Sequence[dict]) -> pd.DataFrame:
    """One row a network and number of faces of the own class: accuracy, its interval, the attention's two shares."""
    return pd.DataFrame(
        {
            "table": entry["table"],
            "data": entry["data"],
            "model": entry["model"],
            "backbone": entry["backbone"]["name"],
            "seeds": len(entry["seeds"]),
            "metric": "accuracy",
            "own": point["own"],
        }
        | point["accuracy"]
        | {name: point[name] for name in ("on_itself", "on_class")}
        for entry in entries
        for point in entry["curve"]
    )
