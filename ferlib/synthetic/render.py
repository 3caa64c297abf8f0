"""Synthetic faces: any expression, any person, any number, with the truth about every pixel.

A face is drawn from its action units, its person and its scene, so everything a real data set leaves open is
known here: which muscle moved, how far, where each part of the face lies. Used for first contact without a
download, for tests, for figures, and to measure whether an explanation points at what really changed.

    from ferlib.synthetic.render import Identity, Scene, render
    face = render({"AU6": 0.8, "AU12": 1.0}, Identity(), Scene.studio(), size=256)
    face.pixels, face.masks["mouth"]

Synthetic faces stand in for real ones in code, not in claims: an accuracy on them says nothing about people.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ferlib.errors import UserError
from ferlib.runtime.preprocess import GREY_WEIGHTS
from ferlib.synthetic.drawing import draw, part_masks
from ferlib.synthetic.geometry import FaceGeometry
from ferlib.synthetic.parameters import ACTION_UNITS, EXPRESSIONS, MOVED_PARTS, Identity, Scene, complete

__all__ = [
    "ACTION_UNITS",
    "EXPRESSIONS",
    "MOVED_PARTS",
    "PARTS",
    "Identity",
    "Scene",
    "SyntheticFace",
    "prototype",
    "render",
    "sample_face",
    "sample_faces",
    "sample_units",
]

PARTS = ("brows", "eyes", "nose", "mouth", "face")
SMALLEST = 24  # pixels; in smaller pictures the parts vanish
FACES_PER_PERSON = 7


@dataclass(frozen=True, eq=False)
class SyntheticFace:
    """One synthetic face.

    Attributes:
        pixels: (size, size, 3) uint8.
        masks: a (size, size) bool mask for each of `PARTS`, aligned with the pixels. "face" is all visible
            skin; the other four lie inside it and do not overlap. Outside is `~masks["face"]`.
        action_units: the intensities it was drawn with, units at rest left out.
        label: its expression, None if it was drawn from action units alone.
    """

    pixels: np.ndarray
    masks: dict[str, np.ndarray]
    action_units: dict[str, float]
    label: str | None = None


def render(
    action_units: Mapping[str, float],
    identity: Identity,
    scene: Scene,
    size: int = 128,
    label: str | None = None,
) -> SyntheticFace:
    """Draws one face; the same arguments give the same bytes.

    Args:
        action_units: intensities 0..1 of some `ACTION_UNITS`; the others are at rest.
        identity: the person.
        scene: pose, light, background and camera.
        size: height and width in pixels, from 24.
        label: expression to note down, if any.

    Raises:
        ValueError: for an unknown action unit, an intensity outside 0..1 or a size that is too small.
    """
    _check_size(size)
    units = complete(action_units)
    geometry = FaceGeometry(units, identity)
    moved = {name: value for name, value in units.items() if value}
    return SyntheticFace(draw(geometry, scene, size), part_masks(geometry, scene, size), moved, label)


def prototype(expression: str, intensity: float = 1.0) -> dict[str, float]:
    """Action units of an expression by the book.

    Args:
        expression: one of `EXPRESSIONS`.
        intensity: factor on all units, 0..1.

    Raises:
        ValueError: unknown expression, or an intensity outside 0..1.
    """
    if expression not in EXPRESSIONS:
        raise UserError(f"unknown expression {expression!r}, expected one of {list(EXPRESSIONS)}")
    if not 0 <= intensity <= 1:
        raise UserError(f"the intensity of an expression must lie in 0..1, not {intensity}")
    return {name: value * intensity for name, value in EXPRESSIONS[expression].items()}


def sample_units(expression: str, rng: np.random.Generator, intensity: float | None = None) -> dict[str, float]:
    """Action units of somebody showing an expression: around the prototype, seldom exactly it.

    Every unit varies on its own; in one face of eight one unit of the prototype stays at rest; now and then a
    unit that does not belong moves a little.

    Args:
        expression: one of `EXPRESSIONS`.
        rng: source of the variation.
        intensity: factor on the prototype, 0..1; None draws one from 0.6..1.

    Raises:
        ValueError: unknown expression, or an intensity outside 0..1.
    """
    intensity = rng.uniform(0.6, 1) if intensity is None else intensity
    units = {name: value * rng.uniform(0.7, 1.2) for name, value in prototype(expression, intensity).items()}
    if units and rng.random() < 1 / 8:
        units[list(units)[rng.integers(len(units))]] = 0.0
    for name in ACTION_UNITS:
        if name not in units and rng.random() < 0.08:
            units[name] = rng.uniform(0, 0.3)
    return {name: min(value, 1.0) for name, value in units.items()}


def sample_face(
    expression: str,
    rng: np.random.Generator,
    size: int = 128,
    intensity: float | None = None,
    clean: bool = False,
) -> SyntheticFace:
    """Draws a random face that shows an expression.

    Args:
        expression: one of `EXPRESSIONS`.
        rng: source of everything random.
        size: height and width in pixels.
        intensity: factor on the prototype, 0..1; None draws one (1 when clean).
        clean: the plain prototype in a studio portrait, for figures and examples.

    Raises:
        ValueError: unknown expression, an intensity outside 0..1, or a size that is too small.
    """
    if clean:
        units, scene = prototype(expression, 1.0 if intensity is None else intensity), Scene.studio()
    else:
        units, scene = sample_units(expression, rng, intensity), Scene.sample(rng)
    return render(units, Identity.sample(rng), scene, size, expression)


def sample_faces(
    counts: Mapping[str, int] | int, seed: int = 0, size: int = 48, grey: bool = True
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Draws a data set, in random order, with several faces of each person.

    Args:
        counts: faces of each expression, in any ratio; one number gives every expression as many.
        seed: the same seed gives the same bytes.
        size: height and width in pixels.
        grey: one channel instead of three.

    Returns:
        Pixels (N, size, size) or (N, size, size, 3) uint8, N labels, N person numbers (int64) to split by.

    Raises:
        ValueError: unknown expression, a negative count, or a size that is too small.
    """
    if not isinstance(counts, Mapping):
        counts = dict.fromkeys(EXPRESSIONS, counts)
    for expression, count in counts.items():
        prototype(expression)  # must exist
        if count < 0:
            raise UserError(f"cannot draw {count} faces of {expression}")
    _check_size(size)
    grey_weights = np.array(GREY_WEIGHTS, np.float32)
    rng = np.random.default_rng(seed)
    labels = [expression for expression, count in counts.items() for _ in range(count)]
    labels = [labels[place] for place in rng.permutation(len(labels))]
    persons = np.arange(len(labels)) // FACES_PER_PERSON
    people = [Identity.sample(rng) for _ in np.unique(persons)]
    pixels = np.empty((len(labels), size, size) if grey else (len(labels), size, size, 3), np.uint8)
    for row, label in enumerate(labels):
        geometry = FaceGeometry(complete(sample_units(label, rng)), people[persons[row]])
        picture = draw(geometry, Scene.sample(rng), size)
        pixels[row] = (picture @ grey_weights).round() if grey else picture
    return pixels, labels, persons


def _check_size(size: int) -> None:
    if size < SMALLEST:
        raise UserError(f"a face needs at least {SMALLEST} pixels, not {size}")
