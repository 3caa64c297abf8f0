"""Sources of batches: pixels augmented on the device, or a frozen backbone's cached features.

Both answer alike: `inputs(rows)` for evaluation, `training_batches(order, share)` for an epoch of training.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ferlib.data.augmentation import augmentation
from ferlib.data.dataset import FaceDataset
from ferlib.data.stored_pixels import StoredPixels
from ferlib.errors import UserError
from ferlib.models.backbone import BackboneModelConfig
from ferlib.models.base import FaceModel, ModelConfig
from ferlib.models.preprocess import Preprocess
from ferlib.training.features import FeatureCache

#: Bytes of float pixels augmented at once. A processor is fastest while they fit its cache; a GPU wants many.
CHUNK_CPU, CHUNK_GPU = 4_000_000, 64_000_000


def targets_of(dataset: FaceDataset, kind: str) -> Tensor:
    """Training targets: class indices (N,) for "hard", vote shares (N, classes) for "soft".

    Raises:
        DataError: soft ones are wanted of a set without votes.
    """
    return dataset.soft_labels() if kind == "soft" else dataset.labels()


class PixelSource:
    """A split as uint8 on the device, or read from its file chunk by chunk; augmented, resized and normalised there.

    Augmentation has a fixed cost per call, so several batches are augmented together and handed out step by step: few
    on a CPU, many on a GPU. That is done at the size the pixels are stored in, or at the model's `downscale_to`.

    Args:
        dataset: the split.
        preprocess: of the model to be fed.
        augment: name of the training augmentation.
        device: where the pixels are needed.
    """

    def __init__(self, dataset: FaceDataset, preprocess: Preprocess, augment: str, device: torch.device):
        self.pixels = dataset.pixels if isinstance(dataset.pixels, StoredPixels) else dataset.pixels.to(device)
        self.device = device
        self.labels = dataset.labels().numpy()
        self.preprocess = preprocess
        self.augment = augmentation(augment, preprocess.input_size if preprocess.centre_crop else None)

    def inputs(self, rows: Tensor) -> Tensor:
        """Model input (B, channels, S, S) for these rows, not augmented."""
        return self.preprocess(self._read(rows))

    def training_batches(
        self, order: Tensor, share: slice, views: int = 1, mirrored: bool = False
    ) -> Iterator[tuple[Tensor, ...]]:
        """Augmented model inputs (B, channels, S, S), `views` of them a step, each with a draw of its own.

        Args:
            order: rows of the epoch (steps, batch size) of all processes.
            share: the columns of `order` that are this process's.
            views: how many of every face.
            mirrored: the second view is the mirror image of the first instead.
        """
        order = order[:, share]
        step = 4 * self.preprocess.scale(self.pixels[:1]).numel() * order.shape[1]  # bytes
        chunk_size = CHUNK_CPU if self.device.type == "cpu" else CHUNK_GPU
        for rows in order.split(max(chunk_size // step, 1)):  # (some steps, B)
            chunk = self.preprocess.scale(self._read(rows.flatten()))
            augmented = [self.augment(chunk).split(rows.shape[1]) for _ in range(1 if mirrored else views)]
            for batches in zip(*augmented, strict=True):
                inputs = tuple(self.preprocess.normalise(batch) for batch in batches)
                yield (inputs[0], inputs[0].flip(-1)) if mirrored else inputs

    def _read(self, rows: Tensor) -> Tensor:
        if isinstance(self.pixels, StoredPixels):
            return self.pixels[rows].to(self.device)
        return self.pixels[rows.to(self.device)]


class FeatureSource:
    """A split as the backbone's feature maps, plain and flipped, from a `FeatureCache`; training draws one of the two.

    That is all a head behind a frozen backbone can ever see when the only augmentation is a flip. On a GPU the maps are
    kept in its memory when they take no more than half of what is free there.

    Args:
        dataset: the split.
        cache: of this split.
        flip: whether training draws one of the two views, else it is always the plain one.
        device: where the maps are needed.
    """

    def __init__(self, dataset: FaceDataset, cache: FeatureCache, flip: bool, device: torch.device):
        self.cache, self.flip, self.device = cache, flip, device
        self.labels = dataset.labels().numpy()
        if device.type == "cuda" and cache.maps.nbytes < torch.cuda.mem_get_info(device)[0] / 2:
            self.cache = cache.to(device)

    def inputs(self, rows: Tensor) -> Tensor:
        """Feature maps (B, C, h, w) for these rows, not mirrored."""
        return self.cache.read(rows, torch.zeros_like(rows)).to(self.device)

    def training_batches(
        self, order: Tensor, share: slice, views: int = 1, mirrored: bool = False
    ) -> Iterator[tuple[Tensor, ...]]:
        """Feature maps (B, C, h, w), `views` of them a step; arguments as of `PixelSource.training_batches`.

        A second view is the other of the two that the cache holds, flipped where the first is not: its mirror image,
        asked for or not.

        The flips of all processes are drawn at once, so one process and several see the same pictures.
        """
        flips = torch.randint(2, order.shape) if self.flip else torch.zeros_like(order)
        if views > 2:
            raise UserError(f"there are two views of a face in a feature cache, not {views}")
        return (
            tuple(self.cache.read(rows, chosen).to(self.device) for chosen in (flip, 1 - flip)[:views])
            for rows, flip in zip(order[:, share], flips[:, share], strict=True)
        )


def uses_cache(config: ModelConfig, augment: str) -> bool:
    """True if cached features are all that training and validation see.

    The backbone is frozen, `augment` no more than a flip (with `centre_crop` it also crops at random), and the model
    looks at one side of a face.
    """
    frozen = isinstance(config, BackboneModelConfig) and config.freeze_backbone
    no_more = augment == "none" or (augment == "flip" and not config.centre_crop)
    return frozen and no_more and not config.flip_tta


def create_source(
    model: FaceModel, dataset: FaceDataset, augment: str, device: torch.device
) -> PixelSource | FeatureSource:
    """A split for this model, which is on this device: its cached features where `uses_cache`, else its pixels."""
    if uses_cache(model.config, augment):
        return FeatureSource(dataset, FeatureCache.build(model, dataset), augment == "flip", device)
    return PixelSource(dataset, Preprocess.of(model.config), augment, device)
