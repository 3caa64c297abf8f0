"""Training runs of seconds: a helper of the tests of this folder, not a test."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from ferlib.data.dataset import FaceDataset
from ferlib.models.base import FaceModel
from ferlib.models.registry import build_model
from ferlib.training import loop
from ferlib.training.recipes import RECIPES, Recipe

SMALL: dict[str, Any] = {
    "backbone": "tf_efficientnet_lite0",
    "keep_stages": 2,
    "width": 32,
    "input_size": 64,
    "grey": True,
}


def recipe(faces: FaceDataset, **settings: Any) -> Recipe:
    """Conv-cut's recipe for these faces, with a small network and three epochs."""
    return RECIPES["convcut"].override(SMALL | {"classes": faces.classes, "epochs": 3} | settings)


def train(plan: Recipe, faces: FaceDataset, out: Path, **options: Any) -> tuple[FaceModel, pd.DataFrame]:
    """A new model trained by `fit` with these options, and its history; the recipe's seed decides its weights."""
    torch.manual_seed(plan.seed)
    model = build_model(plan.config)
    return model, loop.fit(model, faces, plan, out, **options)


def train_in_two_parts(plan: Recipe, faces: FaceDataset, out: Path) -> tuple[FaceModel, pd.DataFrame]:
    """The same as `train`, of a run that is interrupted in its second epoch and resumed."""

    def interrupt(model: FaceModel) -> dict[str, float]:
        if (out / "last.safetensors").exists():
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        train(plan, faces, out, observe=interrupt)
    return train(plan, faces, out, resume=True)
