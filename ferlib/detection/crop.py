"""Cut a found face out of its photo in the training set's framing.

**Framing.** The networks are trained on FER2013's 48 x 48 crops, so a photo is cut where those were. Measured with
this very package on 1,060 random training rows (`benchmarks/framing.py`, `results/framing.json`): a face is found in
98 %; median eye centres (14.8, 18.7) and (32.9, 18.5), mouth (24.0, 36.9), eyes 17.8 apart, in pixels of the 48; head
tilt within ±15° for 85 %. The rows were also put on a black canvas at a random size and place; from half of them every
candidate rule for the square was fitted, and on the other half the overlap (IoU) of its square with the true frame
taken:

    centroid and RMS radius of the 6 keypoints    0.78   <- used; side = 3.50 radii
    centroid and RMS radius of the 468 landmarks  0.78
    landmarks' bounding box                       0.77
    eyes, and eye-to-mouth distance               0.76
    the detector's box                            0.75
    eyes, and distance between them               0.75

FER2013's own scatter bounds all of them, and which rule it is hardly matters to the models: on 2,289 photos the default
one agrees with the label in 69.9 % by the keypoints, in 69.8 to 71.3 % by the others. The keypoints cost nothing,
where landmarks take as long as the detector. Tilt is left alone up to `MAX_ROLL`, as in FER2013, and beyond it reduced
to that: no face looks unlike the training set, and none jumps when its tilt passes a threshold.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from ferlib.detection.landmarks import Landmarks

MAX_ROLL = 15.0
"""Head tilt, in degrees, that a crop may keep: FER2013 is not turned upright, 85 % of it lies within ±15°."""

# The square's side, and the way to its centre from the keypoints', in RMS radii of the keypoints.
_SQUARE_SIDE, _SQUARE_SHIFT = 3.5, (0.0, -0.054)

# Corners of the box, and keypoints, in a crop of side 1: medians of 500 training rows, made symmetric.
_FRAMED = np.array([(0.065, 0.149), (0.935, 1.021), (0.313, 0.389), (0.687, 0.389), (0.5, 0.594), (0.5, 0.784),
                    (0.118, 0.471), (0.882, 0.471)])  # fmt: skip


@dataclass(frozen=True)
class Face:
    """A face found in a picture.

    Attributes:
        box: (x0, y0, x1, y1) in the picture's pixels, x1 and y1 exclusive, about from brows to chin; may reach beyond
            the edge.
        score: The detector's confidence, 0..1.
        keypoints: `(6, 2)` x, y in the picture's pixels: the eye on the left and on the right of the picture, tip of
            the nose, middle of the mouth, ear on the left and on the right, of an upright face.
        turn: By how many degrees, counter-clockwise, the picture had to be turned for the face to be upright: 0, or 90,
            180 or 270 in a photo that lies on its side or stands on its head.
    """

    box: tuple[int, int, int, int]
    score: float
    keypoints: np.ndarray = field(compare=False, repr=False)
    turn: int = 0

    @property
    def roll(self) -> float:
        """Tilt of the line through the eyes, in degrees; positive: it falls to the right."""
        dx, dy = self.keypoints[1] - self.keypoints[0]
        return math.degrees(math.atan2(dy, dx))

    @property
    def tilt(self) -> float:
        """Tilt of the head in degrees once the picture is turned upright, -180..180; of an upright photo the `roll`."""
        return (self.roll - self.turn + 180) % 360 - 180

    @property
    def side(self) -> float:
        """Mean of the box's width and height."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0 + y1 - y0) / 2


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """A face cut out of a photo, and the way between the two.

    Attributes:
        face: the face as it was found.
        pixels: the square in the photo's own resolution, `(S, S, 3)` uint8.
        photo: the whole picture, `(H, W, 3)` uint8; shared, not copied.
    """

    face: Face
    pixels: np.ndarray = field(repr=False)
    photo: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, photo: np.ndarray, face: Face) -> "FaceCrop":
        """Cut a face out of the photo, `(H, W, 3)` uint8, that it was found in."""
        return cls(face, crop_face(photo, face), photo)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The square (x0, y0, x1, y1) in the photo's pixels; may reach beyond its edge."""
        return crop_box(self.face)

    def resized(self, side: int) -> np.ndarray:
        """The square at another size, `(side, side, 3)` uint8."""
        return np.array(Image.fromarray(self.pixels).resize((side, side), Image.Resampling.BICUBIC))

    @cached_property
    def landmarks(self) -> "Landmarks":
        """The 468 landmarks, in pixels of the photo; found when they are first asked for."""
        from ferlib.detection.landmarks import find_landmarks

        return find_landmarks(self.photo, self.face)

    @property
    def keypoints(self) -> np.ndarray:
        """The detector's six keypoints, `(6, 2)` x, y in fractions of the square's side; see `Face`."""
        return self.from_photo(self.face.keypoints)

    def from_photo(self, points: np.ndarray) -> np.ndarray:
        """Points `(N, 2)` x, y of the photo, in fractions of the square's side."""
        return crop_points(points, self.face, 1)


