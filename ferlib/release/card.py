"""The model card of a released model: what the run recorded, what was measured, and what its maker said of it.

Nothing is guessed: what a run does not know (whose the pictures are, what the weights may be used for) is said by the
one who releases the model, or is not in the card.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm

from ferlib.data.registry import RELABELLED
from ferlib.errors import UserError
from ferlib.evaluation.report_format import ClassScores, Estimate, Report, in_percent, read_report
from ferlib.models.backbone import BackboneModelConfig, parameter_count
from ferlib.models.base import FaceModel
from ferlib.models.registry import MODELS, load_model
from ferlib.names import display_name
from ferlib.runtime.prediction_sets import FILE
from ferlib.utils.atomic import atomic_write
from ferlib.utils.old_names import renamed_fields

CARD = """---
{licence_field}library_name: ferlib
pipeline_tag: image-classification
---

# {name}

{architecture}; {parameters:.2f} M parameters ({megabytes:.1f} MB) for {size} px {colour} faces, {classes}.{about}

## Data and rights

{trained} {rights}
{origin} {licence}

## Test figures

{faces:,} faces, each classified alone; {clean_faces:,} without those that stand twice in the data, conflict with one
another or are blank. 95 % intervals (bootstrap, people drawn whole where they are known; of the recall Wilson's where
they are not). Code: {commit}.

| metric | all | duplicates removed |
|---|---|---|
{metrics}

{temperature}

| class | faces | precision | F1 | recall | recall, duplicates removed |
|---|---|---|---|---|---|
{per_class}
{sets}
## How it was trained
{command}
Epoch {best_epoch} of {epochs} had the best {selected_by}{selected_on} ({selected:.4f}) and was kept.
Seed {seed}, PyTorch {torch}. The whole recipe:

```json
{recipe}
```

## Known biases

What test faces of each class are most often called by mistake: {confusions}.

## Limits

- It names the expression that people would see in a picture of a face. That is not what the person feels.
- **Not for judging people**: not for hiring, policing, schooling, medicine, or any decision about a person.
{limits}
"""

SETS = """
## Prediction sets

Sets of classes that hold the true one as often as promised (`Predictor.load(..., coverage=0.9)`, `predict --coverage
0.9`): split conformal prediction on the {faces:,} faces of the {split} split of {data}, thresholds by {by},
score: APS with {score} (`ferlib.runtime.prediction_sets`). The truth is the face's label{or_a_vote}. On the
{test_faces:,} test faces, in percent:

| truth | promised | holds the label | holds a vote | single answers | of these right | mean size |
|---|---|---|---|---|---|---|
{rows}

The promise is for faces like those of {data}, taken together; for photos of another kind it can fail.
"""

OR_A_VOTE = """,
or one of its votes, drawn at random, of those for an expression that two people or more named"""

#: What is known of the pictures of a data set, whoever trains on it.
RIGHTS = {
    "ferplus": "FER2013's pictures were\ncollected from the web for research; FERPlus's labels are MIT-licensed; "
    "neither is part of this project.",
    "fer2013": "Its pictures were\ncollected from the web for research, and are not part of this project.",
    "synthetic": "Its faces are drawn\nand show nobody.",
}
WEB_PHOTOS = """\
- The training faces are small grey crops of web photos, {labelled}. Some expressions are rare in them, and the
  per-class table shows what that does. Skin tones, ages and cultures are not balanced, and were not labelled, so no
  figures by group can be given.
