"""Find the faces in a photo, with BlazeFace (`ferlib.detection.blazeface`), from coarse to fine. Offline.

**Photos that lie on their side.** Without an EXIF tag a photo may lie on its side or stand on its head. BlazeFace finds
something there too, but is less sure of it: of 500 photos of facial_expressions 84 % have a face with a score of at
least `_UPRIGHT_SCORE` and a tilt of at most `_UPRIGHT_ROLL`; turned by 180 degrees none, by 90 or 270 one each. Where
there is no such face the other three quarter turns are searched as well, and the one with the best confirmed face is
taken. Of 100 photos turned in these three ways 97 % keep the label of the upright photo (`benchmarks/turned.py`).
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from ferlib.detection.blazeface import LARGEST, SMALLEST, detect
from ferlib.detection.crop import Face, around, cut_scaled
from ferlib.detection.reading_order import in_reading_order
from ferlib.errors import UserError

LEAST = 10
"""Side, in pixels, of the smallest face that can be asked for: below it nothing is left to be seen."""

_COARSE = ((96, 8), (64, 32))  # long side and margin of the first searches; the second for a face cut by the edge
_SURE = 0.6  # the lowest score there; in 24 pictures without a face none was higher
_STEP = 1.2  # a search that is finer by less would see nothing new
_MAX_SIDE = 640  # long side at which large pictures are searched ...
_FINEST = 1280  # ... and then again where no face is so large that half of it would have been seen
_RANGE = 5  # once a face is found, none that is this many times smaller is looked for ...
_BESIDE = 40  # ... nor any below this side in pixels
_FINER = 3  # of two searches for smaller faces, by how much the second is finer
_MARGIN = 16  # black pixels around a picture that is searched finely, for faces cut by the edge
_TILE = 1536  # long side of what is searched at once, so that memory does not grow with the picture
_GUESS = 0.5  # the lowest score there: coins and wheels reach it too, and each guess is looked at again ...
_ZOOMS, _THIRD_ZOOM = (1.5, 3.5), 2.5  # ... in squares so many times its side; in the third if these leave a doubt
_CONFIRMED = 0.74  # the lowest mean score there, of the best two
_GROUP, _ALIKE = 4, 1.5  # beside so many sure faces, others whose sides differ from theirs by at most this factor ...
_FAINT, _IN_GROUP = 0.3, 0.6  # ... need these scores at first and when looked at again
_UPRIGHT_SCORE, _UPRIGHT_ROLL = 0.8, 25.0  # a face as sure and as little tilted as this says that the photo is upright
_TURNED_ROLL = 45.0  # a face that is more tilted does not say that another turn is the right one
_OVERLAP = 0.5  # of two boxes sharing more than this part of the smaller one, the better stays


def detect_faces(
    image: np.ndarray, max_side: int | None = None, turns: bool = True, min_face: float | None = None
) -> list[Face]:
    """Find the faces in a picture, numbered as one reads: rows from above, in each from the left.

    The time grows with the pixels that are searched, so the first search is coarse: it sees faces from a quarter of
    the picture's long side on. How fine the next one looks depends on the largest face found: for none smaller than a
    fifth of that, nor than 40 pixels. Without a face it looks as finely as it may. Beside faces of one size, as in a
    group, nothing is lost; a passer-by far behind a portrait is, unless `min_face` says how small he may be.

    Where the photo lies on its side or stands on its head, its faces say so by their `turn`.

    Args:
        image: `(H, W, 3)` uint8 RGB, as `ferlib.images.read_image` gives it.
        max_side: The long side, in pixels, at which large pictures are searched (at least 128). A face of about
            26 pixels is found there. None: 640, a 25th of a large photo's side, and then 1280 where no face is so
            large that half of it would have been found.
        turns: Whether the picture may lie on its side or stand on its head. False where it is known to be upright, as
            a film's frames are: a picture without a sure face then takes a quarter of the time.
        min_face: Side in pixels, brows to chin, of the smallest faces that are wanted, from `LEAST` on: it is searched
            as finely as these need, however large the picture, and smaller faces are left out. None: as above.

    Returns:
        The faces, in pixels of `image`; an empty list where there is none.

    Raises:
        ValueError: If `image` is of another shape or type, or `min_face` too small.
        ImportError: If onnxruntime is not installed.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected (H, W, 3) uint8, not {image.shape} {image.dtype}; read_image makes it")
    require_min_face(min_face)
    if not image.size:
        return []
    found = _search(image, max_side, min_face)
    if turns and not any(face.score >= _UPRIGHT_SCORE and abs(face.roll) <= _UPRIGHT_ROLL for face in found):
        found = _in_best_turn(image, found, max_side, min_face)
    found = [face for face in found if face.side >= (min_face or 0)]
    return in_reading_order(found)


