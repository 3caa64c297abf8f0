"""`ferlib train`, run as people run it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ferlib.cli import main
from ferlib.models.base import IMAGENET_MEAN
from ferlib.models.registry import load_model, released_models
from ferlib.training.recipes import RECIPES

SMALL = ["backbone=tf_efficientnet_lite0", "keep_stages=2", "input_size=64", "epochs=1", "width=32"]


def train(out, *arguments: str, data: tuple[str, ...] = ("synthetic",), weights: str = "none") -> int:
    recipe, *settings = arguments
    command = ["train", recipe, "--data", *data, "--out", str(out), "--backbone-weights", weights]
    return main([*command, "--set", *settings])


def saved(out) -> dict:
    return json.loads((out / "best" / "config.json").read_text())


@pytest.mark.filterwarnings("ignore:batch attention mixes")
def test_the_published_code_runs_in_both_phases(few_faces, tmp_path, capsys):
    settings = ["backbone=test_convnext", "input_size=64", "epochs=1", "width=32", "augment=flip"]
    assert train(tmp_path, "convcut_published", *settings) == 0
    assert "best epoch 1 of 1 on TEST, as published" in capsys.readouterr().out
    assert (saved(tmp_path / "phase1")["detail_norm"], saved(tmp_path)["detail_norm"]) == ("after", "none")


@pytest.mark.parametrize(
    ("settings", "grey", "source"),
    [([], True, 48), (["grey=false", "downscale_to=32"], False, 32), (["input_size=48"], True, None)],
)
def test_a_saved_model_says_what_it_was_trained_on(few_faces, tmp_path, capsys, settings, grey, source):
    """Grey faces of 48 px; what is set stays."""
    assert train(tmp_path, "convcut", *SMALL, *settings) == 0
    assert "normalised by mean (0.5, 0.5, 0.5)" in capsys.readouterr().out
    config = saved(tmp_path)
    assert (config["grey"], config["downscale_to"], config["mean"]) == (grey, source, [0.5, 0.5, 0.5])
    assert json.loads((tmp_path / "recipe.json").read_text())["config"] == config


def test_what_is_said_of_the_faces_changes_nothing_in_training(few_faces, tmp_path):
    states = []
    for name, settings in (("derived", []), ("as before", ["grey=false", "downscale_to=null"])):
        assert train(tmp_path / name, "convcut", *SMALL, *settings) == 0
        states.append(load_file(tmp_path / name / "best" / "model.safetensors"))
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize(
    ("recipe", "setting", "said"),
    [
        ("ivsa", "dropout=2", "dropout must be at least 0 and at most 1"),
        ("convcut", "head_dropout=-1", "head_dropout must be at least 0"),
        ("ivsa", "widths=[]", "widths must be whole numbers above 0"),
        ("ivsa", "widths=[0,8,8,8]", "widths must be whole numbers above 0"),
        ("convcut", "width=0", "width must be at least 1"),
        ("ivsa", "hidden=0", "hidden must be at least 1"),
        ("ivsa", "std=[0]", "std above 0"),
        ("ivsa", "mean=[1e999]", "must be finite"),
        ("ivsa", "seed=99999999999999999999", "seed must be at least 0 and at most"),
        ("ivsa", "architecture=convcut", "architecture must be one of ivsa"),
        ("ivsa", "after=ivsa", "would come after itself"),
        ("ivsa", 'classes=["a","b"]', "classes come from the data"),
        ("ivsa", "first_epoch=1", "first_epoch follows from the phases"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_a_sentence(few_faces, tmp_path, capsys, recipe, setting, said):
    assert train(tmp_path / "run", recipe, setting) == 1
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1 and not (tmp_path / "run").exists()


def test_general_networks_start_from_scratch_like_ivsa(few_faces, tmp_path):
    """ImageNet's weights would have to be downloaded, and GoogLeNet has none there."""
    command = ["train", "googlenet", "--data", "synthetic", "--out", str(tmp_path)]
    assert main([*command, "--set", "epochs=1", "input_size=32", "batch_size=64"]) == 0
    started = json.loads((tmp_path / "environment.json").read_text())
    assert started[0]["backbone_weights"]["name"] == "none"


def test_where_there_is_no_run_to_go_on_with_it_says_so(few_faces, tmp_path, capsys):
    command = ["train", "ivsa", "--data", "synthetic", "--resume", "--out"]
    small = ["--set", "epochs=1", "widths=[4,4,8,8]", "hidden=8"]
    for told in (True, False):
        assert main([*command, str(tmp_path / "run"), *small]) == 0
        assert ("there is no run in" in capsys.readouterr().out) == told
    (tmp_path / "file").touch()
    assert main([*command, str(tmp_path / "file"), *small]) == 1
    assert "is a file; a run needs a folder" in capsys.readouterr().err


