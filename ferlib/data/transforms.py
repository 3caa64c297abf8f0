"""From stored pixels to a model's input: grey, resizing and normalisation, in batches."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ferlib.models.base import ModelConfig

GREY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow's convert("L")


def resize(x: Tensor, side: int) -> Tensor:
    """Bilinear, antialiased when it shrinks: (B, C, H, W) -> (B, C, side, side)."""
    if x.shape[-2:] == (side, side):
        return x
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False, antialias=min(x.shape[-2:]) > side)


@dataclass(frozen=True)
class Preprocess:
    """Faces as stored -> normalised model input, as the model's config asks.

    Call it with uint8 (B, 1 or 3, H, W); the result is float32 (B, 3, input_size, input_size).
    """

    input_size: int
    source_size: int | None
    grey: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def of(cls, config: ModelConfig) -> "Preprocess":
        """The one a model was trained with."""
        return cls(config.input_size, config.source_size, config.grey, config.mean, config.std)

    def scale(self, pixels: Tensor) -> Tensor:
        """First half: uint8 (B, 1 or 3, H, W) -> float32 in 0..1, colour and detail removed where asked."""
        x = pixels.float() / 255
        if self.grey and x.shape[1] == 3:
            x = (x * x.new_tensor(GREY_WEIGHTS).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        return resize(x, self.source_size) if self.source_size else x

    def normalise(self, x: Tensor) -> Tensor:
        """Second half: float32 in 0..1 -> (B, 3, input_size, input_size), normalised."""
        x = resize(x, self.input_size).expand(-1, 3, -1, -1)
        mean, std = (x.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return ((x - mean) / std).contiguous(memory_format=torch.channels_last)

    def __call__(self, pixels: Tensor) -> Tensor:
        return self.normalise(self.scale(pixels))
