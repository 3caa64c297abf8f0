"""A predictor for many threads: faces that wait together are classified together."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ferlib.errors import UserError
from ferlib.predict import Predictor, stacked
from ferlib.runtime.classifier import Classifier

if TYPE_CHECKING:
    from ferlib.models.base import FaceModel


@dataclass(eq=False)
class _Request:
    faces: np.ndarray
    explain: str | None
    answer: Future = field(default_factory=Future)

    @property
    def kind(self) -> tuple:
        """Equal for requests that can share a pass: the explanation, and the shape of a face."""
        return self.explain, np.shape(self.faces)[1:]


class BatchingPredictor(Predictor):
    """A `Predictor` that may be called from any number of threads at once.

    Whoever finds the model free takes the requests that wait by then, all with faces of the same shape that ask for the
    same explanation, through it in one pass; the others wait for their part of the answer. So requests are batched
    exactly when they come faster than the model works, no request waits for company, and there is no thread to look
    after.

    Only for models whose answer for a face does not depend on the others of its batch.
    """

    def __init__(self, model: "FaceModel | Classifier", *args: Any, **kwargs: Any):
        super().__init__(model, *args, **kwargs)
        if self.classifier.mixes_batch:
            raise UserError(f"{self.classifier.architecture} mixes the faces of a batch; visitors would be mixed up")
        self._waiting: list[_Request] = []
        self._list = threading.Lock()  # guards the list
        self._turn = threading.Lock()  # held by the thread that runs the model

    def classify(
        self, faces: Sequence[np.ndarray], explain: str | None = None, together: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        request = _Request(stacked(faces), explain)
        with self._list:
            self._waiting.append(request)
        with self._turn:
            if not request.answer.done():
                self._run_with_company(request)
        return request.answer.result()

    def _run_with_company(self, request: _Request) -> None:
        """Answer this request and all that wait for the same kind of answer."""
        with self._list:
            together = [other for other in self._waiting if other.kind == request.kind]
            self._waiting = [other for other in self._waiting if other.kind != request.kind]
        try:
            faces = [face for one in together for face in one.faces]
            probabilities, heatmaps = super().classify(faces, request.explain)
        except Exception as error:
            for one in together:
                one.answer.set_exception(error)
            return
        end = 0
        for one in together:
            start, end = end, end + len(one.faces)
            part = None if heatmaps is None else heatmaps[start:end]
            one.answer.set_result((probabilities[start:end], part))
