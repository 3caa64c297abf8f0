"""Learning curves: which faces are kept, and that what is reported is what the networks do."""

import numpy as np
import pytest
import torch

from ferlib.data.dataset import FaceDataset
from ferlib.evaluation.metrics import from_confusion
from ferlib.experiments.learning_curve import few_per_class, learning_curve, train_and_test
from ferlib.models.ivsa import IVSAConfig
from ferlib.training.recipes import RECIPES


@pytest.fixture(scope="module")
def plain(synthetic_faces) -> FaceDataset:
    """Bright and dark squares, which anything learns, with the people and splits of the synthetic faces."""
    frame = synthetic_faces.frame.iloc[:160].reset_index(drop=True)
    frame["label"] = np.arange(160) % 2
    noise = np.random.default_rng(0).integers(0, 60, (160, 1, 24, 24))
    pixels = torch.from_numpy((noise + 150 * frame["label"].to_numpy()[:, None, None, None]).astype(np.uint8))
    return FaceDataset("plain", ("dark", "bright"), frame, pixels)


@pytest.fixture(scope="module")
def recipe(plain):
    small = {"input_size": 24, "downscale_to": 24, "widths": (8, 8, 8, 8), "hidden": 16, "dropout": 0.0}
    quick = {"augment": "none", "batch_size": 8, "epochs": 12, "lr": 0.02, "schedule": "onecycle"}
    return RECIPES["ivsa"].override({"classes": plain.classes} | small | quick)


def test_few_per_class_keeps_the_other_splits_and_nests(plain):
    few, more = few_per_class(plain, 5, seed=1), few_per_class(plain, 12, seed=1)
    for part, count in ((few, 5), (more, 12)):
        assert part.split("train").frame["label"].value_counts().to_dict() == {0: count, 1: count}
        for split in ("validation", "test"):
            assert torch.equal(part.split(split).pixels, plain.split(split).pixels)
    rows = [set(part.split("train").frame["row"]) for part in (few, more, few_per_class(plain, 5, seed=2))]
    assert rows[0] < rows[1] and rows[0] != rows[2]
    assert len(few_per_class(plain, 1000)) == len(plain)


def test_the_curve_is_what_the_networks_do(plain, recipe):
    assert isinstance(recipe.config, IVSAConfig)
    table = learning_curve(plain, recipe, (4, 30), seeds=(0, 1), longest=2)
    assert table["count"].tolist() == [4] * 3 + [30] * 3
    truth = plain.split("test").labels().numpy()
    whole = table[table["count"] == 30].set_index("metric")
    scores = []
    for seed in (0, 1):
        part = few_per_class(plain, 30, seed)
        faces = (part.frame["split"] == "train").sum()
        longer = round(12 * min(2, (plain.frame["split"] == "train").sum() / faces))
        predicted = train_and_test(part, recipe.override({"seed": seed, "epochs": longer}))
        counts = np.zeros((1, 2, 2), int)
        np.add.at(counts[0], (truth, predicted), 1)
        scores.append(from_confusion(counts)[0])
    for place, metric in enumerate(("accuracy", "balanced_accuracy", "macro_f1")):
        assert whole["value"][metric] == pytest.approx(np.mean(scores, axis=0)[place])
        assert whole["low"][metric] <= whole["value"][metric] <= whole["high"][metric]
    assert whole["value"]["accuracy"] > 0.9 and whole["faces"].eq(60).all()
