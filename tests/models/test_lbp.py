"""Local binary patterns against scikit-image's, and made inside VTFF from its normalised input."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.feature import local_binary_pattern

from ferlib.models.lbp import local_binary_patterns
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import create_model
from ferlib.synthetic.render import sample_faces


@pytest.mark.parametrize("size", [(40, 40), (23, 31)])
def test_codes_are_scikit_images(size):
    images = np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8)
    codes = local_binary_patterns(torch.from_numpy(images).float())
    expected = np.stack([local_binary_pattern(image, P=8, R=1) for image in images])
    assert len(np.unique(expected)) > 100
    assert np.array_equal(codes.numpy(), expected)


def test_an_even_area_is_bright_all_around():
    codes = local_binary_patterns(torch.full((1, 6, 6), 77.0))
    assert (codes[0, 1:-1, 1:-1] == 255).all() and (codes[0, 0] < 255).all()  # outside it is black


def test_vtff_sees_the_patterns_of_the_picture_it_is_given():
    """From normalised input back to the levels 0..255 that the face was stored in, in a size without resizing."""
    faces, _, _ = sample_faces(1, grey=False)
    model = create_model("vtff", mean=(0.4, 0.5, 0.3), std=(0.2, 0.3, 0.25)).eval()
    pixels = F.interpolate(torch.from_numpy(faces).permute(0, 3, 1, 2).float(), (112, 112)).byte()
    x = Preprocess.of(model.config)(pixels)
    patterns = model.backbone.patterns(x)
    red, green, blue = pixels.double().unbind(1)
    grey = (0.299 * red + 0.587 * green + 0.114 * blue).round()
    expected = np.stack([local_binary_pattern(image.astype(np.uint8), P=8, R=1) for image in grey.numpy()])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.config.mean, model.config.std))
    found = 255 * (patterns * std + mean)
    agree = [(channel.round().numpy() == expected)[:, 1:-1, 1:-1].mean() for channel in found.unbind(1)]
    assert min(agree) > 0.99  # but for even areas, where scikit-image compares rounding errors
