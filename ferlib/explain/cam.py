"""Grad-CAM (Selvaraju et al. 2017), together with the prediction it explains, in one pass through the trunk."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ferlib.models.base import FaceModel


def predict_with_gradcam(model: FaceModel, x: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Logits and Grad-CAM maps of a batch.

    The trunk runs once and without a graph: gradients are needed only from the feature map on, so this works for frozen
    trunks, needs no hooks, and costs little more than the prediction.

    Args:
        model: in evaluation mode; its state and its parameters' gradients are left as they were.
        x: normalised images (B, 3, H, W).
        targets: class to explain for every image (B,); None explains the predicted class.

    Returns:
        Logits (B, classes), and maps (B, H, W) scaled to 0..1 per image: ReLU(Σ_c w_c A_c), eq. 2 of the paper, where
        w_c is the mean gradient of the target's logit over feature map A_c (eq. 1). A map is all zero where nothing
        speaks for the target.
    """
    with torch.no_grad():
        features = model.forward_features(x)
    features = features.detach().requires_grad_()
    with torch.enable_grad():
        logits = model.forward_head(features)
        chosen = logits.argmax(dim=1) if targets is None else targets
        (gradients,) = torch.autograd.grad(logits.gather(1, chosen[:, None]).sum(), features)
    weights = gradients.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
    maps = (weights * features.detach()).sum(dim=1, keepdim=True).relu()  # (B, 1, h, w)
    return logits.detach(), to_unit_range(F.interpolate(maps, x.shape[-2:], mode="bilinear", align_corners=False)[:, 0])


def to_unit_range(maps: Tensor) -> Tensor:
    """Scale every map (B, H, W) so that its lowest value is 0 and its highest 1; flat maps become 0."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low).clamp_min(1e-12), torch.zeros_like(maps))
