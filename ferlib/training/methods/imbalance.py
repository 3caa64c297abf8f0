"""Methods against class imbalance: weights, sampling, margins and logit adjustment.

A method may change three things here: which faces an epoch draws (`sampling`), what a step minimises (`loss`), and the
numbers added to the finished logits (`logit_shift`). Everything else of a run stays the same, so two runs that differ
in the method's name alone are a fair comparison. Constants are the papers'; the one that a recipe can set is τ of logit
adjustment.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ferlib.data import imbalance
from ferlib.training import losses
from ferlib.training.methods.base import Method, MethodSettings, TrainingSet
from ferlib.utils.validation import check_range


class Sampler(Method):
    """Faces drawn with replacement so that all classes are equally frequent; an epoch keeps its number of steps."""

    uses_counts = True

    def __init__(self, training: TrainingSet):
        super().__init__(training)
        self.sampling = torch.tensor(
            imbalance.sampling_weights(training.labels)
        )  # float64, stays on the CPU with the generator


class Weights(Method):
    """Cross-entropy with class weights in inverse proportion to the class counts."""

    uses_counts = True
    weights: Tensor

    def __init__(self, training: TrainingSet):
        super().__init__(training)
        self.keep("weights", imbalance.balanced_weights(training.counts))

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        return losses.cross_entropy(logits, targets, self.weights)


class ClassBalanced(Weights):
    """Class-balanced loss (Cui et al. 2019): weights in inverse proportion to the effective numbers, β = 0.999.

    The paper tries 0.9, 0.99, 0.999 and 0.9999. The last comes close to `Weights` on sets of our size.
    """

    def __init__(self, training: TrainingSet):
        super().__init__(training)
        self.keep("weights", imbalance.class_balanced_weights(training.counts, beta=0.999))


class Focal(Method):
    """Focal loss (Lin et al. 2017), γ = 2. Knows nothing of class sizes; rare classes gain as far as they are hard."""

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        return losses.focal(logits, targets, gamma=2.0)


class LDAM(Method):
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

    def __init__(self, training: TrainingSet):
        super().__init__(training)
        self.keep("margins", losses.ldam_margins(training.counts, largest=0.5))
        self.keep("weights", imbalance.class_balanced_weights(training.counts, beta=0.9999))

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        return losses.ldam(logits, targets, self.margins, self.weights if progress >= self.switch else None)


@dataclass(frozen=True)
class LogitAdjustment(MethodSettings):
    """Setting of logit adjustment.

    Attributes:
        tau: 1 aims at balanced accuracy alone, as in the paper's theorem; 0 at accuracy.
    """

    tau: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 0, math.inf, "tau")


class LogitAdjusted(Method):
    """Logit adjustment in the loss (Menon et al. 2021, section 5)."""

    Settings = LogitAdjustment
    uses_counts = True
    log_prior: Tensor

    def __init__(self, training: TrainingSet):
        super().__init__(training)
        self.tau = cast(LogitAdjustment, training.settings).tau
        self.keep("log_prior", imbalance.log_prior(training.counts))

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        return losses.logit_adjusted(logits, targets, self.log_prior, self.tau)


class LogitAdjustedPostHoc(Method):
    """Logit adjustment after training (Menon et al. 2021, section 4.1): plain training, then z - τ log π."""

    Settings = LogitAdjustment
    uses_counts = True
    post_hoc = True

    def __init__(self, training: TrainingSet):
        super().__init__(training)
        tau = cast(LogitAdjustment, training.settings).tau
        self.keep("logit_shift", -tau * imbalance.log_prior(training.counts))


class LabelSmoothing(Method):
    """Label smoothing (Szegedy et al. 2016, section 7), ε = 0.1: a tenth of every target spread over all classes."""

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        return F.cross_entropy(logits, targets, label_smoothing=0.1)


class SoftLabels(Method):
    """Cross-entropy with the fractions of the votes (Barsoum et al. 2016): the recipe's targets become soft.

    Departure: their code keeps faces by another rule under this scheme and cuts each vote down to its leading classes;
    here the faces are those of the majority rule, with all votes that more than one person gave.
    """

    targets = "soft"
