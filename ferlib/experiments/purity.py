"""The purity of a batch: what a network with batch attention says of a face among neighbours of our choosing.

The protocols show that class-sorted batches lift the accuracy of batch attention. Here the mechanism is taken apart on
the same trained networks:

- **curve**: every test face is put into batches of 16 with k - 1 faces of its own class and 16 - k of others, k = 1 to
  16, drawn at random. Accuracy on that face, and the attention's weight on itself and on its class, as functions of k.
- **foreign**: every face among fifteen of one other class: is it given its own label, theirs, or a third?
- **readings**: the same networks in the batches that a test set is really cut into.
- **controls**: (1) the test set sorted by random labels: batches as before, whose order knows nothing. (2) A network
  trained on random labels, its test faces sorted by such labels: the order gives the label away, but no face shows it.
  (3) A network without attention, whose probabilities are averaged over class-sorted batches: what the order alone is
  worth, attention or not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
import torch

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.evaluation.batches import ordered_batches, predict_batches
from ferlib.evaluation.bootstrap import RESAMPLES, Resampling, intervals
from ferlib.evaluation.report_format import Estimate
from ferlib.experiments.prediction_logger import (
    FINAL,
    SHUFFLED,
    SINGLE,
    SORTED,
    WIDE,
    LoggedRun,
    attention_inputs,
)
from ferlib.experiments.runner import judge_runs
from ferlib.models.backbone import AttentionModel
from ferlib.models.base import evaluating
from ferlib.models.layers import BatchAttention, unwarned
from ferlib.training.features import FeatureCache, feature_logits

SIZE = 16  # faces a batch, as in the published protocol
#: Controls, and what each is.
CONTROLS = {
    "sorted by random labels": "the same networks, test faces sorted by labels drawn at random",
    "trained on random labels": "networks trained on labels drawn at random, test faces sorted by such labels",
    "no attention, alone": "networks without attention, one face at a time",
    "no attention, averaged": f"the same, their probabilities averaged over class-sorted batches of {SIZE}",
    "most frequent class": "the class with the most test faces, named for every face",
}


@dataclass(frozen=True)
class Answers:
    """A network's answers for faces in chosen company.

    Attributes:
        predicted: class of every face asked about, (M,).
        on_itself: attention's weight on the face itself, (M,).
        on_class: attention's weight on all faces of its class, itself included, (M,).
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

    def __init__(self, model: AttentionModel, part: FaceDataset):
        if not isinstance(model.pooled_attention, BatchAttention):
            raise DataError(f"{model.config.architecture} has no attention over the batch")
        self.model, self.attention = model, model.pooled_attention
        self.labels = part.labels().numpy()
        with evaluating(model):
            self.vectors = attention_inputs(model, FeatureCache.build(model, part))  # (N, D)

    @torch.inference_mode()
    def predict_first(self, members: np.ndarray) -> Answers:
        """Answers for the first face of every batch.

        Args:
            members: positions in the split, (M, B): a batch a row.
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

    def predict_all(self, batches: Sequence[np.ndarray]) -> Answers:
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


def faces_of_large_classes(labels: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Positions (M,) of the faces whose class has at least `size` faces, and so can fill a batch."""
    return np.flatnonzero(np.isin(labels, np.flatnonzero(np.bincount(labels) >= size)))


def batches_with_own_class(labels: np.ndarray, rng: np.random.Generator, own: int, size: int = SIZE) -> np.ndarray:
    """A batch for every face of a large class: itself, `own` - 1 others of its class, the rest of other classes.

    Args:
        labels: classes (N,).
        rng: draws the others, all different.
        own: faces of its class, itself included, 1 to `size`.
        size: of a batch.

    Returns:
        Positions (M, size), the face itself first, in the order of `faces_of_large_classes`.
    """
    inside = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}
    outside = {label: np.flatnonzero(labels != label) for label in inside}
    members = []
    for face in faces_of_large_classes(labels, size):
        alike, others = inside[labels[face]], outside[labels[face]]
        same = rng.choice(alike[alike != face], own - 1, replace=False)
        members.append([face, *same, *rng.choice(others, size - own, replace=False)])
    return np.array(members)


def batches_of_another_class(labels: np.ndarray, rng: np.random.Generator, size: int = SIZE) -> np.ndarray:
    """A batch for every face of a large class: itself, and `size` - 1 faces of one other large class, drawn at random.

    Returns:
        Positions (M, size), the face itself first, in the order of `faces_of_large_classes`.
    """
    faces = faces_of_large_classes(labels, size)
    large = {label: np.flatnonzero(labels == label) for label in np.unique(labels[faces])}
    members = []
    for face in faces:
        another = rng.choice([label for label in large if label != labels[face]])
        members.append([face, *rng.choice(large[another], size - 1, replace=False)])
    return np.array(members)


def check_purity(data: FaceDataset) -> None:
    """Refuse data in which no two classes can fill a batch.

    Raises:
        DataError: fewer than two classes have `SIZE` test faces.
    """
    if (np.bincount(data.split("test").labels().numpy()) >= SIZE).sum() < 2:
        raise DataError(f"{data.name}: fewer than two classes have {SIZE} test faces, as many as a batch")


