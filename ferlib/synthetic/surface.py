"""The skin between the parts of a face: its bumps, its soft shadows, its creases, in face units."""

from collections.abc import Sequence

import numpy as np

from ferlib.synthetic.geometry import SIDES, FaceGeometry, shifted, spline


def relief(face: FaceGeometry) -> np.ndarray:
    """Bumps on the round head that the light falls on, (k, 5): x, y, spread in x, spread in y, height."""
    a, w, y = face.units, face.who.nose_width, face.nose_y
    corner_x, corner_y = face.mouth.corner
    top, bottom = face.mouth.top, face.mouth.bottom
    jaw = 0.11 * a["AU26"]
    bumps: list[tuple[float, ...]] = [
        (0, -0.10, 0.055, 0.16, 0.07),  # bridge of the nose
        (0, y - 0.06, 0.075 * w, 0.10, 0.12),
        (0, y, 0.065 * w, 0.05, 0.07),  # tip
        (0, top - 0.03, 0.17, 0.07, 0.025),  # lips
        (0, bottom - 0.03, 0.13, 0.035, 0.030),
        (0, bottom + 0.06, 0.15, 0.035, -0.035),
        (0, 0.83 + jaw, 0.16, 0.09, 0.055 + 0.03 * a["AU17"]),  # chin
        (0, -0.66, 0.38, 0.20, 0.06),  # forehead
    ]
    for side in SIDES:
        smile, cheek = face.unit("AU12", side), face.unit("AU6", side)
        brow = face.brows[side].mean(axis=0)
        bumps += [
            (side * 0.105 * w, y, 0.042 * w, 0.045, 0.045),  # wings of the nose
            (brow[0], brow[1] + 0.015, 0.17, 0.055, 0.030),
            (side * 0.15, -0.17, 0.05, 0.09, -0.055),  # corners of the eye sockets
            (side * 0.305, -0.155, 0.15, 0.085, -0.012),
            (
                side * 0.43,
                0.11 - 0.04 * cheek - 0.02 * smile,
                0.17,
                0.11,
                0.045 + 0.035 * cheek + 0.035 * smile,
            ),
            (side * 0.47, 0.50, 0.11, 0.16, -0.03),  # hollow of the cheek
            (side * (corner_x + 0.03), corner_y, 0.035, 0.04, -0.012 - 0.02 * smile),
        ]
    return np.array(bumps)


def occlusion(face: FaceGeometry) -> np.ndarray:
    """Soft shadows wherever the light comes from, (k, 5): x, y, spread in x, spread in y, darkness."""
    y, bottom = face.nose_y, face.mouth.bottom
    shadows: list[tuple[float, ...]] = [(0, y + 0.065, 0.10, 0.028, 0.20), (0, bottom + 0.045, 0.12, 0.030, 0.16)]
    for side in SIDES:
        tired = 0.08 + 0.10 * face.who.age
        frown = 0.16 * face.unit("AU4", side) + 0.10 * face.unit("AU9", side)
        shadows += [
            (side * 0.165, -0.21, 0.05, 0.08, 0.14 + frown),
            (side * 0.30, -0.235, 0.15, 0.045, 0.12),
            (side * 0.29, -0.065, 0.12, 0.025, tired + 0.06 * face.unit("AU6", side)),
        ]
    return np.array(shadows)


def wrinkles(face: FaceGeometry) -> list[tuple[np.ndarray, float, float]]:
    """Creases of the skin: curve, width, darkness 0..1. The muscles make them, age deepens them."""
    lines = [line for side in SIDES for line in _side_wrinkles(face, side)]
    a, age = face.units, face.who.age
    lift, wave = 0.05 * (a["AU1"] + a["AU2"]), 0.02 * a["AU2"]
    peak = 0.02 * (a["AU1"] - a["AU2"])
    depth = 0.16 * max(0, age - 0.3) + 0.24 * a["AU1"] + 0.20 * a["AU2"]
    for step in range(3):  # forehead
        y = -0.53 - 0.075 * step - lift
        x = 0.36 - 0.03 * step - 0.12 * (1 - a["AU2"]) * a["AU1"]
        line = spline((-x, y + 0.03), (-x / 2, y - wave), (0, y - peak), (x / 2, y - wave), (x, y + 0.03))
        lines.append((line, 0.014, depth))
    chin = face.mouth.bottom + 0.075
    line = spline((-0.11, chin + 0.02), (0, chin - 0.006), (0.11, chin + 0.02))
    lines.append((line, 0.022, 0.10 + 0.34 * a["AU17"]))
    for x in (-0.06, 0.0, 0.06):  # dimples of the chin
        line = spline((x - 0.012, chin + 0.085), (x, chin + 0.095), (x + 0.012, chin + 0.085))
        lines.append((line, 0.016, 0.28 * a["AU17"]))
    return [line for line in lines if line[2] > 0.02]


def _side_wrinkles(face: FaceGeometry, side: int) -> list[tuple[np.ndarray, float, float]]:
    """Creases of one half of the face, built for the picture's right."""
    a, age = {name: face.unit(name, side) for name in face.units}, face.who.age
    flip = np.array((side, 1))
    lines = []

    def crease(width: float, darkness: float, *knots: Sequence[float] | np.ndarray) -> None:
        lines.append((spline(*knots) * flip, width, darkness))

    # from the nose to the mouth
    fold = 0.04 + 0.22 * age + 0.34 * a["AU12"] + 0.34 * a["AU9"] + 0.40 * a["AU10"] + 0.1 * a["AU20"]
    lines.append((face.cheek_fold(side), 0.030, fold))
    # crow's feet
    outer = face.eyes[side].upper[-1] * flip
    for slope in (-0.045, 0.005, 0.05):
        start = shifted(outer, 0.035, slope * 0.5)
        bend, end = shifted(start, 0.045, slope * 0.6), shifted(start, 0.085, slope * 1.4)
        crease(0.010, 0.20 * max(0, age - 0.4) + 0.34 * a["AU6"], start, bend, end)
    # under the eye
    pouch = shifted(face.eyes[side].lower, 0, 0.034)[3:-3]
    lines.append((pouch, 0.016, 0.06 + 0.14 * age + 0.22 * a["AU6"] + 0.16 * a["AU7"]))
    # between the brows
    x, y = face.brows[side][0] * flip
    x = max(0.035, x - 0.055)
    crease(0.016, 0.55 * a["AU4"] + 0.15 * a["AU9"], (x, y - 0.075), (x, y), (x + 0.006, y + 0.06))
    # across the nose
    for y, depth in ((-0.170, 0.42), (-0.122, 0.42), (-0.074, 0.30)):
        crease(0.016, depth * a["AU9"], (0.0, y - 0.010), (0.05, y), (0.11, y + 0.045))
    # below and beside the corner of the mouth
    x, y = face.mouth.corner
    crease(0.018, 0.12 * age + 0.32 * a["AU15"], (x + 0.012, y), (x + 0.03, y + 0.045), (x + 0.026, y + 0.11))
    beside = ((x + 0.025, y - 0.035), (x + 0.040, y), (x + 0.03, y + 0.035))
    crease(0.018, 0.22 * a["AU12"] + 0.30 * a["AU20"], *beside)
    return lines
