"""MediaPipe's face mesh and its model of the eyes, run by onnxruntime: where the points of a face's surface are.

Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", 2019; Ablavatski et al.,
"Real-time Pupil Tracking from Monocular Video for Digital Puppetry", 2020. Both are Apache-2.0; README.md beside this
file says where the weights come from and how they were converted.
"""

from pathlib import Path

import numpy as np

from ferlib.runtime.session import OnnxModel

FACE_SIDE, EYE_SIDE = 192, 64  # pixels of what the two networks see
_FACE, _EYE = (OnnxModel(Path(__file__).with_name(f"{name}_landmark.onnx")) for name in ("face", "iris"))
_CONTOUR = 16  # of an eye's 71 points; the others lie around it


def mesh(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points of upright faces, and how sure the network is that each is a face.

    Args:
        faces: (N, 192, 192, 3) uint8 RGB, each framed as `ferlib.detection.landmarks.face_square` says.

    Returns:
        (N, 468, 3) float32 x, y in pixels of the 192, z in the same unit, growing away from the camera, 0 about the
        middle of the head; and (N,) in 0..1.
    """
    points, logits = _FACE.run(["points", "scores"], {"pictures": _input(faces)})
    return points.reshape(len(faces), -1, 3), 1 / (1 + np.exp(-logits.reshape(-1).clip(-80, 80)))


def eye_contours(eyes: np.ndarray) -> np.ndarray:
    """The lids of upright eyes with the outer corner on the left, (N, 16, 2) float32 x, y in pixels of the 64.

    Points 0 and 8 are the outer and the inner corner, 1 to 7 the lower lid between them, 9 to 15 the upper one.

    Args:
        eyes: (N, 64, 64, 3) uint8 RGB, each framed as `ferlib.detection.landmarks.find_eyelids` does.
    """
    (points,) = _EYE.run(["points"], {"pictures": _input(eyes)})
    return points.reshape(len(eyes), -1, 3)[:, :_CONTOUR, :2]


def _input(pictures: np.ndarray) -> np.ndarray:
    return pictures.transpose(0, 3, 1, 2) / np.float32(255)
