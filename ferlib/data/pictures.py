"""Pictures of any size as one array of squares."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ferlib.images import read_image


def read_square(path: Path, size: int) -> np.ndarray:
    """The middle square of a picture, scaled: (size, size, 3) uint8. Raises `ImageError` as `read_image` does."""
    return np.asarray(ImageOps.fit(Image.fromarray(read_image(path)), (size, size), Image.Resampling.BICUBIC))
