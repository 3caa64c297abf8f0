"""Find the faces of a film's frames: the whole frame now and then, around the known faces all the time.

To search a whole frame costs twenty times as much as to look at one face again. So whole frames are searched a few
times a second, where new faces begin; between these every known face is looked for around the place where it is
expected, at 128 pixels, which gives box and keypoints anew. Faces of a search are looked at in the same way, so that
crops do not jump when one is due.
"""

import numpy as np

from ferlib.detection.blazeface import detect
from ferlib.detection.crop import Face, around, cut_scaled
from ferlib.detection.faces import detect_faces, without_duplicates

SEARCH_EVERY = 0.2  # seconds between two searches of whole frames
_MAX_SIDE = 640  # long side at which whole frames are searched, however small the faces in them
_ZOOM = 2.0  # side of the square that is looked at, in sides of the face
_SIDE = 128  # pixels at which it is
_SURE = 0.6  # the lowest score there, see ferlib.detection.faces
_SAME = 0.7  # of two boxes sharing more than this part of the smaller one, the better stays: people pass each other
_AWAY = 0.35  # how far from the square's middle, in parts of its side


class FaceFinder:
    """Finds the faces of frame after frame.

    Args:
        search_every: seconds between two searches of whole frames; 0: every frame is searched.
        min_face: side in pixels of the smallest faces that a search finds, see `detect_faces`.
    """

    def __init__(self, search_every: float = SEARCH_EVERY, min_face: float | None = None):
        self.search_every, self.min_face = search_every, min_face
        self._next = 0.0

    def find(
        self, image: np.ndarray, time: float, expected: list[Face], search: bool = False
    ) -> tuple[list[Face], bool]:
        """The faces of a frame, and whether the whole of it was searched.

        Args:
            image: (H, W, 3) uint8.
            time: of the frame, in seconds.
            expected: known faces, where they should be.
            search: search it all, whenever that was done last.
        """
        search = search or time >= self._next - 1e-6
        found = []
        if search:
            self._next = time + self.search_every
            faces = detect_faces(image, _MAX_SIDE, turns=False, min_face=self.min_face)
            found = [look_again(image, face) or face for face in faces]
        known = [face for one in expected if (face := look_again(image, one)) is not None]
        return without_duplicates([*found, *known], _SAME), search


def look_again(image: np.ndarray, face: Face) -> Face | None:
    """The face near a place in a frame, (H, W, 3) uint8; None where there is none."""
    x0, y0, x1, y1 = around(face, _ZOOM)
    height, width = image.shape[:2]
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        return None
    found = detect(cut_scaled(image, (x0, y0, x1, y1), _SIDE), _SURE)
    if not len(found.scores):
        return None
    away = np.abs(found.boxes.mean(axis=1) - _SIDE / 2).max(axis=1)
    nearest = int(away.argmin())
    if away[nearest] > _AWAY * _SIDE:
        return None
    scale = (x1 - x0) / _SIDE
    box = (found.boxes[nearest] * scale + (x0, y0)).round().astype(int).ravel().tolist()
    return Face(tuple(box), float(found.scores[nearest]), found.keypoints[nearest] * scale + (x0, y0))
