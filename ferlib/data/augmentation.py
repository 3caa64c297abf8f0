"""What training does to a batch of faces: each gets its own random change."""

import kornia.augmentation as K
from torch import nn

AUGMENTATIONS = ("none", "flip", "flip_affine", "flip_affine_erase")


def augmentation(name: str) -> nn.Module:
    """A batch augmentation for float pixels in 0..1, (B, C, H, W) -> same; every image gets its own draw.

    Args:
        name: "none"; "flip" (left-right, p = 0.5); "flip_affine" (and ±10° rotation, ±8 % shift, ±10 % scale);
            "flip_affine_erase" (and a random rectangle of 2 to 15 % erased, p = 0.25).
    """
    steps: dict[str, list[nn.Module]] = {
        "flip": [K.RandomHorizontalFlip(p=0.5)],
        "affine": [K.RandomAffine(degrees=10, translate=(0.08, 0.08), scale=(0.9, 1.1), padding_mode="border", p=1.0)],
        "erase": [K.RandomErasing(p=0.25, scale=(0.02, 0.15), value=0.5)],
        "none": [],
    }
    if name not in AUGMENTATIONS:
        raise ValueError(f"unknown augmentation {name!r}, expected one of {AUGMENTATIONS}")
    return nn.Sequential(*(step for part in name.split("_") for step in steps[part]))
