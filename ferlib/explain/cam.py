"""Class activation maps, together with the prediction they explain, in one pass through the trunk.

With A the feature map (C, h, w) that `forward_features` gives, and G the gradient of the target's logit over it:

    gradcam    ReLU(Σ_c mean(G_c) A_c)                 Selvaraju et al. 2017, eq. 1 and 2
    gradcam++  the same with weights Σ α_c ReLU(G_c)   Chattopadhay et al. 2018, eq. 19 for α
    hirescam   ReLU(Σ_c G_c A_c)                       Draelos and Carin 2020
    layercam   ReLU(Σ_c ReLU(G_c) A_c)                 Jiang et al. 2021, eq. 6 and 7
    eigencam   ReLU(first principal component of A)    Muhammad and Yeasin 2020; knows no target
    scorecam   ReLU(Σ_c s_c A_c), s the softmax over c of the target's logit when the image is
               multiplied by A_c scaled to 0..1        Wang et al. 2020

The trunk runs once and without a graph: gradients are needed only from the feature map on. So this works for frozen
trunks, needs no hooks, and costs little more than the prediction. Score-CAM is the exception, one more prediction a
channel. Tests compare every formula with pytorch-grad-cam on every model.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ferlib.errors import UserError
from ferlib.explain import CAMS
from ferlib.explain.maps import Targets, chosen_classes, enlarge_map, to_unit_range
from ferlib.models.base import FaceModel, evaluating

SCORE_BATCH = 64  # masked images a pass in Score-CAM


def predict_with_cam(
    model: FaceModel, x: Tensor, method: str = "gradcam", targets: Targets = None
) -> tuple[Tensor, Tensor]:
    """Logits and class activation maps of a batch.

    The model predicts in evaluation mode; its mode, its parameters' gradients and its hooks are left as they were.

    Args:
        model: any model, its trunk frozen or not.
        x: normalised images (B, C, H, W).
        method: one of `ferlib.explain.CAMS`.
        targets: class to explain: an index for every image (B,), one for all, or None for the predicted classes.

    Returns:
        Logits (B, classes), and maps (B, H, W) scaled to 0..1 per image. A map is all zero where nothing speaks for the
        target.

    Raises:
        ValueError: unknown method or class.
    """
    if method not in CAMS:
        raise UserError(f"unknown method {method!r}, expected one of {', '.join(CAMS)}")
    with evaluating(model):
        with torch.no_grad():
            features = model.forward_features(x)
        if method in FORMULAS:
            logits, gradients = _gradients(model, features, targets)
            maps = FORMULAS[method](features, gradients)
        else:
            with torch.no_grad():
                logits = model.forward_head(features)
                chosen = chosen_classes(logits, targets)
                maps = first_component(features) if method == "eigencam" else _score(model, x, features, chosen)
    maps = to_unit_range(maps.relu())  # before enlarging, or a flat map would become rounding noise
    return logits, to_unit_range(enlarge_map(maps, x.shape[-2:]))


def _gradients(model: FaceModel, features: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """Logits (B, classes), and the gradient of the targets' logits over the features (B, C, h, w)."""
    features = features.detach().requires_grad_()
    with torch.enable_grad():
        logits = model.forward_head(features)
        chosen = chosen_classes(logits, targets)
        (gradients,) = torch.autograd.grad(logits.gather(1, chosen[:, None]).sum(), features)
    return logits.detach(), gradients


def _gradcam(features: Tensor, gradients: Tensor) -> Tensor:
    return (gradients.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1)


def _gradcam_plus_plus(features: Tensor, gradients: Tensor) -> Tensor:
    squares = gradients.square()
    totals = features.sum(dim=(2, 3), keepdim=True)
    alpha = squares / (2 * squares + totals * squares * gradients + 1e-6)  # eq. 19
    weights = (alpha * gradients.relu()).sum(dim=(2, 3), keepdim=True)
    return (weights * features).sum(dim=1)


def _hirescam(features: Tensor, gradients: Tensor) -> Tensor:
    return (gradients * features).sum(dim=1)


def _layercam(features: Tensor, gradients: Tensor) -> Tensor:
    return (gradients.relu() * features).sum(dim=1)


#: Features and gradients (B, C, h, w) -> maps (B, h, w).
FORMULAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam": _gradcam,
    "gradcam++": _gradcam_plus_plus,
    "hirescam": _hirescam,
    "layercam": _layercam,
}


def first_component(features: Tensor) -> Tensor:
    """Every position's coordinate along the first principal component of its channels, (B, C, h, w) -> (B, h, w).

    A component has no sign of its own; here its larger end is the positive one.
    """
    tokens = features.flatten(2).transpose(1, 2).float()  # (B, N, C)
    left, values, _ = torch.linalg.svd(tokens - tokens.mean(dim=1, keepdim=True), full_matrices=False)
    component = left[:, :, 0] * values[:, :1]  # (B, N)
    flip = component.amin(dim=1, keepdim=True).abs() > component.amax(dim=1, keepdim=True)
    return torch.where(flip, -component, component).unflatten(1, features.shape[-2:])


def _score(model: FaceModel, x: Tensor, features: Tensor, chosen: Tensor) -> Tensor:
    """Score-CAM of images (B, C, H, W) with features (B, K, h, w), -> (B, h, w); B times K predictions."""
    masks = F.interpolate(features, x.shape[-2:], mode="bilinear", align_corners=True)  # (B, K, H, W)
    low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
    masks = (masks - low) / (high - low + 1e-8)
    scores = [
        torch.cat([model(image * part[:, None])[:, target] for part in own.split(SCORE_BATCH)])
        for image, own, target in zip(x, masks, chosen.tolist(), strict=True)
    ]
    weights = torch.stack(scores).softmax(dim=1)  # (B, K)
    return (weights[:, :, None, None] * features).sum(dim=1)
