"""Many picture files as one tensor, with an error that names the file that is missing or broken."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from ferlib.data.cache import cached_array, file_state, short_key
from ferlib.data.dataset import DataError
from ferlib.images import ImageError, read_image
from ferlib.progress import progress

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


def find_pictures(folder: Path) -> list[Path]:
    """All picture files in a folder and below, sorted; hidden files and folders are left out."""
    files = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def read_pictures(name: str, paths: Sequence[Path], size: int) -> torch.Tensor:
    """The middle squares of the pictures, RGB, scaled to `size` x `size`: uint8 (N, 3, size, size).

    Args:
        name: the data set's, for messages and the progress bar.
        paths: picture files, at least one.
        size: side in pixels.

    Raises:
        DataError: a picture is missing or cannot be read.
    """
    return _channels_first(_read(name, paths, size))


def cached_pictures(name: str, paths: Sequence[Path], size: int) -> torch.Tensor:
    """As `read_pictures`, decoded once: kept in the user's cache until a file changes."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{name}: {len(missing):,} of {len(paths):,} pictures are missing from {missing[0].parent}, "
            f"e.g. {missing[0].name}"
        )
    key = short_key(size, [file_state(path) for path in paths])
    return _channels_first(cached_array(name, key, lambda: _read(name, paths, size)))


def _read(name: str, paths: Sequence[Path], size: int) -> np.ndarray:
    """uint8 (N, size, size, 3)."""
    pixels = np.empty((len(paths), size, size, 3), np.uint8)
    for i, path in enumerate(progress(paths, name, " pictures")):
        try:
            square = ImageOps.fit(Image.fromarray(read_image(path)), (size, size), Image.Resampling.BICUBIC)
            pixels[i] = np.asarray(square)
        except ImageError as error:
            raise DataError(f"{name}: {path} cannot be used: {error}") from error
    return pixels


def _channels_first(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
