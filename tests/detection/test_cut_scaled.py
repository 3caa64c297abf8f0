"""Squares that are scaled down while they are cut out: the same as cut whole, without their memory."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from ferlib.detection import faces
from ferlib.detection.crop import Face, cut, cut_scaled

pytest.importorskip("onnxruntime")
INSIDE, ALL_AROUND, BELOW = (40, 30, 430, 420), (-217, -303, 883, 797), (100, 90, 801, 791)
BESIDE, ABOVE, LEFT = (900, 0, 1600, 700), (-700, -700, -3, -3), (-1, 200, 560, 761)


@pytest.mark.parametrize("box", [INSIDE, ALL_AROUND, BELOW, BESIDE, ABOVE, LEFT])
@pytest.mark.parametrize("size", [16, 50, 64, 128])
def test_it_is_the_square_cut_whole_and_then_scaled(box, size):
    """Boxes inside a picture, beyond its edges and beside it, reduced by different whole numbers or by none."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (437, 523, 3), dtype=np.uint8)
    whole = Image.fromarray(cut(image, box))
    expected = np.asarray(whole.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0))
    found = cut_scaled(image, box, size)
    assert found.shape == (size, size, 3) and found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= (0 if whole.width < 4 * size else 1)


def test_a_close_up_takes_no_memory_for_what_is_beyond_its_edges():
    """A face as high as the picture: the square around it has six times as many pixels, 53 MB."""
    image = np.zeros((1500, 2000, 3), np.uint8)
    face = Face((400, 150, 1600, 1350), 0.9, np.zeros((6, 2)))
    faces._score_in(image, face, 1.0)  # the network is loaded
    tracemalloc.start()
    try:
        assert faces._score_in(image, face, 3.5) == 0
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 3 * image.nbytes
