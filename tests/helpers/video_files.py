"""Small generated films for the tests: two people who cross, and every odd kind of file."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

from ferlib.synthetic.films import Actor, Shown, draw_film, line
from ferlib.synthetic.parameters import Identity
from ferlib.video.writing import VideoWriter

SIZE = 480, 270  # width and height
SECONDS, RATE = 4.0, 15
PEOPLE = 16  # seed; of faces whose expressions the model sees in most frames
SCRIPTS = [(2.0, "neutral"), (4.0, "happiness")], [(2.0, "surprise"), (4.0, "neutral")]


@cache
def crossing(people: int = PEOPLE) -> tuple[np.ndarray, list[np.ndarray], list[list[Shown]]]:
    """Times, frames and truth of a film in which two people walk past each other; the first one is in front."""
    rng = np.random.default_rng(people)
    ways = ((70, 140), (410, 140)), ((410, 125), (70, 125))
    actors = [
        Actor(Identity.sample(rng), size, line(*way, SECONDS), script)
        for size, way, script in zip((130, 115), ways, SCRIPTS, strict=True)
    ]
    times = np.arange(0, SECONDS, 1 / RATE)
    frames, truth = zip(*draw_film(actors, times, SIZE, seed=1), strict=True)
    return times, list(frames), list(truth)


def write_film(path: Path, frames: Sequence[np.ndarray], times: Iterable[float], rotation: int = 0) -> Path:
    """Write frames as a film."""
    with VideoWriter(path, RATE, rotation) as writer:
        for frame, time in zip(frames, times, strict=True):
            writer.write(frame, time)
    return path


def write_sound(path: Path) -> Path:
    """A second of silence, and no pictures."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        for start in range(0, 44100, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = 44100, start, Fraction(1, 44100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "sound.mp4": (write_sound, "has no pictures, only sound"),
    "text.mp4": (lambda path: path.write_text("This is no film.\n" * 99), "is not a film that can be read"),
    "empty.mp4": (lambda path: path.write_bytes(b""), "is empty"),
    "folder.mp4": (lambda path: path.mkdir(), "is a folder"),
    "missing.mp4": (lambda path: None, "there is no film"),
}
