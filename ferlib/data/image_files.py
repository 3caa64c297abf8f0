"""Many picture files as one tensor; those that cannot be read are named, all at once, or left out on demand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from ferlib.data.dataset import DataError
from ferlib.images import ImageError, read_image
from ferlib.utils.cache import cached_array, file_state, short_key
from ferlib.utils.progress import progress

NAMED = 10  # broken pictures that a message names


@dataclass(frozen=True)
class Pictures:
    """Pictures that were read.

    Attributes:
        pixels: the middle squares of those that could be read, RGB, scaled: uint8 (K, 3, size, size).
        kept: which of the files these are, bool (N,).
        larger: how many squares were larger than the size and were reduced.
        notes: sentences about pictures that were left out.
    """

    pixels: torch.Tensor
    kept: np.ndarray
    larger: int
    notes: tuple[str, ...]


def read_pictures(name: str, paths: Sequence[Path], size: int, skip_broken: bool = False) -> Pictures:
    """The middle squares of the pictures, scaled to `size` x `size`.

    Args:
        name: the data set's, for messages and the progress bar.
        paths: picture files, at least one.
        size: side in pixels.
        skip_broken: leave out what cannot be read.

    Raises:
        DataError: pictures are missing or cannot be read; with `skip_broken`, all of them.
    """
    pixels, sides = _blank(len(paths), size)
    return _checked(name, paths, pixels, sides, _read(name, paths, pixels, sides), skip_broken)


def cached_pictures(name: str, paths: Sequence[Path], size: int, skip_broken: bool = False) -> Pictures:
    """As `read_pictures`, decoded once: kept in the user's cache until a file changes."""
    missing = [path for path in paths if not path.is_file()]
    if missing and not skip_broken:
        raise DataError(
            f"{name}: {len(missing):,} of {len(paths):,} pictures are missing from {missing[0].parent}, "
            f"e.g. {missing[0].name}; --skip-broken (skip_broken=True) goes on without them"
        )

    @cache
    def read() -> tuple[np.ndarray, np.ndarray]:
        arrays = _blank(len(paths), size)
        _read(name, paths, *arrays)
        return arrays

    lost = set(missing)
    key = short_key(size, [str(path) if path in lost else file_state(path) for path in paths])
    sides = cached_array(f"{name}_sides", key, lambda: read()[1])
    pixels = cached_array(name, key, lambda: read()[0])
    return _checked(name, paths, pixels, sides, _read(name, paths, pixels, sides), skip_broken)


def reduced_note(pictures: Pictures, size: int | None) -> list[str]:
    """One sentence on how many pictures lost detail, in a list; an empty list for none.

    Args:
        pictures: read at `size` or, where that is None, at the data set's own size.
        size: that was asked for; whoever did knows it.
    """
    side = pictures.pixels.shape[-1]
    if size is not None or not pictures.larger:
        return []
    return [f"{pictures.larger:,} pictures larger than {side} px were reduced to it; size= loads them larger"]


def to_grey(pixels: torch.Tensor) -> torch.Tensor:
    """Grey (N, 1, H, W) of RGB (N, 3, H, W), both uint8, by ITU-R BT.601; leaves grey as it is."""
    red, green, blue = pixels.to(torch.int32).unbind(1)
    return ((red * 299 + green * 587 + blue * 114 + 500) // 1000).to(torch.uint8).unsqueeze(1)


def _blank(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Room for pixels (N, size, size, 3), and for the side of every square as it lies on disk (N,), 0 for none yet."""
    return np.zeros((count, size, size, 3), np.uint8), np.zeros(count, np.int32)


def _read(name: str, paths: Sequence[Path], pixels: np.ndarray, sides: np.ndarray) -> dict[Path, str]:
    """Reads, in place, the pictures that have no side yet; returns what is wrong with those that cannot be read."""
    size, errors = pixels.shape[1], {}
    for i in progress(np.flatnonzero(sides == 0), name, " pictures"):
        try:
            image = read_image(paths[i])
        except ImageError as error:
            errors[paths[i]] = str(error)
            continue
        sides[i] = min(image.shape[:2])
        pixels[i] = np.asarray(ImageOps.fit(Image.fromarray(image), (size, size), Image.Resampling.BICUBIC))
    return errors


def _checked(
    name: str,
    paths: Sequence[Path],
    pixels: np.ndarray,
    sides: np.ndarray,
    errors: Mapping[Path, str],
    skip_broken: bool,
) -> Pictures:
    """The pictures read; raises an error that names the files that cannot be."""
    kept = sides > 0
    if errors and not (skip_broken and kept.any()):
        raise DataError(_complaint(name, errors, len(paths)))
    notes: tuple[str, ...] = ()
    if errors:
        names = ", ".join(path.name for path in list(errors)[:NAMED])
        more = ", ..." if len(errors) > NAMED else ""
        notes = (f"{len(errors):,} of {len(paths):,} pictures cannot be read and are left out: {names}{more}",)
        pixels = pixels[kept]
    channels_first = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return Pictures(channels_first, kept, int((sides > pixels.shape[1]).sum()), notes)


def _complaint(name: str, errors: Mapping[Path, str], total: int) -> str:
    """The message for pictures that cannot be read: the first of them, how many there are, and what to do."""
    if len(errors) == total > 1:
        way_out = ""
    else:
        way_out = "\n--skip-broken (skip_broken=True) goes on without " + ("it" if len(errors) == 1 else "them")
    lines = [f"{path} cannot be used: {error}" for path, error in list(errors.items())[:NAMED]]
    if len(errors) == 1:
        return f"{name}: {lines[0]}{way_out}"
    if len(errors) > NAMED:
        lines.append(f"and {len(errors) - NAMED:,} more")
    return "\n  ".join([f"{name}: {len(errors):,} of {total:,} pictures cannot be read:", *lines]) + way_out
