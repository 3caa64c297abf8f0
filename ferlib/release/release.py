"""From a finished run to a released model: a folder with

    model.safetensors, config.json  the weights, and the config with a temperature fitted on validation faces
    training.json                   what the run recorded (data, weights it started from, recipe, epoch, versions), and
                                    what was said of it (licence, about)
    report.json, report_clean.json  `ferlib.evaluation.evaluate.evaluate` on the test split, and without duplicates
    golden.safetensors              faces, and the model's answers for them
    conformal.json                  thresholds of its prediction sets, and what these cover on the test split
    model.onnx                      the same model and its Grad-CAM, which `Predictor.load` runs without PyTorch
    README.md                       the model card, written from these by `ferlib.release.card`

`Predictor.load` takes this folder.
"""

import json
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from safetensors.torch import load_file

from ferlib.data.dataset import FaceDataset, described
from ferlib.errors import UserError
from ferlib.evaluation.evaluate import evaluate
from ferlib.evaluation.report_format import Report
from ferlib.models.base import to_device
from ferlib.models.int8 import dequantised, quantised
from ferlib.models.pretrained import weights_record
from ferlib.models.registry import WEIGHTS, load_model, released_models
from ferlib.release.calibration import check_trained_on, fit_calibration, in_checkout, probabilities_of, write_golden
from ferlib.release.card import check_licence, write_card
from ferlib.release.onnx_export import export_onnx
from ferlib.release.prediction_sets import write_test_figures
from ferlib.training.checkpoint import choosing_split, selected_on
from ferlib.training.logit_shift import output_layer
from ferlib.training.methods import create_method
from ferlib.utils.atomic import read_json, replace_folder, write_json
from ferlib.utils.devices import choose_device
from ferlib.utils.old_names import renamed_fields
from ferlib.utils.tensor_files import save_tensors

#: Pretrained weights whose origin is known, by their SHA-256.
KNOWN_WEIGHTS = {
    "70a4e097668ff6c70ebf1e6fc0a633e5f89a83d7d3f7503223d50d05bacee513": (
        "ImageNet weights of `tf_efficientnet_lite0` (Apache-2.0)"
    ),
    "2affbc0df286b920db51544d9020665b66be59b731a3b05beace84250b30079f": (
        "a `mobilenetv1_100` trained on faces, VGGFace2 identities, then age and gender (HSE-FaceRes; MIT)"
    ),
    "2a1f515ac6335daa1b1da34157b36c27fe789d5655df7865ac3cae86352c6c7e": (
        "the first stages of `convnext_nano`, trained on ImageNet, then hand gestures (MIT and CC BY-SA)"
    ),
}


def adopt_run(run: Path, folder: Path) -> None:
    """Make a new model folder from a run folder: the kept model and training.json, which says what the run recorded.

    Args:
        run: written by `ferlib.training.loop.fit`, finished.
        folder: to make.

    Raises:
        FileNotFoundError: the run folder lacks a file of a finished run; nothing is changed.
    """
    recipe, starts, metrics = (
        renamed_fields(json.loads((run / f"{name}.json").read_text())) for name in ("recipe", "environment", "metrics")
    )
    start, best = starts[-1], metrics["best"]
    weights = start.get("backbone_weights")
    training = {
        "command": command_of(start["arguments"]),
        "data": start.get("data"),
        "backbone_weights": weights and {"about": _known(weights.get("sha256"))} | weights,
        "best_epoch": int(best["epoch"]) + 1,
        "epochs": metrics["epochs"],
        "selected": {
            "split": choosing_split(metrics),
            "by": metrics["select_by"],
            "value": round(float(best[metrics["select_by"]]), 6),
        },
        "torch": start["torch"],
        "licence": None,
        "about": None,
        "recipe": {key: without_places(value) if isinstance(value, str) else value for key, value in recipe.items()},
    }
    _make_folder(run / "best", folder, training)


def adopt_model(source: str, folder: Path) -> None:
    """Make a new model folder from a model that was released before, as another form of it.

    Args:
        source: a released model's name, or a folder that `release` made.
        folder: to make.

    Raises:
        UserError: there is no such released model.
    """
    made = _released(source)
    _make_folder(made, folder, read_json(made / "training.json") | {"form_of": made.name})


