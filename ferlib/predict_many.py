"""Predict many pictures in several processes, with the results in order."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ferlib.errors import RunError
from ferlib.image_paths import name_of
from ferlib.images import ImageError, read_image
from ferlib.results import ImagePrediction
from ferlib.runtime.crew import Crew, Worker, WorkerDied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ferlib.predict import Predictor

ENDED = (
    "The process that read the picture ended, again and again; it may be damaged, or too large for the memory there is."
)
TRIES = 2  # times that a picture may end its process


@dataclass(frozen=True)
class PredictOne:
    """The work of a process: `predictor.predict(picture, *how)`."""

    predictor: "Predictor"
    how: tuple[Any, ...]

    def __call__(self, picture: Any, report: "Callable[[Any], None]") -> ImagePrediction:
        report(None)  # this process can do it
        return self.predictor.predict(picture, *self.how)


def predict_in_processes(
    predictor: "Predictor", pictures: "Iterable[Any]", workers: int, *how: Any
) -> Iterator[ImagePrediction]:
    """The results of `predictor.predict(picture, *how)`, in order.

    A picture that ends its process twice gets a result with an error. Of an open file, and of anything else that is
    neither a path, bytes, an array nor a PIL image, the picture is read and judged in this process.

    Raises:
        RunError: the processes cannot do their work.
    """
    ready = False

    def see(_: None) -> None:
        nonlocal ready
        ready = True

    def ask(worker: Worker, picture: Any) -> ImagePrediction:
        name = name_of(picture)
        if isinstance(picture, Image.Image):  # its file may not be read yet, and that is no longer open there
            with suppress(ImageError):
                picture = read_image(picture)
        if not isinstance(picture, str | os.PathLike | bytes | np.ndarray):
            return predictor.predict(picture, *how)
        for _ in range(TRIES):
            try:
                return replace(worker.ask(picture, see), name=name)
            except WorkerDied as death:
                last = death
        if not ready:
            raise RunError(f"the worker processes do not start: {last}") from last
        return ImagePrediction(name, (), ENDED)

    with Crew(PredictOne(predictor, how), workers) as crew:
        yield from crew.map(pictures, ask)
