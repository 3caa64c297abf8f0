"""EAC: Erasing Attention Consistency (Zhang, Wang, Ling, Deng, "Learn From All", ECCV 2022), against noisy labels.

A network that learns wrong labels by heart looks at odd parts of a face. So its class maps for a partly erased face and
for the mirror image of that face must be mirror images:

    M_c  = Σ_k W_ck F_k(x)           M'_c = Σ_k W_ck F_k(x')           x' the mirror image of x
    loss = CE(z(x), y) + λ · mean over faces, classes and positions of (M - flip M')²

W is not moved by the second term, x' gets no cross-entropy, λ = 5. Rectangles of 2 to 25 % of half of the faces are
erased, with clean labels before the mirroring, with noisy ones in x and x' independently, as in the authors' code.

The two views go through the network one after the other, as in that code, so batch norm sees them as two batches.

λ is the paper's for a ResNet. It weighs squares of maps, whose scale is the backbone's: on three stages of
EfficientNet-Lite0, whose map ends in no ReLU, the second term begins some thirty times as large as the first. Choose it
on the validation faces.

Departures: their pictures are changed in no other way (but for noise on the pixels of half of them), which is the
recipe's `augment=none`; with one that flips, the cross-entropy sees either side of a face. Their Adam (1e-4, weight
decay 1e-4, times 0.9 an epoch, 60 epochs) is the recipe's to set.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import kornia.augmentation as K
from torch import Tensor

from ferlib.errors import UserError
from ferlib.training.methods.base import Batch, Method, MethodSettings, Outputs, TrainingSet
from ferlib.training.methods.class_maps import ClassMaps
from ferlib.utils.validation import check_range


@dataclass(frozen=True)
class ErasingConsistency(MethodSettings):
    """Settings of EAC.

    Attributes:
        consistency: λ, weight of the second term.
        erasing: probability that a part of a face is erased. A recipe's augmentation that erases too comes on top.
        noisy: the two views are erased independently, as the paper has it for noisy labels.
    """

    consistency: float = 5.0
    erasing: float = 0.5
    noisy: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 0, math.inf, "consistency")
        check_range(self, 0, 1, "erasing")
        if self.noisy and not self.erasing:
            raise UserError("noisy erases the two views independently; give an erasing above 0")


class EAC(Method):
    """Erasing Attention Consistency. Takes hard and soft targets; needs a trained backbone and `linear_probe`."""

    Settings = ErasingConsistency
    views = 2
    mirrored = True

    def __init__(self, training: TrainingSet):
        super().__init__(training)
        self.settings = cast(ErasingConsistency, training.settings)
        self.class_maps = ClassMaps(training.model, "eac")
        if not self.class_maps.backbone_learns:
            raise UserError("the method eac trains the backbone, but it is frozen; give freeze_backbone=false")
        self.erase = K.RandomErasing(p=self.settings.erasing, scale=(0.02, 0.25), ratio=(0.3, 3.3))

    def step(self, network: Callable[[Tensor], Outputs], batch: Batch) -> tuple[Tensor, Tensor]:
        first, mirror = batch.views
        first = self.erase(first)
        mirror = self.erase(mirror) if self.settings.noisy else first.flip(-1)
        outputs, mirrored = network(first), network(mirror)
        gap = map_gap(*(self.class_maps(each.features) for each in (outputs, mirrored))).mean()
        logits = outputs.logits.float()
        return self.loss(logits, batch.targets, batch.progress) + self.settings.consistency * gap, logits


def map_gap(maps: Tensor, mirrored: Tensor) -> Tensor:
    """Squared difference of class maps and those of the mirror images turned back, (B, classes, h, w) -> (B, classes).

    It is the mean over the positions.
    """
    return (maps - mirrored.flip(-1)).square().mean(dim=(2, 3))
