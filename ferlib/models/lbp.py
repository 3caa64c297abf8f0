"""Local binary patterns: the texture around a pixel as a number of eight bits."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

DIAGONAL = round(math.sqrt(0.5), 5)  # where the diagonal neighbours lie on the circle; rounded as scikit-image does


def local_binary_patterns(grey: Tensor) -> Tensor:
    """Codes 0..255 of images (B, H, W), as floats (B, H, W) (Ojala et al. 2002, P = 8, R = 1).

    Bit p is set where the p-th neighbour, counted from the right against the clock, is at least as bright as the pixel.
    Neighbours lie on a circle of radius 1, diagonal ones between four pixels (bilinear); outside the image it is black.

    Args:
        grey: whole grey levels, so that what looks even is even: rounding makes patterns of its own.
    """
    padded = F.pad(grey, (1, 1, 1, 1))
    height, width = grey.shape[-2:]

    def brighter(down: int, right: int) -> Tensor:
        """The pixel that far away, minus the pixel itself."""
        return padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width] - grey

    codes = torch.zeros_like(grey)
    circle = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
    for bit, (down, right) in enumerate(circle):
        if down and right:
            near, far = DIAGONAL * (1 - DIAGONAL), DIAGONAL**2
            difference = near * (brighter(down, 0) + brighter(0, right)) + far * brighter(down, right)
        else:
            difference = brighter(down, right)
        codes = codes + 2**bit * (difference >= 0).to(grey.dtype)
    return codes
