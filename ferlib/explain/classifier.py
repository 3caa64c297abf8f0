"""Classify face crops with PyTorch: any model, on any device, with every explanation."""

import os
from typing import Any

import numpy as np
import torch

from ferlib.explain.methods import explain as explain_batch
from ferlib.explain.methods import methods_of
from ferlib.models.base import FaceModel, to_device
from ferlib.models.preprocess import Preprocess
from ferlib.utils.devices import choose_device


class TorchClassifier:
    """A `ferlib.runtime.classifier.Classifier` around a `FaceModel`.

    Args:
        model: put into evaluation mode and onto the device.
        device: see `ferlib.utils.devices.choose_device`.
    """

    def __init__(self, model: FaceModel, device: str | torch.device = "cpu"):
        self.model, self.device = model.eval(), choose_device(device)
        to_device(model, self.device)
        self.architecture, self.classes = model.config.architecture, model.config.classes
        self.preprocess = Preprocess.of(model.config)
        self.methods = methods_of(model)
        self.mixes_batch = model.mixes_batch
        self.side = self.preprocess.face_side
        self._process = os.getpid()

    def classify(self, faces: np.ndarray, explain: str | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Probabilities `(N, classes)`, and heat maps `(N, S, S)` where `explain` asks for them; see `Classifier`."""
        if explain is None:
            with torch.inference_mode():
                return self._probabilities(self.model(self._input(faces))), None
        with torch.inference_mode(False):  # explanations need gradients
            logits, heat = explain_batch(self.model, self._input(faces), explain)
            return self._probabilities(logits), self.preprocess.whole_face(heat).cpu().numpy()

    def _probabilities(self, logits: torch.Tensor) -> np.ndarray:
        return (logits.float() / self.model.config.temperature).softmax(dim=1).cpu().numpy()

    def _input(self, faces: np.ndarray) -> torch.Tensor:
        if self._process != os.getpid():  # forked: the threads PyTorch had stayed behind, and waiting for them hangs
            torch.set_num_threads(1)
            self._process = os.getpid()
        pixels = torch.from_numpy(faces)
        pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
        return self.preprocess(pixels.to(self.device))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._process = os.getpid()