- Strongly turned, covered or badly lit faces are often wrong, and detection fails on some."""
LIMITS = {
    "ferplus": WEB_PHOTOS.format(labelled="labelled by ten people each"),
    "fer2013": WEB_PHOTOS.format(labelled="with labels that are often wrong"),
    "synthetic": "- It has seen synthetic faces only: what it says of photos was not measured.",
}
NOT_RECORDED = """\
- Who the people in the training faces are (age, skin tone, culture) is not recorded here, so there are no figures by
  group."""


def card(folder: Path) -> str:
    """The model card of a released folder, from the other files in it."""
    model = load_model(folder)
    training = json.loads((folder / "training.json").read_text())
    report, clean = (read_report(folder / f"{name}.json") for name in ("report", "report_clean"))
    licence, about, data = training["licence"], training["about"], report["data"]
    architecture, pictures = MODELS[model.config.architecture].about, RELABELLED.get(data, (data,))[0]
    return CARD.format(
        licence_field=f"license: {licence.lower()}\n" if licence else "",
        name=folder.name,
        architecture=architecture[:1].upper() + architecture[1:],
        parameters=parameter_count(model) / 1e6,
        megabytes=(folder / "model.safetensors").stat().st_size / 1e6,
        size=model.config.input_size,
        colour="grey" if model.config.grey else "colour",
        classes=f"{len(model.config.classes)} classes: {', '.join(model.config.classes)}",
        about=f"\n\n{about}" if about else "",
        trained=_trained(training, data),
        rights=RIGHTS.get(pictures, ""),
        origin=_origin(model, training),
        licence=f"The weights here are released under {licence}."
        if licence
        else "No licence was named for the weights.",
        faces=report["faces"],
        clean_faces=clean["faces"],
        commit=report["commit"],
        temperature=_temperature(folder, model.config.temperature, report),
        metrics="\n".join(
            f"| {display_name(key)} | {_with_interval(metric)} | {_with_interval(clean['metrics'][key])} |"
            for key, metric in report["metrics"].items()
        ),
        per_class="\n".join(_class_row(key, row, clean["per_class"][key]) for key, row in report["per_class"].items()),
        sets=_prediction_sets(folder),
        command=f"\n    python -m ferlib {training['command']}\n" if training["command"] else "",
        best_epoch=training["best_epoch"],
        epochs=training["epochs"],
        selected_by=display_name(training["selected"]["by"]),
        selected_on=f" on the {split} split" if (split := training["selected"]["split"]) else "",
        selected=training["selected"]["value"],
        seed=training["recipe"]["seed"],
        torch=training["torch"],
        recipe=json.dumps(training["recipe"], indent=2),
        confusions="; ".join(_confusions(**report["confusion"])),
        limits=LIMITS.get(pictures, NOT_RECORDED),
    )


def write_card(folder: Path) -> None:
    """Write the card of a released folder, its README.md."""
    with atomic_write(folder / "README.md") as partial:
        partial.write_text(card(folder), encoding="utf-8")


def check_licence(licence: str) -> None:
    """Assert that a licence is named by an identifier.

    Raises:
        ValueError: it is not.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", licence):
        raise UserError(f"a licence is named by its SPDX identifier, Apache-2.0 or CC-BY-NC-4.0 say, not {licence!r}")


def _calibration(folder: Path) -> dict[str, Any]:
    """The content of a folder's conformal.json; nothing where it has none."""
    return json.loads((folder / FILE).read_text()) if (folder / FILE).is_file() else {}


def _temperature(folder: Path, temperature: float, report: Report) -> str:
    """Sentences on a model's temperature, and on the last row of the figures where that is without it."""
    if temperature == 1:
        return "Probabilities are softmax(logits): no temperature was fitted."
    split = f"the validation split{_of_other_data(folder, report['data'])}"
    words = (
        f"Probabilities are softmax(logits / {temperature}); that temperature was fitted on {split}\n"
        "(`python -m ferlib calibrate`)."
    )
    if "ece_uncalibrated" in report["metrics"]:
        words += " The last row is the expected calibration error without it."
    return words


def _of_other_data(folder: Path, data: str) -> str:
    """The data that a model was calibrated on, where it is not the one it was measured on."""
    own = _calibration(folder).get("calibrated_on", {}).get("data", data)
    return "" if own == data else f" of {display_name(own)}"


def _prediction_sets(folder: Path) -> str:
    """The section on prediction sets; empty where the folder has none that were measured."""
    content = _calibration(folder)
    if "test" not in content:
        return ""
    made, test = content["calibrated_on"], content["test"]
    names = ("coverage", "votes_covered", "single", "single_accuracy")
    rows = []
    for truth, coverages in test["figures"].items():
        for coverage, found in coverages.items():
            cells = [in_percent(found[name]) if found.get(name) else "" for name in names]
            size = f"{found['mean_size']['value']:.2f}"
            rows.append(f"| {' | '.join([truth, f'{float(coverage):.0%}', *cells, size])} |")
    return SETS.format(
        **{name: made[name] for name in ("faces", "split")},
        data=display_name(made["data"]),
        by=content["by"],
        score=", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in content["score"].items()),
        test_faces=test["faces"],
        or_a_vote=OR_A_VOTE if "votes" in test["figures"] else "",
        rows="\n".join(rows),
    )


