"""A heat map over a face."""

import matplotlib
import numpy as np

from ferlib.runtime.overlay import overlay


def test_overlay_paints_what_is_hot_red_and_what_is_cold_blue():
    heat = np.zeros((4, 4), np.float32)
    heat[:2] = 1
    out = overlay(np.full((8, 8, 3), 128, np.uint8), heat).astype(int)
    assert out.shape == (8, 8, 3)
    assert out[0, 4, 0] > out[0, 4, 2] and out[7, 4, 2] > out[7, 4, 0]
    assert (overlay(np.full((8, 8, 3), 128, np.uint8), heat, opacity=0) == 128).all()


def test_the_colours_are_those_of_turbo():
    """For every value, not only the table's own: 4,000 in a row that is not resized."""
    heat = np.linspace(0, 1, 4000, dtype=np.float32)[None]
    expected = (matplotlib.colormaps["turbo"](heat)[..., :3] * 255).round()
    assert np.array_equal(overlay(np.zeros((1, 4000, 3), np.uint8), heat, opacity=1), expected)
