"""Classify face crops with an exported model, without PyTorch: probabilities, and Grad-CAM of the predicted class."""

import json
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from ferlib.errors import UserError
from ferlib.runtime.preprocess import Preprocessing, softmax
from ferlib.runtime.session import OnnxModel, available_threads
from ferlib.utils.old_names import renamed_fields

HEAT_MAP = "gradcam"  # the one explanation that is in the graph


@runtime_checkable
class Classifier(Protocol):
    """A model as `ferlib.predict.Predictor` asks it.

    Attributes:
        architecture: the network's name.
        classes: class names in the order of the probabilities.
        side: of the faces it wants, in pixels.
        methods: explanations it can give.
        mixes_batch: true if a face's answer depends on the other faces of its batch.
    """

    architecture: str
    classes: tuple[str, ...]
    side: int
    methods: tuple[str, ...]
    mixes_batch: bool

    def classify(self, faces: np.ndarray, explain: str | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Probabilities `(N, classes)`, and heat maps `(N, S, S)` in 0..1 where one of `methods` is asked for.

        Args:
            faces: `(N, S, S)` or `(N, S, S, 3)` uint8, in the training set's framing.
            explain: one of `methods`, or None.
        """
        ...


class OnnxClassifier:
    """A `Classifier` that runs an exported model (`ferlib.release.onnx_export`) with onnxruntime on the CPU.

    It may be shared by threads, pickled, and used after a fork.

    Args:
        file: the model.

    Raises:
        UserError: the file is not an exported model.
    """

    def __init__(self, file: Path):
        self._model = OnnxModel(file, available_threads())
        try:
            notes = {key: json.loads(value) for key, value in self._model.metadata().items()}
            self.architecture: str = notes["architecture"]
            self.classes = tuple(notes["classes"])
            self.temperature = float(notes["temperature"])
            settings = renamed_fields(notes["preprocessing"])
            self.preprocess = Preprocessing(**settings | {name: tuple(settings[name]) for name in ("mean", "std")})
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is not a model exported by ferlib ({error!r})") from error
        self.mixes_batch: bool = notes.get("mixes_batch", False)
        self.explained_in_the_lab: tuple[str, ...] = tuple(notes.get("methods", ()))
        self.methods: tuple[str, ...] = (HEAT_MAP,) if "heatmap" in self._model.outputs() else ()
        self.side = self.preprocess.face_side

    def classify(self, faces: np.ndarray, explain: str | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Probabilities `(N, classes)`, and with `explain="gradcam"` heat maps `(N, S, S)`; see `Classifier`."""
        wanted = ["logits", "heatmap"] if explain else ["logits"]
        logits, *maps = self._model.run(wanted, {"image": self.preprocess(faces)})
        return softmax(logits, self.temperature), self.preprocess.whole_face(maps[0]) if maps else None
