"""Table of all models, with their size, cost, rights and test figures."""

from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub.repocard import metadata_load

from ferlib.evaluation.report_format import read_report
from ferlib.models.backbone import parameter_count
from ferlib.models.base import FaceModel
from ferlib.models.profile import count_flops
from ferlib.models.registry import MODELS, create_model, load_model, released_models


@dataclass(frozen=True)
class TestFigures:
    """Test figures of a released model, on faces it was neither trained nor selected on.

    Attributes:
        data: name of the data set.
        split: of it.
        faces: how many.
        accuracy, balanced_accuracy: shares, 0..1.
    """

    __test__ = False  # pytest: not a test

    data: str
    split: str
    faces: int
    accuracy: float
    balanced_accuracy: float


@dataclass(frozen=True)
class ModelRow:
    """One model of the list.

    Attributes:
        name: for `load_model` if it is trained, else for `create_model`.
        trained: whether weights come with it.
        parameters: their number; of an architecture: with its default settings.
        flops: operations for one face at the model's input size, see `count_flops`.
        input_size: side of the input in pixels.
        licence: of the weights; None without weights, or where the model's card names none.
        test: None without weights, or where the model's folder has no report.
        about: a line about the architecture.
    """

    name: str
    trained: bool
    parameters: int
    flops: int
    input_size: int
    licence: str | None
    test: TestFigures | None
    about: str


def model_rows() -> list[ModelRow]:
    """All models: the released ones, then the architectures, which are only sketched and take no memory.

    Raises:
        ValueError: a released model's folder is damaged.
    """
    rows = []
    for name, folder in released_models().items():
        model = load_model(name)
        rows.append(_row(name, model, True, _licence(folder / "README.md"), read_figures(folder / "report.json")))
    for name in MODELS:
        with torch.device("meta"):
            model = create_model(name)
        rows.append(_row(name, model, False, None, None))
    return rows


def _row(name: str, model: FaceModel, trained: bool, licence: str | None, test: TestFigures | None) -> ModelRow:
    size, about = model.config.input_size, MODELS[model.config.architecture].about
    return ModelRow(name, trained, parameter_count(model), count_flops(model), size, licence, test, about)


def _licence(card: Path) -> str | None:
    return (metadata_load(card) or {}).get("license") if card.is_file() else None


def read_figures(report: Path) -> TestFigures | None:
    """The figures in a report of `ferlib.evaluation.evaluate.evaluate`; None if there is no such file.

    Raises:
        ValueError: the file is not such a report.
    """
    if not report.is_file():
        return None
    content = read_report(report)
    metrics = content["metrics"]
    values = (metrics[name]["value"] for name in ("accuracy", "balanced_accuracy"))
    return TestFigures(content["data"], content["split"], content["faces"], *values)