def test_a_run_goes_on_from_the_weights_it_was_started_from(few_faces, tmp_path, capsys):
    """Random ones and a released model's need not be said again; of a file the run knows no more than the name."""
    settings = ["backbone=tf_efficientnet_lite0", "input_size=64", "epochs=1", "width=32"]
    file = released_models()["convcut_ferplus"] / "model.safetensors"
    command = ["train", "convcut", "--data", "synthetic", "--resume", "--set", *settings, "--out"]
    for weights, ends in (("none", 0), ("convcut_ferplus", 0), (str(file), 1)):
        out = tmp_path / Path(weights).stem
        assert train(out, "convcut", *settings, weights=weights) == 0
        capsys.readouterr()
        assert main([*command, str(out)]) == ends
    assert "was started from the weights model.safetensors; give them again" in capsys.readouterr().err


@pytest.mark.parametrize(("file", "out"), [("a/recipe.json", "runs/a"), ("mine.json", "runs/mine")])
def test_a_recipe_in_a_file_has_a_run_folder_too(few_faces, tmp_path, capsys, monkeypatch, file, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    recipe = {"config": {"architecture": "ivsa_plain", "widths": [4, 4, 8, 8], "hidden": 8}, "epochs": 1}
    (tmp_path / file).write_text(json.dumps(recipe))
    assert main(["train", str(tmp_path / file), "--data", "synthetic"]) == 0
    assert (tmp_path / out / "best").is_dir()
    assert main(["train", f"{out}/recipe.json", "--data", "synthetic"]) == 1
    assert f"{out} is the run that {out}/recipe.json is of" in capsys.readouterr().err
    assert main(["train", f"{out}/recipe.json", "--data", "synthetic", "--resume"]) == 0


def test_help_names_the_recipes(capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0 and ".py" not in out
    assert set(RECIPES) <= set(re.findall(r"\w+", out))


def test_without_weights_the_commands_own_option_is_named(few_faces, tmp_path, capsys):
    protocols = [
        "reproduce",
        "protocols",
        "--data",
        "synthetic",
        "--work",
        str(tmp_path / "work"),
        "--out",
        str(tmp_path / "protocols.json"),
    ]
    for command in (["train", "convcut", "--data", "synthetic", "--out", str(tmp_path / "run")], protocols):
        assert main(command) == 1
        said = capsys.readouterr().err
        assert (
            "could not be downloaded" in said and "--backbone-weights none" in said and "pretrained=False" not in said
        )


def test_a_released_model_gives_its_backbone(few_faces, tmp_path):
    """And its normalisation: that backbone was trained with ImageNet's, its architecture's own is another."""
    settings = ["backbone=tf_efficientnet_lite0", "input_size=64", "epochs=1", "width=32"]
    assert train(tmp_path, "convcut", *settings, weights="convcut_ferplus") == 0
    theirs = load_model("convcut_ferplus").state_dict()
    ours = load_file(tmp_path / "best" / "model.safetensors")
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items() if key.startswith("backbone."))
    assert tuple(saved(tmp_path)["mean"]) == IMAGENET_MEAN


def test_pictures_of_a_folder_are_read_at_the_size_the_model_sees(synthetic_faces, tmp_path, capsys):
    """Pictures of 192 px: a model for 160 px is trained on 160 px, not on 112."""
    for row in synthetic_faces.frame.iloc[::6].itertuples():
        folder = tmp_path / "faces" / row.split / synthetic_faces.classes[row.label]
        folder.mkdir(parents=True, exist_ok=True)
        picture = np.kron(synthetic_faces.pixels[row.Index, 0].numpy(), np.ones((4, 4), np.uint8))
        Image.fromarray(picture).save(folder / f"{row.Index}.png")
    data = ("folder", "--root", str(tmp_path / "faces"))
    assert train(tmp_path / "run", "convcut", *SMALL, "input_size=160", data=data) == 0
    out = capsys.readouterr().out
    assert "3x160x160" in out and "pictures read at 160x160" in out
    assert saved(tmp_path / "run")["downscale_to"] is None and not saved(tmp_path / "run")["grey"]
    assert main(["evaluate", str(tmp_path / "run" / "best"), "--data", *data, "--format", "json"]) == 0
