"""Safetensors files that may be read by whoever may read other files; the package's own are their writer's alone."""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a .safetensors file; arguments as of `safetensors.torch.save_file`."""
    save_file(dict(tensors), path, metadata=dict(metadata) if metadata else None)
    let_read(path)


def let_read(path: Path) -> None:
    """Give a file the permissions that a new one has here."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
