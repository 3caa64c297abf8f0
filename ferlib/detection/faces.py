"""Find the faces in a photo, with BlazeFace (`ferlib.detection.blazeface`), from coarse to fine. Offline.

**Photos that lie on their side.** Without an EXIF tag a photo may lie on its side or stand on its head. BlazeFace finds
something there too, but is less sure of it: of 500 photos of facial_expressions 84 % have a face with a score of at
least `_UPRIGHT_SCORE` and a tilt of at most `_UPRIGHT_ROLL`; turned by 180 degrees none, by 90 or 270 one each. Where
there is no such face the other three quarter turns are searched as well, and the one with the best confirmed face is
taken. Of 101 photos turned so 97 % keep the label of the upright photo or are refused (`benchmarks/turned.py`).
"""

from dataclasses import replace

import numpy as np
from PIL import Image

from ferlib.detection.blazeface import SMALLEST, detect
from ferlib.detection.crop import Face, around, cut
from ferlib.detection.reading_order import in_reading_order

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


def detect_faces(image: np.ndarray, max_side: int = 640, turns: bool = True) -> list[Face]:
    """Find the faces in a picture, numbered as one reads: rows from above, in each from the left.

    The time grows with the pixels that are searched, so the first search is coarse: it sees faces from a quarter of
    the picture's long side on. How fine the next one looks depends on the largest face found: for none smaller than a
    fifth of that, nor than 40 pixels. Without a face it looks as finely as it may. Beside faces of one size, as in a
    group, nothing is lost; a passer-by far behind a portrait is.

    Where the photo lies on its side or stands on its head, its faces say so by their `turn`.

    Args:
        image: `(H, W, 3)` uint8 RGB, as `ferlib.images.read_image` gives it.
        max_side: The long side, in pixels, at which large pictures are searched (at least 128). A face of about
            26 pixels is found there: with the default, a 25th of a large photo's side.
        turns: Whether the picture may lie on its side or stand on its head. False where it is known to be upright, as
            a film's frames are: a picture without a sure face then takes a quarter of the time.

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
    if turns and not any(face.score >= _UPRIGHT_SCORE and abs(face.roll) <= _UPRIGHT_ROLL for face in found):
        found = _in_best_turn(image, found, max_side)
    return in_reading_order(found)


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
    return without_duplicates(found)


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
        patch = Image.fromarray(cut(image, around(face, zoom)))
        patch = patch.resize((128, 128), Image.Resampling.BILINEAR, reducing_gap=2.0)
        again, expected = detect(np.asarray(patch)), 128 / zoom
        away = np.abs(again.boxes.mean(axis=1) - 64).max(axis=1)
        side = (again.boxes[:, 1] - again.boxes[:, 0]).mean(axis=1)
        same = (away < expected / 4) & (side > 0.6 * expected) & (side < 1.6 * expected)
        scores.append(again.scores[same].max(initial=0.0))
    return float(np.mean(scores))


def without_duplicates(found: list[Face], overlap: float = _OVERLAP) -> list[Face]:
    """Drop every box that overlaps a better one: a face may be found at two sizes, one inside the other."""
    kept: list[Face] = []
    for candidate in sorted(found, key=lambda face: -face.score):
        if all(_shared(candidate.box, other.box) <= overlap for other in kept):
            kept.append(candidate)
    return kept


def _shared(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """The area two boxes share, as a part of the smaller one."""
    one, other = np.reshape(a, (2, 2)), np.reshape(b, (2, 2))
    common = (np.minimum(one[1], other[1]) - np.maximum(one[0], other[0])).clip(0).prod()
    return float(common / max(1, min((one[1] - one[0]).prod(), (other[1] - other[0]).prod())))
