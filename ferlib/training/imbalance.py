"""Remedies against class imbalance: interchangeable parts, chosen by name in a recipe.

A remedy may change three things: which faces an epoch draws (`sampling`), what a step minimises (`loss`), and what is
added to the finished logits (`logit_shift`). Everything else of a run stays the same, so two runs that differ in the
name of the remedy alone are a fair comparison. Constants are the papers'; the one that a recipe can set is τ of logit
adjustment.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ferlib.data import imbalance
from ferlib.data.dataset import FaceDataset
from ferlib.errors import UserError
from ferlib.models.base import FaceModel
from ferlib.training import losses


class Remedy(nn.Module):
    """No remedy: plain cross-entropy over all faces alike. What the others change is a subclass's.

    Args:
        labels: of the training faces, (N,) int64. With soft targets, too, classes are counted by these.
        counts: training faces of every class, (classes,).

    Attributes:
        uses_counts: whether it divides by class sizes, and so needs a training face of every class.
        hard_only: whether it needs hard targets.
        sampling: probability (N,) of every face to be drawn, with replacement; None: every face once.
        logit_shift: (classes,), added to the logits of the model that is evaluated and saved; None: nothing.
    """

    uses_counts = False
    hard_only = False
    sampling: Tensor | None = None
    logit_shift: Tensor | None

    def __init__(self, labels: np.ndarray, counts: np.ndarray):
        super().__init__()
        self.register_buffer("logit_shift", None)

    def order(self, faces: int) -> Tensor:
        """The faces (N,) of one epoch, in the order of its steps, from PyTorch's global generator."""
        if self.sampling is None:
            return torch.randperm(faces)
        return torch.multinomial(self.sampling, faces, replacement=True)

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        """What a step minimises, a scalar.

        Args:
            logits: (B, classes).
            targets: (B,) class indices or (B, classes) shares.
            progress: fraction of the run's steps already taken, 0 to 1.
        """
        return losses.cross_entropy(logits, targets)

    def keep(self, name: str, values: np.ndarray) -> None:
        """Hold numbers that go with the module to its device."""
        self.register_buffer(name, torch.tensor(values, dtype=torch.float32))


class Sampler(Remedy):
    """Faces drawn with replacement so that all classes are equally frequent; an epoch keeps its number of steps."""

    uses_counts = True

    def __init__(self, labels: np.ndarray, counts: np.ndarray):
        super().__init__(labels, counts)
        self.sampling = torch.tensor(imbalance.sampling_weights(labels))  # float64, stays on the CPU with the generator


class Weights(Remedy):
    """Cross-entropy with class weights in inverse proportion to the class counts."""

    uses_counts = True
    weights: Tensor

    def __init__(self, labels: np.ndarray, counts: np.ndarray):
        super().__init__(labels, counts)
        self.keep("weights", imbalance.balanced_weights(counts))

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        return losses.cross_entropy(logits, targets, self.weights)


class ClassBalanced(Weights):
    """Class-balanced loss (Cui et al. 2019): weights in inverse proportion to the effective numbers, β = 0.999.

    The paper tries 0.9, 0.99, 0.999 and 0.9999. The last comes close to `Weights` on sets of our size.
    """

    def __init__(self, labels: np.ndarray, counts: np.ndarray):
        super().__init__(labels, counts)
        self.keep("weights", imbalance.class_balanced_weights(counts, beta=0.999))


class Focal(Remedy):
    """Focal loss (Lin et al. 2017), γ = 2. Knows nothing of class sizes; rare classes gain as far as they are hard."""

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        return losses.focal(logits, targets, gamma=2.0)


class LDAM(Remedy):
    """LDAM-DRW (Cao et al. 2019, Algorithm 1): larger margins for rarer classes, and deferred re-weighting.

    For the first 80 % of the steps all faces weigh alike, then class-balanced weights (β = 0.9999) are switched on, as
    in the authors' code; Algorithm 1 itself weighs by 1/n. The largest margin is theirs, 0.5; see `losses.ldam` for
    what differs.
    """

    uses_counts = True
    hard_only = True
    switch = 0.8
    margins: Tensor
    weights: Tensor

    def __init__(self, labels: np.ndarray, counts: np.ndarray):
        super().__init__(labels, counts)
        self.keep("margins", losses.ldam_margins(counts, largest=0.5))
        self.keep("weights", imbalance.class_balanced_weights(counts, beta=0.9999))

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        return losses.ldam(logits, targets, self.margins, self.weights if progress >= self.switch else None)