def require_min_face(min_face: float | None) -> None:
    """Assert that faces of this side, in pixels, can be asked for.

    Raises:
        UserError: they are too small, or of no size.
    """
    if min_face is not None and not LEAST <= min_face < math.inf:
        raise UserError(f"faces can be found from {LEAST} pixels on, not from {min_face:g}")


def _search(image: np.ndarray, max_side: int | None, min_face: float | None = None) -> list[Face]:
    """All faces of `(H, W, 3)`, from coarse to fine."""
    long_side = max(image.shape[:2])
    picture = Image.fromarray(image)
    found: list[Face] = []
    for side, margin in _COARSE:
        if not found:
            found = _look(picture, side, margin, _SURE)
    limit = max_side or _MAX_SIDE
    for finer in _finer_searches(long_side, found, limit, min_face):
        found = _with_smaller(image, found, finer)
    if max_side is None and min_face is None:
        largest, finest = max((face.side for face in found), default=0.0), min(_FINEST, long_side)
        if largest < 2 * SMALLEST * long_side / limit and finest > _STEP * limit:
            found = _with_smaller(image, found, finest)
    return found


def _finer_searches(long_side: int, found: list[Face], limit: int, min_face: float | None) -> list[int]:
    """Long sides at which a picture is searched after the coarse search, ascending; maybe none."""
    finest = float(min(limit, long_side))
    if found:
        largest = max(face.side for face in found)
        finest = min(finest, SMALLEST * long_side / max(_BESIDE, largest / _RANGE))
    sides = [finest]
    if min_face:
        needed = SMALLEST * long_side / min_face
        sides = [min(finest, needed)]
        while needed > _STEP * sides[0]:
            sides.insert(1, needed)
            needed /= _FINER
    return [round(side) for side in sides if side > _STEP * _COARSE[0][0]]


def _with_smaller(image: np.ndarray, found: list[Face], side: int) -> list[Face]:
    """The faces found before, and those of a search at a long side; of two boxes of one face the surer."""
    picture = Image.fromarray(image)
    guesses = _looked_at_again(image, _look(picture, side, _MARGIN, _GUESS))
    sure = without_duplicates([*found, *(face for face in guesses if face.score >= _CONFIRMED)])
    if len(sure) < _GROUP:
        return sure
    usual = float(np.median([face.side for face in sure]))
    faint = [face for face in _look(picture, side, _MARGIN, _FAINT) if face.score <= _GUESS]
    others = [face for face in guesses if face.score < _CONFIRMED] + _looked_at_again(image, faint)
    alike = [face for face in others if usual / _ALIKE < face.side < usual * _ALIKE and face.score >= _IN_GROUP]
    return without_duplicates(sure + alike)


def _looked_at_again(image: np.ndarray, guesses: list[Face]) -> list[Face]:
    return [replace(guess, score=_closer_score(image, guess)) for guess in guesses]


