"""A run folder made a released model."""

import hashlib
import json
import shutil
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file
from trees import write_picture

from ferlib.cli import main
from ferlib.data.dataset import DataError, FaceDataset, described
from ferlib.evaluation.calibration import temperature_scaled
from ferlib.evaluation.evaluate import evaluate, predict_dataset
from ferlib.explain.embed import extract_features
from ferlib.models import registry
from ferlib.models.pretrained import weights_record
from ferlib.models.registry import create_model, load_model, released_models
from ferlib.predict import Predictor
from ferlib.release import calibration
from ferlib.release import card as card_module
from ferlib.release import release as module
from ferlib.release.listing import read_figures
from ferlib.runtime import released
from ferlib.training.checkpoint import selected_on

release = partial(module.release, onnx=False)  # seconds each; where the exported file matters it is asked for
SETTINGS = ("backbone=test_convnext", "keep_stages=2", "input_size=64", "width=32", "grey=true", "downscale_to=48")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, synthetic_faces):
    """A run of the command `ferlib train`, as it is left on disk, from a backbone in a file of a user's own."""
    folder = tmp_path_factory.mktemp("somebody")
    backbone = create_model("convcut", backbone="test_convnext", keep_stages=2).backbone.net.model
    save_file(backbone.state_dict(), folder / "my_backbone.safetensors")
    weights = ["--backbone-weights", str(folder / "my_backbone.safetensors")]
    command = ["train", "convcut", "--data", "synthetic", "--out", str(folder / "run"), *weights]
    command += ["--set", *SETTINGS, "epochs=2", "seed=7"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ferlib.data.registry.load_synthetic", lambda: synthetic_faces)
        patch.setattr(sys, "argv", ["ferlib", *command])
        assert main(command) == 0
    return folder / "run"


@pytest.fixture
def run(tmp_path, monkeypatch, trained):
    """A copy of that run, and an empty checkout for released models."""
    for owner in (module, released):
        monkeypatch.setattr(owner, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(calibration, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    return Path(shutil.copytree(trained, tmp_path / "run"))


def change(file: Path, **fields: object) -> None:
    content = json.loads(file.read_text())
    if isinstance(content, list):
        content[-1] |= fields
    else:
        content |= fields
    file.write_text(json.dumps(content))


def test_a_run_is_released_with_its_mirror_image_and_adjusted_logits(run, synthetic_faces):
    release("plain", synthetic_faces, run)
    folder = release("both", synthetic_faces, run, mirror=True, tau=0.5)
    plain, both = load_model("plain").eval(), load_model("both").eval()
    x = torch.rand(3, both.config.channels, both.config.input_size, both.config.input_size)
    prior = np.bincount(synthetic_faces.split("train").labels().numpy()) / len(synthetic_faces.split("train"))
    with torch.inference_mode():
        expected = (plain(x) + plain(x.flip(-1))) / 2 - 0.5 * torch.from_numpy(np.log(prior)).float()
        assert torch.allclose(both(x), expected, atol=1e-5)
    card = (folder / "README.md").read_text()
    assert "adjusted for rare classes (τ = 0.5)" in card and "mean over a face and its mirror image" in card
    with pytest.raises(ValueError, match="not changed any more"):
        release("both", synthetic_faces, mirror=True)


def test_the_epoch_that_was_kept_is_named_not_one_that_was_better_by_less_than_counts(run, synthetic_faces):
    change(run / "recipe.json", least_gain=0.003, patience=5, patience_on="score")
    history = pd.read_csv(run / "history.csv")
    assert len(history) == 2
    history["accuracy"] = [0.8, 0.801]
    history.to_csv(run / "history.csv", index=False)
    change(run / "metrics.json", best=history.loc[0].to_dict())  # as `fit` writes it
    folder = release("gain", synthetic_faces, run)
    training = json.loads((folder / "training.json").read_text())
    assert (training["best_epoch"], training["selected"]["value"]) == (1, 0.8)


def test_another_form_of_a_released_model_has_eight_bits_and_adjusted_logits(run, synthetic_faces, capsys):
    release("plain", synthetic_faces, run, licence="Apache-2.0", tau=0.5)
    folder = release("small", synthetic_faces, source="plain", tau=0.25, int8=True)
    plain, small = load_model("plain"), load_model("small")
    for name, value in plain.named_parameters():
        step = value.abs().amax() / 127 if value.ndim > 1 else 1e-4
        if not name.startswith("classifier.b"):
            assert (small.get_parameter(name) - value).abs().max() <= 0.51 * step
    sizes = [(path / "model.safetensors").stat().st_size for path in (released_models()["plain"], folder)]
    assert sizes[1] < 0.5 * sizes[0]
    card, training = (folder / "README.md").read_text(), json.loads((folder / "training.json").read_text())
    assert (
        training["afterwards"] == {"mirror": False, "tau": 0.75, "int8": True} and training["licence"] == "Apache-2.0"
    )
    assert "(τ = 0.75)" in card and "eight bits. It is another form of `plain`" in card
    for arguments in (
        ["small", "--from", "small", "--int8"],
        ["new", "--from", "nobody", "--int8"],
        ["new", "--from", "plain", "--run", "x"],
    ):
        assert main(["release", *arguments, "--data", "synthetic"]) == 1
    said = capsys.readouterr().err
    assert "made from itself" in said and "no released model nobody" in said and "not from both" in said


def test_eight_bits_of_eight_bits_are_the_same(run, synthetic_faces):
    release("plain", synthetic_faces, run)
    first = release("small", synthetic_faces, source="plain", int8=True)
    second = release("again", synthetic_faces, source="small", int8=True)
    a, b = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


def test_a_refused_release_leaves_what_was_there(run, synthetic_faces):
    folder = release("plain", synthetic_faces, run)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = FaceDataset("other", synthetic_faces.classes, synthetic_faces.frame, synthetic_faces.pixels)
    for data, how in ((synthetic_faces, {"tau": -1.0}), (synthetic_faces, {"tau": float("inf")}), (other, {})):
        with pytest.raises(ValueError, match=r"tau must be|trained on synthetic"):
            release("plain", data, run, **how)
        with pytest.raises(ValueError, match=r"tau must be|trained on synthetic"):
            release("new", data, run, **how)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["plain"]


def test_a_model_that_is_measured_again_is_there_at_every_moment(run, synthetic_faces, monkeypatch):
    folder = release("plain", synthetic_faces, run)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        for name in ("rename", "replace"):
            patch.setattr(Path, name, interrupted_at(folder, getattr(Path, name)))
        release("plain", synthetic_faces)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["plain"]


def interrupted_at(folder, step):
    """A way to rename that is interrupted, once, where a new folder gets this name."""
    calls = []

    def renamed(path, target):
        if Path(target) == folder and not calls:
            calls.append(path)
            raise KeyboardInterrupt
        return step(path, target)

    return renamed


def test_a_released_model_is_loaded_by_name_and_has_card_reports_and_golden_pair(run, synthetic_faces):
    folder = release("some_model", synthetic_faces, run, licence="Apache-2.0", about="Drawn for a test.")
    assert released_models() == {"some_model": folder}
    reports = {"report.json", "report_clean.json"}
    files = {
        "README.md",
        "config.json",
        "conformal.json",
        "golden.safetensors",
        "model.safetensors",
        "training.json",
    } | reports
    assert {path.name for path in folder.iterdir()} == files
    report, clean = (json.loads((folder / name).read_text()) for name in sorted(reports))
    expected = {"name": "some_model", **evaluate(load_model("some_model"), synthetic_faces, selected_on="validation")}
    assert report == json.loads(json.dumps(expected))
    assert clean["clean"] and clean["faces"] <= report["faces"]
    accuracy = report["metrics"]["accuracy"]
    assert read_figures(folder / "report.json").accuracy == accuracy["value"]
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n") and "released under Apache-2.0." in card
    assert "\n\nDrawn for a test.\n\n" in card
    assert f"| accuracy | {accuracy['value']:.4f} ({accuracy['low']:.4f} to {accuracy['high']:.4f}) |" in card
    anger = report["per_class"]["anger"]
    assert f"| anger | {anger['support']:.0f} | {anger['precision']:.3f} | {anger['f1']:.3f} | " in card
    assert f"{anger['recall']:.3f} ({anger['recall_low']:.3f} to {anger['recall_high']:.3f})" in card
    assert (
        "| calibration error without temperature |" in card
        and f"logits / {load_model('some_model').config.temperature}" in card
    )
    history = pd.read_csv(run / "history.csv")
    best = history["accuracy"][::-1].idxmax()
    assert f"Epoch {best + 1} of 2 had the best accuracy on the validation split" in card
    assert f"({history['accuracy'][best]:.4f}) and was kept.\nSeed 7, PyTorch {version('torch')}." in card
    sets = json.loads((folder / "conformal.json").read_text())
    assert sets["calibrated_on"]["faces"] == len(synthetic_faces.split("validation"))
    held = sets["test"]["figures"]["label"]["0.9"]["coverage"]["value"]
    assert sets["test"]["faces"] == report["faces"] and f"| label | 90% | {100 * held:.1f} (" in card
    golden = load_file(folder / "golden.safetensors")
    probabilities, _ = Predictor(load_model("some_model")).classify(list(golden["faces"]))
    assert abs(probabilities - golden["probabilities"]).max() <= 1e-5


def test_the_card_says_what_the_run_recorded_and_nothing_else(run, trained, synthetic_faces):
    """A user's own backbone is named, not judged; no licence was named, so there is none."""
    card = (release("mine", synthetic_faces, run) / "README.md").read_text()
    start = json.loads((run / "environment.json").read_text())[-1]
    assert start["data"]["name"] == "synthetic" and start["data"]["pixels"] == [1, 48, 48]
    recorded = start["backbone_weights"]
    assert recorded["name"] == "my_backbone.safetensors"
    assert recorded["sha256"] == hashlib.sha256((trained.parent / recorded["name"]).read_bytes()).hexdigest()
    assert f"started from the file `my_backbone.safetensors` (SHA-256 {recorded['sha256'][:16]}…)" in card
    faces = start["data"]["faces"]["train"]
    assert f"Trained on the {faces:,} training faces (48 px, grey) of synthetic, the epoch chosen on its val" in card
    assert (
        "    python -m ferlib train convcut --data synthetic --backbone-weights my_backbone.safetensors --set " in card
    )
    assert "license" not in card and "No licence was named" in card and "seed=7" in card
    for claim in ("Apache", "ImageNet", "Nothing is pretrained", "web photos", str(run.parent), "/tmp"):
        assert claim not in card


@pytest.mark.filterwarnings("ignore:no temperature")
def test_a_users_folder_is_not_described_as_ours(run, synthetic_faces):
    """Coloured pictures of a folder, a backbone from timm's hub."""
    change(run / "environment.json", data={"name": "folder", "faces": {"train": 9}, "pixels": [3, 112, 112]},
           backbone_weights={"name": "imagenet"}, arguments=["-f", "kernel.json"])  # fmt: skip
    change(run / "best" / "config.json", grey=False, backbone="tf_efficientnet_lite0")
    model = create_model("convcut", backbone="tf_efficientnet_lite0", keep_stages=2, input_size=64, width=32,
                         classes=synthetic_faces.classes)  # fmt: skip
    model.save_pretrained(str(run / "best"))
    frame = synthetic_faces.frame
    data = FaceDataset("folder", synthetic_faces.classes, frame, synthetic_faces.pixels.expand(-1, 3, -1, -1))
    card = (release("theirs", data, run) / "README.md").read_text()
    assert "for 64 px colour faces" in card and "the 9 training faces (112 px, colour) of folder" in card
    assert "timm's ImageNet weights of `tf_efficientnet_lite0` (apache-2.0)." in card
    assert "is not recorded here" in card and "python -m ferlib train" not in card
    for claim in ("grey crops", "web", "released under", "license:"):
        assert claim not in card


def test_weights_of_a_released_model_and_a_teacher_are_named(run, synthetic_faces):
    first = release("first", synthetic_faces, run)
    known = weights_record(first / "model.safetensors")
    assert known["name"] == "model.safetensors"
    change(run / "environment.json", backbone_weights=known)
    change(run / "recipe.json", teacher=f"first,{run.parent}/second/best", teacher_fraction=0.3)
    card = (release("second", synthetic_faces, run) / "README.md").read_text()
    assert (
        "The backbone started from the released model `first`. Of the training targets 30% are the answers of `first`, "
        "`second`." in " ".join(card.split())
    )
    assert '"teacher": "first,second/best"' in card and str(run.parent) not in card


def test_a_run_chosen_on_test_says_so(run, synthetic_faces):
    change(run / "metrics.json", protocol="published", select_by="macro_f1")
    card = (release("too_good", synthetic_faces, run) / "README.md").read_text()
    assert "chosen on its test split, so the test figures here are too high" in card
    assert "had the best macro-F1 on the test split" in card


@pytest.mark.slow
def test_measuring_a_released_model_again_changes_nothing(run, synthetic_faces):
    folder = release("some_model", synthetic_faces, run, licence="MIT", about="Ours.", onnx=True)
    assert registry.released_onnx("some_model") == registry.released_onnx(folder) == folder / "model.onnx"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert release("some_model", synthetic_faces) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert (
        "license: cc-by-4.0" in (release("some_model", synthetic_faces, licence="CC-BY-4.0") / "README.md").read_text()
    )
    with pytest.raises(ValueError, match="no released model other; there are some_model"):
        release("other", synthetic_faces)
    other = FaceDataset("other", synthetic_faces.classes, synthetic_faces.frame, synthetic_faces.pixels)
    with pytest.raises(ValueError, match="was trained on synthetic, not on other"):
        release("some_model", other)


@pytest.mark.slow
def test_an_installed_package_is_not_written_into(run, synthetic_faces, tmp_path, monkeypatch):
    """A new model goes where it is said, else into the current folder, and is loaded by its path; a shipped one is
    copied there before it is measured."""
    shipped = release("shipped", synthetic_faces, run)
    before = {path: path.read_bytes() for path in shipped.rglob("*")}
    (tmp_path / "pyproject.toml").unlink()
    monkeypatch.chdir(tmp_path)
    mine = release("mine", synthetic_faces, run, tmp_path / "models", onnx=True)
    assert mine == tmp_path / "models" / "mine" and registry.released_onnx(mine) == mine / "model.onnx"
    assert Predictor.load(mine).classify([synthetic_faces.pixels[0, 0].numpy()])[0].shape == (1, 7)
    assert release(str(mine), synthetic_faces) == mine  # again, in place
    assert release("here", synthetic_faces, run).resolve() == tmp_path / "here"
    assert release("shipped", synthetic_faces, licence="MIT").resolve() == tmp_path / "shipped"
    assert list(released.WEIGHTS.iterdir()) == [shipped]
    assert {path: path.read_bytes() for path in shipped.rglob("*")} == before
    with pytest.raises(ValueError, match="shipped is there already"):
        release("shipped", synthetic_faces)
    with pytest.raises(ValueError, match="cannot be called 'shipped', which is released"):
        release("shipped", synthetic_faces, run)


def test_the_commands_know_it_too(run, synthetic_faces, few_faces, tmp_path, monkeypatch, capsys):
    command = ["release", "mine", "--data", "synthetic", "--run", str(run), "--device", "cpu"]
    assert main([*command, "--out", str(tmp_path / "models"), "--licence", "MIT", "--about", "For a test."]) == 0
    folder = tmp_path / "models" / "mine"
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)
    assert registry.released_onnx(folder) == folder / "model.onnx"
    assert "license: mit" in (folder / "README.md").read_text() and "For a test." in (folder / "README.md").read_text()
    assert main(["calibrate", str(folder), "--data", "synthetic"]) == 0
    assert main([*command, "--no-onnx", "--out", str(released.WEIGHTS)]) == 0
    assert not (released.WEIGHTS / "mine" / "model.onnx").exists()
    before = (released.WEIGHTS / "mine" / "config.json").stat()
    assert main([*command, "--out", str(released.WEIGHTS)]) == 1
    assert "is there already; with --replace" in capsys.readouterr().err
    assert (released.WEIGHTS / "mine" / "config.json").stat() == before
    assert main(["release", "mine", "--data", "synthetic", "--run", str(run / "best")]) == 1
    assert f"it has no recipe.json; did you mean {run}?" in capsys.readouterr().err
    (tmp_path / "pyproject.toml").unlink()
    before = (released.WEIGHTS / "mine" / "config.json").read_text()
    assert main(["calibrate", "mine", "--data", "synthetic"]) == 1
    assert "mine is part of the installed package; copy" in capsys.readouterr().err
    assert main(["calibrate", str(released.WEIGHTS / "mine"), "--data", "synthetic"]) == 1  # by its folder, too
    assert "is part of the installed package; copy" in capsys.readouterr().err
    assert (released.WEIGHTS / "mine" / "config.json").read_text() == before


def test_a_model_of_the_hub_is_not_calibrated_where_it_is(capsys):
    assert main(["calibrate", "owner/name", "--data", "synthetic"]) == 1
    assert "no folder owner/name; only a model in a folder" in capsys.readouterr().err


def test_a_folder_is_not_calibrated_from_within(tmp_path, monkeypatch, capsys):
    """It is replaced as a whole, and whoever stands in it would stand in a deleted one."""
    monkeypatch.chdir(tmp_path)
    assert main(["calibrate", ".", "--data", "synthetic"]) == 1
    assert "calibrate it from another folder than itself" in capsys.readouterr().err


def test_a_released_models_sets_alone_are_calibrated_again(run, synthetic_faces, few_faces, capsys):
    folder = release("some_model", synthetic_faces, run)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "conformal.json").unlink()
    (folder / "README.md").unlink()
    assert main(["release", "some_model", "--data", "synthetic", "--sets-only", "--device", "cpu"]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert main(["release", "some_model", "--data", "synthetic", "--sets-only", "--run", str(run)]) == 1
    assert "--sets-only is for a model that was released before" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:no temperature")
def test_a_folder_is_read_at_the_side_that_the_model_sees(run, tmp_path, monkeypatch):
    for split in ("train", "validation", "test"):
        for number, name in enumerate(("happiness", "sadness")):
            write_picture(tmp_path / "photos" / split / name / "anna_1.png", number, size=150)
    change(run / "environment.json", data={"name": "folder", "faces": {"train": 2, "validation": 2, "test": 2}})
    seen = []
    monkeypatch.setattr(module, "evaluate", lambda model, dataset, **_: seen.append(dataset.pixels.shape[-1]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["release", "mine", "--data", "folder", "--root", str(tmp_path / "photos"), "--run", str(run)])
    assert seen == [64]


def test_nothing_but_a_model_is_replaced(run, synthetic_faces, tmp_path):
    holidays = tmp_path / "holidays"
    holidays.mkdir()
    (holidays / "photo.jpg").touch()
    with pytest.raises(ValueError, match="holidays is there and is no released model"):
        release("holidays", synthetic_faces, run, tmp_path)
    assert (holidays / "photo.jpg").exists()
    folder = release("model", synthetic_faces, run)
    with pytest.raises(FileNotFoundError):
        release("model", synthetic_faces, tmp_path / "no_run")
    assert (folder / "README.md").exists()
    with pytest.raises(ValueError, match=r"cannot be called '\.\./model', a path"):
        release("../model", synthetic_faces, run)
    with pytest.raises(ValueError, match="SPDX identifier"):
        release("model", synthetic_faces, licence="free: for all")


def test_a_model_without_a_backbone_says_so(run, synthetic_faces):
    model = create_model("ivsa", widths=(8, 8, 8, 8), hidden=16, classes=synthetic_faces.classes)
    model.save_pretrained(str(run / "best"))
    card = (release("small_ivsa", synthetic_faces, run) / "README.md").read_text()
    assert "Improved VGG with Salient Attention Blocks" in card and "Nothing is pretrained." in card
    assert "{" not in card.partition("```json")[0]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["--debug", "train", "ivsa", "--data", "x", "--root", "/home/me/faces", "--resume"], "train ivsa --data x"),
        (["train", "ivsa", "--root=/home/me", "--out=x", "--set", "seed=3"], "train ivsa --set seed=3"),
        (["train", "x", "--backbone-weights", "w/a.safetensors"], "train x --backbone-weights w/a.safetensors"),
        (["train", "x", "--backbone-weights=/home/me/a.safetensors"], "train x --backbone-weights a.safetensors"),
        (["train", "/home/me/mine.json", "--set", "seed=3"], "train mine.json --set seed=3"),
        (["train", "x", "--set", "teacher=/home/me/a/best,/home/me/b", "lr=1"], "train x --set teacher=a/best,b lr=1"),
        (["-f", "/run/kernel-1.json"], None),
        ([], None),
    ],
)  # fmt: skip
def test_the_command_without_places(arguments, command):
    assert module.command_of(arguments) == command


