"""Parameters of a synthetic face: action units (muscles), identity (person) and scene.

Muscles are action units (AU) of the Facial Action Coding System (Ekman, Friesen and Hager 2002), each with an
intensity from 0 (relaxed) to 1 (as far as it goes). The prototypes of the expressions follow EMFACS.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ferlib.errors import UserError

ACTION_UNITS = {
    "AU1": "inner brow raiser",
    "AU2": "outer brow raiser",
    "AU4": "brow lowerer",
    "AU5": "upper lid raiser",
    "AU6": "cheek raiser",
    "AU7": "lid tightener",
    "AU9": "nose wrinkler",
    "AU10": "upper lip raiser",
    "AU12": "lip corner puller",
    "AU15": "lip corner depressor",
    "AU16": "lower lip depressor",
    "AU17": "chin raiser",
    "AU20": "lip stretcher",
    "AU23": "lip tightener",
    "AU24": "lip pressor",
    "AU25": "lips part",
    "AU26": "jaw drop",
    "AU43": "eyes closed",
}

#: The parts of the face that a unit moves or creases, the most moved one first.
MOVED_PARTS = {
    **dict.fromkeys(("AU1", "AU2", "AU4"), ("brows",)),
    **dict.fromkeys(("AU5", "AU6", "AU7", "AU43"), ("eyes",)),
    "AU9": ("nose", "brows", "eyes", "mouth"),
    "AU10": ("mouth", "nose"),
    **dict.fromkeys(("AU12", "AU15", "AU16", "AU17", "AU20", "AU23", "AU24", "AU25", "AU26"), ("mouth",)),
}

#: Prototype of every expression at full intensity; units left out are relaxed.
EXPRESSIONS = {
    "neutral": {},
    "happiness": {"AU6": 0.8, "AU12": 0.9, "AU25": 0.7},
    "surprise": {"AU1": 0.9, "AU2": 0.9, "AU5": 0.8, "AU25": 0.5, "AU26": 0.9},
    "sadness": {"AU1": 0.9, "AU4": 0.5, "AU15": 0.9, "AU17": 0.3},
    "anger": {"AU4": 1.0, "AU5": 0.5, "AU7": 0.7, "AU23": 0.8},
    "disgust": {"AU9": 0.9, "AU10": 0.8, "AU15": 0.5, "AU16": 0.5},
    "fear": {
        "AU1": 0.9,
        "AU2": 0.4,
        "AU4": 0.7,
        "AU5": 0.9,
        "AU7": 0.2,
        "AU20": 0.9,
        "AU25": 0.7,
        "AU26": 0.3,
    },
}

# sRGB in 0..1, from light to dark
SKIN_TONES = np.array(
    [(0.98, 0.85, 0.76), (0.93, 0.75, 0.62), (0.80, 0.59, 0.44), (0.60, 0.41, 0.29), (0.44, 0.29, 0.21)]
)
SKIN_STEPS = np.linspace(0, 1, len(SKIN_TONES))
EYE_COLOURS = {
    "brown": (0.36, 0.21, 0.11),
    "hazel": (0.48, 0.36, 0.17),
    "green": (0.35, 0.46, 0.28),
    "blue": (0.33, 0.52, 0.68),
    "grey": (0.45, 0.50, 0.53),
}
HAIR_COLOURS = {
    "black": (0.10, 0.09, 0.10),
    "brown": (0.26, 0.16, 0.10),
    "chestnut": (0.42, 0.24, 0.13),
    "red": (0.60, 0.28, 0.13),
    "blond": (0.80, 0.63, 0.36),
    "grey": (0.66, 0.65, 0.64),
}
HAIR_STYLES = ("bald", "crop", "parted", "fringe", "bob", "long", "curly")
BEARDS = ("none", "stubble", "moustache", "full")


def complete(action_units: Mapping[str, float]) -> dict[str, float]:
    """Intensities of all action units, 0 where none is given.

    Raises:
        ValueError: for a unit that does not exist or an intensity outside 0..1.
    """
    unknown = [unit for unit in action_units if unit not in ACTION_UNITS]
    if unknown:
        raise UserError(f"unknown action units {unknown}, expected some of {list(ACTION_UNITS)}")
    for unit, intensity in action_units.items():
        if not 0 <= intensity <= 1:
            raise UserError(f"the intensity of {unit} must lie in 0..1, not {intensity}")
    return dict.fromkeys(ACTION_UNITS, 0.0) | {unit: float(value) for unit, value in action_units.items()}


@dataclass(frozen=True)
class Identity:
    """A person: everything about a face that its expression leaves alone. The defaults draw an average face.

    Attributes:
        skin: tone, 0 (light) to 1 (dark).
        face_width, jaw_width, chin_length, eye_size, eye_spacing, brow_thickness, nose_width, nose_length,
            mouth_width, lip_fullness: factors, 1 is average, useful between about 0.8 and 1.25.
        eye_tilt, brow_height, brow_arch: offsets in face units (half a picture is 1), useful within +-0.03.
        asymmetry: how much stronger the picture's right side moves than its left, useful within +-0.15.
        age: 0 (young) to 1 (old): wrinkles.
        lashes: 0 to 1: darkness of the lashes.
        hair, hair_colour, eye_colour, beard: a name from the tables of this module.
        glasses: whether glasses are worn.
        shirt: colour of the clothes, sRGB in 0..1.

    Raises:
        ValueError: a name is in none of the tables.
    """

    skin: float = 0.2
    face_width: float = 1.0
    jaw_width: float = 1.0
    chin_length: float = 1.0
    eye_size: float = 1.0
    eye_spacing: float = 1.0
    eye_tilt: float = 0.0
    eye_colour: str = "brown"
    brow_thickness: float = 1.0
    brow_height: float = 0.0
    brow_arch: float = 0.0
    nose_width: float = 1.0
    nose_length: float = 1.0
    mouth_width: float = 1.0
    lip_fullness: float = 1.0
    asymmetry: float = 0.0
    age: float = 0.2
    lashes: float = 0.4
    hair: str = "parted"
    hair_colour: str = "brown"
    beard: str = "none"
    glasses: bool = False
    shirt: tuple[float, float, float] = (0.30, 0.40, 0.52)

    def __post_init__(self) -> None:
        for field, table in (
            ("hair", HAIR_STYLES),
            ("hair_colour", HAIR_COLOURS),
            ("beard", BEARDS),
            ("eye_colour", EYE_COLOURS),
        ):
            if getattr(self, field) not in table:
                raise UserError(f"unknown {field} {getattr(self, field)!r}, expected one of {tuple(table)}")

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Identity":
        """A random person. One hidden trait (0 tender, 1 rugged) ties jaw, brows, hair, lashes and beard."""
        rugged, skin, age = rng.random(), rng.random(), rng.random() ** 1.5
        fair = skin < 0.45
        hair_weights = {
            "black": 2,
            "brown": 3,
            "chestnut": 2 * fair,
            "red": 0.7 * fair,
            "blond": 2 * fair,
            "grey": 6 * max(0, age - 0.55),
        }
        eye_weights = {"brown": 3, "hazel": 1, "green": fair, "blue": 1.5 * fair, "grey": 0.7 * fair}
        style_weights = {
            "bald": 0.8 * rugged, "crop": 2 * rugged, "parted": 1, "fringe": 1 - rugged,
            "bob": 1.5 * (1 - rugged), "long": 2 * (1 - rugged), "curly": 0.7,
        }  # fmt: skip
        beard_weights = {"none": 2, "stubble": 1, "moustache": 0.4, "full": 0.8} if rugged > 0.5 else {"none": 1}
        return cls(
            skin=skin,
            face_width=rng.normal(1, 0.04),
            jaw_width=rng.normal(0.94 + 0.1 * rugged, 0.04),
            chin_length=rng.normal(1, 0.03),
            eye_size=rng.normal(1.06 - 0.12 * rugged, 0.05),
            eye_spacing=rng.normal(1, 0.03),
            eye_tilt=rng.normal(0, 0.008),
            eye_colour=_choose(rng, eye_weights),
            brow_thickness=rng.normal(0.75 + 0.5 * rugged, 0.15),
            brow_height=rng.normal(0.01 * (rugged - 0.5), 0.01),
            brow_arch=rng.normal(0.01 * (0.5 - rugged), 0.01),
            nose_width=rng.normal(0.95 + 0.1 * rugged + 0.1 * skin, 0.08),
            nose_length=rng.normal(1, 0.05),
            mouth_width=rng.normal(1, 0.06),
            lip_fullness=rng.normal(1.05 - 0.2 * rugged + 0.2 * skin, 0.12),
            asymmetry=rng.normal(0, 0.06),
            age=age,
            lashes=np.clip(1 - rugged + rng.normal(0, 0.2), 0, 1),
            hair=_choose(rng, style_weights),
            hair_colour=_choose(rng, hair_weights),
            beard=_choose(rng, beard_weights),
            glasses=bool(rng.random() < 0.15),
            shirt=tuple(rng.uniform(0.15, 0.85, 3)),
        )


@dataclass(frozen=True)
class Scene:
    """Viewing conditions of a face: pose, light, background, camera.

    Attributes:
        yaw, pitch, roll: degrees; positive turns to the picture's right, down, clockwise. Useful within +-20.
        shift: (right, down), in half pictures.
        scale: size of the face; 1 lets it touch the edges.
        gaze: (right, down), -1 to 1.
        light: (azimuth, elevation) the light comes from, degrees; (0, 0) is the camera, (90, 0) the right.
        light_strength: 0 (flat) to 1 (hard).
        exposure: factor on all pixels.
        contrast: factor on the distance from mid-grey.
        background: two sRGB colours, top and bottom.
        blur: standard deviation in fractions of the picture's width.
        noise: standard deviation in fractions of full scale.
        noise_seed: seed of the sensor noise.
        grey: drop the colour (three equal channels).
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 0.93
    gaze: tuple[float, float] = (0.0, 0.0)
    light: tuple[float, float] = (-35.0, 35.0)
    light_strength: float = 0.55
    exposure: float = 1.0
    contrast: float = 1.0
    background: tuple[tuple[float, ...], ...] = ((0.86, 0.89, 0.91), (0.70, 0.75, 0.79))
    blur: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0
    grey: bool = False

    @classmethod
    def studio(cls) -> "Scene":
        """A clean frontal portrait on a light background."""
        return cls()

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Scene":
        """A snapshot: some pose, any light, any plain background, some blur and noise."""
        return cls(
            yaw=np.clip(rng.normal(0, 8), -20, 20),
            pitch=np.clip(rng.normal(0, 5), -12, 12),
            roll=np.clip(rng.normal(0, 5), -12, 12),
            shift=tuple(rng.normal(0, 0.03, 2)),
            scale=rng.uniform(0.86, 1.02),
            gaze=tuple(rng.normal(0, 0.3, 2).clip(-1, 1)),
            light=(rng.uniform(-75, 75), rng.uniform(-15, 60)),
            light_strength=rng.uniform(0.2, 0.9),
            exposure=rng.uniform(0.75, 1.05),
            contrast=rng.uniform(0.75, 1.15),
            background=tuple(map(tuple, rng.uniform(0.1, 0.95) + rng.normal(0, 0.12, (2, 3)).clip(-0.3, 0.3))),
            blur=rng.uniform(0, 0.010),
            noise=rng.uniform(0, 0.03),
            noise_seed=int(rng.integers(2**32)),
        )


def _choose(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """A random key, drawn in proportion to its weight."""
    shares = np.array(list(weights.values()), float)
    return list(weights)[rng.choice(len(shares), p=shares / shares.sum())]
