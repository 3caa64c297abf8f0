"""Measures of a face that help to explain an answer, from its landmarks: the head's pose, how open eyes and mouth are.

The pose is the rotation that lays MediaPipe's canonical face upon the landmarks: the weighted least squares fit of a
rotation, a scale and a shift (Kabsch 1976, Umeyama 1991) over the 33 points that expressions move least.
"""

from dataclasses import dataclass

import numpy as np

from ferlib.detection.crop import FaceCrop
from ferlib.detection.landmarks import SURE, find_eyelids

# geometry_pipeline_metadata_landmarks.pbtxt of MediaPipe (Apache-2.0). A row: index on the picture's left and on its
# right (the same in the middle of the face), weight of either, x, y, z of the left one in cm, y up, z to the camera.
_BASIS = np.array(
    [
        (4, 4, 0.070910, 0.000000, -0.463170, 7.586580),
        (6, 6, 0.032100, 0.000000, 2.473255, 5.788627),
        (10, 10, 0.008447, 0.000000, 8.261778, 4.481535),
        (33, 263, 0.058724, -4.445859, 2.663991, 3.173422),
        (54, 284, 0.007667, -6.279331, 6.615427, 1.425850),
        (67, 297, 0.009078, -3.523964, 8.005976, 3.729163),
        (117, 346, 0.009792, -5.258659, 0.945811, 2.974312),
        (119, 348, 0.014565, -3.300681, 0.861641, 3.872784),
        (121, 350, 0.018591, -1.820731, 1.467954, 4.224124),
        (127, 356, 0.005198, -7.743095, 2.364999, -2.005167),
        (129, 358, 0.120625, -1.785794, -0.978284, 4.850470),
        (132, 361, 0.005560, -7.270895, -2.890917, -2.252455),
        (133, 362, 0.053286, -1.856432, 2.585245, 3.757904),
        (136, 365, 0.066890, -5.085276, -7.178590, 0.714711),
        (143, 372, 0.014817, -6.407571, 2.236021, 1.560843),
        (147, 376, 0.014263, -6.234883, -1.944430, 1.663542),
        (198, 420, 0.025462, -1.246815, 0.230297, 5.681036),
        (205, 425, 0.047252, -3.832928, -1.537326, 4.137731),
    ]
)
_PAIRS = _BASIS[:, 0] != _BASIS[:, 1]
_INDICES = np.concatenate([_BASIS[:, 0], _BASIS[_PAIRS, 1]]).astype(int)
_WEIGHTS = np.concatenate([_BASIS[:, 2], _BASIS[_PAIRS, 2]])
#: In the picture's axes: x to the right, y down, z away from the camera.
_CANONICAL = np.concatenate([_BASIS[:, 3:] * (1, -1, -1), _BASIS[_PAIRS, 3:] * (-1, -1, -1)])

_LIDS = ((0, 8), (11, 3), (13, 5))  # corners of an eye, then pairs of points on its upper and its lower lid
_LIPS = ((78, 308), (13, 14))  # corners of the mouth within the lips, then their middles


@dataclass(frozen=True)
class FaceMeasures:
    """The pose of a head, and how open its eyes and mouth are.

    Attributes:
        yaw: degrees; positive: turned to the right of the picture.
        pitch: degrees; positive: turned down.
        roll: degrees; positive: tilted clockwise in the picture.
        eye_openness: height of the eyes over their width (the eye aspect ratio of Soukupová and Čech 2016), mean of the
            two; about 0.3 when open.
        mouth_openness: height of the gap between the lips over its width; about 0 when closed.
    """

    yaw: float
    pitch: float
    roll: float
    eye_openness: float
    mouth_openness: float


def measures_of(crop: FaceCrop) -> FaceMeasures | None:
    """Measures of a face in its photo; None where its landmarks cannot be told."""
    landmarks = crop.landmarks
    if landmarks.score < SURE:
        return None
    eyes = [_ratio(lids, *_LIDS) for lids in find_eyelids(crop.photo, landmarks)]
    return FaceMeasures(*head_pose(landmarks.points), sum(eyes) / len(eyes), _ratio(landmarks.points, *_LIPS))


def head_pose(points: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees, see `FaceMeasures`, from the landmarks' points (468, 3)."""
    weights = _WEIGHTS[:, None] / _WEIGHTS.sum()
    seen, face = (own - (weights * own).sum(axis=0) for own in (points[_INDICES].astype(float), _CANONICAL))
    left, _, right = np.linalg.svd((weights * seen).T @ face)
    turn = (
        left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    )  # takes column vectors of the face to the picture
    # turn = Rz(roll) Ry(-yaw) Rx(pitch)
    yaw = np.arcsin(np.clip(turn[2, 0], -1, 1))
    pitch, roll = np.arctan2(turn[2, 1], turn[2, 2]), np.arctan2(turn[1, 0], turn[0, 0])
    return tuple(float(np.degrees(angle)) for angle in (yaw, pitch, roll))  # type: ignore[return-value]


def _ratio(points: np.ndarray, corners: tuple[int, int], *pairs: tuple[int, int]) -> float:
    """Mean distance of some pairs of points, over the distance of the corners."""
    width, *heights = (float(np.linalg.norm(points[a] - points[b])) for a, b in (corners, *pairs))
    return sum(heights) / len(heights) / max(width, 1e-9)
