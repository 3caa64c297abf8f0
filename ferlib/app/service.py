"""The service behind the page: the models, shared by all visitors, and a bounded number of visitors at a time."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from ferlib.app.batch_demo import SIDE, Companies, among_neighbours
from ferlib.app.batching import BatchingPredictor
from ferlib.app.budget import Budget
from ferlib.app.drawing import example_pictures
from ferlib.app.films import Film, watch
from ferlib.app.uploads import Upload, pixels_of
from ferlib.errors import UserError
from ferlib.images import MAX_PIXELS, ImageError
from ferlib.predict import DEFAULT_MODEL, FoundFaces, Predictor, find_faces
from ferlib.results import ImagePrediction
from ferlib.runtime.prediction_sets import PredictionSets, read_prediction_sets, stored_coverages
from ferlib.runtime.released import model_folder, models_of_their_own, released_models

if TYPE_CHECKING:
    from ferlib.evaluation.report_format import Report

READING = 2  # photos that are decoded and searched at a time
UNFOLDED = MAX_PIXELS + 12_000_000  # pixels of all photos inside: a poster and a telephone's photo, but not two posters
UNFOLDING = 60  # seconds that a photo waits until it may be unfolded
FULL = "Many people are asking right now, and the queue is full. Please try again in a moment."
WATCHING = "Another film is being looked at right now. Please try again in a moment."
CLOSED = "The page is shutting down. Please try again later."
ROUNDS = 5  # in which a model's time is taken
COVERAGE = 0.9  # of the prediction sets of models that have them
PATIENCE = 15  # seconds that closing waits for requests in progress

Source = Upload | bytes | np.ndarray | None
Search = Callable[[Any], FoundFaces]


class NoAnswer(RuntimeError):
    """A request that cannot be answered; the message is a sentence for a visitor."""


class Busy(NoAnswer):
    """A request for which there is no place now; later there is."""

    @property
    def reason(self) -> str:
        """The message's first sentence, to be put into another: "another film is being looked at right now"."""
        first = str(self).partition(".")[0]
        return first[:1].lower() + first[1:]


