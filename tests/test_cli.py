"""The command line, run as people run it."""

import argparse
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from ferlib.cli import build_parser, main
from ferlib.cli.settings import parse_settings
from ferlib.data.dataset import FaceDataset
from ferlib.labels import FERPLUS, SYNTHETIC
from ferlib.models.registry import create_model, list_models, released_models
from ferlib.release.listing import model_rows
from ferlib.release.onnx_export import export_onnx
from ferlib.training.checkpoint import RunFolder


@pytest.fixture(scope="module")
def photos(tmp_path_factory, portrait, astronaut):
    """A folder of photos, good and bad."""
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(portrait).save(folder / "grace.jpg")
    Image.fromarray(np.concatenate([portrait[:512], astronaut], axis=1)).save(folder / "two.png")
    Image.new("RGB", (300, 200), "grey").save(folder / "nobody.png")
    (folder / "text.jpg").write_text("not a picture")
    whole = (folder / "grace.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    upside_down = Image.fromarray(portrait).rotate(180)
    exif = Image.Exif()
    exif[0x0112] = 3
    upside_down.save(folder / "turned.jpg", exif=exif)
    return folder


@pytest.fixture(scope="module")
def rows():
    return model_rows()


@pytest.fixture
def model_list(rows, monkeypatch):
    """The true list, made once."""
    monkeypatch.setattr("ferlib.release.listing.model_rows", lambda: rows)


def paths(folder, *names: str) -> list[str]:
    return [str(folder / name) for name in names]


def test_json_lines(photos, tmp_path, capsys):
    files = paths(photos, "grace.jpg", "text.jpg", "two.png", "nobody.png", "absent.jpg", "cut.jpg")
    assert main(["predict", *files, "--explain", "gradcam", "--out", str(tmp_path), "--format", "json"]) == 1
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [result["image"] for result in results] == files
    assert [len(result["faces"]) for result in results] == [1, 0, 2, 0, 0, 0]
    errors = [result["error"] for result in results]
    assert errors[0] is None and errors[2] is None
    assert "not a picture" in errors[1] and "No face" in errors[3]
    assert "There is no file" in errors[4] and "damaged or cut short" in errors[5]
    for face in results[0]["faces"] + results[2]["faces"]:
        assert set(face) == {"number", "box", "label", "margin", "scores", "warnings", "overlay"}
        assert face["label"] == max(face["scores"], key=face["scores"].get)
        assert set(face["scores"]) == set(FERPLUS) and len(face["box"]) == 4
        assert Image.open(face["overlay"]).size == (224, 224)
    assert len(list(tmp_path.iterdir())) == 3


def test_good_photos_alone_succeed_as_csv(photos, capsys):
    assert main(["predict", *paths(photos, "grace.jpg", "two.png"), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["face"] for row in rows] == ["1", "1", "2"]
    assert [row["label"] for row in rows] == ["neutral", "neutral", "happiness"] and rows[0]["error"] == ""
    assert sum(float(rows[0][name]) for name in FERPLUS) == pytest.approx(1, abs=1e-4)


def test_csv_keeps_its_columns_on_errors(photos, capsys):
    assert main(["predict", *paths(photos, "text.jpg"), "--format", "csv"]) == 1
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert "not a picture" in row["error"] and row["label"] == ""


def test_a_turned_photo_is_predicted_the_right_way_up(photos, capsys):
    main(["predict", *paths(photos, "grace.jpg", "turned.jpg"), "--format", "json"])
    plain, turned = [json.loads(line)["faces"][0] for line in capsys.readouterr().out.splitlines()]
    assert np.abs(np.subtract(plain["box"], turned["box"])).max() <= 4
    assert plain["label"] == turned["label"]


def test_table(photos, capsys):
    assert main(["predict", *paths(photos, "grace.jpg", "text.jpg")]) == 1
    head, grace, text = capsys.readouterr().out.splitlines()
    assert head.startswith("image") and "neutral" in grace and "not a picture" in text


def test_stdout_is_nothing_but_the_result(photos):
    """In a process of its own: whatever libraries print must not end up between the JSON lines."""
    command = [sys.executable, "-m", "ferlib", "predict", *paths(photos, "grace.jpg"), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["faces"][0]["label"] == "neutral"
    assert done.stderr == ""


def test_without_a_command_all_are_listed(capsys):
    assert main([]) == 2
    told = capsys.readouterr().out
    assert all(name in told for name in ("predict", "video", "train", "evaluate"))


def test_unknown_model(photos, capsys):
    assert main(["predict", *paths(photos, "grace.jpg"), "--model", "nonsense"]) == 1
    assert capsys.readouterr().err.startswith("ferlib: no model 'nonsense': expected one of convcut_ferplus")


def test_models_table(model_list, capsys):
    assert main(["models"]) == 0
    head, *lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    rows = {line.split()[0]: line for line in lines}
    assert list(rows) == [*released_models(), *list_models()]
    assert "apache-2.0" in rows["convcut_ferplus"] and "86.7" in rows["convcut_ferplus"]
    assert "ferplus, test, 3,153 faces" in rows["convcut_ferplus"]
    assert all("untrained" in rows[name] and "%" not in rows[name] for name in list_models())
    px = head.index("px") + 2  # figures end where their head ends
    assert rows["convcut"][:px].split() == ["convcut", "60.53", "28.03", "224"]


def test_models_as_json(model_list, capsys):
    assert main(["models", "--format", "json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == [*released_models(), *list_models()]
    assert rows[0]["test"]["data"] == "ferplus" and rows[-1]["test"] is None


def test_export(tmp_path, capsys):
    path = tmp_path / "model.onnx"
    assert main(["export", "convcut_ferplus", "--out", str(path)]) == 0
    out = capsys.readouterr().out
    assert re.fullmatch(rf"{re.escape(str(path))}, 3\.7 MB, at most \d\.\de-0[5-9] from PyTorch .*\n", out)
    assert path.stat().st_size / 1e6 == pytest.approx(3.74, abs=0.01)  # its weights, and 7 KB for the heat map


@pytest.mark.parametrize("change", [0.001, float("nan")])
def test_export_of_something_else_than_the_model_fails(tmp_path, capsys, monkeypatch, change):
    """The file is written from a model with another bias than the one it is compared with."""

    def export_another(model, path):
        bias = model.classifier.bias.data
        before = bias.clone()
        bias += change
        export_onnx(model, path)
        bias.copy_(before)
        return path

    folder, path = tmp_path / "model", tmp_path / "model.onnx"
    small = {"backbone": "test_convnext", "keep_stages": 2, "input_size": 64}
    create_model("linear_probe", **small).save_pretrained(str(folder))
    monkeypatch.setattr("ferlib.release.onnx_export.export_onnx", export_another)
    path.write_text("one that was right")
    assert main(["export", str(folder), "--out", str(path)]) == 1
    said = capsys.readouterr()
    assert f"at most {change:.1e} from PyTorch" in said.out
    assert "does not compute what the model does" in said.err
    assert path.read_text() == "one that was right" and list(tmp_path.glob("*.onnx*")) == [path]


def test_train_then_evaluate(few_faces, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["train", "convcut", "--data", "synthetic", "--out", str(out), "--backbone-weights", "none", "--set"]
    settings = ["backbone=tf_efficientnet_lite0", "keep_stages=2", "input_size=64", "epochs=1", "width=32", "grey=true"]
    assert main([*command, *settings]) == 0
    assert "best epoch 1 of 1" in capsys.readouterr().out
    report = tmp_path / "report.json"
    assert main(["evaluate", str(out / "best"), "--data", "synthetic", "--out", str(report)]) == 0
    assert "balanced_accuracy" in capsys.readouterr().out
    result = json.loads(report.read_text())
    metric = result["metrics"]["accuracy"]
    assert metric["low"] <= metric["value"] <= metric["high"]
    assert sum(map(sum, result["confusion"]["counts"])) == result["faces"]
    assert result["protocol"].endswith("; the split was not used for training or selection")
    assert main(["evaluate", str(out / "best"), "--data", "synthetic", "--clean", "--format", "json"]) == 0
    clean = json.loads(capsys.readouterr().out)
    assert clean["clean"] and clean["faces"] <= result["faces"]


def test_an_evaluation_says_if_its_split_chose_the_epoch(few_faces, tmp_path, capsys):
    settings = ["widths=[4,8,8,8]", "hidden=16", "epochs=1", "protocol=published"]
    assert main(["train", "ivsa", "--data", "synthetic", "--out", str(tmp_path), "--set", *settings]) == 0
    capsys.readouterr()
    for split, said in (("test", "was used for choosing the epoch"), ("validation", "was not used for training")):
        assert main(["evaluate", str(tmp_path / "best"), "--data", "synthetic", "--split", split]) == 0
        assert said in capsys.readouterr().out


def test_an_interrupted_training_says_how_to_go_on(few_faces, tmp_path, capsys, monkeypatch):
    settings = ["widths=[4,8,8,8]", "hidden=16", "epochs=2"]
    command = ["train", "ivsa", "--data", "synthetic", "--out", str(tmp_path), "--set", *settings]
    save = RunFolder.save_last

    def stop_after_the_first(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_last", stop_after_the_first)
        assert main(command) == 130
    assert "the same command with --resume goes on" in capsys.readouterr().err
    assert main(command) == 1 and "already holds a run" in capsys.readouterr().err
    assert main([*command[:4], "--resume", *command[4:]]) == 0
    out = capsys.readouterr().out
    assert "epoch 1/2" not in out and "epoch 2/2" in out


def test_a_training_that_is_terminated_ends_as_by_ctrl_c(few_faces, tmp_path, capsys, monkeypatch):
    settings = ["widths=[4,8,8,8]", "hidden=16", "epochs=2"]
    command = ["train", "ivsa", "--data", "synthetic", "--out", str(tmp_path), "--set", *settings]
    monkeypatch.setattr(sys, "argv", ["ferlib", *command])
    monkeypatch.setattr(RunFolder, "save_last", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the tests live on if the command does not look after it
    try:
        assert main() == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "interrupted; the same command with --resume goes on" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.lock"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nonsense", "--data", "synthetic"], "unknown recipe 'nonsense'"),
        (["train", "convcut", "--data", "synthetic", "--set", "epochs=many"], "epochs must be"),
        (["train", "convcut", "--data", "synthetic", "--set", "epochs"], "--set takes FIELD=VALUE"),
        (["train", "convcut", "--data", "synthetic", "--set", "colour=1"], "no setting colour"),
        (["train", "convcut", "--data", "folder"], "say which folder"),
        (["evaluate", "convcut_ferplus", "--data", "nonsense"], "unknown data set"),
        (["export", "nonsense", "--out", "model.onnx"], "no model 'nonsense'"),
        (["export", "convcut_ferplus", "--out", "."], ". is a folder"),
        (["export", "convcut_ferplus", "--out", "model"], "the name of an ONNX file ends in .onnx"),
        (["calibrate", "convcut_ferplus", "--data", "synthetic"], "on ferplus, not on synthetic; copy"),
    ],
)
def test_impossible_requests_are_a_sentence(arguments, message, capsys):
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


def test_a_run_is_no_model_but_its_best_is(tmp_path, capsys):
    (tmp_path / "run" / "best").mkdir(parents=True)
    assert main(["predict", "--model", str(tmp_path / "run"), "photo.jpg"]) == 1
    assert "it has no config.json\n" in capsys.readouterr().err
    (tmp_path / "run" / "best" / "config.json").write_text("{}")
    assert main(["predict", "--model", str(tmp_path / "run"), "photo.jpg"]) == 1
    assert f"it is a run, whose model is {tmp_path / 'run' / 'best'}" in capsys.readouterr().err


def test_an_empty_word_is_no_default(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "--model", "", "photo.jpg"])
    assert "a word of the command is empty" in capsys.readouterr().err


def test_warnings_of_ours_are_sentences(capsys):
    assert main([]) == 2
    assert warnings.formatwarning("so many faces", UserWarning, "file.py", 3) == "ferlib: so many faces\n"
    assert "file.py:3" in warnings.formatwarning("old", DeprecationWarning, "file.py", 3)


def options_with_several_values():
    commands = next(iter(one for one in build_parser()._actions if isinstance(one.choices, dict))).choices
    for name, parser in commands.items():
        for option in parser._actions:
            if option.nargs in ("*", "+") and option.option_strings:
                yield pytest.param(option, id=f"{name} {option.option_strings[-1]}")


@pytest.mark.parametrize("option", list(options_with_several_values()))
def test_an_option_given_twice_keeps_the_values_of_both_times(option):
    parser = argparse.ArgumentParser()
    parser._add_action(option)
    assert getattr(parser.parse_args([]), option.dest) == option.default
    name = option.option_strings[-1]
    assert getattr(parser.parse_args([name, "1", "2", name, "3"]), option.dest) in ([1, 2, 3], ["1", "2", "3"])
    assert getattr(parser.parse_args([name, "1"]), option.dest) in ([1], ["1"])


def test_settings():
    assert parse_settings(["epochs=3", "attention=none", "max_grad_norm=null", "lr=1e-3"]) == {
        "epochs": 3,
        "attention": "none",
        "max_grad_norm": None,
        "lr": 1e-3,
    }


def test_ivsa_is_trained_from_scratch_and_judged_on_ten_crops(few_faces, tmp_path, capsys):
    settings = ["widths=[8,16,24,32]", "hidden=20", "epochs=1"]
    assert main(["train", "ivsa", "--data", "synthetic", "--out", str(tmp_path), "--set", *settings]) == 0
    assert "best epoch 1 of 1" in capsys.readouterr().out
    best = str(tmp_path / "best")
    for ten_crop in ([], ["--ten-crop"]):
        assert main(["evaluate", best, "--data", "synthetic", "--format", "json", *ten_crop]) == 0
        assert json.loads(capsys.readouterr().out)["ten_crop"] == bool(ten_crop)
    weights = ["--backbone-weights", str(tmp_path / "best" / "model.safetensors")]
    assert main(["train", "ivsa", "--data", "synthetic", "--out", str(tmp_path / "other"), *weights]) == 1
    assert "has no backbone" in capsys.readouterr().err
    assert main(["evaluate", "convcut_ferplus", "--data", "synthetic", "--ten-crop"]) == 1
    assert "centre_crop" in capsys.readouterr().err


@pytest.fixture(scope="module")
def face_folder(tmp_path_factory, synthetic_faces):
    """96 synthetic faces as pictures in DIR/<split>/<class>/."""
    root = tmp_path_factory.mktemp("faces")
    for row in synthetic_faces.frame.iloc[::4].itertuples():
        folder = root / row.split / synthetic_faces.classes[row.label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(synthetic_faces.pixels[row.Index, 0].numpy()).save(folder / f"{row.Index}.png")
    return root


@pytest.fixture
def their_models(tmp_path, monkeypatch):
    """A module of the user's, with one model that takes each face by itself and one that does not."""
    (tmp_path / "theirs.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Plain(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return 20 * x.flatten(1)[:, :7]\n"
        "class Mixing(Plain):\n"
        "    def forward(self, x):\n"
        "        y = super().forward(x)\n"
        "        return y - y.mean(dim=0) * (len(x) > 1)\n"
        "def with_config():\n"
        "    from ferlib.models.registry import create_model\n"
        "    return create_model('linear_probe', backbone='test_convnext', keep_stages=2, input_size=32)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_evaluate_audits_a_model_of_ones_own(face_folder, their_models, tmp_path, capsys):
    rest = [
        "--data",
        "folder",
        "--root",
        str(face_folder),
        "--set",
        "input_size=16",
        "grey=true",
        "mean=[0.5]",
        "std=[1]",
    ]
    assert main(["evaluate", "theirs:Plain", *rest, "--audit"]) == 0
    out = capsys.readouterr().out
    assert "protocol: every face alone" in out and "theirs:Plain passes: " in out
    assert re.search(r"shuffled +256 +0\.\d{4} +0\.0000 +0\.0000", out)
    history = tmp_path / "history.csv"
    history.write_text("epoch,accuracy,test_accuracy\n0,0.5,0.6\n1,0.6,0.55\n")
    report = tmp_path / "report.json"
    command = ["evaluate", "theirs:Mixing", *rest, "--history", str(history), "--out", str(report)]
    assert main([*command, "--audit"]) == 1
    out = capsys.readouterr().out
    assert "theirs:Mixing fails: its predictions depend on their neighbours" in out
    assert "would have claimed 60.0% where validation gives 55.0%." in out
    found = json.loads(report.read_text())
    assert not found["audit"]["passed"] and found["model"]["input_size"] == 16
    accuracy = {row["batch_order"]: row["accuracy"] for row in found["audit"]["batches"]}
    assert found["metrics"]["accuracy"]["value"] == accuracy["single"]  # the honest protocol
    assert main(command) == 1 and "--history is for the audit" in capsys.readouterr().err
    assert main([*command, "--audit", "--ten-crop"]) == 1 and "whole faces" in capsys.readouterr().err
    history.write_text("epoch,accuracy,test_accuracy\n0,,0.6\n1,0.6,0.55\n")
    assert main([*command, "--audit"]) == 1 and "lacks a number in accuracy" in capsys.readouterr().err
    everything = ["--without", *SYNTHETIC]
    assert main(["evaluate", "theirs:Plain", *rest, *everything]) == 1
    assert "nothing is left of the classes" in capsys.readouterr().err
    assert (
        main(["evaluate", "convcut_ferplus", *rest]) == 1
        and "--set is for a MODULE:CALLABLE" in capsys.readouterr().err
    )


SMALL = ["--set", "input_size=16", "grey=true", "mean=[0.5]", "std=[1]"]


@pytest.mark.parametrize(
    ("model", "settings", "side"),
    [("Plain", [], 224), ("Plain", ["--set", "input_size=16", "downscale_to=64"], 64), ("with_config", [], 32)],
)
def test_an_external_model_sees_a_folder_at_its_own_side(face_folder, their_models, monkeypatch, model, settings, side):
    seen = []
    monkeypatch.setattr(
        "ferlib.evaluation.evaluate.evaluate",
        lambda model, data, *_: seen.append((data.pixels.shape[-1], model.config.classes == data.classes)) or 1 / 0,
    )
    with pytest.raises(ZeroDivisionError):
        main(["evaluate", f"theirs:{model}", "--data", "folder", "--root", str(face_folder), *settings])
    assert seen == [(side, model == "Plain")]


def test_an_external_model_has_no_record_of_the_folder_it_is_in(few_faces, their_models, tmp_path, monkeypatch, capsys):
    (tmp_path / "metrics.json").write_text('{"protocol": "published"}')
    (tmp_path / "environment.json").write_text('[{"data": {"name": "synthetic"}}]')
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "theirs:Plain", "--data", "synthetic", *SMALL, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["protocol"] == "every face alone"


def test_one_person_in_the_split_is_no_certainty(synthetic_faces, their_models, monkeypatch, capsys):
    frame = synthetic_faces.frame.copy()
    frame.loc[frame["split"] == "test", "group"] = frame["group"].max() + 1
    faces = FaceDataset("synthetic", synthetic_faces.classes, frame, synthetic_faces.pixels)
    monkeypatch.setattr("ferlib.data.registry.load_synthetic", lambda: faces)
    assert main(["evaluate", "theirs:Plain", "--data", "synthetic", *SMALL]) == 0
    out = capsys.readouterr().out
    low, high = map(float, re.search(r"accuracy +0\.\d+ +\[(0\.\d+), (0\.\d+)\]", out).groups())
    assert high - low > 0.05 and re.search(r"note: all \d+ faces are one person's: the intervals are over faces", out)


def test_the_audit_keeps_the_epoch_that_the_runs_recipe_kept(face_folder, their_models, tmp_path, capsys):
    history = tmp_path / "history.csv"
    history.write_text("epoch,accuracy,test_accuracy\n0,0.6,0.5\n1,0.7,0.64\n2,0.702,0.62\n")
    command = ["evaluate", "theirs:Plain", "--data", "folder", "--root", str(face_folder), *SMALL]
    for gives in ("62.0%", "64.0%"):
        assert main([*command, "--audit", "--history", str(history)]) == 0
        assert f"would have claimed 64.0% where validation gives {gives}." in capsys.readouterr().out
        (tmp_path / "recipe.json").write_text('{"method": "my_own", "least_gain": 0.003}')
    history.write_text("accuracy,macro_f1,test_accuracy\n0.7,0.4,0.6\n0.72,0.35,0.5\n0.65,0.5,0.9\n")
    (tmp_path / "metrics.json").write_text('{"select_by": "macro_f1"}')
    assert main([*command, "--audit", "--history", str(history)]) == 0
    assert "would have claimed 90.0% where validation gives 90.0%." in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:batch attention mixes")
def test_evaluate_by_the_published_protocol(face_folder, tmp_path, capsys):
    small = {"backbone": "test_convnext", "input_size": 64, "classes": tuple(sorted(SYNTHETIC))}
    create_model("convcut_published", **small).save_pretrained(str(tmp_path))
    rest = [str(tmp_path), "--data", "folder", "--root", str(face_folder), "--format", "json"]
    results = {}
    for protocol in ("honest", "published"):
        assert main(["evaluate", *rest, "--protocol", protocol]) == 0
        results[protocol] = json.loads(capsys.readouterr().out)
    assert results["honest"]["protocol"].startswith("every face alone")
    assert results["published"]["protocol"].startswith("class by class in batches of 32, as the published code")
    assert results["honest"]["metrics"] != results["published"]["metrics"]
    assert main(["evaluate", *rest, "--protocol", "published", "--batch-size", "1"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["confusion"] == results["honest"]["confusion"] and "batches of 1," in alone["protocol"]
    assert main(["evaluate", *rest, "--batch-size", "16"]) == 1
    assert "--batch-size is for --protocol published" in capsys.readouterr().err
    assert main(["evaluate", *rest, "--audit"]) == 1
    assert "neighbours" in json.loads(capsys.readouterr().out)["audit"]["verdict"]


def test_evaluate_takes_a_folder_with_a_colon_in_its_name(face_folder, tmp_path, capsys):
    model = create_model("ivsa_plain", widths=(4, 4, 8, 8), hidden=8, classes=tuple(sorted(SYNTHETIC)))
    model.save_pretrained(str(tmp_path / "12:30"))
    assert main(["evaluate", str(tmp_path / "12:30"), "--data", "folder", "--root", str(face_folder)]) == 0
    assert "12:30 on folder, test" in capsys.readouterr().out


def test_the_audit_too_is_of_the_clean_faces(face_folder, their_models, tmp_path, capsys):
    shutil.copytree(face_folder, tmp_path / "faces")
    picture = next((tmp_path / "faces").rglob("*.png"))
    for split in ("train", "test"):  # a test face that stands in training too
        folder = tmp_path / "faces" / split / picture.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder / "twice.png")
    rest = ["--data", "folder", "--root", str(tmp_path / "faces"), "--set", "input_size=16", "grey=true"]
    command = ["evaluate", "theirs:Plain", *rest, "mean=[0.5]", "std=[1]", "--audit", "--format", "json"]
    found = []
    for clean in ([], ["--clean"]):
        main([*command, *clean])
        found.append(json.loads(capsys.readouterr().out))
    assert [one["faces"] for one in found] == [one["audit"]["faces"] for one in found]
    assert found[1]["faces"] < found[0]["faces"]


def test_a_class_is_left_out_by_its_own_name_where_a_folder_has_one(face_folder, their_models, tmp_path, capsys):
    """Happiness, and joy apart from it; elsewhere joy is another word for happiness."""
    names = sorted({picture.parent.name for picture in face_folder.rglob("*.png")} - {"fear"})
    for name in (*names, "joy"):
        for split in ("train", "test"):
            source = next(path for path in face_folder.rglob("*.png") if path.parent.name in (name, names[0]))
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(2):
                shutil.copy(source, tmp_path / split / name / f"{split}{number}.png")
    rest = ["--data", "folder", "--root", str(tmp_path), *SMALL, "--labels", "joy=joy", "--without", "joy"]
    assert main(["evaluate", "theirs:Plain", *rest, "--format", "json"]) == 0
    left = json.loads(capsys.readouterr().out)["per_class"]
    assert "joy" not in left and "happiness" in left


def test_slices_are_the_accuracies_of_their_faces(face_folder, their_models, tmp_path, capsys):
    """The faces of a column's group, in a folder of their own, have the accuracy that the slice says."""
    whole = tmp_path / "faces"
    pictures = sorted(face_folder.rglob("*.png"))
    for picture in pictures:
        for split in ("train", "test"):
            folder = whole / split / picture.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, folder / picture.name)
    tested = sorted((whole / "test").rglob("*.png"))
    lines = [
        f"{path.relative_to(whole).as_posix()},{'inside' if i % 3 else 'outside'}" for i, path in enumerate(tested)
    ]
    (tmp_path / "about.csv").write_text("\n".join(["file,place", *reversed(lines)]))
    rest = ["--data", "folder", "--set", "input_size=16", "grey=true", "mean=[0.5]", "std=[1]", "--without", "fear"]
    command = ["evaluate", "theirs:Plain", *rest, "--format", "json", "--root"]
    assert main([*command, str(whole), "--slices", str(tmp_path / "about.csv")]) == 0
    found = {one["group"]: one for one in json.loads(capsys.readouterr().out)["slices"]}
    assert found.keys() == {"inside", "outside"}
    for group, one in found.items():
        shutil.copytree(whole, tmp_path / group)
        for path, line in zip(tested, lines, strict=True):
            if not line.endswith(f",{group}"):
                (tmp_path / group / path.relative_to(whole)).unlink()
        assert main([*command, str(tmp_path / group)]) == 0
        alone = json.loads(capsys.readouterr().out)
        assert (one["faces"], one["accuracy"]["value"]) == (alone["faces"], alone["metrics"]["accuracy"]["value"])
    assert main(["evaluate", "theirs:Plain", *rest, "--root", str(whole), "--slices", str(tmp_path / "about.csv")]) == 0
    said = capsys.readouterr().out
    assert re.search(rf"place +inside +{found['inside']['faces']} ", said) and "of 2 differences are more than" in said


def test_label_proposes_and_train_reads_it(photos, tmp_path, capsys):
    assert main(["label", str(photos), "--out", str(tmp_path / "faces")]) == 0
    text = capsys.readouterr().out
    assert "4 faces in 3 photos, nobody named" in text
    for name in ("text.jpg", "nobody.png", "cut.jpg"):
        assert f"not used: {name}: " in text
    names = sorted(path.name for path in (tmp_path / "faces").glob("*/*.png"))
    assert names == ["grace.jpg-1.png", "turned.jpg-1.png", "two.png-1.png", "two.png-2.png"]
    assert main(["label", str(photos), "--out", str(tmp_path / "own"), "--classes", "tired", "laughing"]) == 0
    assert len(list((tmp_path / "own" / "unsorted").iterdir())) == 4
    assert (tmp_path / "own" / "tired").is_dir() and "unsorted" in capsys.readouterr().out
    assert main(["label", str(tmp_path / "nowhere"), "--out", str(tmp_path / "faces")]) == 1
    assert "is not a folder" in capsys.readouterr().err


def test_a_fault_of_ours_keeps_its_traceback_and_an_error_of_the_user_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fault() -> list:
        raise ValueError("an index went wrong")

    monkeypatch.setattr("ferlib.release.listing.model_rows", fault)
    with pytest.raises(ValueError, match="an index went wrong"):
        main(["models"])
    assert main(["train", "nosuch", "--data", "synthetic"]) == 1
    assert "unknown recipe 'nosuch'" in capsys.readouterr().err
    with pytest.raises(ValueError, match="unknown recipe"):
        main(["--debug", "train", "nosuch", "--data", "synthetic"])
