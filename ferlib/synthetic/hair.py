"""The hair of a synthetic face: its shapes in face units, and its strands."""

import numpy as np

from ferlib.synthetic.geometry import FLIP, spline
from ferlib.synthetic.parameters import HAIR_COLOURS, Identity

# style: how far the hair stands off the skull, how far down it reaches at the sides, and the hairline's knots
# from the middle outwards, or from the picture's left to its right where it is parted
CUTS = {
    "crop": (0.05, -0.28, ((0, -0.76), (0.35, -0.75), (0.56, -0.60), (0.64, -0.40))),
    "parted": (
        0.10,
        -0.22,
        (
            (-0.63, -0.40),
            (-0.58, -0.60),
            (-0.30, -0.80),
            (0.05, -0.74),
            (0.40, -0.62),
            (0.58, -0.54),
            (0.64, -0.38),
        ),
    ),
    "fringe": (0.11, 0.05, ((0, -0.60), (0.30, -0.59), (0.54, -0.53), (0.63, -0.36))),
    "bob": (0.14, 0.52, ((0, -0.80), (0.25, -0.74), (0.50, -0.56), (0.625, -0.30))),
    "long": (
        0.14,
        1.30,
        (
            (-0.63, -0.30),
            (-0.55, -0.58),
            (-0.25, -0.84),
            (0.10, -0.80),
            (0.42, -0.64),
            (0.58, -0.50),
            (0.635, -0.30),
        ),
    ),
    "curly": (0.22, 0.10, ((0, -0.72), (0.28, -0.70), (0.52, -0.56), (0.64, -0.34))),
}


class Hair:
    """Hair of one person.

    Attributes:
        colour: sRGB (3,).
        behind: closed polygon (n, 2) of what is seen around the head; None for a bald head.
        before: closed polygon (n, 2) of what falls over forehead and cheeks; None for a bald head.
        hangs: whether it falls below the ears.
    """

    def __init__(self, who: Identity):
        self.who = who
        self.colour = np.array(HAIR_COLOURS[who.hair_colour], np.float32)
        self.behind = self.before = None
        self.hangs = False
        if who.hair != "bald":
            volume, reach, knots = CUTS[who.hair]
            self.hangs = reach > 0.3
            self.parted = knots[0][0] < 0
            self.behind = self._outer_edge(volume, reach)
            self.before = np.concatenate([self.behind, self._inner_edge(reach, knots)])

    def _outer_edge(self, volume: float, reach: float) -> np.ndarray:
        """From the left end over the crown to the right end."""
        w, v = self.who.face_width, volume
        knots = [(0, -1.04 - v), (0.42 * w + 0.5 * v, -0.97 - 0.8 * v), (0.68 * w + 0.8 * v, -0.66 - 0.3 * v)]
        knots += [(0.72 * w + v, -0.40), (0.70 * w + v, min(reach, -0.2))]
        if self.hangs:
            knots += [(0.76 * w + 0.6 * v, 0.20), (0.70 * w + 0.5 * v, reach)]
        right = spline(*knots)
        if self.who.hair == "curly":
            angle = np.arctan2(right[:, 0], right[:, 1] + 0.3)
            right = right * (1 + 0.025 * np.abs(np.sin(9 * angle)))[:, None]
        return np.concatenate([right[::-1] * FLIP, right])

    def _inner_edge(self, reach: float, knots: tuple[tuple[float, float], ...]) -> np.ndarray:
        """From the right end along the hairline to the left end."""
        w = self.who.face_width
        line = spline(*knots) * (w, 1)
        if not self.parted:
            line = np.concatenate([line[:0:-1] * FLIP, line])
        if self.hangs:  # locks beside the cheeks
            lock = spline(line[-1], (0.66 * w, 0.0), (0.67 * w, 0.35), (0.60 * w, reach))
        else:  # to the ears
            lock = spline(line[-1], (0.69 * w, reach + 0.05), (0.71 * w, reach + 0.12))
        return np.concatenate([lock[::-1], line[::-1], lock * FLIP])

    def strands(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Colour (h, w, 3) at places x, y (h, w): strands fan out from above the head, in a band of gloss."""
        angle = np.arctan2(x + 0.35 * self.parted, y + 1.6)
        distance = np.hypot(x, y + 0.20)
        waves = 0.08 * np.sin(31 * angle + 2) + 0.07 * np.sin(67 * angle + 5 * distance) + 0.05 * np.sin(151 * angle)
        gloss = 0.35 * np.exp(-(((distance - 0.74) / 0.10) ** 2))
        return (self.colour * (1 + waves + gloss)[..., None] + 0.05 * gloss[..., None]).astype(np.float32)