def test_a_run_chosen_by_something_observed_is_not_said_to_be_chosen_on_validation(run, synthetic_faces):
    """Its metrics.json says what chose the epoch: here the test split did."""
    figures = json.loads((run / "metrics.json").read_text())
    change(run / "metrics.json", select_by="test_accuracy", best=figures["best"] | {"test_accuracy": 0.9})
    folder = release("observed", synthetic_faces, run)
    card, report = (folder / "README.md").read_text(), json.loads((folder / "report.json").read_text())
    assert "the epoch chosen by test accuracy, which the run observed" in card
    assert "**the test figures here may be too high**" in card
    assert "had the best test accuracy (0.9000) and was kept" in card
    assert "not used for training or selection" not in card + report["protocol"]
    there = described(synthetic_faces)
    assert selected_on(folder, there) is None is selected_on(run / "best", there)


def test_faces_that_were_trained_on_do_not_calibrate(run, synthetic_faces):
    """By the published protocol of a set without validation split all its faces are trained on."""
    starts = json.loads((run / "environment.json").read_text())
    starts[-1]["data"]["faces"] = {"train": 800, "test": 200}
    (run / "environment.json").write_text(json.dumps(starts))
    with pytest.raises(DataError, match="none are left to calibrate on"):
        release("published", synthetic_faces, run)
    with pytest.raises(DataError, match="none are left to calibrate on"):
        calibration.calibrate(run / "best", synthetic_faces)


