"""The fifteen common corruptions (Hendrycks and Dietterich 2019), five strengths each, of grey faces of 48x48 pixels.

    python corrupt_faces.py FACES OUT

FACES holds them one byte a pixel; OUT becomes an .npz with an array (N, 48, 48) uint8 for every "corruption strength".
Runs in an environment of its own, with the package imagecorruptions-imaug; `robustness.py` starts it.

The package's strengths were chosen for photos of 224 pixels. What has a length in pixels (blurs, weather, elastic
transform, pixelation) is therefore done to the face enlarged to 224 pixels, which is then brought back to 48. What
changes pixels by themselves (noise, brightness, contrast), and JPEG, is done at 48: an enlarged face's noise would be
averaged away on the way back. The package makes three channels of a grey face, each with a noise of its own; one of
them is taken, as the mean of three would have noise of 0.58 times the strength. Pixelation leaves 134 to 56 of the 224
pixels, more than the 48 that a face has: it hardly changes one.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from imagecorruptions import corrupt, get_corruption_names
from PIL import Image

SIDE, CHOSEN_FOR = 48, 224
OF_PIXELS = ("gaussian_noise", "shot_noise", "impulse_noise", "brightness", "contrast", "jpeg_compression")
DRAW_BY_THEMSELVES = ("impulse_noise", "glass_blur")  # with a seed of their own; the others draw as numpy is seeded
STRENGTHS = range(1, 6)


def resized(face: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC))


def corrupted(face: np.ndarray, name: str, strength: int, number: int) -> np.ndarray:
    """One face (48, 48) uint8, changed; `number` is its own among the faces."""
    seed = {"seed": 100_000 * strength + number} if name in DRAW_BY_THEMSELVES else {}
    if name in OF_PIXELS:
        return corrupt(face, strength, name, **seed)[..., 0]
    large = corrupt(resized(face, CHOSEN_FOR), strength, name, **seed)
    return resized(large.mean(axis=2).round().astype(np.uint8), SIDE)


def main() -> None:
    faces = np.fromfile(sys.argv[1], np.uint8).reshape(-1, SIDE, SIDE)
    found: dict[str, Any] = {}
    for name in get_corruption_names():
        for strength in STRENGTHS:
            np.random.seed(strength)
            found[f"{name} {strength}"] = np.stack(
                [corrupted(face, name, strength, number) for number, face in enumerate(faces)]
            )
        print(name, flush=True)
    np.savez(Path(sys.argv[2]), **found)


if __name__ == "__main__":
    main()
