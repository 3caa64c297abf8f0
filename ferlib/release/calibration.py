"""Calibration of a model folder: temperature and prediction sets, fitted on validation faces, and what depends on them.

`ferlib.release.release` calibrates the models that it makes; `ferlib calibrate` calibrates any model folder.
"""

import json
import shutil
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from ferlib.data.dataset import DataError, FaceDataset, described
from ferlib.errors import UserError
from ferlib.evaluation.calibration import (
    TEMPERATURES,
    at_an_end,
    calibration_error,
    fit_temperature,
    temperature_scaled,
)
from ferlib.evaluation.evaluate import predict_dataset
from ferlib.models.base import to_device
from ferlib.models.registry import WEIGHTS, load_model, released_models
from ferlib.predict import Predictor
from ferlib.release.card import write_card
from ferlib.release.onnx_export import export_onnx
from ferlib.release.prediction_sets import write_prediction_sets, write_test_figures
from ferlib.synthetic.render import EXPRESSIONS, sample_face
from ferlib.training.checkpoint import other_splits, recorded_data
from ferlib.utils.atomic import atomic_write, read_json, replace_folder, write_json
from ferlib.utils.devices import choose_device
from ferlib.utils.old_names import renamed_fields
from ferlib.utils.tensor_files import save_tensors

ROOT = WEIGHTS.parents[1]  # of a checkout; of an installed package, the folder of all packages


def golden_faces() -> np.ndarray:
    """Synthetic faces, one of each expression: uint8 (7, 48, 48, 3). Nobody's portrait, the same everywhere."""
    rng = np.random.default_rng(48)
    return np.stack([sample_face(name, rng, 48, clean=True).pixels for name in EXPRESSIONS])


def write_golden(folder: Path) -> None:
    """Into a model folder, what the model answers for `golden_faces`: whoever loads it can check it by that."""
    faces = golden_faces()
    probabilities, _ = Predictor(load_model(folder)).classify(list(faces))
    golden = {"faces": torch.from_numpy(faces), "probabilities": torch.from_numpy(probabilities)}
    with atomic_write(folder / "golden.safetensors") as partial:
        save_tensors(golden, partial)


def fit_calibration(
    folder: Path, dataset: FaceDataset, device: str | torch.device = "auto"
) -> tuple[float, float, float]:
    """Fit a model's temperature on validation faces and write it into its config.json; its prediction sets too.

    Args:
        folder: of the model; a golden pair and a model.onnx in it are made anew, conformal.json is written.
        dataset: with a validation split, and the model's classes.
        device: where the faces are predicted, see `ferlib.utils.devices.choose_device`.

    Where no temperature fits, as of a model that is never wrong on a few faces, it keeps its own, with a warning.

    Returns:
        The temperature, and the expected calibration error on those faces without it and with it.

    Raises:
        DataError: the data has no validation faces, or classes that the model does not know.
    """
    model, part = load_model(folder), dataset.split("validation")
    to_device(model, choose_device(device))
    _require_unseen(folder, dataset)
    labels, probabilities = part.labels().numpy(), predict_dataset(model, part, classes=dataset.classes)
    plain = temperature_scaled(probabilities, 1 / model.config.temperature)
    temperature = fit_temperature(labels, plain)
    if at_an_end(temperature):
        low, high = TEMPERATURES
        warnings.warn(
            f"no temperature from {low:g} to {high:g} is the best for {len(part):,} validation faces, "
            f"{(plain.argmax(axis=1) == labels).mean():.0%} of them right: the model keeps "
            f"{model.config.temperature:g}. Calibrate it on more faces",
            stacklevel=2,
        )
        temperature = model.config.temperature
    config = renamed_fields(json.loads((folder / "config.json").read_text()), vars(model.config))
    config |= {"temperature": round(temperature, 4)}
    write_json(folder / "config.json", dict(sorted(config.items())), indent=2)
    if (folder / "golden.safetensors").exists():
        write_golden(folder)
    if (folder / "model.onnx").exists():
        export_onnx(load_model(folder), folder / "model.onnx")
    write_prediction_sets(folder, part, probabilities_of(folder, part, device), model.config.classes)
    before, after = (calibration_error(labels, found) for found in (plain, temperature_scaled(plain, temperature)))
    return temperature, before, after


