"""Class activation maps, together with the prediction they explain, in one pass through the backbone.

With A the feature map (C, h, w) that `forward_features` gives, and G the gradient of the target's logit over it:

    gradcam    ReLU(Σ_c mean(G_c) A_c)                 Selvaraju et al. 2017, eq. 1 and 2
    gradcam++  the same with weights Σ α_c ReLU(G_c)   Chattopadhay et al. 2018, eq. 19 for α
    hirescam   ReLU(Σ_c G_c A_c)                       Draelos and Carin 2020
    layercam   ReLU(Σ_c ReLU(G_c) A_c)                 Jiang et al. 2021, eq. 6 and 7
    eigencam   ReLU(first principal component of A)    Muhammad and Yeasin 2020; knows no target
    scorecam   ReLU(Σ_c s_c A_c), s the softmax over c of the target's logit when the image is
               multiplied by A_c scaled to 0..1        Wang et al. 2020

A model that looks at both sides of a face (`FaceModel.sides`) is the mean of one network over them, and its map is the
mean of that network's maps for the same target, the one of the mirror image turned back, before the ReLU. Where a
formula is linear in G (gradcam, hirescam, layercam) that is the formula for the mean logit itself. The component of
eigencam is one for the positions of both sides, as two would have two signs.

The backbone runs once a side and without a graph: gradients are needed only from the feature map on. So this works for
frozen backbones, needs no hooks, and costs little more than the prediction. Score-CAM is the exception, one more
prediction a channel. Tests compare every formula with pytorch-grad-cam on every model.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ferlib.errors import UserError
from ferlib.explain import CAMS
from ferlib.explain.map_tools import Targets, chosen_classes, enlarge_map, left_inference_mode, to_unit_range
from ferlib.models.base import FaceModel, evaluating, map_of, mean_of

SCORE_BATCH = 64  # masked images a pass in Score-CAM


def predict_with_cam(
    model: FaceModel, x: Tensor, method: str = "gradcam", targets: Targets = None
) -> tuple[Tensor, Tensor]:
    """Logits and class activation maps of a batch.

    The model predicts in evaluation mode; its mode, its parameters' gradients and its hooks are left as they were.

    Args:
        model: any model, its backbone frozen or not.
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
    with evaluating(model), left_inference_mode(x) as images:
        sides = model.sides(images)
        features = [model.forward_features(side) for side in sides]
        if method in FORMULAS:
            logits, gradients = _gradients(model, features, targets)
            parts = [FORMULAS[method](*pair) for pair in zip(features, gradients, strict=True)]
        else:
            logits = mean_of([model.forward_head(side) for side in features])
            chosen = chosen_classes(logits, targets)
            if method == "eigencam":
                parts = list(first_component(torch.cat(features, dim=-1)).chunk(len(features), dim=-1))
            else:
                parts = [_score(model, *pair, chosen) for pair in zip(sides, features, strict=True)]
        maps = to_unit_range(map_of(parts).relu())  # before enlarging, or a flat map would become rounding noise
        return logits, to_unit_range(enlarge_map(maps, x.shape[-2:]))


def _gradients(model: FaceModel, features: Sequence[Tensor], targets: Targets) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Logits (B, classes) from the features (B, C, h, w) of every side, and their gradients.

    The gradient over a side's features is that of the targets' logits that the network gives this side.
    """
    leaves = [side.detach().requires_grad_() for side in features]
    with torch.enable_grad():
        sides = [model.forward_head(leaf) for leaf in leaves]
        logits = mean_of(sides).detach()
        chosen = chosen_classes(logits, targets)[:, None]
        return logits, torch.autograd.grad([side.gather(1, chosen).sum() for side in sides], leaves)


def _gradcam(features: Tensor, gradients: Tensor) -> Tensor:
    return (gradients.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1)


def _gradcam_plus_plus(features: Tensor, gradients: Tensor) -> Tensor:
    # The small number is pytorch-grad-cam's, not the paper's: where gradients are as small, as in an untrained network,
    # the weights of places are no longer those of eq. 19.
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
    """Score-CAM of one side (B, C, H, W) with features (B, K, h, w), -> (B, h, w); B times K predictions."""

    def one_side(images: Tensor) -> Tensor:
        return model.forward_head(model.forward_features(images))

    masks = F.interpolate(features, x.shape[-2:], mode="bilinear", align_corners=True)  # (B, K, H, W)
    low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
    masks = (masks - low) / (high - low + 1e-8)
    scores = [
        torch.cat([one_side(image * part[:, None])[:, target] for part in own.split(SCORE_BATCH)])
        for image, own, target in zip(x, masks, chosen.tolist(), strict=True)
    ]
    weights = torch.stack(scores).softmax(dim=1)  # (B, K)
    return (weights[:, :, None, None] * features).sum(dim=1)