def test_a_calibration_is_whole_or_not_at_all(run, synthetic_faces, monkeypatch):
    folder = release("some_model", synthetic_faces, run)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    frame = synthetic_faces.frame.assign(label=(synthetic_faces.frame["label"] + 1) % 7)
    other = FaceDataset("other", synthetic_faces.classes, frame, synthetic_faces.pixels)

    def full(*arguments):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(calibration, "write_prediction_sets", full)
        calibration.calibrate(folder, other)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["some_model"]


def test_the_card_says_whether_a_temperature_was_fitted(run, synthetic_faces):
    """Where none fits the model keeps 1, and the calibration error is the one without; later one may be fitted."""
    called = predict_dataset(load_model(run / "best"), synthetic_faces).argmax(axis=1)
    validation = synthetic_faces.frame["split"] == "validation"
    frame = synthetic_faces.frame.assign(label=synthetic_faces.frame["label"].where(~validation, called))
    faces = FaceDataset("synthetic", synthetic_faces.classes, frame, synthetic_faces.pixels)
    with pytest.warns(UserWarning, match="keeps 1"):
        folder = release("sure", faces, run)
    card = (folder / "README.md").read_text()
    assert "no temperature was fitted" in card and "The last row is" not in card and "| calibration error |" in card
    error = json.loads((folder / "report.json").read_text())["metrics"]["ece"]
    calibration.calibrate(folder, synthetic_faces)
    metrics, card = json.loads((folder / "report.json").read_text())["metrics"], (folder / "README.md").read_text()
    assert "ece" not in metrics and metrics["ece_uncalibrated"] == error
    assert "The last row is the expected calibration error without it." in card
    assert "| calibration error without temperature |" in card


