"""From a finished run to a released model: a folder with

model.safetensors, config.json    the weights, and the config with a temperature fitted on validation faces
training.json                     recipe, chosen epoch, versions
report.json, report_clean.json    `ferlib.evaluation.evaluate.evaluate` on the test split, and without duplicates
golden.safetensors                faces, and the model's answers for them
model.onnx                        where it was asked for: the same model, which `Predictor.load` runs on a CPU
README.md                         the model card, written from these
"""

import json
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import save_file

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.synthetic import EXPRESSIONS, sample_face
from ferlib.devices import choose_device
from ferlib.errors import UserError
from ferlib.evaluation.calibration import calibration_error, fit_temperature, tempered
from ferlib.evaluation.evaluate import evaluate, predict_dataset
from ferlib.models.base import place
from ferlib.models.export import export_onnx
from ferlib.models.trunk import parameter_count
from ferlib.models.zoo import MODELS, WEIGHTS, load_model, released_models
from ferlib.predict import Predictor
from ferlib.training.run_folder import best_epoch

CARD = """---
license: apache-2.0
library_name: ferlib
pipeline_tag: image-classification
---

# {name}

{about}; {parameters:.2f} M parameters ({megabytes:.1f} MB) for {size} px grey faces, {classes}.

## Data and rights

Trained on the training rows of {data}, selected on its validation split, measured once on its test split. {rights}
{origin} The weights here are released under Apache-2.0.

## Test figures

{faces:,} faces, each classified alone; {clean_faces:,} without those that stand twice in the data, conflict with one
another or are blank. 95 % intervals (bootstrap; of the recall Wilson's). Commit {commit}.

| metric | all | duplicates removed |
|---|---|---|
{metrics}

`ece` is the expected calibration error. Probabilities are softmax(logits / {temperature}); that temperature was fitted
on the validation split (`python -m ferlib calibrate`). `ece uncalibrated` is the error without it.

| class | faces | precision | F1 | recall | recall, duplicates removed |
|---|---|---|---|---|---|
{per_class}

## How it was trained

    python -m ferlib train {recipe_name} --data {data}{trunk_option}

Epoch {best_epoch} of {epochs} had the best validation accuracy ({validation:.4f}) and was kept.
Seed {seed}, PyTorch {torch}. The whole recipe:

```json
{recipe}
```

## Known biases

What test faces of each class are most often called by mistake: {confusions}.

## Limits

- It names the expression that people would see in a picture of a face. That is not what the person feels.
- **Not for judging people**: not for hiring, policing, schooling, medicine, or any decision about a person.
- The training faces are small grey crops of web photos{labelled}. Some expressions are rare in them, and the
  per-class table shows what that does. Skin tones, ages and cultures are not balanced, and were not labelled, so no
  figures by group can be given.
- Strongly turned, covered or badly lit faces are often wrong, and detection fails on some.
"""

RIGHTS = {
    "ferplus": """FER2013's pictures were
collected from the web for research; FERPlus's labels are MIT-licensed; neither is part of this project.""",
    "fer2013": """Its pictures were
collected from the web for research, and are not part of this project.""",
}
LABELLED = {"ferplus": ", labelled by ten people each", "fer2013": ", with labels that are often wrong"}


def golden_faces() -> np.ndarray:
    """Drawn faces, one of each expression: uint8 (7, 48, 48, 3). Nobody's portrait, the same everywhere."""
    rng = np.random.default_rng(48)
    return np.stack([sample_face(name, rng, 48, clean=True).pixels for name in EXPRESSIONS])


def write_golden(folder: Path) -> None:
    """Into a model folder, what the model answers for `golden_faces`: whoever loads it can check it by that."""
    faces = golden_faces()
    probabilities, _ = Predictor(load_model(folder)).classify(list(faces))
    save_file({"faces": faces, "probabilities": probabilities}, folder / "golden.safetensors")


def calibrate(folder: Path, dataset: FaceDataset, device: str | torch.device = "auto") -> tuple[float, float, float]:
    """Fit a model's temperature on validation faces and write it into its config.json.

    Args:
        folder: of the model; a golden pair and a model.onnx in it are made anew.
        dataset: with a validation split, and the model's classes.
        device: where the faces are predicted, see `ferlib.devices.choose_device`.

    Returns:
        The temperature, and the expected calibration error on those faces without it and with it.

    Raises:
        DataError: the data has no validation faces, or classes that the model does not know.
    """
    model, part = load_model(folder), dataset.split("validation")
    place(model, choose_device(device))
    if not len(part):
        raise DataError(f"{dataset.name} has no validation faces to calibrate on")
    labels, probabilities = part.labels().numpy(), predict_dataset(model, part, classes=dataset.classes)
    plain = tempered(probabilities, 1 / model.config.temperature)
    temperature = fit_temperature(labels, plain)
    config = json.loads((folder / "config.json").read_text()) | {"temperature": round(temperature, 4)}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    if (folder / "golden.safetensors").exists():
        write_golden(folder)
    if (folder / "model.onnx").exists():
        export_onnx(load_model(folder), folder / "model.onnx")
    before, after = (calibration_error(labels, found) for found in (plain, tempered(plain, temperature)))
    return temperature, before, after


