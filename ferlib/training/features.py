"""The frozen-feature cache: what a frozen trunk says about every image, computed once.

Conv-cut's trunk never changes and its only augmentation is a left-right flip, so two feature maps an image, one of the
picture and one of its mirror image, are everything its head can ever see. They are computed once, kept as a
half-precision memory-mapped file, and reused by every later run on the same data, trunk and input transform.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ferlib.data.cache import cache_dir, written_whole
from ferlib.data.dataset import FaceDataset
from ferlib.data.transforms import Preprocess
from ferlib.models.base import FaceModel


class FeatureCache:
    """Feature maps of one split, float16 (N, 2, C, h, w) on disk: index 0 is the picture, 1 its mirror image.

    Args:
        path: the .npy file.
    """

    def __init__(self, path: Path):
        self.path = path
        self.maps = np.load(path, mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return len(self.maps)

    def read(self, rows: Tensor, flips: Tensor) -> Tensor:
        """Maps (B, C, h, w) float32 of these rows, mirrored where `flips` is 1."""
        return torch.from_numpy(self.maps[rows.numpy(), flips.numpy()]).float()

    @classmethod
    @torch.inference_mode()
    def build(
        cls, model: FaceModel, dataset: FaceDataset, batch_size: int = 64, device: torch.device | str = "cpu"
    ) -> "FeatureCache":
        """The cache of this data under this model's trunk; built when it is not there yet.

        Memory stays flat: batches are written to the file as they are computed, and the file gets its name only when
        it is complete. Several processes may build the same cache at once: each does all the work, and all end well.

        Raises:
            OSError: the disk has too little room; nothing is written.
        """
        preprocess = Preprocess.of(model.config)
        model = model.eval().to(device)
        shape = model.forward_features(preprocess(dataset.pixels[:1].to(device))).shape[1:]  # (C, h, w)
        path = cache_dir() / "features" / f"{dataset.name}-{cls.key(model, dataset, shape)}.npy"
        if path.exists():
            with suppress(ValueError, EOFError):  # damaged by a power cut, say: build it again
                return cls(path)
        shape = (len(dataset), 2, *shape)
        with written_whole(path) as partial:
            size, free = 2 * int(np.prod(shape)), shutil.disk_usage(path.parent).free
            if size > 0.95 * free:
                room = f"{size / 1e9:.1f} GB, but {path.parent} has {free / 1e9:.1f} GB free"
                raise OSError(f"the feature cache needs {room}")
            maps = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
            batches = torch.arange(len(dataset)).split(batch_size)
            for rows in tqdm(batches, desc=f"features of {dataset.name} ({size / 1e6:,.0f} MB)", unit="batch"):
                x = preprocess(dataset.pixels[rows].to(device))
                for flip, view in enumerate((x, x.flip(-1))):
                    maps[rows[0] : rows[-1] + 1, flip] = model.forward_features(view).half().cpu().numpy()
            maps.flush()
            del maps
        return cls(path)

    @staticmethod
    def key(model: FaceModel, dataset: FaceDataset, shape: Sequence[int]) -> str:
        """Changes with the pixels, the trunk's weights, the input transform or the map's shape, and with nothing else.

        The shape (C, h, w) tells apart what the same weights can give: the map of one depth or of two.
        """
        digest = hashlib.sha256(json.dumps([asdict(Preprocess.of(model.config)), *shape]).encode())
        digest.update(repr(tuple(dataset.pixels.shape)).encode() + dataset.pixels.numpy().tobytes())
        for name, value in sorted(model.cam_layer.state_dict().items()):
            digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]
