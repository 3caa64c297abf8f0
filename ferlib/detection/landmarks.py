"""The 468 landmarks of a face and the lids of its eyes: MediaPipe's networks (`ferlib.detection.facemesh`). Offline.

They are shown what MediaPipe shows them. The mesh: a square half as large again as the long side of the detector's
box, about the box's centre, turned so that the line through the eyes is level
(`face_detection_front_detection_to_roi.pbtxt`). An eye: a square 2.3 times as large as the mesh's eye is wide, about
its middle, turned to its corners (`iris_landmark_landmarks_to_roi.pbtxt`).
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from ferlib.detection.crop import Face, cut, rotation
from ferlib.detection.facemesh import EYE_SIDE, FACE_SIDE, eye_contours, mesh

SURE = 0.5
"""A lower score says that this is no face, or none whose points can be told; MediaPipe's threshold."""

_FACE_ENLARGED, _EYE_ENLARGED = 1.5, 2.3

# Indices into the points. Left and right are those of the picture; outlines go round.
LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
LEFT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
RIGHT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
NOSE = (168, 129, 98, 97, 2, 326, 327, 358)
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149,
        150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
NOSE_TIP = 4
EYE_CORNERS = ((33, 133), (263, 362))  # outer and inner


class Landmarks(NamedTuple):
    """The mesh of a face.

    Attributes:
        points: (468, 3) float32 x, y, z in the picture's pixels; z grows away from the camera and is 0 about the middle
            of the head.
        score: how sure the network is that this is a face, 0..1; below `SURE` the points mean nothing.
    """

    points: np.ndarray
    score: float


def find_landmarks(image: np.ndarray, face: Face) -> Landmarks:
    """The landmarks of a face, in pixels of its picture. Safe to call from several threads.

    Args:
        image: `(H, W, 3)` uint8, the picture the face was found in.
        face: One of `detect_faces(image)`; it may be tilted by any angle.

    Raises:
        ImportError: If onnxruntime is not installed.
    """
    centre, side = face_square(face)
    (points,), (score,) = mesh(turned_square(image, centre, side, face.roll, FACE_SIDE)[None])
    flat = (points[:, :2] / FACE_SIDE - 0.5) * side @ rotation(face.roll) + centre
    return Landmarks(np.column_stack([flat, points[:, 2] * side / FACE_SIDE]).astype(np.float32), float(score))


def find_eyelids(image: np.ndarray, landmarks: Landmarks) -> np.ndarray:
    """The lids of both eyes, which the mesh follows only roughly, in pixels of the picture.

    Returns:
        (2, 16, 2) float32 x, y, the eye on the left first, points as in `ferlib.detection.facemesh.eye_contours`.
    """
    lids = []
    for outer, inner in EYE_CORNERS:
        corners = landmarks.points[[outer, inner], :2].astype(float)
        way = corners[1] - corners[0]
        mirror = -1 if outer == EYE_CORNERS[1][0] else 1  # the network knows eyes whose outer corner is on the left
        roll = math.degrees(math.atan2(mirror * way[1], mirror * way[0]))
        side = _EYE_ENLARGED * max(float(np.abs(way).max()), 1.0)
        eye = turned_square(image, corners.mean(axis=0), side, roll, EYE_SIDE)[:, ::mirror]
        (points,) = eye_contours(eye[None])
        lids.append((points / EYE_SIDE - 0.5) * (mirror, 1) * side @ rotation(roll) + corners.mean(axis=0))
    return np.stack(lids).astype(np.float32)


def face_square(face: Face) -> tuple[np.ndarray, float]:
    """Centre (2,) and side, in the picture's pixels, of the square that the mesh is shown, turned by the roll."""
    corners = np.reshape(face.box, (2, 2))
    return corners.mean(axis=0), _FACE_ENLARGED * float((corners[1] - corners[0]).max())


def turned_square(image: np.ndarray, centre: np.ndarray, side: float, roll: float, size: int) -> np.ndarray:
    """A square of (H, W, 3), set upright, (size, size, 3) uint8; beyond the picture's edge its pixels are repeated.

    Args:
        image: uint8.
        centre: (2,) x, y of the square.
        side: of the square, in pixels of the picture.
        roll: by how many degrees it is turned clockwise in the picture.
        size: side of the result.
    """
    turn = rotation(roll) * side / size  # takes row vectors of the result to the picture
    reach = np.abs(turn).sum(axis=0) * size / 2
    low, high = np.floor(centre - reach).astype(int) - 1, np.ceil(centre + reach).astype(int) + 1
    shrink = max(1, math.floor(side / size))  # the mean of so many pixels each way, so that none is left out
    patch = Image.fromarray(cut(image, (*low.tolist(), *high.tolist()))).reduce(shrink)
    start = (centre - np.full(2, size / 2) @ turn - low) / shrink
    (a, d), (b, e) = turn / shrink
    way = (a, b, start[0], d, e, start[1])
    return np.asarray(patch.transform((size, size), Image.Transform.AFFINE, way, Image.Resampling.BILINEAR))