class LogitAdjusted(Remedy):
    """Logit adjustment in the loss (Menon et al. 2021, section 5)."""

    uses_counts = True
    log_prior: Tensor

    def __init__(self, labels: np.ndarray, counts: np.ndarray, tau: float = 1.0):
        super().__init__(labels, counts)
        self.tau = tau
        self.keep("log_prior", imbalance.log_prior(counts))

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        return losses.logit_adjusted(logits, targets, self.log_prior, self.tau)


class LogitAdjustedPostHoc(Remedy):
    """Logit adjustment after training (Menon et al. 2021, section 4.1): plain training, then z - τ log π."""

    uses_counts = True

    def __init__(self, labels: np.ndarray, counts: np.ndarray, tau: float = 1.0):
        super().__init__(labels, counts)
        self.keep("logit_shift", -tau * imbalance.log_prior(counts))


class LabelSmoothing(Remedy):
    """Label smoothing (Szegedy et al. 2016, section 7), ε = 0.1: a tenth of every target spread over all classes."""

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        return F.cross_entropy(logits, targets, label_smoothing=0.1)


class SoftLabels(Remedy):
    """Cross-entropy with the fractions of the votes (Barsoum et al. 2016): the recipe's targets become soft.

    Departure: their code keeps faces by another rule under this scheme and cuts each vote down to its leading classes;
    here the faces are those of the majority rule, with all votes that more than one person gave.
    """


REMEDIES: dict[str, type[Remedy]] = {
    "none": Remedy,
    "sampler": Sampler,
    "weights": Weights,
    "class_balanced": ClassBalanced,
    "focal": Focal,
    "ldam": LDAM,
    "logit_adjusted": LogitAdjusted,
    "logit_adjusted_posthoc": LogitAdjustedPostHoc,
    "label_smoothing": LabelSmoothing,
    "soft_labels": SoftLabels,
}


def create_remedy(name: str, train: FaceDataset, tau: float = 1.0) -> Remedy:
    """A remedy by name, fitted to the class sizes of the training faces.

    Args:
        name: a key of `REMEDIES`.
        train: the training split.
        tau: of logit adjustment, 1 in its paper's theorem; other remedies have none.

    Raises:
        ValueError: unknown name, or a class without training faces under a remedy that divides by class sizes.
    """
    if name not in REMEDIES:
        raise UserError(f"remedy must be one of {', '.join(REMEDIES)}, not {name!r}")
    labels = train.labels().numpy()
    counts = np.bincount(labels, minlength=len(train.classes))
    empty = [train.classes[i] for i in np.flatnonzero(counts == 0)]
    if empty and REMEDIES[name].uses_counts:
        raise UserError(
            f"the remedy {name} goes by class sizes, but {train.name} has no training faces of {', '.join(empty)}; "
            "leave these classes out or take another remedy"
        )
    remedy = REMEDIES[name]
    if issubclass(remedy, LogitAdjusted | LogitAdjustedPostHoc):
        return remedy(labels, counts, tau)
    return remedy(labels, counts)


def output_layer(model: FaceModel) -> nn.Linear:
    """The last layer of the model's `classifier`.

    Raises:
        ValueError: it is not a linear layer with a bias.
    """
    layer = getattr(model, "classifier", None)
    while isinstance(layer, nn.Sequential):
        layer = layer[-1]
    if not isinstance(layer, nn.Linear) or layer.bias is None:
        raise UserError(
            f"{type(model).__name__} has no `classifier` ending in a linear layer with a bias, so its logits cannot "
            "be shifted; take another remedy, e.g. logit_adjusted"
        )
    return layer


@contextmanager
def shifted(model: FaceModel, shift: Tensor | None) -> Iterator[None]:
    """Within `with`, the model's logits have `shift` (classes,) added, in its classifier's bias; after it, they do not.

    The bias is put back bit for bit, also after an error.

    Raises:
        ValueError: the classifier has no bias, see `output_layer`.
    """
    if shift is None:
        yield
        return
    bias = output_layer(model).bias
    before = bias.detach().clone()
    try:
        with torch.no_grad():
            bias.add_(shift)
        yield
    finally:
        with torch.no_grad():
            bias.copy_(before)
