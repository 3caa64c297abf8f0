"""From muscles to lines: where the parts of a face lie, given its person and its action units.

Face units: (0, 0) is the middle of the face, x to the picture's right, y down; 1 is about half its height.
Everything is a curve or closed polygon, float (n, 2), in these units. Paired parts are built for
the picture's right and mirrored by `side` (+1 right, -1 left).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ferlib.synthetic.parameters import Identity

SIDES = (-1, 1)
FLIP = np.array((-1.0, 1.0))  # mirrors points at the middle line
STEPS = 6  # points a spline gets between two of its knots
MOUTH = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 25))  # places along the lips, -1 to 1, closer at the corners
# the bow of the upper lip, at these places
CUPID = np.exp(-(((np.abs(MOUTH) - 0.17) / 0.12) ** 2)) - 1.4 * np.exp(-((MOUTH / 0.08) ** 2))
CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 28, endpoint=False)) for f in (np.cos, np.sin)], axis=1)


@lru_cache
def _spline_matrix(knots: int) -> np.ndarray:
    """Catmull-Rom weights ((knots - 1) * STEPS + 1, knots): the curve is this matrix times its knots."""
    t = np.linspace(0, 1, STEPS, endpoint=False)[:, None]
    blend = 0.5 * np.hstack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3])
    matrix = np.zeros(((knots - 1) * STEPS + 1, knots))
    for segment in range(knots - 1):
        for column, knot in enumerate(range(segment - 1, segment + 3)):
            # the ends are repeated
            matrix[segment * STEPS : (segment + 1) * STEPS, min(max(knot, 0), knots - 1)] += blend[:, column]
    matrix[-1, -1] = 1
    return matrix


def spline(*knots: Sequence[float] | np.ndarray) -> np.ndarray:
    """A smooth open curve through the knots, (n, 2)."""
    return _spline_matrix(len(knots)) @ np.array(knots, float)


@lru_cache
def _stretch_matrix(knots: int, points: int) -> np.ndarray:
    """Weights (points, knots) that spread knots evenly over points, straight lines between them."""
    places = np.linspace(0, knots - 1, points)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(knots)))


def ribbon(curve: np.ndarray, widths: float | Sequence[float] | np.ndarray) -> np.ndarray:
    """The polygon (2n, 2) around a curve (n, 2), as wide as `widths`: one, or knots spread along it."""
    widths = np.atleast_1d(widths)
    along = np.empty_like(curve)
    along[1:-1], along[0], along[-1] = curve[2:] - curve[:-2], curve[1] - curve[0], curve[-1] - curve[-2]
    normal = along[:, ::-1] * FLIP / (np.sqrt((along * along).sum(axis=1, keepdims=True)) + 1e-9)
    half = normal * (_stretch_matrix(len(widths), len(curve)) @ widths)[:, None] / 2
    return np.concatenate([curve + half, (curve - half)[::-1]])


def ellipse(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """An axis-parallel ellipse as a polygon, (28, 2)."""
    return CIRCLE * (rx, ry) + (x, y)


def shifted(points: np.ndarray, right: float, down: float) -> np.ndarray:
    """Points (2,) or (n, 2) moved to the picture's right and down."""
    return points + np.array((right, down))


def mirrored(right: np.ndarray) -> np.ndarray:
    """Closes a right half, which runs from the middle line to the middle line, with its mirror image."""
    return np.concatenate([right, right[::-1] * FLIP])


@dataclass(frozen=True)
class Eye:
    """One eye: its lids run from the inner to the outer corner; x, y is the middle of the iris."""

    upper: np.ndarray
    lower: np.ndarray
    crease: np.ndarray
    x: float
    y: float
    iris: float  # radius

    @property
    def opening(self) -> np.ndarray:
        """The opening between the lids, a closed polygon."""
        return np.concatenate([self.upper, self.lower[::-1]])

    @property
    def gap(self) -> float:
        """Distance of the lids in the middle of the eye."""
        middle = len(self.upper) // 2
        return self.lower[middle, 1] - self.upper[middle, 1]


