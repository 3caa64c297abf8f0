"""Random augmentation of a batch of faces: each gets a change of its own."""

from collections.abc import Callable

import kornia.augmentation as K
import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor, nn

from ferlib.errors import UserError

AUGMENTATIONS = (
    "none", "flip", "flip_contrast", "flip_affine", "flip_affine_erase", "flip_affine_erase_spoil", "ivsa"
)  # fmt: skip


class Spoil(nn.Module):
    """Noise, blur, other light or less contrast for half of the images, one of them each, of a random strength.

    Gaussian noise of a deviation up to 0.3; a Gaussian blur of up to 2 pixels; pixels times 0.3 to 1.5; contrast times
    0.2 to 1 about the image's mean. All are drawn evenly.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in 0..1 -> same."""
        kind = torch.randint(2 * len(_SPOILING), (len(x),), device=x.device)
        strength = torch.rand(len(x), 1, 1, 1, device=x.device)
        spoilt = x.clone()
        for number, change in enumerate(_SPOILING):
            which = kind == number
            if which.any():
                spoilt[which] = change(x[which], strength[which])
        return spoilt.clamp(0, 1)


def _noisy(x: Tensor, strength: Tensor) -> Tensor:
    return x + 0.3 * strength * torch.randn_like(x)


def _blurred(x: Tensor, strength: Tensor) -> Tensor:
    return gaussian_blur2d(x, 9, (0.2 + 1.8 * strength).flatten(1).expand(-1, 2))


def _lit(x: Tensor, strength: Tensor) -> Tensor:
    return x * (0.3 + 1.2 * strength)


def _flattened(x: Tensor, strength: Tensor) -> Tensor:
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (0.2 + 0.8 * strength) * (x - mean)


_SPOILING: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (_noisy, _blurred, _lit, _flattened)


def augmentation(name: str, crop: int | None = None) -> nn.Module:
    """A batch augmentation for float pixels in 0..1, (B, C, H, W) -> same; every image gets its own draw.

    "ivsa" is section IV.B of that paper, with the sizes of its reference [21] (Khairuddin and Chen 2021), which IVSA
    does not print: re-scaling by up to ±20 %, shifts by up to ±20 % and rotation by up to ±10°, each with p = 0.5.
    Where both papers then train on ten crops of every picture at once, this draws one crop and a flip at random, which
    sees more of them for a tenth of the work. The random erasing of [21] is not in IVSA and left out.

    Args:
        name: "none"; "flip" (left-right, p = 0.5); "flip_contrast" (and contrast × 0.7 to 1.3 about the picture's mean,
            as in the code of Conv-cut and PAtt-Lite); "flip_affine" (flip and ±10° rotation, ±8 % shift, ±10 % scale);
            "flip_affine_erase" (and a random rectangle of 2 to 15 % erased, p = 0.25); "flip_affine_erase_spoil" (and
            `Spoil`); "ivsa".
        crop: end with a random crop of this side in pixels, for models that see a part of the face.

    Raises:
        ValueError: unknown name.
    """
    steps: dict[str, list[nn.Module]] = {
        "flip": [K.RandomHorizontalFlip(p=0.5)],
        "contrast": [K.ColorJitter(contrast=0.3, p=1.0)],
        "affine": [K.RandomAffine(degrees=10, translate=(0.08, 0.08), scale=(0.9, 1.1), padding_mode="border", p=1.0)],
        "erase": [K.RandomErasing(p=0.25, scale=(0.02, 0.15), value=0.5)],
        "spoil": [Spoil()],
        "ivsa": [
            K.RandomHorizontalFlip(p=0.5),
            K.RandomAffine(degrees=0, scale=(0.8, 1.2), padding_mode="border", p=0.5),
            K.RandomAffine(degrees=0, translate=(0.2, 0.2), padding_mode="border", p=0.5),
            K.RandomAffine(degrees=10, padding_mode="border", p=0.5),
        ],
        "none": [],
    }
    if name not in AUGMENTATIONS:
        raise UserError(f"unknown augmentation {name!r}, expected one of {AUGMENTATIONS}")
    chosen = [step for part in name.split("_") for step in steps[part]]
    if crop and name != "none":
        chosen.append(K.RandomCrop((crop, crop)))
    return nn.Sequential(*chosen)