class Service:
    """Finds faces and has them judged, for all visitors at once.

    It can be asked before it is loaded; whoever asks then waits. At most `queue_size` requests are inside; further ones
    are refused with a sentence. Of these `READING` read and search their photos at a time, all their photos together
    have at most `UNFOLDED` pixels, and faces that wait for a model go through it together.

    Attributes:
        milliseconds: that a model needs for one face on this machine, by its name; measured when it is loaded.

    Args:
        model: a released model's name or a model folder to begin with; None is the default model.
        queue_size: requests inside at a time, waiting ones included.
        failed: called when it cannot be loaded; `error` says why.

    Raises:
        ValueError: a queue without a place.
    """

    def __init__(self, model: str | None = None, queue_size: int = 32, failed: Callable[[], None] = lambda: None):
        if queue_size < 1:
            raise UserError(f"the queue needs at least one place, not {queue_size}")
        self.first_model, self.queue_size, self.failed = model, queue_size, failed
        self.error: Exception | None = None
        self.milliseconds: dict[str, float] = {}
        self.inside = 0
        self.closed = False
        self._loaded: Future[dict[str, BatchingPredictor]] = Future()
        self._changed = threading.Condition()
        self._reading = threading.Semaphore(READING)
        self._watching = threading.Lock()
        self._pixels = Budget(UNFOLDED)

    def load(self) -> None:
        """Load the models, and have one face found, so that the first visitor does not wait for the face detector."""
        try:
            predictors = {
                name: BatchingPredictor.load(source, coverage=_coverage(source)) for name, source in self.names.items()
            }
            (face,) = next(iter(predictors.values())).predict(example_pictures()[0], explain="gradcam").faces
            self.milliseconds = {name: _milliseconds(one, face.crop) for name, one in predictors.items()}
            self._loaded.set_result(predictors)
        except Exception as error:
            self.error = error
            self._loaded.set_exception(error)
            self.failed()

    @property
    def names(self) -> dict[str, str]:
        """Names of the models, the default first, and where each is loaded from; known before they are loaded."""
        first = self.first_model or DEFAULT_MODEL
        own = first not in released_models() and Path(first).is_dir()
        name = Path(first).resolve().name if own else first
        return {name: first} | {other: other for other in models_of_their_own() if other != name}

    @property
    def models(self) -> dict[str, "BatchingPredictor"]:
        """The models to choose from by name, the first is the default. Waits until they are loaded."""
        return self._loaded.result()

    def predictor(self, model: str | None = None) -> "BatchingPredictor":
        """One of the models; None or "" is the default.

        Raises:
            ValueError: there is no such model.
        """
        if not model:
            return next(iter(self.models.values()))
        if model not in self.models:
            raise UserError(f"There is no model {model!r}; there are {', '.join(self.models)}.")
        return self.models[model]

    @contextmanager
    def look(
        self, source: Source, *models: str | None, explain: str | None = None
    ) -> "Iterator[list[ImagePrediction]]":
        """Find the faces of a photo and have them judged by one model or several, one result each.

        The results hold the whole photo; use them within the `with`, which ends when another photo may be unfolded.

        Args:
            source: an upload, or see `ferlib.predict.find_faces`.
            *models: names; None is the default model.
            explain: one of the models' methods, or None. A model that does not have it goes without.

        Raises:
            NoAnswer: the queue is full, or the service is closed.
            ValueError: there is no such model, or none of these has the explanation.
        """
        with self.place():
            chosen = [self.predictor(name) for name in models or (None,)]
            if not any(explain in (None, *predictor.methods) for predictor in chosen):
                chosen[0].require_method(explain)
            with self.find(source) as found:
                yield [one.judge(found, explain if explain in one.methods else None) for one in chosen]

    def among_neighbours(self, source: Source) -> "Companies":
        """The largest face of a photo among different neighbours, see `ferlib.app.batch_demo`.

        Raises:
            NoAnswer: as `look`, or there is no face.
        """
        with self.place(), self.find(source) as found:
            honest = self.predictor()
            if found.image is None or not found.faces:
                raise NoAnswer(found.error or "No face was found.")
            largest = max(found.faces, key=lambda crop: crop.face.side)
            return among_neighbours(largest.resized(SIDE), honest)

    def watch(
        self, source: Upload, name: str, model: str | None, stopped: Callable[[], bool]
    ) -> "Iterator[float | Film]":
        """Look at a film, one film at a time, see `ferlib.app.films.watch`.

        Raises:
            Busy: the queue is full, or another film is being looked at.
            NoAnswer: the service is closed.
            UserError: it cannot be read.
        """
        with self.place():
            if not self._watching.acquire(blocking=False):
                raise Busy(WATCHING)
            try:
                yield from watch(source.film(), name, self.predictor(model), stopped)
            finally:
                self._watching.release()

    def card(self, model: str | None = None) -> tuple[str, "Report | None"]:
        """A model's card (Markdown) and its report on test faces; of a model without them a line, and None.

        Raises:
            ValueError: there is no such model.
        """
        name = model or next(iter(self.models))
        self.predictor(name)
        source = self.names[name]
        folder = released_models().get(source, Path(source))
        card, report = folder / "README.md", folder / "report.json"
        text = card.read_text(encoding="utf-8") if card.is_file() else f"The model in `{name}` has no card.\n"
        text = text.split("---\n", 2)[2] if text.startswith("---\n") else text  # without the hub's front matter
        from ferlib.evaluation.report_format import read_report  # light: no PyTorch

        return text.strip(), read_report(report) if report.is_file() else None

    def coverages(self, model: str) -> tuple[float, ...]:
        """Coverages of a model's prediction sets."""
        return stored_coverages(model_folder(self.names[model]))

    def prediction_sets(self, model: str, coverage: float) -> PredictionSets:
        """A model's prediction sets of one coverage.

        Raises:
            ValueError: there is no such model, or it has none of that coverage.
        """
        self.predictor(model)
        return read_prediction_sets(model_folder(self.names[model]), coverage)

    @contextmanager
    def find(self, source: Source, search: Search = find_faces) -> "Iterator[FoundFaces]":
        """The faces of a photo, a few photos at a time, while the `with` lasts.

        Args:
            source: an upload, or see `ferlib.predict.find_faces`.
            search: finds them in the photo's bytes or pixels; a photo that it cannot read is an error like any other.
        """
        with ExitStack() as pixels:
            yield self._found(source, search, pixels)

    def _found(self, source: Source, search: Search, pixels: ExitStack) -> "FoundFaces":
        """The faces of a photo whose pixels are borrowed until `pixels` is closed."""
        try:
            with ExitStack() as opened:
                photo: np.ndarray | BinaryIO | None
                if isinstance(source, Upload):
                    photo = opened.enter_context(source.open())
                else:
                    photo = io.BytesIO(source) if isinstance(source, bytes) else source
                pixels.enter_context(self._pixels.hold(pixels_of(photo), UNFOLDING))
                with self._reading:
                    return search(photo if photo is None or isinstance(photo, np.ndarray) else photo.read())
        except ImageError as error:
            return FoundFaces("image", error=str(error))
        except TimeoutError as error:
            raise Busy(FULL) from error

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place inside while the `with` lasts; raises `Busy` where there is none, `NoAnswer` once it is closed."""
        with self._changed:
            if self.full():
                raise NoAnswer(CLOSED) if self.closed else Busy(FULL)
            self.inside += 1
        try:
            yield
        finally:
            with self._changed:
                self.inside -= 1
                self._changed.notify_all()

    def full(self) -> bool:
        """True if nobody else is let in now."""
        return self.closed or self.inside >= self.queue_size

    def health(self) -> dict:
        """For whoever watches over the server: {"status": "ok", "loading", "failed" or "closed", ...}."""
        state = "failed" if self.error else "closed" if self.closed else "ok" if self._loaded.done() else "loading"
        models = list(self.models) if state in ("ok", "closed") and self._loaded.done() else []
        return {"status": state, "models": models, "inside": self.inside, "queue_size": self.queue_size}

    def close(self, patience: float = PATIENCE) -> bool:
        """Let nobody in any more, and wait until those inside are done; says whether all were within `patience` s."""
        end = time.monotonic() + patience
        with self._changed:
            self.closed = True
            return self._changed.wait_for(lambda: not self.inside, max(0.0, end - time.monotonic()))


def _milliseconds(predictor: Predictor, crop: np.ndarray) -> float:
    """The time that a model needs for one face, the quickest of some rounds: what else the machine does counts less."""
    side = predictor.classifier.side
    face, times = np.asarray(Image.fromarray(crop).resize((side, side))), []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        predictor.classify([face])
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


def _coverage(model: str) -> float | None:
    """`COVERAGE` if the model has prediction sets of it."""
    return COVERAGE if COVERAGE in stored_coverages(model_folder(model)) else None