@dataclass(frozen=True)
class Mouth:
    """Four curves, each from the picture's left corner to the right one, top to bottom."""

    upper_edge: np.ndarray
    upper_inner: np.ndarray
    lower_inner: np.ndarray
    lower_edge: np.ndarray
    corner: tuple[float, float]  # the right one

    @property
    def outline(self) -> np.ndarray:
        """Edge of the lips, a closed polygon."""
        return np.concatenate([self.upper_edge, self.lower_edge[::-1]])

    @property
    def top(self) -> float:
        """Upper edge of the lips in the middle of the mouth, y."""
        return self.upper_edge[len(self.upper_edge) // 2, 1]

    @property
    def bottom(self) -> float:
        """Lower edge of the lips in the middle of the mouth, y."""
        return self.lower_edge[len(self.lower_edge) // 2, 1]


class FaceGeometry:
    """All curves of one face.

    Args:
        units: intensities of all action units, 0..1 (`ferlib.synthetic.parameters.complete`).
        who: the person.
    """

    def __init__(self, units: dict[str, float], who: Identity):
        self.units, self.who = units, who
        self.nose_y = 0.215 * who.nose_length - 0.035 * units["AU9"] - 0.015 * units["AU10"]
        self.outline = self._outline()
        self.mouth = self._mouth()
        self.eyes = {side: self._eye(side) for side in SIDES}
        self.brows = {side: self._brow(side) for side in SIDES}

    def unit(self, name: str, side: int) -> float:
        """Intensity of a unit on one side of the face."""
        return self.units[name] * (1 + side * self.who.asymmetry)

    def _outline(self) -> np.ndarray:
        """Edge of the skin from the top of the skull to the chin, a closed polygon."""
        who, drop = self.who, 0.11 * self.units["AU26"]
        w, j, chin = who.face_width, who.face_width * who.jaw_width, 0.98 * who.chin_length
        right = spline(
            (0, -1.03), (0.39 * w, -0.96), (0.64 * w, -0.66), (0.71 * w, -0.25), (0.69 * w, 0.12),
            (0.605 * j, 0.46 + 0.3 * drop), (0.41 * j, 0.79 + 0.8 * drop), (0.17 * j, chin - 0.02 + drop),
            (0, chin + drop),
        )  # fmt: skip
        return mirrored(right)

    def _brow(self, side: int) -> np.ndarray:
        """Middle line of a brow, from its inner to its outer end."""
        raise_inner, raise_outer, lower, wrinkle = (self.unit(u, side) for u in ("AU1", "AU2", "AU4", "AU9"))
        middle, arch = -0.355 + self.who.brow_height, self.who.brow_arch
        inward = 0.045 * lower
        x = np.array((0.135 - inward, 0.255 - 0.8 * inward, 0.395 - 0.3 * inward, 0.525))
        y = middle + np.array((-0.014, -0.045, -0.057 - arch, 0.015))
        # what each muscle does to the four knots, inner to outer
        y += raise_inner * np.array((-0.140, -0.085, -0.015, 0.025 * (1 - raise_outer)))
        y += raise_outer * np.array((-0.010, -0.075, -0.120, -0.090))
        y += lower * np.array((0.085, 0.075, 0.035, 0.012))
        y += wrinkle * np.array((0.040, 0.030, 0.0, 0.0))
        knots = np.stack([x, y], axis=1)
        return spline(*knots) * (side, 1)

    def _eye(self, side: int) -> Eye:
        who = self.who
        raise_lid, tighten, cheek, wrinkle = (self.unit(u, side) for u in ("AU5", "AU7", "AU6", "AU9"))
        x, y, w = 0.305 * who.eye_spacing, -0.155, 0.150 * who.eye_size
        up = 0.082 * who.eye_size + 0.058 * raise_lid - 0.030 * tighten - 0.010 * cheek - 0.016 * wrinkle
        down = 0.052 * who.eye_size - 0.026 * tighten - 0.034 * cheek - 0.028 * wrinkle + 0.008 * raise_lid
        # the inner half of the lid follows the brow
        frown = 0.016 * self.unit("AU4", side) - 0.014 * self.unit("AU1", side)
        inner, outer = (x - w, y + 0.014), (x + w, y - 0.012 - who.eye_tilt)
        shut = self.units["AU43"]
        up = up * (1 - shut) - shut * 0.75 * down
        upper = spline(
            inner,
            (x - 0.55 * w, y - 0.78 * up + frown),
            (x, y - up),
            (x + 0.58 * w, y - 0.74 * up - 0.006),
            outer,
        )
        lower = spline(
            inner,
            (x - 0.5 * w, y + 0.008 + 0.72 * down),
            (x + 0.05 * w, y + 0.004 + down),
            (x + 0.6 * w, y + 0.68 * down),
            outer,
        )
        fold = 0.034 + 0.012 * raise_lid
        crease = spline(
            (x - 0.85 * w, y - 0.35 * up - fold), (x - 0.1 * w, y - up - fold),
            (x + 0.65 * w, y - 0.72 * up - fold), (x + 1.1 * w, y - 0.02 - fold * 0.3),
        )  # fmt: skip
        flip = np.array((side, 1))
        return Eye(upper * flip, lower * flip, crease * flip, side * x, y - 0.010, 0.074 * who.eye_size**0.5)

    def _mouth(self) -> Mouth:
        a, who = self.units, self.who
        smile, frown, stretch, jaw = a["AU12"], a["AU15"], a["AU20"], a["AU26"]
        x = 0.250 * who.mouth_width + 0.085 * smile + 0.075 * stretch + 0.010 * frown
        x += -0.050 * jaw * (1 - stretch) - 0.045 * a["AU23"] - 0.010 * a["AU24"]
        y = 0.505
        middle = y + 0.005 + 0.010 * smile - 0.035 * a["AU17"] - 0.012 * frown
        thin = (1 - 0.28 * smile) * (1 - 0.30 * stretch) * (1 - 0.62 * a["AU23"]) * (1 - 0.5 * a["AU24"])
        upper_gap = 0.012 * a["AU25"] + 0.014 * a["AU25"] * smile + 0.046 * a["AU10"] + 0.016 * a["AU9"] + 0.02 * jaw
        lower_gap = 0.030 * a["AU25"] + 0.045 * a["AU25"] * smile + 0.175 * jaw + 0.045 * a["AU16"]
        top, bottom = middle - upper_gap, middle + lower_gap
        top_edge = top - 0.056 * who.lip_fullness * thin * (1 - 0.2 * a["AU10"])
        bottom_edge = bottom + 0.082 * who.lip_fullness * thin * (1 - 0.15 * jaw) * (1 + 0.15 * a["AU17"])

        lift = np.array((-1, 1)) * 0.04 * who.asymmetry * (smile - frown)
        corners = y - 0.105 * smile + 0.085 * frown + 0.015 * stretch + 0.045 * jaw - lift  # left, right
        ends = corners.mean() + MOUTH * (corners[1] - corners[0]) / 2

        def curve(centre: float, roundness: float, bow: float = 0.0) -> np.ndarray:
            """Corner to corner through `centre`: a parabola at roundness 0, an ellipse at 1."""
            height = ends + (centre - ends) * (1 - MOUTH**2) ** (1 - 0.5 * roundness) - bow * CUPID
            return np.stack([x * MOUTH, height], axis=1)

        upper_edge, lower_edge = curve(top_edge, 0.3 + 0.4 * jaw, 0.010), curve(bottom_edge, 0.4 + 0.3 * jaw)
        upper_inner, lower_inner = curve(top, 0.6 * jaw, 0.003 * (1 - jaw)), curve(bottom, 0.8 * jaw)
        return Mouth(upper_edge, upper_inner, lower_inner, lower_edge, tuple(upper_edge[-1]))

    def nose_region(self) -> np.ndarray:
        """The nose from its root to its base, a closed polygon."""
        w, y = self.who.nose_width, self.nose_y
        right = spline(
            (0, -0.20),
            (0.055, -0.17),
            (0.07 * w, 0.02),
            (0.155 * w, y - 0.02),
            (0.145 * w, y + 0.035),
            (0, y + 0.075),
        )
        return mirrored(right)

    def nose_wing(self, side: int) -> np.ndarray:
        """Outer edge of a nostril."""
        w, y = self.who.nose_width * (1 + 0.10 * self.unit("AU9", side)), self.nose_y
        knots = ((0.098 * w, y - 0.055), (0.137 * w, y - 0.015), (0.130 * w, y + 0.030), (0.092 * w, y + 0.036))
        return spline(*knots) * (side, 1)

    def cheek_fold(self, side: int) -> np.ndarray:
        """The nasolabial fold, from the wing of the nose past the corner of the mouth."""
        x, y = self.mouth.corner
        start = np.array((0.150 * self.who.nose_width, self.nose_y - 0.05))
        end = np.array((max(x, 0.23) + 0.055, y + 0.03))
        outwards = np.array((0.030, -0.030)) * (0.3 + self.unit("AU12", side))
        fold = spline(start, start * 0.67 + end * 0.33 + outwards, start * 0.33 + end * 0.67 + outwards, end)
        return fold * (side, 1)
