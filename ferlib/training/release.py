"""From a finished run to a released model: weights, config, model card, test report, golden input/output pair."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.synthetic import EXPRESSIONS, sample_face
from ferlib.evaluation.calibration import calibration_error, fit_temperature, tempered
from ferlib.evaluation.evaluate import predict_dataset
from ferlib.models.trunk import parameter_count
from ferlib.models.zoo import MODELS, WEIGHTS, load_model
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

{faces:,} faces, each classified alone. 95 % bootstrap intervals. Commit {commit}.

| metric | value | interval |
|---|---|---|
{metrics}

| class | precision | recall | F1 | faces |
|---|---|---|---|---|
{per_class}

## How it was trained

    python -m ferlib train {recipe_name} --data {data}{trunk_option}

{calibrated}Epoch {best_epoch} of {epochs} had the best validation accuracy ({validation:.4f}) and was kept.
Seed {seed}, PyTorch {torch}. The whole recipe:

```json
{recipe}
```

## Limits

- It names the expression that people would see in a picture of a face. That is not what the person feels.
- **Not for judging people**: not for hiring, policing, schooling, medicine, or any decision about a person.
- The training faces are small grey crops of web photos{labelled}. Some expressions are rare in them, and the
  per-class table shows what that does. Skin tones, ages and cultures are not balanced, and were not labelled, so no
  figures by group can be given.
- Strongly turned, covered or badly lit faces are often wrong, and detection fails on some.
"""

CALIBRATED = """Its probabilities are softmax(logits / {temperature}); that temperature was fitted on the validation
split (`python -m ferlib calibrate`), and `ece` above is with it, `ece uncalibrated` without.

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


def calibrate(folder: Path, dataset: FaceDataset) -> tuple[float, float, float]:
    """Fit a model's temperature on validation faces and write it into its config.json.

    Args:
        folder: of the model; a golden pair in it is made anew.
        dataset: with a validation split, and the model's classes.

    Returns:
        The temperature, and the expected calibration error on those faces without it and with it.

    Raises:
        DataError: the data has no validation faces, or classes that the model does not know.
    """
    model, part = load_model(folder), dataset.split("validation")
    if not len(part):
        raise DataError(f"{dataset.name} has no validation faces to calibrate on")
    labels, probabilities = part.labels().numpy(), predict_dataset(model, part, classes=dataset.classes)
    plain = tempered(probabilities, 1 / model.config.temperature)
    temperature = fit_temperature(labels, plain)
    config = json.loads((folder / "config.json").read_text()) | {"temperature": round(temperature, 4)}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    if (folder / "golden.safetensors").exists():
        write_golden(folder)
    before, after = (calibration_error(labels, found) for found in (plain, tempered(plain, temperature)))
    return temperature, before, after


def release(run: Path, name: str, report: dict, recipe_name: str) -> Path:
    """Make `ferlib/weights/<name>/` from a run folder, in place of a model that had this name.

    Args:
        run: written by `ferlib.training.loop.fit`.
        name: of the released model.
        report: of the model on the test split, from `ferlib.evaluation.evaluate.evaluate`.
        recipe_name: for the card.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: the run folder lacks a file of a finished run.
        ValueError: its model cannot be read.
    """
    folder = WEIGHTS / name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for file in ("model.safetensors", "config.json"):
        shutil.copyfile(run / "best" / file, folder / file)
    model = load_model(folder)
    write_golden(folder)

    history = pd.read_csv(run / "history.csv")
    best = history.loc[best_epoch(history)]
    recipe = json.loads((run / "recipe.json").read_text())
    trunk = getattr(model.config, "trunk", None)
    metrics = []
    for key, metric in report["metrics"].items():
        interval = f"{metric['low']:.4f} to {metric['high']:.4f}" if "low" in metric else ""
        metrics.append(f"| {key.replace('_', ' ')} | {metric['value']:.4f} | {interval} |")
    rows = [
        f"| {key} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} | {row['support']:.0f} |"
        for key, row in report["per_class"].items()
    ]
    card = CARD.format(
        name=name,
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
        trunk_option=f" --trunk-weights {trunk}.safetensors" if trunk else "",
        faces=report["faces"],
        commit=report["commit"],
        metrics="\n".join(metrics),
        per_class="\n".join(rows),
        recipe_name=recipe_name,
        calibrated=CALIBRATED.format(temperature=model.config.temperature) if model.config.temperature != 1 else "",
        best_epoch=int(best["epoch"]) + 1,
        epochs=len(history),
        validation=best["accuracy"],
        seed=recipe["seed"],
        torch=version("torch"),
        recipe=json.dumps(recipe, indent=2),
    )
    (folder / "README.md").write_text(card)
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    return folder
