"""Work for processes of their own, which import it from here."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ferlib.bulk.job import Job
from ferlib.predict import Predictor
from ferlib.runtime.classifier import OnnxClassifier
from ferlib.runtime.released import model_folder


def square(task: int, report: Callable[[Any], None]) -> tuple[int, int]:
    """The square, and the process's number; negative numbers are refused."""
    report(task)
    print("this is no answer")
    if task < 0:
        raise FileNotFoundError(f"{task} is negative")
    return task**2, os.getpid()


def fall(task: str, report: Callable[[Any], None]) -> str:
    """Ends the process where the file is not there yet, which it then is."""
    report(f"before {task}")
    if not Path(task).exists():
        Path(task).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def sleep(task: float, report: Callable[[Any], None]) -> None:
    """Wait."""
    report(None)
    time.sleep(task)


def modules(task: None, report: Callable[[Any], None]) -> list[str]:
    """Names of all that is imported."""
    return list(sys.modules)


class Fragile(OnnxClassifier):
    """Ends its process where a face is dark."""

    def classify(self, faces: np.ndarray, explain: str | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        if faces.mean() < 60:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().classify(faces, explain)


class FragileJob(Job):
    """With a model that ends its process where a face is dark."""

    def predictor(self) -> Predictor:
        return Predictor(Fragile(model_folder(self.model) / "model.onnx"))
