"""Photo sheets of synthetic people: four pictures a sheet, all of one person, as from a photo booth.

They show how one gets from photos to a data set, without a photo of anybody. As in life, everybody has a
way of their own to show an expression, and shows it much alike each time: so two pictures of one person with one
expression say little more than one of them does.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ferlib.synthetic.drawing import draw
from ferlib.synthetic.geometry import FaceGeometry
from ferlib.synthetic.parameters import EXPRESSIONS, Identity, Scene, complete
from ferlib.synthetic.render import sample_units

SIDE, GAP = 180, 18  # of a picture, and of the white between pictures, pixels
ACROSS = 2  # pictures a row and rows a sheet


def draw_booth(folder: Path, people: int = 32, sheets: int = 4, seed: int = 0) -> pd.DataFrame:
    """Draws the sheets of some people as `folder/person01/sheet1.png`.

    Args:
        folder: to write to; made where it is missing.
        people: how many, each with a folder of their own.
        sheets: of each, with four pictures a sheet; the expressions come in turn, in random order.
        seed: the same seed gives the same bytes.

    Returns:
        The truth, one row a picture: `photo` (path below the folder), `person`, `expression`, and its place on the
        sheet, `x0`, `y0`, `x1`, `y1` in pixels.
    """
    rows = []
    for number, source in enumerate(np.random.default_rng(seed).spawn(people), start=1):
        person = f"person{number:02d}"
        identity = Identity.sample(source)
        style = {name: sample_units(name, source) for name in EXPRESSIONS}
        light = Scene.sample(source)  # of the booth, that day
        shots = sheets * ACROSS**2
        turns = [source.permutation(list(EXPRESSIONS)) for _ in range(-(-shots // len(EXPRESSIONS)))]
        shown = np.concatenate(turns)[:shots]
        for sheet, names in enumerate(np.split(shown, sheets), start=1):
            photo = Path(person) / f"sheet{sheet}.png"
            canvas = np.full((ACROSS * (SIDE + GAP) + GAP,) * 2 + (3,), 255, np.uint8)
            for place, name in enumerate(names):
                x0, y0 = (GAP + step * (SIDE + GAP) for step in (place % ACROSS, place // ACROSS))
                units = {unit: value * source.uniform(0.85, 1) for unit, value in style[name].items()}
                geometry = FaceGeometry(complete(units), identity)
                canvas[y0 : y0 + SIDE, x0 : x0 + SIDE] = draw(geometry, _moved(light, source), SIDE)
                rows.append((photo.as_posix(), person, str(name), x0, y0, x0 + SIDE, y0 + SIDE))
            (folder / photo).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(canvas).save(folder / photo)
    return pd.DataFrame(rows, columns=["photo", "person", "expression", "x0", "y0", "x1", "y1"])


def _moved(light: Scene, rng: np.random.Generator) -> Scene:
    """The same booth a moment later: pose, framing, gaze and noise are new, light and background are not."""
    pose = Scene.sample(rng)
    fresh = ("yaw", "pitch", "roll", "shift", "scale", "gaze", "noise_seed")
    return replace(light, **{name: getattr(pose, name) for name in fresh})
