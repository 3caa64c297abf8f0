"""Where a training step's batches come from: pixels augmented on the device, or a frozen trunk's cached features."""

import torch
from torch import Tensor

from ferlib.data.augmentation import augmentation
from ferlib.data.dataset import FaceDataset
from ferlib.data.transforms import Preprocess
from ferlib.training.features import FeatureCache


def targets_of(dataset: FaceDataset, kind: str) -> Tensor:
    """Training targets: class indices (N,) for "hard", vote shares (N, classes) for "soft"."""
    return dataset.soft_labels() if kind == "soft" else dataset.labels()


class PixelSource:
    """A split kept on the device as uint8; augmented, resized and normalised there batch by batch.

    Args:
        dataset: the split.
        preprocess: of the model to be fed.
        augment: name of the training augmentation.
        targets: "hard" or "soft".
        device: where the pixels live.
    """

    def __init__(self, dataset: FaceDataset, preprocess: Preprocess, augment: str, targets: str, device: torch.device):
        self.pixels = dataset.pixels.to(device)
        self.labels = dataset.labels()
        self.targets = targets_of(dataset, targets).to(device)
        self.preprocess = preprocess
        self.augment = augmentation(augment, preprocess.input_size if preprocess.centre_crop else None)

    def inputs(self, rows: Tensor, train: bool) -> Tensor:
        """Model input (B, 3, S, S) for these rows."""
        x = self.preprocess.scale(self.pixels[rows.to(self.pixels.device)])
        return self.preprocess.normalise(self.augment(x) if train else x)


class FeatureSource:
    """A split as the trunk's feature maps, plain and flipped, from a `FeatureCache`; training draws one of the two.

    That is all a head behind a frozen trunk can ever see when the only augmentation is a flip.
    """

    def __init__(self, dataset: FaceDataset, cache: FeatureCache, targets: str, device: torch.device):
        self.cache, self.device = cache, device
        self.labels = dataset.labels()
        self.targets = targets_of(dataset, targets).to(device)

    def inputs(self, rows: Tensor, train: bool) -> Tensor:
        """Feature maps (B, C, h, w) for these rows."""
        flips = torch.randint(2, rows.shape) if train else torch.zeros_like(rows)
        return self.cache.read(rows, flips).to(self.device)
