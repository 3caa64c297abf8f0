"""Preprocessing with numpy is preprocessing with PyTorch."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from ferlib.models.preprocess import Preprocess
from ferlib.runtime.preprocess import Preprocessing, resized, softmax

GREY = {"mean": (0.5,), "std": (0.25,), "grey": True}
COLOUR = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.mark.parametrize("side", [20, 47, 48, 112, 300])
@pytest.mark.parametrize(
    "settings",
    [
        {"input_size": 112, "downscale_to": 48, "grey": True, **{k: COLOUR[k] for k in ("mean", "std")}},
        {"input_size": 48, "downscale_to": None, **GREY},
        {"input_size": 40, "downscale_to": 48, "centre_crop": True, **GREY},
        {"input_size": 40, "downscale_to": 45, "centre_crop": True, **GREY},
        {"input_size": 224, "downscale_to": None, "grey": False, **COLOUR},
    ],
)
def test_input_is_that_of_pytorch(settings, side):
    rng = np.random.default_rng(0)
    with_torch = Preprocess(**settings)
    for shape in ((3, side, side), (3, side, side, 3)):
        faces = rng.integers(0, 256, shape, dtype=np.uint8)
        tensor = torch.from_numpy(faces)
        expected = with_torch(tensor[:, None] if faces.ndim == 3 else tensor.permute(0, 3, 1, 2)).numpy()
        found = Preprocessing(**asdict(with_torch))(faces)
        assert found.dtype == np.float32 and found.shape == expected.shape and found.flags.c_contiguous
        assert np.abs(found - expected).max() < 1e-4


def test_a_flat_picture_stays_flat_at_any_size():
    for side in (1, 7, 48, 100):
        assert np.abs(resized(np.full((1, 1, 30, 20), 0.7, np.float32), side) - 0.7).max() < 1e-6


def test_softmax():
    logits = np.random.default_rng(0).normal(0, 30, (5, 8)).astype(np.float32)
    expected = (torch.from_numpy(logits) / 0.8).softmax(dim=1).numpy()
    assert np.abs(softmax(logits, 0.8) - expected).max() < 1e-6
