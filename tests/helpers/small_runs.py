"""Training runs of seconds: a helper of the tests of this folder, not a test."""

from pathlib import Path
from typing import Any

import pandas as pd
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