def test_the_same_pictures_under_another_rule_have_the_same_rights(run, synthetic_faces):
    folder = release("some_model", synthetic_faces, run)
    for file in ("report.json", "report_clean.json"):
        change(folder / file, data="ferplus_most_votes")
    card_module.write_card(folder)
    card = (folder / "README.md").read_text()
    assert "collected from the web for research" in card and "small grey crops of web photos" in card


def test_a_released_model_calibrated_on_other_faces_keeps_no_figure_that_is_not_its_own(run, synthetic_faces):
    folder = release("some_model", synthetic_faces, run)
    before = read_figures(folder / "report.json")
    frame = synthetic_faces.frame.assign(label=(synthetic_faces.frame["label"] + 1) % 7)
    calibration.calibrate(folder, FaceDataset("other", synthetic_faces.classes, frame, synthetic_faces.pixels))
    temperature, card = load_model(folder).config.temperature, (folder / "README.md").read_text()
    for name in ("report.json", "report_clean.json"):
        report = json.loads((folder / name).read_text())
        assert report["model"]["temperature"] == temperature
        assert "ece" not in report["metrics"] and "ece_uncalibrated" in report["metrics"]
    assert read_figures(folder / "report.json") == before
    assert f"softmax(logits / {temperature}); that temperature was fitted on the validation split of other\n" in card
    assert "| calibration error |" not in card and "## Prediction sets" not in card


