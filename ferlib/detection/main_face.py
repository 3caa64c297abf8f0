"""The main face of a picture, where only one is wanted: the largest, most central one."""

from collections.abc import Sequence

from ferlib.detection.crop import Face
from ferlib.errors import UserError

FACES = ("all", "main")
"""The choices there are: every face of a picture, or the main one alone."""

_AT_THE_RIM = 0.5  # what a face counts in a corner of the picture, of what it counts in the middle


def require_choice(faces: str) -> None:
    """Assert that `faces` is one of `FACES`.

    Raises:
        UserError: it is not.
    """
    if faces not in FACES:
        raise UserError(f"faces are {' or '.join(FACES)}, not {faces!r}")


def main_face(faces: Sequence[Face], shape: tuple[int, ...]) -> Face:
    """The face of a picture of this shape (H, W, …) whose `prominence` is the highest."""
    return max(faces, key=lambda face: prominence(face, shape))


def prominence(face: Face, shape: tuple[int, ...]) -> float:
    """Side of a face in pixels, less the further it is from its picture's middle: in a corner half of it."""
    x0, y0, x1, y1 = face.box
    height, width = shape[:2]
    across, down = (x0 + x1) / width - 1, (y0 + y1) / height - 1  # -1..1
    away = min(1.0, ((across**2 + down**2) / 2) ** 0.5)
    return face.side * (1 - (1 - _AT_THE_RIM) * away)
