"""From pixels to model input."""

import numpy as np
import pytest
import torch
from PIL import Image

from ferlib.data.augmentation import AUGMENTATIONS, augmentation
from ferlib.data.transforms import Preprocess
from ferlib.models.base import IMAGENET_MEAN, IMAGENET_STD


def test_grey_equals_pillow_and_channels_are_equal(astronaut):
    pixels = torch.from_numpy(astronaut).permute(2, 0, 1)[None]
    x = Preprocess(512, None, True, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))(pixels)
    grey = np.asarray(Image.fromarray(astronaut).convert("L")) / 255
    assert x.shape == (1, 3, 512, 512)
    assert torch.equal(x[:, 0], x[:, 1]) and torch.equal(x[:, 0], x[:, 2])
    assert np.abs(x[0, 0].numpy() - grey).max() < 1 / 255


def test_normalisation_is_channel_wise():
    pixels = torch.full((2, 3, 10, 10), 51, dtype=torch.uint8)
    x = Preprocess(20, None, False, IMAGENET_MEAN, IMAGENET_STD)(pixels)
    expected = (0.2 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    assert torch.allclose(x, expected.view(1, 3, 1, 1).expand(2, 3, 20, 20), atol=1e-6)


def test_source_size_removes_detail_the_training_faces_never_had():
    fine = (torch.arange(96)[None] % 2 * 255).expand(1, 1, 96, 96).to(torch.uint8)  # stripes one pixel wide
    x = Preprocess(96, 24, True, (0.0,) * 3, (1.0,) * 3)(fine)
    assert x.std() < 0.05


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_keep_shape_and_range(name, drawn_faces):
    torch.manual_seed(0)
    x = drawn_faces.pixels[:32].float() / 255
    y = augmentation(name)(x)
    assert y.shape == x.shape and y.min() >= 0 and y.max() <= 1
    assert torch.equal(x, y) == (name == "none")


def test_every_image_gets_its_own_flip():
    torch.manual_seed(0)
    x = torch.linspace(0, 1, 8).expand(64, 1, 8, 8)
    flipped = (augmentation("flip")(x)[:, 0, 0, 0] == 1).sum()
    assert 16 < flipped < 48
