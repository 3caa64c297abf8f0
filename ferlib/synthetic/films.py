"""Films of synthetic people: everybody goes a known way with known expressions, to measure tracking and smoothing.

As in life a face never looks quite the same: within an expression it changes its look (muscles, pose, light) every few
frames. A look is drawn once and laid over the picture wherever its person is, the first person in front.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from ferlib.synthetic.drawing import draw_cutout
from ferlib.synthetic.geometry import FaceGeometry
from ferlib.synthetic.parameters import Identity, Scene, complete
from ferlib.synthetic.render import sample_units

LOOKS = 6  # of a person with an expression
CHANGE = 0.2  # probability that a look changes from one frame to the next
INTENSITY = 0.85, 1.0  # of an expression: it is plain to see
NOISE = 3.0  # of the camera, standard deviation in grey values
Place = tuple[float, float]  # x, y in pixels
BACKGROUND = (186, 196, 202), (120, 132, 140)  # top and bottom


@dataclass(frozen=True)
class Actor:
    """A person in a film.

    Attributes:
        identity: the person.
        size: of the drawn square, in pixels; the face fills most of it.
        path: the square's centre (x, y) in pixels at a time in seconds; None while the person is away.
        script: expressions in order, each with the time in seconds at which it ends.
    """

    identity: Identity
    size: int
    path: Callable[[float], Place | None]
    script: Sequence[tuple[float, str]]

    def expression(self, time: float) -> str:
        """The expression at a time; after the last one's end that one."""
        return next((name for end, name in self.script if time < end), self.script[-1][1])


@dataclass(frozen=True)
class Shown:
    """The truth about an actor in a frame.

    Attributes:
        actor: number, from 0.
        centre: of the drawn square, (x, y) in pixels.
        expression: shown.
    """

    actor: int
    centre: Place
    expression: str


def draw_film(
    actors: Sequence[Actor], times: Iterable[float], size: tuple[int, int] = (1280, 720), seed: int = 0
) -> Iterator[tuple[np.ndarray, list[Shown]]]:
    """Draws a film, frame by frame.

    Args:
        actors: from the front to the back.
        times: of the frames, in seconds.
        size: width and height in pixels.
        seed: the same seed gives the same film.

    Returns:
        Of each frame its pixels (height, width, 3) uint8 and who is shown.
    """
    rng = np.random.default_rng(seed)
    width, height = size
    top, bottom = np.array(BACKGROUND, np.float32)
    empty = np.repeat((top + (bottom - top) * np.linspace(0, 1, height)[:, None])[:, None], width, axis=1)
    noise = rng.normal(0, NOISE, (height + 64, width + 64, 1)).round().astype(np.int16)  # a window of it a frame
    looks = {
        (number, name): _looks(actor, name, rng)
        for number, actor in enumerate(actors)
        for name in dict.fromkeys(name for _, name in actor.script)
    }
    chosen = [0] * len(actors)
    for time in times:
        shown = []
        picture = Image.fromarray(empty.astype(np.uint8))
        for number, actor in reversed(list(enumerate(actors))):
            if rng.random() < CHANGE:
                chosen[number] = int(rng.integers(LOOKS))
            centre = actor.path(time)
            if centre is None:
                continue
            name = actor.expression(time)
            look = looks[number, name][chosen[number]]
            x, y = (round(place - actor.size / 2) for place in centre)
            picture.paste(look, (x, y), look)
            shown.append(Shown(number, centre, name))
        y, x = rng.integers(64, size=2)
        pixels = np.asarray(picture, np.int16) + noise[y : y + height, x : x + width]
        yield pixels.clip(0, 255).astype(np.uint8), shown[::-1]


def _looks(actor: Actor, expression: str, rng: np.random.Generator) -> list[Image.Image]:
    """An actor's ways to show an expression, without background."""
    looks = []
    for _ in range(LOOKS):
        scene = Scene.sample(rng)
        scene = replace(scene, noise=0.0, blur=scene.blur / 2, shift=(0.0, 0.0), scale=0.93, yaw=scene.yaw / 2)
        geometry = FaceGeometry(complete(sample_units(expression, rng, rng.uniform(*INTENSITY))), actor.identity)
        looks.append(Image.fromarray(draw_cutout(geometry, scene, actor.size), "RGBA"))
    return looks


def line(start: Place, end: Place, seconds: float) -> Callable[[float], Place]:
    """The path from one place to another at an even pace, in so many seconds; then it stays there."""

    def path(time: float) -> Place:
        part = min(max(time / seconds, 0.0), 1.0)
        return start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])

    return path


def owners(rows: np.ndarray, truth: Sequence[Sequence[Shown]]) -> np.ndarray:
    """Actors (N,) whose faces the rows of a film's table are, -1 for nobody's.

    Of all actors whose place it is, the one in front.

    Args:
        rows: with the fields `box` (x0, y0, x1, y1) and `frame`.
        truth: of every frame, as `draw_film` gives it.
    """
    found = np.full(len(rows), -1)
    for place, row in enumerate(rows):
        middle, side = (row["box"][:2] + row["box"][2:]) / 2, row["box"][2] - row["box"][0]
        near = [one.actor for one in truth[row["frame"]] if np.abs(middle - one.centre).max() < 0.35 * side]
        found[place] = min(near, default=-1)
    return found


def switches(tracks: np.ndarray, actors: np.ndarray) -> int:
    """Number of times that an actor's track number changes, from tracks and `owners` (N,) of the rows."""
    return sum(int((np.diff(tracks[actors == one]) != 0).sum()) for one in np.unique(actors[actors >= 0]))
