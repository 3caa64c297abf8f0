"""The fifteen common corruptions (Hendrycks and Dietterich 2019), five strengths each, of grey faces of 48x48 pixels.

    python corrupt_faces.py FACES OUT

FACES holds them one byte a pixel; OUT becomes an .npz with an array (N, 48, 48) uint8 for every "corruption strength".
Runs in an environment of its own, with the package imagecorruptions-imaug; `robustness.py` starts it.

The package's strengths were chosen for photos of 224 pixels. What has a length in pixels (blurs, weather, elastic
transform, pixelation) is therefore done to the face enlarged to 224 pixels, which is then brought back to 48. What
changes pixels by themselves (noise, brightness, contrast, JPEG) is done at 48: an enlarged face's noise would be
averaged away on the way back. The package makes three channels of a grey face, each with a noise of its own; one of
them is taken, as the mean of three would have noise of 0.58 times the strength.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from imagecorruptions import corrupt, get_corruption_names
from numba import njit
from PIL import Image

SIDE, CHOSEN_FOR = 48, 224
OF_PIXELS = ("gaussian_noise", "shot_noise", "impulse_noise", "brightness", "contrast", "jpeg_compression")
STRENGTHS = range(1, 6)


@njit
def seed_compiled(seed: int) -> None:
    """The package's compiled parts draw from numbers of their own."""
    np.random.seed(seed)


def resized(face: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC))


def corrupted(face: np.ndarray, name: str, strength: int) -> np.ndarray:
    """One face (48, 48) uint8, changed."""
    if name in OF_PIXELS:
        return corrupt(face, strength, name)[..., 0]
    large = corrupt(resized(face, CHOSEN_FOR), strength, name)
    return resized(large.mean(axis=2).round().astype(np.uint8), SIDE)


def main() -> None:
    faces = np.fromfile(sys.argv[1], np.uint8).reshape(-1, SIDE, SIDE)
    found: dict[str, Any] = {}
    for name in get_corruption_names():
        for strength in STRENGTHS:
            np.random.seed(strength)  # as the package draws
            seed_compiled(strength)
            found[f"{name} {strength}"] = np.stack([corrupted(face, name, strength) for face in faces])
        print(name, flush=True)
    np.savez(Path(sys.argv[2]), **found)


if __name__ == "__main__":
    main()
