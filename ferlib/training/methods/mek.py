"""MEK: Mine Extra Knowledge (Zhang, Li, Qin, Liu, Deng, "Leave No Stone Unturned", NeurIPS 2023), against imbalance.

All faces, those of the large classes too, teach about the rare ones: through the class maps of every class (see EAC,
`eac.py`), weighted in favour of the rare ones, and through smoothed labels that give the rare ones more.

    w_c  = N / (C n_c)
    R    = mean over faces of Σ_c w_c · mean over positions of (M_c - flip M'_c)²
    t_y  = 1 - ε for the face's class y, and ε w_k / Σ_{j ≠ y} w_j for every other class k
    loss = CE(z(x), t) + λ R          ε = 0.3, λ = 0.1

Both views go through the network one after the other, as in the authors' code.

W is not moved by R, as in EAC. Departures: behind a frozen backbone, which they do not have, R moves W, as there is
nothing else to move; the two views may then come from cached maps. Their code divides by 10 n_c whatever the number of
classes, a matter of λ alone. Soft targets are smoothed as the mixtures of classes that they are. Their AdamW (5e-4 ·
batch / 512, weight decay 0.05, cosine with warm-up, gradients clipped at 5) is the recipe's to set.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ferlib.data.imbalance import balanced_weights
from ferlib.training import losses
from ferlib.training.methods.base import Batch, Method, MethodSettings, Outputs, TrainingSet
from ferlib.training.methods.class_maps import ClassMaps
from ferlib.training.methods.eac import map_gap
from ferlib.utils.validation import check_range


@dataclass(frozen=True)
class ExtraKnowledge(MethodSettings):
    """Settings of MEK.

    Attributes:
        consistency: λ, weight of the re-balanced consistency R.
        smoothing: ε, part of a target that goes to the other classes.
    """

    consistency: float = 0.1
    smoothing: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 0, math.inf, "consistency")
        check_range(self, 0, 1, "smoothing")


class MEK(Method):
    """Re-balanced attention consistency and re-balanced label smoothing. Needs `linear_probe`."""

    Settings = ExtraKnowledge
    views = 2
    mirrored = True
    uses_counts = True
    weights: Tensor
    smoothed: Tensor

    def __init__(self, training: TrainingSet):
        super().__init__(training)
        settings = cast(ExtraKnowledge, training.settings)
        self.consistency = settings.consistency
        self.class_maps = ClassMaps(training.model, "mek")
        weights = balanced_weights(training.counts)
        self.keep("weights", weights)
        self.keep("smoothed", smoothed_labels(weights, settings.smoothing))

    def step(self, network: Callable[[Tensor], Outputs], batch: Batch) -> tuple[Tensor, Tensor]:
        outputs, mirrored = (network(view) for view in batch.views)
        gap = map_gap(*(self.class_maps(each.features) for each in (outputs, mirrored)))  # (B, classes)
        logits = outputs.logits.float()
        consistency = (gap * self.weights).sum(dim=1).mean()
        return self.loss(logits, batch.targets, batch.progress) + self.consistency * consistency, logits

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        """Cross-entropy with the smoothed targets alone."""
        with torch.autocast(logits.device.type, enabled=False):  # targets keep all their digits, and their sum
            smoothed = self.smoothed[targets] if targets.ndim == 1 else targets @ self.smoothed
        return losses.cross_entropy(logits, smoothed)


def smoothed_labels(weights: np.ndarray, smoothing: float) -> np.ndarray:
    """Target of every class, a row each (classes, classes): 1 - ε for itself, ε over the others as their weights are.

    Args:
        weights: of the classes, (classes,).
        smoothing: ε.
    """
    others = np.tile(weights, (len(weights), 1))
    np.fill_diagonal(others, 0)
    return (1 - smoothing) * np.eye(len(weights)) + smoothing * others / others.sum(axis=1, keepdims=True)
