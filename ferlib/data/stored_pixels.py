"""Pixels that do not fit memory: they lie in a file, and what is asked for is read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

BLOCK = 1024  # faces


class StoredPixels:
    """Pixels (N, C, H, W) uint8 in a .npy file, indexed along the first axis like a tensor.

    Nothing is mapped into memory, where pages once read would count until something else needs the room: every index
    is read into a tensor of its own. Neighbouring rows are read at once.

    Args:
        path: the file, in C order.
        rows: the rows of the file that these are, in this order; None: all.
    """

    dtype = torch.uint8
    ndim = 4

    def __init__(self, path: Path, rows: np.ndarray | None = None):
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"{path} is not an array of pixels")
            shape, fortran, kind = np.lib.format.read_array_header_1_0(file)
            self._start = file.tell()
        if fortran or kind != np.uint8 or len(shape) != 4:
            raise ValueError(f"{path} is not an array of pixels")
        if path.stat().st_size != self._start + np.prod(shape, dtype=np.int64):
            raise ValueError(f"{path} is cut short")
        self.path = path
        self.rows = np.arange(shape[0]) if rows is None else np.asarray(rows, np.int64)
        self.shape = torch.Size((len(self.rows), *shape[1:]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray | Tensor) -> Tensor:
        """One face (C, H, W) for a number, else some (M, C, H, W)."""
        places = index.numpy() if isinstance(index, Tensor) else index
        rows = self.rows[places]
        if np.ndim(rows) == 0:
            return self._read(rows[None])[0]
        return self._read(rows)

    def subset(self, rows: np.ndarray) -> "StoredPixels":
        """The faces at these positions, nothing being read."""
        return StoredPixels(self.path, self.rows[rows])

    def _read(self, rows: np.ndarray) -> Tensor:
        pixels = np.empty((len(rows), *self.shape[1:]), np.uint8)
        size, done = pixels[:1].nbytes, 0
        with self.path.open("rb") as file:
            for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else ():
                file.seek(self._start + int(run[0]) * size)
                if file.readinto(pixels[done : done + len(run)].data) != len(run) * size:
                    raise OSError(f"{self.path} has been cut short")
                done += len(run)
        return torch.from_numpy(pixels)


Pixels = Tensor | StoredPixels


def blocks(pixels: Pixels) -> Iterator[Tensor]:
    """All pixels, `BLOCK` faces at a time."""
    return (pixels[start : start + BLOCK] for start in range(0, len(pixels), BLOCK))
