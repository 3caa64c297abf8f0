"""Helpers of all explanations: choose the class, allow gradients, scale and enlarge heat maps."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from ferlib.errors import UserError

Targets = Tensor | int | None


def chosen_classes(logits: Tensor, targets: Targets) -> Tensor:
    """The class to explain for every image, int64 (B,): those given, the same for all, or (None) the predicted ones.

    Args:
        logits: (B, classes).
        targets: (B,) class indices, one index, or None.

    Raises:
        ValueError: a class that does not exist, or another number of targets than images.
    """
    if targets is None:
        return logits.argmax(dim=1)
    chosen = torch.as_tensor(targets, device=logits.device)
    chosen = chosen.expand(len(logits)) if chosen.ndim == 0 else chosen
    if chosen.shape != logits.shape[:1] or chosen.is_floating_point():
        raise UserError(f"targets must be {len(logits)} class indices, not {tuple(chosen.shape)} {chosen.dtype}")
    if chosen.numel() and not 0 <= int(chosen.min()) <= int(chosen.max()) < logits.shape[1]:
        raise UserError(f"targets must lie in 0..{logits.shape[1] - 1}, not {chosen.tolist()}")
    return chosen.clone() if chosen.is_inference() else chosen  # autograd refuses tensors made in inference mode


@contextmanager
def left_inference_mode(x: Tensor) -> Iterator[Tensor]:
    """Allow gradients inside, also under `torch.inference_mode`; gives the images in a form that autograd takes.

    They are taken where `torch.enable_grad` says so.
    """
    with torch.inference_mode(False), torch.no_grad():
        yield x.clone() if x.is_inference() else x.detach()


def enlarge_map(maps: Tensor, size: torch.Size) -> Tensor:
    """Maps (B, h, w) -> (B, H, W), bilinear."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def to_unit_range(maps: Tensor) -> Tensor:
    """Scale every map (B, H, W) so that its lowest value is 0 and its highest 1; flat maps become 0."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low).clamp_min(1e-12), torch.zeros_like(maps))