def adopt_run(run: Path, folder: Path, recipe_name: str, trunk_weights: str | None = None) -> None:
    """Make a new model folder from a run folder: the kept model and training.json.

    Args:
        run: written by `ferlib.training.loop.fit`.
        folder: to make; one that is there is replaced.
        recipe_name: for the card.
        trunk_weights: the option the run was started with, for the card.

    Raises:
        FileNotFoundError: the run folder lacks a file of a finished run.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for file in ("model.safetensors", "config.json"):
        shutil.copyfile(run / "best" / file, folder / file)
    history = pd.read_csv(run / "history.csv")
    best = history.loc[best_epoch(history)]
    training = {
        "recipe_name": recipe_name,
        "trunk_weights": trunk_weights,
        "best_epoch": int(best["epoch"]) + 1,
        "epochs": len(history),
        "validation_accuracy": round(float(best["accuracy"]), 6),
        "torch": version("torch"),
        "recipe": json.loads((run / "recipe.json").read_text()),
    }
    (folder / "training.json").write_text(json.dumps(training, indent=1) + "\n")


def release(
    name: str,
    dataset: FaceDataset,
    run: Path | None = None,
    recipe_name: str = "",
    trunk_weights: str | None = None,
    onnx: bool = False,
) -> Path:
    """Make `ferlib/weights/<name>/`, or measure a released model again: calibration, reports, golden pair and card.

    Args:
        name: of the released model.
        dataset: the data set it was trained on, with validation and test split.
        run: a run folder to take the model from; None: it is released already.
        recipe_name, trunk_weights: of the run, for the card.
        onnx: add model.onnx.

    Returns:
        The folder.

    Raises:
        ValueError: no run is given, and there is no such released model.
        DataError: the data lacks a split, or has classes that the model does not know.
    """
    folder = WEIGHTS / name
    if run:
        adopt_run(run, folder, recipe_name, trunk_weights)
    elif not (folder / "training.json").exists():
        raise UserError(f"no released model {name}; there are {', '.join(released_models())}")
    calibrate(folder, dataset)  # renews the golden pair and model.onnx where they are
    if run:
        write_golden(folder)
    model = load_model(folder)
    if onnx and not (folder / "model.onnx").exists():
        export_onnx(model, folder / "model.onnx")
    for file, clean in (("report", False), ("report_clean", True)):
        report = {"name": name, **evaluate(model, dataset, clean=clean)}
        (folder / f"{file}.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "README.md").write_text(card(folder))
    return folder


def card(folder: Path) -> str:
    """The model card of a released folder, from the other files in it."""
    model = load_model(folder)
    training, report, clean = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("training", "report", "report_clean")
    )
    trunk = getattr(model.config, "trunk", None)
    return CARD.format(
        name=folder.name,
        about=MODELS[model.config.architecture].about,
        parameters=parameter_count(model) / 1e6,
        megabytes=(folder / "model.safetensors").stat().st_size / 1e6,
        size=model.config.input_size,
        classes=f"{len(model.config.classes)} classes: {', '.join(model.config.classes)}",
        data=report["data"],
        rights=RIGHTS.get(report["data"], ""),
        labelled=LABELLED.get(report["data"], ""),
        origin=f"The trunk started from ImageNet weights of `{trunk}` (Apache-2.0)."
        if trunk
        else "Nothing is pretrained.",
        trunk_option=f" --trunk-weights {training['trunk_weights']}" if training["trunk_weights"] else "",
        faces=report["faces"],
        clean_faces=clean["faces"],
        commit=report["commit"],
        temperature=model.config.temperature,
        metrics="\n".join(
            f"| {key.replace('_', ' ')} | {_with_interval(metric)} | {_with_interval(clean['metrics'][key])} |"
            for key, metric in report["metrics"].items()
        ),
        per_class="\n".join(_class_row(key, row, clean["per_class"][key]) for key, row in report["per_class"].items()),
        confusions="; ".join(_confusions(**report["confusion"])),
        recipe_name=training["recipe_name"],
        best_epoch=training["best_epoch"],
        epochs=training["epochs"],
        validation=training["validation_accuracy"],
        seed=training["recipe"]["seed"],
        torch=training["torch"],
        recipe=json.dumps(training["recipe"], indent=2),
    )


def _with_interval(metric: dict) -> str:
    return f"{metric['value']:.4f} ({metric['low']:.4f} to {metric['high']:.4f})"


def _class_row(name: str, row: dict, clean: dict) -> str:
    recalls = [f"{one['recall']:.3f} ({one['recall_low']:.3f} to {one['recall_high']:.3f})" for one in (row, clean)]
    return f"| {name} | {row['support']:.0f} | {row['precision']:.3f} | {row['f1']:.3f} | {' | '.join(recalls)} |"


def _confusions(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> list[str]:
    """For each class the other one that its faces are called most often, by falling share of its faces."""
    found = []
    for i, row in enumerate(counts):
        hits, j = max((hits, j) for j, hits in enumerate(row) if j != i)
        if hits:
            found.append((hits / sum(row), f"{classes[i]}: {classes[j]} ({hits} of {sum(row):,})"))
    return [text for _, text in sorted(found, reverse=True)]
