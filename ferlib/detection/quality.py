"""Measure the quality of a face's picture, and warn where it makes the answer doubtful: dark, blurred, small, averted.

Every threshold is where the default model's accuracy on FERPlus's validation faces has fallen by five points, measured
by `benchmarks/quality.py` (results/quality.json, where the whole curves stand). A tilted head has none: whichever way
it is turned, the crop is set upright and accuracy does not fall.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ferlib.detection.crop import Face, FaceCrop

SIDE = 48  # pixels; what is measured on the crop is measured at this side, the training faces' own
WHITE = 250  # from this value on a pixel is overexposed
FALL = 0.05  # of accuracy, at the thresholds

DARK = 40.8  # mean brightness, 0..255
OVEREXPOSED = 0.225  # fraction of white pixels
BLURRED = 0.099  # sharpness
SMALL = 27.5  # side of the square, in pixels of the photo
AVERTED = 0.339  # how far the nose is from the middle of the eyes, in distances between the eyes

#: What each warning says.
WARNINGS = {
    "dark": "The face is very dark.",
    "overexposed": "Much of the face is overexposed.",
    "blurred": "The face is blurred.",
    "small": "The face is very small.",
    "averted": "The face is turned to the side.",
    "turned": "The photo lies on its side or stands on its head; the face was set upright.",
}


@dataclass(frozen=True)
class Quality:
    """Measures of a face's picture on which the accuracy depends.

    Attributes:
        brightness: Mean grey value of the crop, 0..255.
        overexposed: Fraction of its pixels that are white.
        sharpness: Variance of its Laplacian over its own variance, so that contrast does not count.
        size: Side of the square in pixels of the photo.
        yaw: How far the tip of the nose is beside the middle of the eyes, in distances between the eyes.
        turned: Whether the photo had to be turned upright.
    """

    brightness: float
    overexposed: float
    sharpness: float
    size: float
    yaw: float
    turned: bool = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those keys of `WARNINGS` that apply."""
        applies = {
            "dark": self.brightness < DARK,
            "overexposed": self.overexposed > OVEREXPOSED,
            "blurred": self.sharpness < BLURRED and self.size >= SMALL,  # a small face has no detail anyway
            "small": self.size < SMALL,
            "averted": abs(self.yaw) > AVERTED,
            "turned": self.turned,
        }
        return tuple(name for name, true in applies.items() if true)


def quality_of(crop: FaceCrop) -> Quality:
    """Measure brightness, sharpness, size and pose of a face."""
    x0, _, x1, _ = crop.box
    picture = Image.fromarray(crop.pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return Quality(*of_crop(np.asarray(picture)), x1 - x0, yaw_of(crop.face), crop.face.turn != 0)


def of_crop(grey: np.ndarray) -> tuple[float, float, float]:
    """Brightness, overexposed share and sharpness of a crop `(48, 48)` uint8."""
    values = grey.astype(np.float32)
    inside = values[1:-1, 1:-1]
    laplacian = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:] - 4 * inside
    sharpness = float(laplacian.var() / max(float(values.var()), 1.0))
    return float(values.mean()), float((grey >= WHITE).mean()), sharpness


def yaw_of(face: Face) -> float:
    """Offset of the nose from the middle of the eyes, along the line through them, in distances between them."""
    left, right, nose = face.keypoints[:3]
    line = right - left
    return float((nose - (left + right) / 2) @ line / max(float(line @ line), 1e-9))
