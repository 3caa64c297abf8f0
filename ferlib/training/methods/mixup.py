"""mixup (Zhang, Cisse, Dauphin, Lopez-Paz, ICLR 2018): trained on blends of two faces, asked for both answers.

With two faces x_i, x_j of a batch, their targets y_i, y_j and λ ~ Beta(α, α) (section 2):

    x = λ x_i + (1 - λ) x_j
    loss = λ CE(z, y_i) + (1 - λ) CE(z, y_j)        z: logits of x; the same as CE(z, λ y_i + (1 - λ) y_j)

As in the authors' code a batch has one λ, and its faces are paired with themselves in another order. Departures: the
larger of λ and 1 - λ goes to x_i, which is the same for pairs in random order, so that the training accuracy asks for
the face that is seen best. With cached features the maps are blended, as there are no pixels: the blend is taken after
the frozen backbone, not before it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.distributions import Beta

from ferlib.training.methods.base import Batch, Method, MethodSettings, Outputs, TrainingSet
from ferlib.utils.validation import check_range


@dataclass(frozen=True)
class MixupSettings(MethodSettings):
    """Setting of mixup.

    Attributes:
        alpha: α, 0.01 to 100. With 0.01 few faces are blended (below it a λ is not computed exactly), with 1 every λ is
            as likely as any other. The paper finds 0.1 to 0.4 good on ImageNet, where more underfits (section 3.1), and
            takes 1 on CIFAR (section 3.2).
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 0.01, 100, "alpha")

    @property
    def least_batch(self) -> int:
        return 2


class Mixup(Method):
    """Cross-entropy on blends of two faces, each target weighed by its face's share. Targets may be hard or soft."""

    Settings = MixupSettings

    def __init__(self, training: TrainingSet):
        super().__init__(training)
        self.alpha = cast(MixupSettings, training.settings).alpha

    def step(self, network: Callable[[Tensor], Outputs], batch: Batch) -> tuple[Tensor, Tensor]:
        view, share = batch.views[0], draw_share(self.alpha)
        partners = torch.randperm(len(view)).to(view.device)
        logits = network(share * view + (1 - share) * view[partners]).logits.float()
        own = self.loss(logits, batch.targets, batch.progress)
        others = self.loss(logits, batch.targets[partners], batch.progress)
        return share * own + (1 - share) * others, logits


def draw_share(alpha: float) -> float:
    """The larger of λ and 1 - λ for a λ ~ Beta(α, α), 0.5 to 1, from PyTorch's global generator."""
    drawn = Beta(*torch.tensor([alpha, alpha], dtype=torch.float64)).sample().item()
    return max(drawn, 1 - drawn)
