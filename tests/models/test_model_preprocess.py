"""From pixels to model input."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

from ferlib.data.augmentation import AUGMENTATIONS, Spoil, augmentation
from ferlib.models.base import IMAGENET_MEAN, IMAGENET_STD, ModelConfig
from ferlib.models.preprocess import Preprocess
from ferlib.runtime.preprocess import Preprocessing


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


def test_downscaling_removes_detail_the_training_faces_never_had():
    fine = (torch.arange(96)[None] % 2 * 255).expand(1, 1, 96, 96).to(torch.uint8)  # stripes one pixel wide
    x = Preprocess(96, 24, True, (0.0,) * 3, (1.0,) * 3)(fine)
    assert x.std() < 0.05


@pytest.mark.parametrize(("height", "width"), [(100, 100), (100, 40), (40, 100), (30, 40)])
def test_faces_of_any_shape_are_the_same_without_pytorch(height, width):
    """Also where one side shrinks and the other grows."""
    pixels = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8, generator=torch.manual_seed(0))
    settings = (48, None, False, IMAGENET_MEAN, IMAGENET_STD)
    with_it = Preprocess(*settings)(pixels)[0].numpy()
    without = Preprocessing(*settings)(pixels.permute(0, 2, 3, 1).numpy())[0]
    assert np.abs(with_it - without).max() < 1e-4


def test_a_centre_crop_is_the_middle_of_the_face_and_maps_go_back_there():
    pixels = torch.arange(48 * 48).view(1, 1, 48, 48).remainder(256).to(torch.uint8)
    preprocess = Preprocess(40, 48, True, (0.0,), (1.0,), centre_crop=True)
    x = preprocess(pixels)
    assert torch.equal(x, pixels[:, :, 4:44, 4:44].float() / 255)
    whole = preprocess.whole_face(torch.ones(1, 40, 40))
    assert whole.shape == (1, 48, 48) and whole.sum() == 40 * 40 and whole[0, 4:44, 4:44].all()
    assert torch.equal(Preprocess(40, 48, True, (0.0,), (1.0,)).whole_face(whole), whole)


@pytest.mark.parametrize("side", [48, 45, 43])
def test_maps_stand_where_the_crop_was_cut_also_if_it_has_no_middle(side):
    pixels = torch.arange(side**2).view(1, 1, side, side).remainder(251).to(torch.uint8)
    preprocess = Preprocess(40, side, True, (0.0,), (1.0,), centre_crop=True)
    x = preprocess(pixels)
    whole = preprocess.whole_face(x[:, 0])
    assert whole.shape == (1, side, side)
    assert torch.equal(whole[:, preprocess.looked_at, preprocess.looked_at], x[:, 0])
    assert torch.equal(whole[whole > 0], (pixels[0] / 255)[whole > 0])
    assert np.array_equal(Preprocessing(**asdict(preprocess)).whole_face(x[:, 0].numpy()), whole.numpy())


@pytest.mark.parametrize(
    ("input_size", "downscale_to", "read_at", "wanted"), [(112, 48, 112, 48), (40, 48, 48, 48), (112, None, 112, 112)]
)
def test_a_folder_is_read_at_the_larger_size_and_a_face_is_wanted_at_the_first(
    input_size, downscale_to, read_at, wanted
):
    config = ModelConfig("any", input_size=input_size, downscale_to=downscale_to)
    assert (config.side, Preprocess.of(config).face_side) == (read_at, wanted)


def test_ten_crops_are_corners_centre_and_their_mirror_images():
    pixels = torch.randint(0, 256, (2, 1, 48, 48), dtype=torch.uint8)
    crops = Preprocess(40, 48, True, (0.5,), (0.25,), centre_crop=True).ten_crops(pixels)
    x = (pixels / 255 - 0.5) / 0.25
    corners = [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)]
    expected = [x[:, :, i : i + 40, j : j + 40] for i, j in corners]
    expected += [x.flip(-1)[:, :, i : i + 40, j : j + 40] for i, j in corners]
    assert crops.shape == (10, 2, 1, 40, 40)
    assert torch.allclose(crops, torch.stack(expected), atol=1e-6)
    with pytest.raises(ValueError, match="which see a part of the face"):
        Preprocess(40, 48, True, (0.5,), (0.25,)).ten_crops(pixels)


def test_training_crops_stand_at_random_places():
    torch.manual_seed(0)
    x = torch.linspace(0, 1, 48).expand(64, 1, 48, 48)
    y = augmentation("flip", crop=40)(x)
    assert y.shape == (64, 1, 40, 40)
    assert len(y[:, 0, 0, 0].unique()) > 8  # nine offsets, plain and mirrored
    assert augmentation("none", crop=40)(x).shape == x.shape  # normalise crops the middle


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_keep_shape_and_range(name, synthetic_faces):
    torch.manual_seed(0)
    x = synthetic_faces.pixels[:32].float() / 255
    y = augmentation(name)(x)
    assert y.shape == x.shape and y.min() >= 0 and y.max() <= 1
    assert torch.equal(x, y) == (name == "none")


def test_half_of_the_images_are_spoilt_each_in_one_way(synthetic_faces):
    torch.manual_seed(0)
    x = synthetic_faces.pixels[:1].float().expand(800, -1, -1, -1) / 255
    y = Spoil()(x)
    as_it_was = (y == x).flatten(1).all(dim=1)
    assert 340 < as_it_was.sum() < 460 and y.min() >= 0 and y.max() <= 1

    def edges(images):
        return images.diff(dim=-1).abs().mean(dim=(1, 2, 3))

    change = (y - x)[~as_it_was]
    smoother, noisier = edges(y) < 0.9 * edges(x), edges(y) > 1.5 * edges(x)
    lighter = (y.mean(dim=(1, 2, 3)) - x.mean(dim=(1, 2, 3))).abs() > 0.05
    assert min(smoother.sum(), noisier.sum(), lighter.sum()) > 40  # of some hundred each
    assert change.flatten(1).abs().mean(dim=1).unique().numel() > 300  # every one of a strength of its own


def test_every_image_gets_its_own_flip():
    torch.manual_seed(0)
    x = torch.linspace(0, 1, 8).expand(64, 1, 8, 8)
    flipped = (augmentation("flip")(x)[:, 0, 0, 0] == 1).sum()
    assert 16 < flipped < 48