def calibrate(folder: Path, dataset: FaceDataset, device: str | torch.device = "auto") -> tuple[float, float, float]:
    """Calibrate a model, and take back the test figures of a released one that are no longer true.

    Reports and card of a folder made by `ferlib release` lose the calibration error, if the temperature is another now,
    and the figures of the prediction sets. The others do not depend on either. `ferlib release` measures all again.
    The folder is changed as a whole or not at all.

    Arguments, result and errors as of `fit_calibration`.
    """
    folder = folder.resolve()
    _require_unseen(folder, dataset)  # here: a run's record lies beside best/, and not beside the copy
    with TemporaryDirectory(dir=folder.parent, prefix=".calibrate-") as place:
        copy = shutil.copytree(folder, Path(place) / folder.name)
        found = fit_calibration(copy, dataset, device)
        if (copy / "training.json").is_file() and (copy / "report.json").is_file():
            temperature = read_json(copy / "config.json")["temperature"]
            for name in ("report", "report_clean"):
                _take_back_calibration_error(copy / f"{name}.json", temperature)
            write_card(copy)
        replace_folder(copy, folder, Path(place) / f"{folder.name}.old")
    return found


def _take_back_calibration_error(report: Path, temperature: float) -> None:
    """Give a report this temperature, without the calibration error if that was measured with another."""
    content = read_json(report)
    before = content["model"].get("temperature", 1)
    if before != temperature:
        content["model"]["temperature"] = temperature
        error = content["metrics"].pop("ece", None)
        if error and before == 1:
            content["metrics"].setdefault("ece_uncalibrated", error)
        write_json(report, content)


def calibrate_sets(folder: Path, dataset: FaceDataset, device: str | torch.device = "auto") -> None:
    """Calibrate a released model's prediction sets alone, measure them on the test split, and write its card again.

    Arguments and errors as of `fit_calibration`.
    """
    check_trained_on(folder, dataset)
    classes, (validation, test) = load_model(folder).config.classes, map(dataset.split, ("validation", "test"))
    _require_unseen(folder, dataset)
    on_validation, on_test = (probabilities_of(folder, part, device) for part in (validation, test))
    write_prediction_sets(folder, validation, on_validation, classes)  # from here on it takes no time
    write_test_figures(folder, test, on_test)
    write_card(folder)


def _require_unseen(folder: Path, dataset: FaceDataset) -> None:
    """Assert that there are validation faces, on which the model was not trained: the published protocol leaves none.

    Raises:
        DataError: there are none, or they were or may have been among the training faces.
    """
    if not len(dataset.split("validation")):
        raise DataError(f"{dataset.name} has no validation faces to calibrate on")
    own = recorded_data(folder) or {}
    faces = own.get("faces", {}) if own.get("name") == dataset.name else {}
    if faces and not faces.get("validation") and faces["train"] > len(dataset.split("train")):
        raise DataError(
            f"the model was trained on all faces of {dataset.name} but the test split's, as published: none are left "
            "to calibrate on"
        )
    if own and own["name"] != "folder" and other_splits(own, described(dataset)):
        raise DataError(
            f"the model was trained on other splits of {dataset.name}: faces to calibrate on may be among its own"
        )


def probabilities_of(folder: Path, part: FaceDataset, device: str | torch.device) -> np.ndarray:
    """Probabilities (N, K) of all classes of the model in a folder."""
    model = load_model(folder)
    to_device(model, choose_device(device))
    return predict_dataset(model, part)


def check_trained_on(folder: Path, dataset: FaceDataset) -> dict:
    """The record of a model's training; `UserError` where that was on another data set than this."""
    training = read_json(folder / "training.json")
    if training["data"] and training["data"]["name"] != dataset.name:
        raise UserError(f"the model was trained on {training['data']['name']}, not on {dataset.name}")
    if training["data"] and training["data"].get("digest") not in (None, described(dataset).get("digest")):
        raise UserError("the model was trained on another folder than this one, or files in it are others now")
    return training


def check_own_data(name: str, dataset: FaceDataset) -> None:
    """Assert that a released model, if the name is one's, is to be calibrated on the data that it was trained on.

    Raises:
        UserError: on other data, whoever uses the project after that would get other answers.
    """
    folder = released_models().get(_released_name(name))
    if folder is not None:
        try:
            check_trained_on(folder, dataset)
        except UserError as error:
            raise UserError(f"{error}; copy {folder} and calibrate the copy") from error


def in_checkout() -> bool:
    """True if the project is run from its source, whose released models may be changed; not an installed one."""
    return (ROOT / "pyproject.toml").is_file()


def changeable(name: str) -> Path:
    """The folder of a model that may be calibrated; UserError for the installed package's, or where there is none."""
    folder = released_models().get(name, Path(name)).resolve()
    if _released_name(name) in released_models() and not in_checkout():
        raise UserError(f"{name} is part of the installed package; copy {folder} and calibrate the copy")
    if not folder.is_dir():
        raise UserError(f"no folder {name}; only a model in a folder can be calibrated, a copy of the hub's too")
    if folder == Path.cwd():
        raise UserError(f"{folder} is replaced as a whole; calibrate it from another folder than itself")
    return folder


def _released_name(name: str) -> str:
    """The name of a released model, which may be given by its folder; else the word itself."""
    where = Path(name).resolve()
    return next((one for one, folder in released_models().items() if folder.resolve() == where), name)
