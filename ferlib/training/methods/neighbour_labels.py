"""Label distributions from neighbours: the label bank of LA-Net (Wu and Cui, ICCV 2023), without its landmarks.

Every training face has a distribution over the classes, its row of the bank; it starts one-hot. In a step, with N(i)
the K faces of the batch that are nearest to face i by the cosine between their vectors before the classifier, itself
left out, and p the answers of the step:

    d_i    = mean of p_n over n in N(i)
    bank_i <- m bank_i + (1 - m) d_i
    loss   = CE(z_i, y_i) + λ KL(bank_i || p_i), mean over the batch, with the bank as it is after this update

λ = 1. KL is here the cross-entropy with the bank, which differs from it by a number that moves nothing.

Departures: the paper finds neighbours in a space of facial landmarks as well, weighs them by a small network, and adds
a contrastive loss between the two spaces. Here there is no landmark branch, all neighbours weigh alike, and so no
gradient goes through d, which there trains that network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ferlib.training import losses
from ferlib.training.methods.base import Batch, Method, MethodSettings, Outputs, TrainingSet
from ferlib.utils.validation import check_range


@dataclass(frozen=True)
class NeighbourBank(MethodSettings):
    """Settings of the label bank.

    Attributes:
        neighbours: K, faces of the batch whose answers are averaged; a batch has more faces than these.
        bank_momentum: m, of a face's distribution that stays when its face is drawn.
        bank_weight: λ, of the cross-entropy with the bank beside that with the labels.
    """

    neighbours: int = 8
    bank_momentum: float = 0.9
    bank_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 1, float("inf"), "neighbours")
        check_range(self, 0, float("inf"), "bank_weight")
        check_range(self, 0, 1, "bank_momentum")

    @property
    def least_batch(self) -> int:
        return self.neighbours + 1


class NeighbourLabels(Method):
    """Cross-entropy with the labels, and with distributions that drift from them to the answers for similar faces.

    Attributes:
        bank: distribution of every training face, (N, classes).
    """

    Settings = NeighbourBank
    hard_only = True
    bank: Tensor

    def __init__(self, training: TrainingSet):
        super().__init__(training)
        self.settings = cast(NeighbourBank, training.settings)
        labels = torch.tensor(training.labels)
        self.register_buffer("bank", F.one_hot(labels, len(training.dataset.classes)).float())

    def step(self, network: Callable[[Tensor], Outputs], batch: Batch) -> tuple[Tensor, Tensor]:
        out, momentum = network(batch.views[0]), self.settings.bank_momentum
        logits = out.logits.float()
        answers = neighbour_mean(out.vector.detach(), logits.detach().softmax(dim=1), self.settings.neighbours)
        targets = momentum * self.bank[batch.rows] + (1 - momentum) * answers
        self.bank[batch.rows] = targets
        bank = losses.cross_entropy(logits, targets)
        return losses.cross_entropy(logits, batch.targets) + self.settings.bank_weight * bank, logits


def neighbour_mean(vectors: Tensor, values: Tensor, neighbours: int) -> Tensor:
    """Mean of the values (B, C) of the nearest other faces by the cosine of their vectors (B, D), (B, C)."""
    with torch.autocast(vectors.device.type, enabled=False):  # cosines that are close need all their digits
        unit = F.normalize(vectors.float(), dim=1)
        alike = (unit @ unit.T).fill_diagonal_(-2.0)  # below every cosine
    nearest = alike.topk(neighbours, dim=1).indices  # (B, K)
    return values[nearest].mean(dim=1)
