"""Losses that know about rare classes, all the mean over a batch. The training method says which is used.

Logits are (B, classes); targets are class indices (B,), "hard", or distributions over the classes (B, classes), "soft".
"""

import numpy as np
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """-Σ_c w_c t_c log p_c, mean over the batch.

    Unlike PyTorch's weighted mean, which divides by the weights that happen to be in the batch, every face counts by
    its weight alone.

    Args:
        logits: (B, classes).
        targets: (B,) or (B, classes).
        weights: of the classes, (classes,).
    """
    if weights is None:
        return F.cross_entropy(logits, targets)
    return F.cross_entropy(logits, targets, weights, reduction="none").mean()


def focal(logits: Tensor, targets: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al. 2017, eq. 4): -Σ_c t_c (1 - p_c)^γ log p_c, mean over the batch.

    Faces that are already right count little. The paper's detector has two classes; this is the usual softmax form,
    without the paper's class weight α.

    Args:
        logits: (B, classes).
        targets: (B,) or (B, classes).
        gamma: 0 is cross-entropy.
    """
    log_p = logits.log_softmax(dim=1)
    wrong = -log_p.expm1()  # 1 - p
    if 0 < gamma < 1:
        wrong = wrong.clamp_min(1e-8)  # at 0 the power has no slope
    terms = wrong**gamma * log_p  # (B, classes)
    if targets.ndim == 1:
        return -terms.gather(1, targets.unsqueeze(1)).mean()
    return -(targets * terms).sum(dim=1).mean()


def ldam(logits: Tensor, targets: Tensor, margins: Tensor, weights: Tensor | None = None) -> Tensor:
    """Label-distribution-aware margin loss (Cao et al. 2019, eq. 12): cross-entropy after z_y - Δ_y.

    Departure: the paper normalises features and classifier weights, so that logits and margins are cosines, and the
    authors' code multiplies them by s = 30. Our classifiers are plain linear layers, and stay so: the equation is
    applied to their logits as they are (s = 1).

    Args:
        logits: (B, classes).
        targets: (B,); a margin belongs to the one true class, so there is no soft form.
        margins: Δ, (classes,), see `ldam_margins`.
        weights: of the classes, (classes,).
    """
    return cross_entropy(logits - F.one_hot(targets, logits.shape[1]) * margins, targets, weights)


def ldam_margins(counts: np.ndarray, largest: float = 0.5) -> np.ndarray:
    """Margins Δ = C / n^(1/4) (Cao et al. 2019, eq. 13), (classes,), with C such that the rarest gets `largest`."""
    margins = np.asarray(counts, dtype=np.float64) ** -0.25
    return margins * (largest / margins.max())


def logit_adjusted(logits: Tensor, targets: Tensor, log_prior: Tensor, tau: float = 1.0) -> Tensor:
    """Logit-adjusted loss (Menon et al. 2021, eq. 10): cross-entropy of z + τ log π, mean over the batch.

    The logits learn what the prior does not already say; they are used without it.

    Args:
        logits: (B, classes).
        targets: (B,) or (B, classes).
        log_prior: logarithm of the classes' shares, (classes,).
        tau: 1 is the one that is consistent for balanced accuracy.
    """
    return cross_entropy(logits + tau * log_prior, targets)
