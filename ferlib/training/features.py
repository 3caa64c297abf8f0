"""Cache of frozen features: the backbone's feature maps of every image, computed once.

Conv-cut's backbone never changes and its only augmentation is a left-right flip, so two feature maps an image, one of
the picture and one of its mirror image, are everything its head can ever see. They are computed once, kept as a
half-precision memory-mapped file, and reused by every later run on the same data, backbone and input transform.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import asdict
from pathlib import Path

import numpy as np
import timm
import torch
from filelock import FileLock
from torch import Tensor, nn
from tqdm import tqdm

from ferlib.data.dataset import FaceDataset
from ferlib.data.stored_pixels import blocks
from ferlib.errors import UserError
from ferlib.models.base import FaceModel
from ferlib.models.inference import run_model
from ferlib.models.preprocess import Preprocess
from ferlib.utils.atomic import atomic_write
from ferlib.utils.cache import cache_dir
from ferlib.utils.devices import device_of


class FeatureCache:
    """Feature maps of one split, float16 (N, 2, C, h, w): index 0 is the picture, 1 its mirror image.

    Args:
        path: the .npy file; only what is read of it comes into memory.
    """

    def __init__(self, path: Path):
        self.path = path
        self.maps = torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))  # "c": PyTorch wants it writable

    def __len__(self) -> int:
        return len(self.maps)

    def to(self, device: torch.device) -> "FeatureCache":
        """The same with all maps in the device's memory."""
        copied = copy(self)
        copied.maps = self.maps.to(device)
        return copied

    def read(self, rows: Tensor, flips: Tensor) -> Tensor:
        """Maps (B, C, h, w) float32 of these rows, mirrored where `flips` is 1; where the maps are.

        Channels come last in memory, as convolutions like them: on a CPU a head trains up to twice as fast.
        """
        maps = self.maps[rows.to(self.maps.device), flips.to(self.maps.device)]
        return maps.contiguous(memory_format=torch.channels_last).float()

    @classmethod
    def build(cls, model: FaceModel, dataset: FaceDataset, batch_size: int = 64) -> "FeatureCache":
        """The cache of this data under this model's backbone; built when it is not there yet.

        Memory stays flat: batches are appended to the file as they are computed, and the file gets its name only when
        it is complete. Of several processes that want the same cache one builds it, and the others wait.

        Args:
            model: its backbone is asked, where it is and in evaluation mode; the model is left as it was.
            dataset: the faces.
            batch_size: faces a pass.

        Raises:
            OSError: the disk has too little room; nothing is written.
        """
        preprocess = Preprocess.of(model.config)

        def maps_of(pixels: Tensor) -> Tensor:
            x = preprocess(pixels)
            return torch.stack([model.forward_features(side).half() for side in (x, x.flip(-1))], dim=1)

        shape = next(run_model(model, maps_of, dataset.pixels[:1])).shape[2:]  # (C, h, w)
        key = cls.key(model, dataset, shape)
        folder, locks = cache_dir() / "features", cache_dir() / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        locks.mkdir(exist_ok=True)
        with FileLock(locks / f"{key}.lock"):
            for path in folder.glob(f"*-{key}.npy"):  # whatever the data set was called then
                with suppress(ValueError, EOFError):  # damaged by a power cut, say: build it again
                    return cls(path)
            path = folder / f"{dataset.name}-{key}.npy"
            cls._write(path, model, maps_of, dataset, shape, batch_size)
        return cls(path)

    @staticmethod
    def _write(
        path: Path,
        model: FaceModel,
        maps_of: Callable[[Tensor], Tensor],
        dataset: FaceDataset,
        shape: Sequence[int],
        batch_size: int,
    ) -> None:
        """Ask the backbone for every face's two maps of this shape (C, h, w), and write the file."""
        whole = (len(dataset), 2, *shape)
        header = {"descr": np.dtype(np.float16).str, "fortran_order": False, "shape": whole}
        size = 2 * math.prod(whole)  # bytes
        with atomic_write(path) as partial, partial.open("wb") as file:
            free = shutil.disk_usage(path.parent).free
            if size > 0.95 * free:
                room = f"{size / 1e9:.1f} GB, but {path.parent} has {free / 1e9:.1f} GB free"
                raise OSError(f"the feature cache needs {room}")
            tqdm.write(f"computing the features of {len(dataset):,} faces of {dataset.name}: {size / 1e6:,.0f} MB")
            np.lib.format.write_array_header_1_0(file, header)
            for maps in run_model(model, maps_of, dataset.pixels, batch_size, f"features of {dataset.name}"):
                file.write(maps.cpu().contiguous().numpy().data)  # (B, 2, C, h, w)

    @staticmethod
    def key(model: FaceModel, dataset: FaceDataset, shape: Sequence[int]) -> str:
        """Key of a cache: changes with the pixels, the backbone and its weights, the input transform, the map's shape.

        The shape (C, h, w) tells apart what the same weights can give: the map of one depth or of two. The backbone's
        name does the same for networks that differ in what is no weight, as how they pad.
        """
        backbone = getattr(model.config, "backbone", model.config.architecture)
        return content_key(model, dataset, model.cam_layer, backbone, *shape)


def content_key(model: FaceModel, dataset: FaceDataset, part: nn.Module, *more: object) -> str:
    """16 hexadecimal digits that change with the pixels, a part of a model, its input transform, timm, and `more`.

    Args:
        part: whose parameters and buffers count; the model itself, or one of its layers.
        more: whatever JSON can hold.
    """
    digest = hashlib.sha256(json.dumps([asdict(Preprocess.of(model.config)), *more, timm.__version__]).encode())
    digest.update(repr(tuple(dataset.pixels.shape)).encode())
    for block in blocks(dataset.pixels):
        digest.update(block.contiguous().numpy().data)
    for name, value in sorted(part.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def feature_logits(model: FaceModel, cache: FeatureCache) -> Callable[[Tensor], Tensor]:
    """A model's head over its frozen backbone's cached maps, for `predict_batches`; evaluation mode, see `evaluating`.

    For networks in training: unlike those of `pixel_logits`, these logits are not divided by a temperature.

    Raises:
        ValueError: the model looks at both sides of a face (`flip_tta`), and this is one.
    """
    if model.config.flip_tta:
        raise UserError("a model with flip_tta looks at both sides of a face; predict from pixels")
    device = device_of(model)

    def logits(rows: Tensor) -> Tensor:
        return model.forward_head(cache.read(rows, torch.zeros_like(rows)).to(device))

    return logits
