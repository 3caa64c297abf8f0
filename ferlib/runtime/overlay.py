"""A heat map laid over the face it belongs to."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image


def overlay(face: np.ndarray, heatmap: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Blend a heat map over a face.

    Args:
        face: `(H, W, 3)` uint8.
        heatmap: `(h, w)` in 0..1, any size; blue is low, red is high.
        opacity: of the colours, 0..1.

    Returns:
        `(H, W, 3)` uint8.
    """
    size = (face.shape[1], face.shape[0])
    heat = np.asarray(Image.fromarray(heatmap.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    colours = turbo()[np.minimum(heat.clip(0, 1) * 256, 255).astype(np.uint8)]
    return ((1 - opacity) * face + opacity * colours).round().astype(np.uint8)


@cache
def turbo() -> np.ndarray:
    """The colour map turbo (Mikhailov 2019), `(256, 3)` uint8."""
    return np.load(Path(__file__).with_name("turbo.npy"), allow_pickle=False)
