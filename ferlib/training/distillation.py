"""Learning from a trained model's answers beside the labels (Hinton, Vinyals and Dean 2015)."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.errors import UserError
from ferlib.models.base import FaceModel, to_device
from ferlib.models.inference import run_model
from ferlib.models.preprocess import Preprocess
from ferlib.models.pretrained import weights_record
from ferlib.models.registry import load_model
from ferlib.runtime.released import model_folder
from ferlib.training.features import content_key
from ferlib.utils.cache import cached_array
from ferlib.utils.devices import choose_device

FACES_AT_ONCE = 256


def distillation_targets(targets: Tensor, dataset: FaceDataset, teacher: str | Path, share: float) -> Tensor:
    """Targets with a teacher's answers mixed in: (1 - share) t + share p, (N, classes).

    Several teachers answer with the mean of their probabilities. Departure: the paper raises the temperature of teacher
    and student; here both stay at 1, also where a teacher has a fitted one, since the votes that the answers are
    mixed with are as soft as the answers.

    Args:
        targets: class indices (N,) or distributions (N, classes), in the data set's order.
        dataset: the faces they belong to.
        teacher: a released model's name or a model folder, see `ferlib.models.registry.load_model`; several are joined
            by commas.
        share: of the teachers, 0..1.

    Raises:
        DataError: a teacher's classes are not the data set's, in its order.
        UserError: there is no such model, or its attention mixes the faces of a batch.
    """
    models = {name: load_model(name) for name in str(teacher).split(",")}
    for name, model in models.items():
        to_device(model, choose_device())
        if model.config.classes != dataset.classes:
            raise DataError(f"the teacher {name} has the classes {model.config.classes}, the data {dataset.classes}")
        if model.mixes_batch:
            raise UserError(f"the teacher {name} answers for a batch, not for a face; take one without batch attention")
    answers = [teacher_answers(model, dataset) for model in models.values()]
    if targets.ndim == 1:
        targets = torch.nn.functional.one_hot(targets, len(dataset.classes)).float()
    return torch.lerp(targets, torch.stack(answers).mean(dim=0), share)


def teachers_record(teacher: str) -> list[str]:
    """SHA-256 of the weights of every teacher; `teacher` as in `distillation_targets`."""
    return [weights_record(model_folder(name) / "model.safetensors")["sha256"] for name in teacher.split(",")]


def teacher_answers(model: FaceModel, dataset: FaceDataset) -> Tensor:
    """Class probabilities (N, classes) float32 on the CPU, the mean of those for a face and for its mirror image.

    They are kept in the user's cache: a training that goes on, or another student, need not ask again.
    """
    preprocess = Preprocess.of(model.config)

    def answer(pixels: Tensor) -> Tensor:
        x = preprocess(pixels)
        return (model(x).softmax(dim=1) + model(x.flip(-1)).softmax(dim=1)) / 2

    def asked() -> np.ndarray:
        answers = torch.cat(list(run_model(model, answer, dataset.pixels, FACES_AT_ONCE, "asking the teacher")))
        return answers.cpu().numpy()

    key = content_key(model, dataset, model, asdict(model.config))
    return torch.from_numpy(cached_array("teacher", key, asked))