def test_card_and_golden_pair_are_written_whole_or_not_at_all(run, synthetic_faces, monkeypatch):
    folder = release("some_model", synthetic_faces, run)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def half(path):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(Path, "write_text", lambda path, text, **_: half(path))
        card_module.write_card(folder)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(calibration, "save_tensors", lambda tensors, path: half(path))
        calibration.write_golden(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_new_temperature_is_written_into_the_exported_model_too(run, synthetic_faces):
    folder = release("some_model", synthetic_faces, run, onnx=True)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"temperature": 3.0}))
    fitted, *_ = calibration.calibrate(folder, synthetic_faces)
    stored = {prop.key: prop.value for prop in onnx.load(folder / "model.onnx").metadata_props}
    assert float(stored["temperature"]) == pytest.approx(fitted, abs=1e-4)


def test_a_model_that_is_never_wrong_keeps_its_temperature(run, synthetic_faces):
    """On a few faces that are all right the best temperature would be 0, and all confidence 100 %."""
    folder = run / "best"
    called = predict_dataset(load_model(folder), synthetic_faces).argmax(axis=1)
    frame = synthetic_faces.frame.assign(label=called, split="validation")
    faces = FaceDataset("right", synthetic_faces.classes, frame, synthetic_faces.pixels)
    with pytest.warns(UserWarning, match="100% of them right: the model keeps 1. Calibrate it on more faces"):
        assert calibration.calibrate(folder, faces)[0] == 1
    assert load_model(folder).config.temperature == 1


