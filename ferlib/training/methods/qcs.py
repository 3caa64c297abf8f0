"""QCS: faces refined by what they share with their own class and not with another, four at a time."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ferlib.errors import UserError
from ferlib.models.two_depth_vit import TwoDepthViT
from ferlib.training.methods.base import Batch, Method, MethodSettings, Outputs, TrainingSet, model_in
from ferlib.utils.validation import check_range


@dataclass(frozen=True)
class QCSSettings(MethodSettings):
    """Setting of QCS, our own: tokens of a face have cosines close to one another.

    Attributes:
        sharpness: factor before the softmax over the tokens; 0 weights all alike.
    """

    sharpness: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 0, math.inf, "sharpness")


class QCS(Method):
    """Quadruplet cross similarity (Wang et al. 2025, AAAI), on the two-depth ViT: 8 cross-entropies a quadruplet.

    A quadruplet is two faces of one class and two of another, so each of the four has a positive, the other of its
    class, and a negative. A face's tokens are weighted by their similarity to the positive's and their distance to the
    negative's (`cross_weights`); the classifier answers for the mean of the tokens, as at inference, and for the
    weighted mean. Loss: the mean cross-entropy of the one plus that of the other. At inference a face stands alone.

    An epoch consists of whole quadruplets, drawn so that every face comes about once as long as no class has more than
    half of the faces. Of such a class a draw leaves the surplus (`quadruplets`), and an epoch takes several draws: the
    other classes' faces come several times.

    Departures: the model is without the authors' three scales; their weights come from learned projections and a
    distillation leads back to the tokens, where here tokens are compared as they are, and share one classifier. Their
    loss is the mean of all eight cross-entropies, half of ours.
    """

    Settings = QCSSettings
    uses_counts = True
    hard_only = True
    group = 4

    def __init__(self, training: TrainingSet):
        super().__init__(training)
        if not isinstance(training.model, TwoDepthViT):
            raise UserError(
                f"the method qcs is for the tokens of the model two_depth_vit, not for "
                f"{training.model.config.architecture}"
            )
        if (training.counts < 2).any():
            alone = ", ".join(np.array(training.dataset.classes)[training.counts < 2])
            raise UserError(f"the method qcs pairs faces of a class, but there is a single training face of {alone}")
        self.labels = torch.from_numpy(training.labels)
        self.sharpness = cast(QCSSettings, training.settings).sharpness

    def order(self, faces: int) -> Tensor:
        drawn = [quadruplets(self.labels)]
        while sum(map(len, drawn)) < faces // 4:
            drawn.append(quadruplets(self.labels))
        return torch.cat(drawn)[: faces // 4].flatten()

    def step(self, network: Callable[[Tensor], Outputs], batch: Batch) -> tuple[Tensor, Tensor]:
        found = network(batch.views[0])
        tokens = cast(Tensor, found.details).float()  # (B, N, D)
        of_four = tokens.unflatten(0, (-1, 4))
        positives, negatives = (of_four[:, list(places)].flatten(0, 1) for places in ((1, 0, 3, 2), (2, 3, 0, 1)))
        weights = cross_weights(tokens, positives, negatives, self.sharpness)
        refined = model_in(network).classifier((weights.unsqueeze(2) * tokens).sum(dim=1))
        logits = found.logits.float()
        loss = self.loss(logits, batch.targets, batch.progress)
        return loss + self.loss(refined.float(), batch.targets, batch.progress), logits


def quadruplets(labels: Tensor) -> Tensor:
    """Places of faces (n, 4), two of one class and two of another in each row, from PyTorch's global generator.

    No face comes twice. All are in it but the odd one of a class, the odd pair, and of a class with more pairs than
    all others together the surplus.

    Args:
        labels: (N,), of at least two classes with two faces.
    """
    pairs = []
    classes = labels.unique()
    for label in classes[torch.randperm(len(classes))]:  # so that a class meets another one every time
        own = (labels == label).nonzero().squeeze(1)
        pairs.append(own[torch.randperm(len(own))][: len(own) // 2 * 2].view(-1, 2))
    total = sum(map(len, pairs))
    pairs = [own[: total - len(own)] for own in pairs]  # of a class, no more than of all others
    by_class = torch.cat(pairs)
    half = len(by_class) // 2
    # sorted by class, half the list ahead stands another class, as none fills more than half of it
    matched = torch.cat([by_class[:half], by_class[len(by_class) - half :]], dim=1)
    return matched[torch.randperm(half)]


def cross_weights(tokens: Tensor, positives: Tensor, negatives: Tensor, sharpness: float) -> Tensor:
    """Weights (B, N) of a face's tokens that sum to 1: softmax over them of sharpness · (s⁺ + d⁻).

    s⁺ is a token's mean cosine to the tokens of the positive, d⁻ one minus that to those of the negative.

    Args:
        tokens, positives, negatives: (B, N, D), of the face, of one of its class and of one of another.
        sharpness: see `QCSSettings`.
    """
    with torch.autocast(tokens.device.type, enabled=False):  # cosines that are close need all their digits
        own, like, unlike = (F.normalize(one.float(), dim=2) for one in (tokens, positives, negatives))
        similarity, distance = (own @ like.mT).mean(dim=2), 1 - (own @ unlike.mT).mean(dim=2)
        return (sharpness * (similarity + distance)).softmax(dim=1)
