"""From face crops to a model's input, with numpy alone.

The same as `ferlib.models.preprocess.Preprocess` does with PyTorch. An exported model (`ferlib.release.onnx_export`)
carries these settings in its metadata, so that it runs where PyTorch is not installed; and nothing here starts threads,
so that it also runs in a process that was forked.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

GREY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow's convert("L")


@dataclass(frozen=True)
class InputSettings:
    """Settings of the way from a face as stored to a model's input.

    Attributes:
        input_size, downscale_to, grey, mean, std, centre_crop: As in `ferlib.models.base.ModelConfig`.
    """

    input_size: int
    downscale_to: int | None
    grey: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    centre_crop: bool = False

    @property
    def face_side(self) -> int:
        """Side in pixels of the faces that the model wants: whatever it is given is scaled to this first."""
        return self.downscale_to or self.input_size


class Preprocessing(InputSettings):
    """Faces as stored -> normalised model input.

    Call it with uint8 `(N, H, W)` or `(N, H, W, 3)`; the result is float32 `(N, channels, input_size, input_size)`.
    """

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        x = faces.astype(np.float32) / np.float32(255)
        if x.ndim == 4 and self.grey:
            x = x @ np.array(GREY_WEIGHTS, np.float32)
        x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
        if self.downscale_to:
            x = resized(x, self.downscale_to)
        x = self._middle(x) if self.centre_crop else resized(x, self.input_size)
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (self.mean, self.std))
        return np.ascontiguousarray((x - mean) / std)

    def whole_face(self, maps: np.ndarray) -> np.ndarray:
        """Maps over the model's input `(N, S, S)` -> over the whole face, with zeros where the model did not look."""
        if not (self.centre_crop and self.downscale_to):
            return maps
        before = round((self.downscale_to - self.input_size) / 2)  # as `_middle` cuts
        after = self.downscale_to - self.input_size - before
        return np.pad(maps, ((0, 0), (before, after), (before, after)))

    def _middle(self, x: np.ndarray) -> np.ndarray:
        top, left = (round((side - self.input_size) / 2) for side in x.shape[2:])
        return x[:, :, top : top + self.input_size, left : left + self.input_size]


def resized(x: np.ndarray, side: int) -> np.ndarray:
    """Bilinear, antialiased when it shrinks: `(N, C, H, W)` -> `(N, C, side, side)`."""
    height, width = x.shape[2:]
    if (height, width) == (side, side):
        return x
    return resize_weights(height, side) @ x @ resize_weights(width, side).T


@cache
def resize_weights(before: int, after: int) -> np.ndarray:
    """Weights of resizing a row: float32 `(after, before)`, one row a pixel of the result."""
    scale = before / after
    places = (np.arange(after)[:, None] + 0.5) * scale
    weights = (1 - np.abs(np.arange(before) + 0.5 - places) / max(scale, 1)).clip(0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities float32 `(N, classes)` of logits `(N, classes)`."""
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / np.float32(temperature))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