def _make_folder(source: Path, folder: Path, training: dict) -> None:
    """A new model folder with the weights and the config of another one."""
    folder.mkdir(parents=True)
    for file in ("model.safetensors", "config.json"):
        shutil.copyfile(source / file, folder / file)
    _write_training(folder, training)


def finish(folder: Path, dataset: FaceDataset, mirror: bool, tau: float | None, int8: bool) -> None:
    """Change a new model in ways that take no training.

    Args:
        folder: made by `adopt_run` or `adopt_model`.
        dataset: that it was trained on.
        mirror: from now on its answer is the mean over a face and its mirror image (`flip_tta`).
        tau: of a logit adjustment (Menon et al. 2021, eq. 9), in the bias of its last layer; None: none.
        int8: its weights are stored in eight bits (`ferlib.models.int8`).

    Raises:
        ValueError: the model ends in no linear layer with a bias, or `tau` is no positive number.
    """
    model, weights = load_model(folder), load_file(folder / "model.safetensors")
    if tau is not None:
        if dataset.classes != model.config.classes:
            raise UserError(
                f"{dataset.name} has other classes than the model, so their frequencies say nothing of its own"
            )
        shift = create_method("logit_adjusted_posthoc", dataset.split("train"), model, {"tau": tau}).logit_shift
        bias = next(name for name, value in model.named_parameters() if value is output_layer(model).bias)
        weights[bias] = weights[bias] + cast(torch.Tensor, shift)
    if int8:
        weights = quantised(dequantised(weights))  # of a model that is stored so already, the same again
    save_tensors(weights, folder / "model.safetensors", metadata={"format": "pt"})
    if mirror:
        config = renamed_fields(json.loads((folder / "config.json").read_text()), vars(model.config))
        config |= {"flip_tta": True}
        write_json(folder / "config.json", dict(sorted(config.items())), indent=2)


def command_of(arguments: Sequence[str]) -> str | None:
    """The `ferlib train` command of a run from its arguments, without where things were on that machine.

    None for a run that was started otherwise, from a notebook say.
    """
    if "train" not in arguments[:2]:
        return None
    kept, words = ["train"], list(arguments[list(arguments).index("train") + 1 :])
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name in ("--root", "--out", "--backbone-weights", "--trunk-weights") and not equals:
            value = words.pop(0)
        if name.endswith("-weights"):
            kept += [name, without_places(value)]
        elif name not in ("--root", "--out", "--resume"):
            kept.append(without_places(word))
    return shlex.join(kept)


def without_places(text: str) -> str:
    """The text with its absolute paths, which commas may join, cut to their names; "best" keeps the run's before it."""

    def short(path: Path) -> str:
        return f"{path.parent.name}/best" if path.name == "best" else path.name

    return re.sub(r"(?<![^=,])/[^,]*", lambda found: short(Path(found[0])), text)


def release(
    name: str,
    dataset: FaceDataset,
    run: Path | None = None,
    out: Path | None = None,
    source: str | None = None,
    licence: str | None = None,
    about: str | None = None,
    onnx: bool = True,
    device: str | torch.device = "auto",
    mirror: bool = False,
    tau: float | None = None,
    int8: bool = False,
    replace: bool = True,
) -> Path:
    """Make a folder with a released model, or measure one again: calibration, reports, golden pair and card.

    Args:
        name: of the new model; without a run or source, a released model's name or a folder that was made here.
        dataset: the data set it was trained on, with validation and test split.
        run: a finished run's folder to take the model from.
        out: the folder is made in here; None: in `ferlib/weights` of a checkout, else in the current folder. A folder
            that is measured again stays where it is.
        source: a released model, or a folder that was made here, of which the new model is another form.
        licence: of the weights, an SPDX identifier; None: as it was, or none is named.
        about: sentences for the card, on what no run knows: whose pictures these are, what the model is for.
        onnx: with model.onnx, without which the model is of no use where PyTorch is not installed.
        device: where the faces are predicted, see `ferlib.utils.devices.choose_device`.
        mirror, tau, int8: see `finish`; only with a run or a source.
        replace: a new model takes the place of one that is there; else it is refused.

    Returns:
        The folder.

    Raises:
        ValueError: there is no such released model; the run was on other data; or a new model's name is a path, or the
            name of something else in that folder.
        DataError: the data lacks a split, or has classes that the model does not know.
        FileNotFoundError: the run is not finished.
    """
    if licence:
        check_licence(licence)
    new = run is not None or source is not None
    if not new and (mirror or int8 or tau is not None):
        raise UserError("a released model is not changed any more; give the run or the model that a new one comes from")
    target = _folder(name, new, out)
    if source and _released(source).resolve() == target.resolve():
        raise UserError(f"{source} cannot be made from itself; give the new form a name of its own")
    if new and not replace and (target / "training.json").exists():
        raise UserError(f"{target} is there already; with --replace the new model takes its place")
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=".release-") as place:  # whole or not at all
        folder = Path(place) / target.name
        if run:
            adopt_run(run, folder)
        elif source:
            adopt_model(source, folder)
        else:
            shutil.copytree(_released(name), folder)
        _measure(folder, dataset, new, {"licence": licence, "about": about}, onnx, device, mirror, tau, int8)
        replace_folder(folder, target, Path(place) / f"{target.name}.old")
    return target