def _trained(training: dict, data: str) -> str:
    """On which faces it was trained and selected."""
    faces = "the training split"
    if recorded := training["data"]:
        channels, height, width = recorded["pixels"]
        size = f"{height} px" if height == width else f"{height} x {width} px"
        faces = f"the {recorded['faces']['train']:,} training faces ({size}, {'grey' if channels == 1 else 'colour'})"
    if training["selected"]["split"] is None:
        chosen = (
            f"the epoch chosen by {display_name(training['selected']['by'])}, which the run observed beside its "
            "validation figures: **the test figures here may be too high**"
        )
    elif training["selected"]["split"] == "test":
        chosen = "**the epoch chosen on its test split, so the test figures here are too high**"
    else:
        chosen = "the epoch chosen on its validation split, measured on its test split"
    return f"Trained on {faces} of {display_name(data)}, {chosen}."


def _trained_tau(training: dict) -> float | None:
    """The τ by which a training ended with adjusted logits; None where it did not."""
    recipe = renamed_fields(training["recipe"])
    return recipe["method_settings"].get("tau") if recipe["method"] == "logit_adjusted_posthoc" else None


def _origin(model: FaceModel, training: dict) -> str:
    """Sentences on the pretrained weights and the teacher of a model."""
    start = training["backbone_weights"]
    if not model.has_backbone or (start and start["name"] == "none"):
        words = "Nothing is pretrained."
    elif start is None:
        words = "What its backbone started from is not recorded."
    elif start["name"] == "imagenet":
        backbone = model.config.backbone if isinstance(model.config, BackboneModelConfig) else ""
        source = timm.get_pretrained_cfg(backbone) if backbone else None
        licence = f" of `{backbone}` ({source.license})" if source and source.license else ""
        words = f"The backbone started from timm's ImageNet weights{licence}."
    elif start["about"]:
        words = f"The backbone started from {start['about']}."
    else:
        digest = f" (SHA-256 {start['sha256'][:16]}…)" if start.get("sha256") else ""
        words = f"The backbone started from the file `{start['name']}`{digest}; where that comes from is not recorded."
    if teacher := training["recipe"].get("teacher"):
        share = training["recipe"]["teacher_fraction"]
        folders = [path.parent if path.name == "best" else path for path in map(Path, teacher.split(","))]
        words += f" Of the training targets {share:.0%} are the answers of {', '.join(f'`{f.name}`' for f in folders)}."
    return words + _last_changes(model, training)


def _last_changes(model: FaceModel, training: dict) -> str:
    """Sentences on what was done to a model at the end of its training, and after it."""
    words = ""
    if (tau := _trained_tau(training)) is not None:
        words += f" At the end of the training its logits were adjusted for rare classes (τ = {tau:g})."
    after = training.get("afterwards", {})
    if after.get("tau") is not None:
        words += f" After the training its logits were adjusted for rare classes (τ = {after['tau']:g})."
    if after.get("mirror"):
        words += " Its answer is the mean over a face and its mirror image, which the training did not use."
    elif model.config.flip_tta:
        words += " Its answer is the mean over a face and its mirror image."
    if after.get("int8"):
        words += " Its weights are stored in eight bits."
    if form_of := training.get("form_of"):
        words += f" It is another form of `{form_of}`, made without further training."
    return words


def _with_interval(metric: Estimate) -> str:
    return f"{metric['value']:.4f} ({metric['low']:.4f} to {metric['high']:.4f})"


def _class_row(name: str, row: ClassScores, clean: ClassScores) -> str:
    recalls = [f"{one['recall']:.3f} ({one['recall_low']:.3f} to {one['recall_high']:.3f})" for one in (row, clean)]
    return f"| {name} | {row['support']:.0f} | {row['precision']:.3f} | {row['f1']:.3f} | {' | '.join(recalls)} |"


def _confusions(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> list[str]:
    """For each class the other one that its faces are called most often, by falling fraction of its faces."""
    found = []
    for i, row in enumerate(counts):
        hits, j = max((hits, j) for j, hits in enumerate(row) if j != i)
        if hits:
            found.append((hits / sum(row), f"{classes[i]}: {classes[j]} ({hits} of {sum(row):,})"))
    return [text for _, text in sorted(found, reverse=True)]
