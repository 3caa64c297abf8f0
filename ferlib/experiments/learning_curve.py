"""Learning curve over the number of faces: one network trained on 5, 10, 20 … of each class, one test split."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ferlib.data.dataset import FaceDataset
from ferlib.evaluation.bootstrap import Resampling, intervals
from ferlib.evaluation.evaluate import predict_dataset
from ferlib.evaluation.metrics import METRICS
from ferlib.experiments.runner import untrained
from ferlib.training.loop import fit
from ferlib.training.recipes import Recipe


def few_per_class(data: FaceDataset, count: int, seed: int = 0) -> FaceDataset:
    """The data with at most so many training faces of each class; validation and test are left as they are.

    They are drawn at random, but with one seed the fewer are always among the more.
    """
    train = data.frame[data.frame["split"] == "train"].sample(frac=1, random_state=seed)
    kept = train.groupby("label").head(count).index
    return data.subset(np.flatnonzero((data.frame["split"] != "train") | data.frame.index.isin(kept)))


def train_and_test(data: FaceDataset, recipe: Recipe, backbone_weights: str | Path | None = None) -> np.ndarray:
    """Classes (N,) that a network trained by the recipe gives the test faces; nothing of the run is kept.

    The epoch is chosen on the validation split, as always.
    """
    model = untrained(recipe, backbone_weights)
    with tempfile.TemporaryDirectory() as folder:
        fit(model, data, recipe, Path(folder) / "run")
    return predict_dataset(model, data.split("test")).argmax(axis=1)


def longer(epochs: int, full: int, faces: int, longest: int = 3) -> int:
    """Epochs for fewer faces, which make fewer steps an epoch: up to `longest` times those for the full number."""
    return round(epochs * min(longest, full / faces))


def learning_curve(
    data: FaceDataset,
    recipe: Recipe,
    counts: Sequence[int],
    seeds: Sequence[int] = (0, 1, 2),
    backbone_weights: str | Path | None = None,
    longest: int = 3,
) -> pd.DataFrame:
    """Test metrics of networks trained on few faces of each class.

    Args:
        data: with all three splits.
        recipe: the same for all, but for seed and epochs.
        counts: training faces of each class, at most.
        seeds: one network each, with training faces and start of its own.
        backbone_weights: of the recipe's backbone.
        longest: few faces make few steps an epoch, so they get more epochs, up to so many times the recipe's.

    Returns:
        One row a count and metric (`ferlib.evaluation.metrics.METRICS`): `count`, `faces` (in training), `metric`,
        the mean `value` over the seeds, and its 95 % interval `low` to `high` over test people and seeds.
    """
    resampling, rows = Resampling(data.split("test"), len(seeds)), []
    full = (data.frame["split"] == "train").sum()
    for count in counts:
        predicted = []
        for seed in seeds:
            part = few_per_class(data, count, seed)
            faces = int((part.frame["split"] == "train").sum())
            epochs = longer(recipe.epochs, full, faces, longest)
            predicted.append(train_and_test(part, replace(recipe, seed=seed, epochs=epochs), backbone_weights))
        exact, resampled = resampling.measure(predicted)
        found = intervals(exact.mean(axis=0), resampled)
        rows += [{"count": count, "faces": faces, "metric": name, **found[name]} for name in METRICS]
    return pd.DataFrame(rows)
