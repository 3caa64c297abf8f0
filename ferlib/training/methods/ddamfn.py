"""DDAMFN's loss: cross-entropy, and attention heads that look at different places."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ferlib.errors import UserError
from ferlib.models.ddamfn import DDAMFN
from ferlib.training.methods.base import Batch, Method, MethodSettings, Outputs, TrainingSet
from ferlib.utils.validation import check_range


@dataclass(frozen=True)
class DDAMFNSettings(MethodSettings):
    """Setting of DDAMFN's loss.

    Attributes:
        diversity: weight of the second part (paper: 0.1); 0 is plain training.
    """

    diversity: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 0, math.inf, "diversity")

    @property
    def least_batch(self) -> int:
        return 2


class DDAMFNLoss(Method):
    """DDAMFN (Zhang et al. 2023): CE + 0.1 / D, D the mean squared difference of the attention heads' maps.

    D is the mean over the pairs of heads, of which there is one in the paper. Only for the model `ddamfn`.
    """

    Settings = DDAMFNSettings

    def __init__(self, training: TrainingSet):
        super().__init__(training)
        if not isinstance(training.model, DDAMFN):
            raise UserError(
                f"the method ddamfn is for the attention heads of the model ddamfn, not for "
                f"{training.model.config.architecture}"
            )
        self.diversity = cast(DDAMFNSettings, training.settings).diversity

    def step(self, network: Callable[[Tensor], Outputs], batch: Batch) -> tuple[Tensor, Tensor]:
        found = network(batch.views[0])
        logits, maps = found.logits.float(), cast(Tensor, found.details).float()  # (B, heads, C, S, S)
        likeness = 1 / (difference(maps) + torch.finfo(maps.dtype).eps)
        return self.loss(logits, batch.targets, batch.progress) + self.diversity * likeness, logits


def difference(maps: Tensor) -> Tensor:
    """Mean squared difference of two heads' maps (B, heads, C, h, w), the mean over all pairs of heads."""
    pairs = combinations(maps.unbind(1), 2)
    return torch.stack([F.mse_loss(one, other) for one, other in pairs]).mean()