def with_random_labels(data: FaceDataset) -> FaceDataset:
    """The data with the labels of every split dealt out anew: as many of each class, true by chance alone."""
    rng, frame = np.random.default_rng(0), data.frame.copy()
    for split in frame["split"].unique():
        rows = frame["split"] == split
        frame.loc[rows, "label"] = rng.permutation(frame.loc[rows, "label"])
    return FaceDataset(f"{data.name}_random_labels", data.classes, frame, data.pixels, data.notes)


def measure_purity(
    attending: Mapping[int, AttentionModel],
    plain: Sequence[AttentionModel],
    misled: Mapping[int, LoggedRun],
    data: FaceDataset,
    relabelled: FaceDataset,
    resamples: int = RESAMPLES,
) -> dict:
    """Curve, foreign faces, readings and controls of some networks, JSON-ready; see this file's first lines.

    Args:
        attending: by seed, trained networks with batch attention.
        plain: as many without attention.
        misled: by seed, runs of networks with batch attention on `relabelled`.
        data: with the test split.
        relabelled: `with_random_labels(data)`.
        resamples: of the bootstrap, over test faces (or people) and seeds.
    """
    check_purity(data)
    part = data.split("test")
    labels, draws = part.labels().numpy(), Resampling(part, len(attending), resamples)
    faces = faces_of_large_classes(labels)
    readers = {seed: BatchReader(model, part) for seed, model in attending.items()}
    curve = []
    for own in range(1, SIZE + 1):
        rngs = {seed: np.random.default_rng([seed, own]) for seed in readers}
        found = [reader.predict_first(batches_with_own_class(labels, rngs[s], own)) for s, reader in readers.items()]
        curve.append({"own": own} | _score(found, faces, draws))
    members = {seed: batches_of_another_class(labels, np.random.default_rng([seed, 0])) for seed in readers}
    found = [reader.predict_first(members[seed]) for seed, reader in readers.items()]
    their_label = [
        (answers.predicted == labels[drawn[:, 1]]).mean()
        for answers, drawn in zip(found, members.values(), strict=True)
    ]
    readings = []
    for batching in (SORTED, FINAL, WIDE, SHUFFLED, SINGLE):
        cuts = {seed: ordered_batches(labels, batching.batch_order, batching.size, seed) for seed in readers}
        answers = [reader.predict_all(cuts[seed]) for seed, reader in readers.items()]
        readings.append({"batches": str(batching)} | _score(answers, np.arange(len(labels)), draws))
    return {
        "size": SIZE,
        "test_faces": {"all": len(labels), "of classes that fill a batch": len(faces)},
        "curve": curve,
        "foreign": _score(found, faces, draws) | {"their label": float(np.mean(their_label))},
        "readings": readings,
        "controls": _controls(readers, plain, misled, part, relabelled, draws),
    }


def _score(found: Sequence[Answers], faces: np.ndarray, draws: Resampling) -> dict:
    """Accuracy over some faces, with its interval, and the attention's two shares, means over the networks.

    Args:
        found: each network's answers for these faces.
        faces: their positions (M,) in the split.
        draws: of the split.
    """
    counted, whole = np.zeros(len(draws.labels), bool), []
    counted[faces] = True
    for answers in found:
        predicted = np.zeros(len(counted), np.int64)
        predicted[faces] = answers.predicted
        whole.append(predicted)
    shares = {name: float(np.mean([getattr(one, name) for one in found])) for name in ("on_itself", "on_class")}
    return {"accuracy": _accuracy(whole, draws, counted)} | shares


def _accuracy(predicted: Sequence[np.ndarray], draws: Resampling, counted: np.ndarray | None = None) -> Estimate:
    """Mean over the networks, with its interval."""
    exact, resampled = draws.measure(predicted, counted)
    return intervals(exact.mean(axis=0), resampled)["accuracy"]


def _controls(
    readers: Mapping[int, BatchReader],
    plain: Sequence[AttentionModel],
    misled: Mapping[int, LoggedRun],
    part: FaceDataset,
    relabelled: FaceDataset,
    draws: Resampling,
) -> dict[str, dict]:
    """Accuracy of each of `CONTROLS`, and what naming the most frequent class for every face would have."""
    labels = part.labels().numpy()
    random_order = [
        reader.predict_all(ordered_batches(np.random.default_rng(seed).permutation(labels), "sorted", SIZE)).predicted
        for seed, reader in readers.items()
    ]
    alone, averaged = [], []
    for model in plain:
        with evaluating(model):
            logits = feature_logits(model, FeatureCache.build(model, part))
            probabilities = predict_batches(logits, ordered_batches(labels, "stored", 128))  # (N, classes)
        means = np.empty_like(probabilities)
        for batch in ordered_batches(labels, "sorted", SIZE):
            means[batch] = probabilities[batch].mean(axis=0)
        alone.append(probabilities.argmax(axis=1))
        averaged.append(means.argmax(axis=1))
    random_draws = Resampling(relabelled.split("test"), len(misled), len(draws.faces))
    found = {
        "sorted by random labels": _accuracy(random_order, draws),
        "trained on random labels": judge_runs(misled, "test", SORTED, random_draws)[0]["metrics"]["accuracy"],
        "no attention, alone": _accuracy(alone, draws),
        "no attention, averaged": _accuracy(averaged, draws),
        "most frequent class": {"value": float(np.bincount(labels).max() / len(labels))},
    }
    return {name: {"about": about, "accuracy": found[name]} for name, about in CONTROLS.items()}


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
