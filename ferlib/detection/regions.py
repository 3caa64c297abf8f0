"""Fraction of a heat map's energy on each part of the face, and the part with its highest point.

Parts come from the landmarks of a real face, or from the masks of a synthetic one. A share alone says little, for
the middle of the face is where any blob would be: beside it stand the part's fraction of the picture, and controls.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from ferlib.detection import landmarks
from ferlib.detection.crop import FaceCrop

REGIONS = ("brows", "eyes", "nose", "mouth", "other face", "outside")
BROWS, EYES, NOSE, MOUTH, FACE, OUTSIDE = range(len(REGIONS))
_FINE = 8  # pixels drawn a pixel
_RIM = 0.08  # of the skin around a part, in distances between the eyes
_OUTLINES = (
    (landmarks.NOSE, NOSE),
    *((brow, BROWS) for brow in (landmarks.LEFT_BROW, landmarks.RIGHT_BROW)),
    *((eye, EYES) for eye in (landmarks.LEFT_EYE, landmarks.RIGHT_EYE)),
    (landmarks.LIPS, MOUTH),
)


def landmark_regions(points: np.ndarray, size: int) -> np.ndarray:
    """The part (index into `REGIONS`) of every pixel of a face, from its landmarks.

    Brows, eyes, nose and mouth get a rim of the skin that moves with them; where two meet, the mouth wins over the
    eyes, these over the brows, these over the nose. The face ends at the mesh's oval: at the jaw, before the ears, and
    below the hairline. Hair in front of that counts as face, ears and neck as outside.

    Args:
        points: (468, 2) x, y in the picture's pixels, see `ferlib.detection.landmarks`.
        size: side of the picture.

    Returns:
        (size, size) uint8.
    """
    points = np.asarray(points, float)
    left, right = (points[list(eye)].mean(axis=0) for eye in (landmarks.LEFT_EYE, landmarks.RIGHT_EYE))
    rim = _RIM * float(np.linalg.norm(right - left)) * _FINE
    canvas = Image.new("L", (size * _FINE,) * 2, OUTSIDE)
    draw = ImageDraw.Draw(canvas)

    def area(outline: Sequence[int], value: int, rim: float) -> None:
        corners = [tuple(corner) for corner in points[list(outline)] * _FINE]
        draw.polygon(corners, fill=value)
        if rim:
            draw.line([*corners, corners[0]], fill=value, width=round(2 * rim))
            for x, y in corners:  # round joints
                draw.ellipse((x - rim, y - rim, x + rim, y + rim), fill=value)

    area(landmarks.OVAL, FACE, 0)
    for outline, value in _OUTLINES:
        area(outline, value, rim)
    return np.asarray(canvas)[_FINE // 2 :: _FINE, _FINE // 2 :: _FINE].copy()


def mask_regions(masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """The part of every pixel of a synthetic face, from `SyntheticFace.masks`, (S, S) uint8."""
    regions = np.where(masks["face"], FACE, OUTSIDE).astype(np.uint8)
    for place, name in enumerate(REGIONS[:FACE]):
        regions[masks[name]] = place
    return regions


def areas(regions: np.ndarray) -> np.ndarray:
    """Fraction of the picture of every part, (N, S, S) -> (N, 6)."""
    return np.stack([(regions == place).mean(axis=(1, 2)) for place in range(len(REGIONS))], axis=1)


def energies(maps: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Fraction of every map's energy (its sum) on every part, (N, S, S) both -> (N, 6); nan where a map is empty."""
    total = maps.sum(axis=(1, 2), dtype=float)
    parts = [np.where(regions == place, maps, 0).sum(axis=(1, 2), dtype=float) for place in range(len(REGIONS))]
    return np.stack(parts, axis=1) / np.where(total > 0, total, np.nan)[:, None]


def pointing(maps: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """The pointing game: the part in which a map's highest point lies, (N, S, S) both -> (N,); -1 for an empty map."""
    flat = maps.reshape(len(maps), -1)
    part = np.take_along_axis(regions.reshape(len(maps), -1), flat.argmax(axis=1)[:, None], axis=1)[:, 0].astype(int)
    return np.where(flat.max(axis=1) > 0, part, -1)


def above_the_eyes(regions: np.ndarray) -> np.ndarray:
    """Mask of the area outside the face and above its eyes, hair mostly, (N, S, S) -> (N, S, S) bool."""
    rows = np.arange(regions.shape[1])[None, :, None]
    eyes = regions == EYES
    middle = (rows * eyes).sum(axis=(1, 2)) / np.maximum(eyes.sum(axis=(1, 2)), 1)
    return (regions == OUTSIDE) & (rows < middle[:, None, None])


def parts_of_heatmap(heatmap: np.ndarray, crop: FaceCrop) -> dict[str, tuple[float, float]] | None:
    """Share of a heat map (S, S) that lies on every part of a face: part -> (of the map, of the square's area).

    None for an empty map, and where the landmarks cannot be told.
    """
    if not heatmap.any() or crop.landmarks.score < landmarks.SURE:
        return None
    points = crop.from_photo(crop.landmarks.points[:, :2]) * len(heatmap)
    regions = landmark_regions(points, len(heatmap))[None]
    fractions = zip(energies(heatmap[None], regions)[0].tolist(), areas(regions)[0].tolist(), strict=True)
    return dict(zip(REGIONS, fractions, strict=True))
