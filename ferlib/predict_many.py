"""Predict many pictures in several processes, with the results in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ferlib.errors import RunError
from ferlib.image_paths import name_of
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

    A picture that ends its process twice gets a result with an error. Of an open file the picture is read and judged
    in this process, as it cannot be sent.

    Raises:
        RunError: the processes cannot do their work.
    """
    ready = False

    def see(_: None) -> None:
        nonlocal ready
        ready = True

    def ask(worker: Worker, picture: Any) -> ImagePrediction:
        if hasattr(picture, "read"):
            return predictor.predict(picture, *how)
        for _ in range(TRIES):
            try:
                return worker.ask(picture, see)
            except WorkerDied as death:
                last = death
        if not ready:
            raise RunError(f"the worker processes do not start: {last}") from last
        return ImagePrediction(name_of(picture), (), ENDED)

    with Crew(PredictOne(predictor, how), workers) as crew:
        yield from crew.map(pictures, ask)
