"""The order in which faces are numbered."""

from collections.abc import Sequence

import numpy as np

from ferlib.detection.crop import Face

_SHARED = 1 / 3  # of the smaller height, which a face of a row shares with the row's mean


def in_reading_order(faces: Sequence[Face]) -> list[Face]:
    """Faces as one reads: rows from above, in each from the left.

    From above, a face joins the last row where it overlaps it in height: the row's mean top and bottom count. The page
    without a server numbers faces by the same rule (`web/js/faces.js`).
    """
    rows: list[list[Face]] = []
    for face in sorted(faces, key=lambda face: face.box[1] + face.box[3]):
        if rows and _in_row(face, rows[-1]):
            rows[-1].append(face)
        else:
            rows.append([face])
    return [face for row in rows for face in sorted(row, key=lambda face: face.box[0] + face.box[2])]


def _in_row(face: Face, row: Sequence[Face]) -> bool:
    top, bottom = np.mean([one.box[1::2] for one in row], axis=0)
    shared = min(bottom, face.box[3]) - max(top, face.box[1])
    return bool(shared > _SHARED * min(bottom - top, face.box[3] - face.box[1]))