def _measure(
    folder: Path,
    dataset: FaceDataset,
    new: bool,
    said: dict[str, str | None],
    onnx: bool,
    device: str | torch.device,
    mirror: bool,
    tau: float | None,
    int8: bool,
) -> None:
    """Change a copy of a model as asked, and make everything in its folder that is measured; see `release`."""
    training = check_trained_on(folder, dataset)
    if mirror or int8 or tau is not None:
        finish(folder, dataset, mirror, tau, int8)
        before = {"mirror": False, "tau": None, "int8": False} | training.get("afterwards", {})
        training["afterwards"] = {
            "mirror": mirror or before["mirror"],
            "tau": before["tau"] if tau is None else tau + (before["tau"] or 0),
            "int8": int8 or before["int8"],
        }
    _write_training(folder, training | {key: value for key, value in said.items() if value})
    if not onnx:
        (folder / "model.onnx").unlink(missing_ok=True)
    fit_calibration(folder, dataset, device)  # renews the golden pair and model.onnx where they are
    if new:
        write_golden(folder)
    if onnx and not (folder / "model.onnx").exists():
        export_onnx(load_model(folder), folder / "model.onnx")
    model = load_model(folder)
    to_device(model, choose_device(device))
    for file, clean in (("report", False), ("report_clean", True)):
        report: Report = {
            "name": folder.name,
            **evaluate(model, dataset, clean=clean, selected_on=selected_on(folder, described(dataset))),
        }
        write_json(folder / f"{file}.json", report)
    test = dataset.split("test")
    write_test_figures(folder, test, probabilities_of(folder, test, device))
    write_card(folder)


def _folder(name: str, new: bool, out: Path | None) -> Path:
    """The folder that is released into, where a model may be already; nothing is made or changed. See `release`."""
    home = out or (WEIGHTS if in_checkout() else Path())
    if new:
        shipped = name in released_models() and home.resolve() != WEIGHTS.resolve()
        if Path(name).name != name or shipped:
            raise UserError(f"a new model cannot be called {name!r}, {'which is released' if shipped else 'a path'}")
        folder = home / name
        if folder.exists() and any(folder.iterdir()) and not (folder / "training.json").is_file():
            raise UserError(f"{folder} is there and is no released model; choose another name or --out")
        return folder
    source = _released(name)
    target = home / source.name if name in released_models() or out else source
    if target.resolve() != source.resolve() and target.exists():
        raise UserError(f"{target} is there already; choose another folder with --out, or measure that one")
    return target


def _released(name: str) -> Path:
    """The folder of a released model, or of one that was made here; `UserError` where there is none."""
    folder = released_models().get(name, Path(name))
    if not (folder / "training.json").is_file():
        raise UserError(f"no released model {name}; there are {', '.join(released_models())}")
    return folder


def _known(sha256: str | None) -> str | None:
    """Words for the origin of weights, where it is known."""
    for name, folder in released_models().items():
        if weights_record(folder / "model.safetensors")["sha256"] == sha256:
            return f"the released model `{name}`"
    return KNOWN_WEIGHTS.get(sha256 or "")


def _write_training(folder: Path, training: dict) -> None:
    write_json(folder / "training.json", training)
