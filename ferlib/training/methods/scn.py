"""Self-Cure Network, SCN (Wang et al., CVPR 2020): weigh every face, rank the weights, relabel the doubtful.

With f the vector before the classifier, W and c the classifier, y the label stored for the face:

    a = sigmoid(u·f + b)                      importance of the face (section 3.2)
    z = a (W f + c)                           logits; cross-entropy is taken on them (eq. 2)
    rank = max(0, δ - (mean a of H - mean a of L))   H: the `share` of the batch with the largest a, L: the rest (eq. 3)
    loss = CE(z, y) + rank
    y <- argmax p  where max p - p_y > threshold, p = softmax(z) of the step, once `relabel_from` is reached (eq. 5)

A label that was changed stays changed, and is judged again whenever its face is drawn. Departures: the paper's text
relabels faces of L alone, the authors' code any face; here `low_only` says which. Relabelling starts at a fraction of
the run in place of an epoch: by default after nine epochs of seventy, as in the authors' code. The model that is judged
and kept answers W f + c, without a: the same class, since a > 0, but with more confidence than the z it was trained on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ferlib.training import losses
from ferlib.training.methods.base import Batch, Method, MethodSettings, Outputs, TrainingSet
from ferlib.utils.validation import check_range


@dataclass(frozen=True)
class SelfCure(MethodSettings):
    """Settings of SCN.

    Attributes:
        margin: δ of the rank loss; the authors take 0.15 in large batches and 0.07 in batches of 64.
        share: of the batch that counts as important, above 0; with 1 there is no other group, and no rank loss.
        threshold: by more than this must the largest probability exceed that of the label for it to be changed. With 1
            no label ever is.
        relabel_from: fraction of the run from which on labels are changed.
        low_only: whether only faces of the unimportant group are relabelled.
    """

    margin: float = 0.15
    share: float = 0.7
    threshold: float = 0.2
    relabel_from: float = 9 / 70
    low_only: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 0, 1, "margin", "share", "threshold", "relabel_from")
        if self.share == 0:
            check_range(self, 0, 1, "share", exclusive=True)

    @property
    def least_batch(self) -> int:
        return 1 if self.share == 1 else 2


class SCN(Method):
    """Cross-entropy on logits weighted by a learnt importance, a rank loss on it, and labels that are changed.

    Attributes:
        labels: label of every training face, (N,); starts as the data's, which stay as they are.
    """

    Settings = SelfCure
    hard_only = True
    labels: Tensor

    def __init__(self, training: TrainingSet):
        super().__init__(training)
        self.settings = cast(SelfCure, training.settings)
        self.importance = nn.Linear(training.vector_size, 1)
        self.register_buffer("labels", torch.tensor(training.labels))

    def step(self, network: Callable[[Tensor], Outputs], batch: Batch) -> tuple[Tensor, Tensor]:
        out, settings = network(batch.views[0]), self.settings
        weights = self.importance(out.vector).float().sigmoid().squeeze(1)
        logits = weights.unsqueeze(1) * out.logits.float()
        labels = self.labels[batch.rows]
        order = weights.argsort(descending=True)
        low = order[group_size(len(order), settings.share) :]
        loss = losses.cross_entropy(logits, labels) + rank_loss(weights, low, settings.margin)
        if batch.progress >= settings.relabel_from:
            better, doubtful = relabelled(logits.detach(), labels, settings.threshold)
            if settings.low_only:
                doubtful &= torch.zeros_like(doubtful).index_fill(0, low, True)
            self.labels[batch.rows] = torch.where(doubtful, better, labels)
        return loss, logits


def group_size(faces: int, share: float) -> int:
    """Faces of a batch that count as important: this share, rounded down; below 1 both groups have at least one."""
    return faces if share == 1 else min(max(int(faces * share), 1), faces - 1)


def rank_loss(weights: Tensor, low: Tensor, margin: float) -> Tensor:
    """Shortfall, from the margin, of the others' mean weight over that of the `low` (indices); a scalar, at least 0."""
    if not len(low):
        return weights.new_zeros(())
    high = torch.ones_like(weights, dtype=torch.bool).index_fill(0, low, False)
    return (margin - (weights[high].mean() - weights[low].mean())).clamp(min=0)


def relabelled(logits: Tensor, labels: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """The most probable classes (B,), and where they exceed the label's probability by more than the threshold (B,)."""
    highest, best = logits.softmax(dim=1).max(dim=1)
    of_label = logits.softmax(dim=1).gather(1, labels.unsqueeze(1)).squeeze(1)
    return best, highest - of_label > threshold