def test_the_card_names_the_most_frequent_confusions():
    counts = [[8, 2, 0], [0, 5, 0], [3, 1, 6]]
    assert card_module._confusions(["a", "b", "c"], counts) == ["c: a (3 of 10)", "a: b (2 of 10)"]


def test_calibration_finds_how_much_too_sure_a_model_is(run, synthetic_faces):
    """Labels are drawn from a model's own probabilities, then its logits are tripled: the temperature is near 3."""
    folder = run / "best"
    model = load_model(folder)
    logits = extract_features(model, synthetic_faces.pixels)[0] @ model.classifier.weight.detach().numpy().T
    scale = 2 / logits.std(axis=0).mean()
    model.classifier.weight.data *= 3 * scale
    model.classifier.bias.data = torch.from_numpy(-3 * scale * logits.mean(axis=0))
    model.save_pretrained(str(folder))
    chances = temperature_scaled(predict_dataset(model, synthetic_faces), 3)
    rng = np.random.default_rng(0)
    labels = [rng.choice(len(row), p=row) for row in chances]
    frame = synthetic_faces.frame.assign(label=labels, split="validation")
    faces = FaceDataset("guessed", synthetic_faces.classes, frame, synthetic_faces.pixels)
    part = faces.split("validation")
    before = predict_dataset(load_model(folder), part)
    temperature, error, left = calibration.calibrate(folder, faces)
    after = predict_dataset(load_model(folder), part)
    assert 2 < temperature < 4.5 and left < error / 2
    assert load_model(folder).config.temperature == pytest.approx(temperature, abs=1e-4)
    assert (after.argmax(1) == before.argmax(1)).all()
    assert after == pytest.approx(temperature_scaled(before, temperature), abs=1e-4)
    pixels = [face[0].numpy() for face in part.pixels]
    assert Predictor(load_model(folder)).classify(pixels)[0] == pytest.approx(after, abs=1e-5)
    again, plain, _ = calibration.calibrate(folder, faces)
    assert again == pytest.approx(temperature, rel=1e-3) and plain == pytest.approx(error, abs=1e-3)
    report = evaluate(load_model(folder), faces, "validation")["metrics"]
    assert report["ece"]["value"] == pytest.approx(left, abs=1e-3)
    assert report["ece_uncalibrated"]["value"] == pytest.approx(error, abs=1e-3)
