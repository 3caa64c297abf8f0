"""From stored pixels to a model's input: grey, resizing and normalisation, in batches."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import center_crop, ten_crop

from ferlib.errors import UserError
from ferlib.models.base import ModelConfig
from ferlib.runtime.preprocess import GREY_WEIGHTS, InputSettings


def resize(x: Tensor, side: int) -> Tensor:
    """Bilinear, antialiased when it shrinks: (B, C, H, W) -> (B, C, side, side)."""
    if x.shape[-2:] == (side, side):
        return x
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False, antialias=max(x.shape[-2:]) > side)


class Preprocess(InputSettings):
    """Faces as stored -> normalised model input, as the model's config asks.

    Call it with uint8 (B, 1 or 3, H, W); the result is float32 (B, channels, input_size, input_size).
    """

    @classmethod
    def of(cls, config: ModelConfig) -> "Preprocess":
        """The one a model was trained with; ValueError for a config whose model is not built yet."""
        if config.mean is None or config.std is None:
            raise UserError("mean and std are those of the backbone: build the model first and take its config")
        return cls(config.input_size, config.downscale_to, config.grey, config.mean, config.std, config.centre_crop)

    def scale(self, pixels: Tensor) -> Tensor:
        """First half: uint8 (B, 1 or 3, H, W) -> float32 in 0..1, colour and detail removed where asked."""
        x = pixels.float() / 255
        if self.grey and x.shape[1] == 3:
            x = (x * x.new_tensor(GREY_WEIGHTS).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        return resize(x, self.downscale_to) if self.downscale_to else x

    def normalise(self, x: Tensor) -> Tensor:
        """Second half: float32 in 0..1 -> (B, channels, input_size, input_size), normalised."""
        fit = center_crop if self.centre_crop else resize
        x = fit(x, self.input_size).expand(-1, len(self.mean), -1, -1)
        mean, std = (x.new_tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return ((x - mean) / std).contiguous(memory_format=torch.channels_last)

    def __call__(self, pixels: Tensor) -> Tensor:
        return self.normalise(self.scale(pixels))

    def ten_crops(self, pixels: Tensor) -> Tensor:
        """uint8 (B, 1 or 3, H, W) -> (10, B, channels, S, S), S the input size: corners, centre, all mirrored.

        Raises:
            UserError: the model sees whole faces, there is nothing to crop from.
        """
        if not self.centre_crop:
            raise UserError("ten-crop evaluation is for models with centre_crop, which see a part of the face")
        return torch.stack([self.normalise(crop) for crop in ten_crop(self.scale(pixels), self.input_size)])

    def whole_face(self, maps: Tensor) -> Tensor:
        """Maps over the model's input (B, S, S) -> over the whole face, with zeros where the model did not look."""
        if not (self.centre_crop and self.downscale_to):
            return maps
        return F.pad(maps, (self.looked_at.start, self.downscale_to - self.looked_at.stop) * 2)

    @property
    def looked_at(self) -> slice:
        """The rows, and the columns, of the scaled face that the model sees."""
        if not (self.centre_crop and self.downscale_to):
            return slice(None)
        start = round((self.downscale_to - self.input_size) / 2)  # as `center_crop` cuts
        return slice(start, start + self.input_size)
