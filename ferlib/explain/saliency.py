"""Saliency: which pixels the target's logit is sensitive to, by gradients through the whole network.

    gradient              |∂ logit / ∂ x|, Simonyan et al. 2014, what IVSA's figure 3 shows
    smoothgrad            the same of the mean gradient over noisy copies, Smilkov et al. 2017
    integrated_gradients  (x - x0) · mean gradient on the way from x0 to x, Sundararajan et al. 2017, eq. 3

IVSA's text speaks of the impact on the loss; its reference, and this file, take the class score.
"""

import torch
from torch import Tensor

from ferlib.explain.map_tools import Targets, chosen_classes, left_inference_mode
from ferlib.models.base import FaceModel, evaluating

STEPS = 16  # steps of integrated gradients
COPIES, NOISE = 10, 0.1  # of SmoothGrad; noise relative to every image's range
SEED = 0  # of the noise: the same picture has the same map


def input_gradients(model: FaceModel, x: Tensor, targets: Targets = None) -> tuple[Tensor, Tensor]:
    """Logits (B, classes), and the gradient of the targets' logits over the images, (B, C, H, W) as x.

    The model's mode and its parameters' gradients are left as they were.

    Args:
        model: any model.
        x: normalised images (B, C, H, W).
        targets: as in `predict_with_cam`.

    Raises:
        ValueError: a class that does not exist, or another number of targets than images; so in all of this file.
    """
    with evaluating(model), left_inference_mode(x) as images, torch.enable_grad():
        logits = model(images.requires_grad_())
        chosen = chosen_classes(logits, targets)
        (gradients,) = torch.autograd.grad(logits.gather(1, chosen[:, None]).sum(), images)
    return logits.detach(), gradients


def smooth_gradients(
    model: FaceModel, x: Tensor, targets: Targets = None, copies: int = COPIES, noise: float = NOISE
) -> tuple[Tensor, Tensor]:
    """Logits (B, classes), and the mean gradient (B, C, H, W) over noisy copies of the images.

    Args:
        model: any model.
        x: normalised images (B, C, H, W).
        targets: as in `predict_with_cam`.
        copies: how many.
        noise: standard deviation, as a fraction of an image's highest minus lowest value.
    """
    logits, chosen = _predict(model, x, targets)
    random = torch.Generator(device="cpu").manual_seed(SEED)
    spread = noise * (x.amax(dim=(1, 2, 3), keepdim=True) - x.amin(dim=(1, 2, 3), keepdim=True))
    total = torch.zeros_like(x)
    for _ in range(copies):  # the same noise for every image: its map does not depend on its neighbours
        wobble = torch.randn(x.shape[1:], generator=random).to(x)
        total += input_gradients(model, x + spread * wobble, chosen)[1]
    return logits, total / copies


def integrated_gradients(
    model: FaceModel, x: Tensor, targets: Targets = None, baseline: Tensor | float = 0.0, steps: int = STEPS
) -> tuple[Tensor, Tensor]:
    """Logits (B, classes), and attributions (B, C, H, W) that add up to logit(x) - logit(baseline).

    Args:
        model: any model.
        x: normalised images (B, C, H, W).
        targets: as in `predict_with_cam`.
        baseline: the image that says nothing, of x's shape, or one value; 0 is the mean of the model's normalisation.
        steps: of the midpoint rule along the straight line; more come closer to that sum.
    """
    logits, chosen = _predict(model, x, targets)
    way = x - baseline
    total = torch.zeros_like(x)
    for step in range(steps):
        total += input_gradients(model, baseline + (step + 0.5) / steps * way, chosen)[1]
    return logits, way * total / steps


def saliency_map(attributions: Tensor) -> Tensor:
    """Attributions (B, C, H, W) -> maps (B, H, W) in 0..1: the largest absolute value over the channels, per image."""
    maps = attributions.abs().amax(dim=1)
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp_min(1e-20)


def _predict(model: FaceModel, x: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    with evaluating(model), torch.no_grad():
        logits = model(x)
    return logits, chosen_classes(logits, targets)
