"""Many picture files as one tensor; those that cannot be read are named, all at once, or left out on demand."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from PIL import Image, ImageOps

from ferlib.data.dataset import DataError
from ferlib.data.stored_pixels import Pixels, StoredPixels
from ferlib.images import ImageError, read_image
from ferlib.utils.atomic import atomic_write
from ferlib.utils.cache import cache_dir, cached_array, file_state, short_key
from ferlib.utils.progress import progress

NAMED = 10  # broken pictures that a message names
MOST_IN_MEMORY = 2_000_000_000  # bytes of pixels; more of them are kept in a file


@dataclass(frozen=True)
class Pictures:
    """Pictures that were read.

    Attributes:
        pixels: the middle squares of those that could be read, RGB, scaled: uint8 (K, 3, size, size); in a file of the
            user's cache where there are more than `MOST_IN_MEMORY`.
        kept: which of the files these are, bool (N,).
        larger: how many squares were larger than the size and were reduced.
        notes: sentences about pictures that were left out.
    """

    pixels: Pixels
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
    if 3 * size**2 * len(paths) > MOST_IN_MEMORY:
        return _stored(name, paths, size, skip_broken)
    pixels, sides = _blank(len(paths), size)
    return _checked(name, paths, pixels, sides, _read(name, paths, pixels, sides), skip_broken)


def cached_pictures(name: str, paths: Sequence[Path], size: int, skip_broken: bool = False) -> Pictures:
    """As `read_pictures`, decoded once: kept in the user's cache until a file changes."""
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing and not skip_broken:
        raise DataError(
            f"{name}: {len(missing):,} of {len(paths):,} pictures are missing from {missing[0].parent}, "
            f"e.g. {missing[0].name}; --skip-broken (skip_broken=True) goes on without them"
        )

    if 3 * size**2 * len(paths) > MOST_IN_MEMORY:
        return _stored(name, paths, size, skip_broken)

    @cache
    def read() -> tuple[np.ndarray, np.ndarray]:
        arrays = _blank(len(paths), size)
        _read(name, paths, *arrays)
        return arrays

    key = _key(paths, size)
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


def to_grey(pixels: Pixels) -> torch.Tensor:
    """Grey (N, 1, H, W) in memory of RGB (N, 3, H, W), both uint8, by ITU-R BT.601."""
    red, green, blue = pixels[:].to(torch.int32).unbind(1)
    return ((red * 299 + green * 587 + blue * 114 + 500) // 1000).to(torch.uint8).unsqueeze(1)


def _blank(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Room for pixels (N, size, size, 3), and for the side of every square as it lies on disk (N,), 0 for none yet."""
    return np.zeros((count, size, size, 3), np.uint8), np.zeros(count, np.int32)


def _key(paths: Sequence[Path], size: int) -> str:
    """Key of these pictures in the cache; it changes with a file, also when one comes or goes."""
    return short_key(size, [file_state(path) if os.path.isfile(path) else str(path) for path in paths])


def _read(name: str, paths: Sequence[Path], pixels: np.ndarray, sides: np.ndarray) -> dict[Path, str]:
    """Reads, in place, the pictures that have no side yet; returns what is wrong with those that cannot be read."""
    missing, errors = np.flatnonzero(sides == 0).tolist(), {}
    for i, one in zip(missing, _decoded(name, [paths[i] for i in missing], pixels.shape[1]), strict=True):
        if isinstance(one, ImageError):
            errors[paths[i]] = str(one)
        else:
            pixels[i], sides[i] = one
    return errors


def _decoded(name: str, paths: Sequence[Path], size: int) -> Iterator[tuple[np.ndarray, int] | ImageError]:
    """The middle square (size, size, 3) of every picture and its side as it lies on disk, or its error, in order."""
    for path in progress(paths, name, " pictures"):
        try:
            image = read_image(path)
        except ImageError as error:
            yield error
            continue
        square = ImageOps.fit(Image.fromarray(image), (size, size), Image.Resampling.BICUBIC)
        yield np.asarray(square), min(image.shape[:2])


def _stored(name: str, paths: Sequence[Path], size: int, skip_broken: bool) -> Pictures:
    """The pictures in a file of the cache, decoded once, so that memory holds what is asked for."""
    key = _key(paths, size)
    path, sides_path = cache_dir() / f"{name}-{key}-pixels.npy", cache_dir() / f"{name}_sides-{key}.npy"
    errors: dict[Path, str] = {}

    def write() -> np.ndarray:
        """Write the file; gives the side of every square, 0 for a picture that cannot be read."""
        sides, nothing = np.zeros(len(paths), np.int32), bytes(3 * size**2)
        shape = (len(paths), 3, size, size)
        with atomic_write(path) as partial, partial.open("wb") as file:
            needed, free = 3 * size**2 * len(paths), shutil.disk_usage(path.parent).free
            if needed > 0.95 * free:
                raise OSError(
                    f"the pictures need {needed / 1e9:.1f} GB, but {path.parent} has {free / 1e9:.1f} GB free"
                )
            header = {"descr": np.dtype(np.uint8).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for i, one in enumerate(_decoded(name, paths, size)):
                if isinstance(one, ImageError):
                    errors[paths[i]] = str(one)
                    file.write(nothing)
                else:
                    file.write(np.ascontiguousarray(one[0].transpose(2, 0, 1)).data)
                    sides[i] = one[1]
        return sides

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # of several processes one decodes, and the others wait
        if not _whole(path):
            sides_path.unlink(missing_ok=True)
        sides = cached_array(f"{name}_sides", key, write)
        if not sides.all() and not errors:  # written by an earlier call
            broken = [paths[i] for i in np.flatnonzero(sides == 0).tolist()]
            found = zip(broken, _decoded(name, broken, size), strict=True)
            errors |= {path: str(one) for path, one in found if isinstance(one, ImageError)}
            if len(errors) < len(broken):  # some can be read by now, though their files are as they were
                errors.clear()
                sides_path.unlink()
                sides = cached_array(f"{name}_sides", key, write)
    kept = sides > 0
    notes = _notes(name, paths, errors, kept, skip_broken)
    notes += (f"the pixels, {path.stat().st_size / 1e9:.1f} GB, are read from {path}",)
    return Pictures(StoredPixels(path, np.flatnonzero(kept)), kept, int((sides > size).sum()), notes)


def _whole(path: Path) -> bool:
    """True if there is a file of pixels that can be read."""
    with suppress(OSError, ValueError):
        StoredPixels(path)
        return True
    return False


def _checked(
    name: str,
    paths: Sequence[Path],
    pixels: np.ndarray,
    sides: np.ndarray,
    errors: Mapping[Path, str],
    skip_broken: bool,
) -> Pictures:
    """The pictures that were read, or the error that names those that cannot be."""
    kept = sides > 0
    notes = _notes(name, paths, errors, kept, skip_broken)
    pixels = pixels[kept] if errors else pixels
    channels_first = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return Pictures(channels_first, kept, int((sides > pixels.shape[1]).sum()), notes)


def _notes(
    name: str, paths: Sequence[Path], errors: Mapping[Path, str], kept: np.ndarray, skip_broken: bool
) -> tuple[str, ...]:
    """The note on what cannot be read, where that may be left out; else the error that names it."""
    if not errors:
        return ()
    if not (skip_broken and kept.any()):
        raise DataError(_complaint(name, errors, len(paths)))
    names = ", ".join(path.name for path in list(errors)[:NAMED])
    more = ", ..." if len(errors) > NAMED else ""
    return (f"{len(errors):,} of {len(paths):,} pictures cannot be read and are left out: {names}{more}",)


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