def _in_best_turn(image: np.ndarray, found: list[Face], max_side: int | None, min_face: float | None) -> list[Face]:
    """The faces of `(H, W, 3)` in that of its four turns where the best is surest; `found` are those as it is."""
    best, turn = max((_closer_score(image, face) for face in found), default=0.0), 0
    long_side, side = max(image.shape[:2]), max_side or _MAX_SIDE
    if found:  # faces half as large would be seen, where so small ones are looked for
        finest = max_side or (_FINEST if min_face is None else SMALLEST * long_side / min_face)
        side = round(min(max(finest, side), 2 * SMALLEST * long_side / max(face.side for face in found)))
    small = np.asarray(Image.fromarray(image).reduce(max(1, long_side // (2 * side))))
    for quarters in (1, 2, 3):
        turned = np.ascontiguousarray(np.rot90(small, quarters))
        upright = [face for face in _search(turned, side) if abs(face.roll) <= _TURNED_ROLL]
        score = max((_closer_score(turned, face) for face in upright), default=0.0)
        if score > max(best, _CONFIRMED):
            best, turn = score, quarters
    if not turn:
        return found
    turned = np.ascontiguousarray(np.rot90(image, turn))
    return [_turned_back(face, turned.shape, turn) for face in _search(turned, max_side, min_face)]


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
    size = tuple(max(1, round(side * ratio)) for side in picture.size)
    scale = np.divide(size, picture.size)
    found = []
    for corner, tile in _tiles(picture, size, margin):
        for box, score, keypoints in zip(*detect(tile, threshold), strict=True):
            x0, y0, x1, y1 = ((box + corner) / scale).round().astype(int).ravel().tolist()
            found.append(Face((x0, y0, x1, y1), float(score), (keypoints + corner) / scale))
    return found


def _tiles(picture: Image.Image, size: tuple[int, ...], margin: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Parts `(H, W, 3)` of a picture scaled to a size, with a black margin, and where they begin (x, y) in it.

    They are at most `_TILE` pixels wide and high, share `LARGEST`, and are scaled one by one.
    """
    ends = np.array([side + margin + -(side + 2 * margin) % 16 for side in size])
    columns, rows = (range(-margin, max(1 - margin, end - LARGEST), _TILE - LARGEST) for end in ends)
    for corner in (np.array([x, y]) for y in rows for x in columns):
        end = np.minimum(corner + _TILE, ends)
        seen = np.stack([corner, end]).clip(0, size)
        x0, y0, x1, y1 = (seen * picture.size / size).ravel().tolist()
        part = picture.resize(seen[1] - seen[0], Image.Resampling.BILINEAR, (x0, y0, x1, y1), reducing_gap=2.0)
        (left, top), (right, bottom) = seen[0] - corner, end - seen[1]
        yield corner, np.pad(np.asarray(part), ((top, bottom), (left, right), (0, 0)))


def _closer_score(image: np.ndarray, face: Face) -> float:
    """Mean score of a face alone, closely and widely framed, each 128 pixels wide; 0 where it is not seen there.

    Where the mean is low, a third frame takes the place of the worse one: neighbours may be in the way.
    """
    scores = [_score_in(image, face, zoom) for zoom in _ZOOMS]
    if sum(scores) / 2 < _CONFIRMED:
        scores = sorted([*scores, _score_in(image, face, _THIRD_ZOOM)])[1:]
    return float(np.mean(scores))


def _score_in(image: np.ndarray, face: Face, zoom: float) -> float:
    """Score of a face in a square `zoom` times its side, 0 where none is seen in the middle of it."""
    again, expected = detect(cut_scaled(image, around(face, zoom), 128)), 128 / zoom
    away = np.abs(again.boxes.mean(axis=1) - 64).max(axis=1)
    side = (again.boxes[:, 1] - again.boxes[:, 0]).mean(axis=1)
    same = (away < expected / 4) & (side > 0.6 * expected) & (side < 1.6 * expected)
    return float(again.scores[same].max(initial=0.0))


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