def framed_face(image: np.ndarray) -> Face:
    """The face of a picture that was cut out before: `crop_box` of it is the middle square of `(H, W, 3)`."""
    height, width = image.shape[:2]
    (x, y), side = _square(Face((0, 0, 1, 1), 1.0, _FRAMED[2:]))
    points = (_FRAMED - (x, y)) / side * min(height, width) + (width / 2, height / 2)
    x0, y0, x1, y1 = points[:2].round().astype(int).ravel().tolist()
    return Face((x0, y0, x1, y1), 1.0, points[2:])


def crop_box(face: Face) -> tuple[int, int, int, int]:
    """The square (x0, y0, x1, y1) in the training set's framing; may reach beyond the picture's edge."""
    (x, y), side = _square(face)
    side = max(1, round(side))
    x0, y0 = round(x - side / 2), round(y - side / 2)
    return x0, y0, x0 + side, y0 + side


def crop_face(image: np.ndarray, face: Face, size: int | None = None, max_roll: float = MAX_ROLL) -> np.ndarray:
    """Cut a face out in the training set's framing.

    The crop is exactly `crop_box(face)`, set upright by quarter turns where the photo is turned. If the head is still
    tilted by more than `max_roll`, the picture is turned about the square's centre until the tilt is `max_roll`.

    Args:
        image: `(H, W, 3)` uint8, the picture the face was found in. Beyond its edge, edge pixels are repeated.
        face: One of `detect_faces(image)`.
        size: Side of the result, S; None keeps the picture's own resolution.
        max_roll: Tilt left in the crop, in degrees: 0 sets every face upright, 180 leaves it at quarter turns.

    Returns:
        `(S, S, 3)` uint8.
    """
    x0, y0, x1, y1 = crop_box(face)
    if excess := _excess(face, max_roll):
        margin = math.ceil((x1 - x0) * (math.sqrt(2) - 1) / 2) + 2  # what the corners sweep over
        patch = Image.fromarray(cut(image, (x0 - margin, y0 - margin, x1 + margin, y1 + margin)))
        patch = patch.rotate(excess, Image.Resampling.BICUBIC)
        crop = patch.crop((margin, margin, patch.width - margin, patch.height - margin))
    else:
        crop = Image.fromarray(cut(image, (x0, y0, x1, y1)))
    if face.turn:
        crop = Image.fromarray(np.rot90(np.asarray(crop), face.turn // 90))
    if size is not None:
        crop = crop.resize((size, size), Image.Resampling.BICUBIC)
    return np.array(crop)


def crop_points(points: np.ndarray, face: Face, size: int, max_roll: float = MAX_ROLL) -> np.ndarray:
    """Points `(N, 2)` of the picture, such as landmarks, in pixels of `crop_face(image, face, size, max_roll)`."""
    x0, y0, x1, y1 = crop_box(face)
    points = (points - ((x0 + x1) / 2, (y0 + y1) / 2)) @ rotation(face.turn + _excess(face, max_roll)).T
    return (points / (x1 - x0) + 0.5) * size


def cut(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Cut (x0, y0, x1, y1) out of `(H, W, 3)`, repeating edge pixels where the box reaches beyond it."""
    x0, y0, x1, y1 = box
    rows, above_below = _within(y0, y1, image.shape[0])
    columns, beside = _within(x0, x1, image.shape[1])
    inside = image[rows, columns]
    return np.pad(inside, (above_below, beside, (0, 0)), mode="edge") if any(above_below + beside) else inside


def cut_scaled(image: np.ndarray, box: tuple[int, int, int, int], size: int) -> np.ndarray:
    """Cut a square out as `cut` does and scale it: `(size, size, 3)`; beyond the edge it takes hardly any memory."""
    side = box[2] - box[0]
    factor = max(1, side // (2 * size))
    patch = cut(image, box) if factor == 1 else _cut_reduced(image, box, factor)
    scaled = (0, 0, side / factor, side / factor)
    return np.array(Image.fromarray(patch).resize((size, size), Image.Resampling.BILINEAR, scaled))


def _cut_reduced(image: np.ndarray, box: tuple[int, int, int, int], factor: int) -> np.ndarray:
    """The means of `factor` x `factor` pixels of `cut(image, box)`: edge pixels are repeated when it is small."""
    x0, y0, x1, y1 = box
    rows, above_below = _within(y0, y1, image.shape[0])
    columns, beside = _within(x0, x1, image.shape[1])
    inside = image[rows, columns]
    near_rows, far_rows = _near_and_far(above_below, inside.shape[0], factor)
    near_columns, far_columns = _near_and_far(beside, inside.shape[1], factor)
    near = np.pad(inside, (near_rows, near_columns, (0, 0)), mode="edge")
    small = np.asarray(Image.fromarray(near).reduce(factor))
    return np.pad(small, (far_rows, far_columns, (0, 0)), mode="edge")


def _near_and_far(missing: tuple[int, int], length: int, factor: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Of pixels missing on either side of a length: how many are added before a reduction, and, reduced, after it.

    Those before fill the blocks that the edge cuts, and make one more, of edge pixels alone, to be repeated.
    """
    before, after = missing
    near = min(before, before % factor + factor), min(after, -(before + length) % factor + factor)
    return near, ((before - near[0]) // factor, math.ceil((after - near[1]) / factor))


def _within(start: int, end: int, length: int) -> tuple[slice, tuple[int, int]]:
    """The slice of start..end within 0..length, at least one pixel, and the number missing on either side."""
    first, last = (min(max(place, 0), length - 1) for place in (start, end - 1))
    missing = end - start - (last - first + 1)
    before = max(0, min(-start, missing))
    return slice(first, last + 1), (before, missing - before)


def around(face: Face, zoom: float) -> tuple[int, int, int, int]:
    """The square (x0, y0, x1, y1) around the box's centre, `zoom` times as large."""
    x0, y0, x1, y1 = face.box
    side = max(1, round(zoom * face.side))
    left, top = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    return left, top, left + side, top + side


def rotation(degrees: float) -> np.ndarray:
    """Matrix that takes row vectors (x, y) of a picture turned by `Image.rotate(degrees)` back; y points down."""
    turn = math.radians(degrees)
    return np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])


def _excess(face: Face, max_roll: float) -> float:
    """By how many degrees, counter-clockwise, a crop is turned so that at most `max_roll` of the tilt is left."""
    return math.copysign(max(0.0, abs(face.tilt) - max_roll), face.tilt)


def _square(face: Face) -> tuple[np.ndarray, float]:
    """Centre `(2,)` and side of a face's square in the training set's framing, in pixels of the picture."""
    middle = face.keypoints.mean(axis=0)
    radius = float(np.sqrt(((face.keypoints - middle) ** 2).sum(axis=1).mean()))
    return middle + radius * np.array(_SQUARE_SHIFT) @ rotation(face.turn), radius * _SQUARE_SIDE
