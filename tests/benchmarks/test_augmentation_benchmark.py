"""What augmentation buys: one small network trained and asked, and the figures beside what is counted by hand."""

import json
import shutil
import sys
from types import SimpleNamespace
from typing import Any

import augmentation
import numpy as np
import pytest
import timm
from augmentation import REFERENCE, compared
from robustness import COMMON, OTHERS
from safetensors.torch import save_file

from ferlib.data.dataset import FaceDataset

FACES = 12


def conditions(pixels: np.ndarray, truth: np.ndarray) -> Any:
    """The same faces in every condition, as `robustness.Conditions` has them; glasses suit the first ten only."""
    names = ["clear", *(f"{name} {strength}" for name in (*COMMON, "dark", "tilted") for strength in (1, 2))]
    used = {name: np.arange(len(truth)) for name in names} | {name: np.arange(10) for name in ("sunglasses", "mask")}
    ends = np.cumsum([len(which) for which in used.values()])
    return SimpleNamespace(
        truth=truth,
        used=used,
        rows={name: np.arange(end - len(used[name]), end) for name, end in zip(used, ends, strict=True)},
        faces=np.concatenate([pixels[which] for which in used.values()]).tobytes(),
        digest="0123",
        strengths=lambda name: [one for one in used if one.split()[0] == name],
    )


def test_every_kind_is_the_mean_of_its_conditions_over_seeds_and_strengths():
    faces = conditions(np.zeros((FACES, 48, 48), np.uint8), np.zeros(FACES, int))
    answers = np.zeros((2, sum(len(rows) for rows in faces.rows.values())), bool)
    answers[:, faces.rows["clear"]] = True
    answers[0, faces.rows["gaussian_noise 1"]] = True  # one seed of two, one strength of two, one noise of three
    answers[:, faces.rows["mask"][:5]] = True
    table = compared({REFERENCE: answers, "none": ~answers}, faces)
    plain = {kind: row["accuracy"]["value"] for kind, row in table[REFERENCE]["kinds"].items()}
    assert plain == pytest.approx(
        dict.fromkeys(plain, 0) | {"clear": 1, "noise": 1 / 12, "all fifteen": 1 / 60, "mask": 0.5}, abs=1e-5
    )
    assert {*OTHERS} <= {*plain}
    none = table["none"]["kinds"]["noise"]
    assert none["accuracy"]["value"] == pytest.approx(11 / 12, abs=1e-5)
    assert none[f"less {REFERENCE}"]["value"] == pytest.approx(10 / 12, abs=1e-5)
    assert f"less {REFERENCE}" not in table[REFERENCE]["kinds"]["noise"]


def test_runs_of_two_calls_are_one_table(synthetic_faces: FaceDataset, tmp_path, monkeypatch):
    part = synthetic_faces.split("test")
    faces = conditions(part.pixels[:FACES][:, 0].numpy(), part.labels().numpy()[:FACES])
    few = synthetic_faces.subset(range(0, len(synthetic_faces), 7))
    monkeypatch.setattr(augmentation, "Conditions", lambda count, runs: faces)
    monkeypatch.setattr(augmentation, "load_dataset", lambda name: few)
    weights = tmp_path / "mobilenet.safetensors"
    save_file(timm.create_model("mobilenetv1_100").state_dict(), weights)
    out = tmp_path / "augmentation.json"
    for augment in ("none", "flip_affine_erase_spoil"):
        command = ["augmentation.py", "--backbone-weights", str(weights), "--seeds", "0", "--epochs", "1"]
        command += ["--augment", augment, "--work", str(tmp_path / "runs"), "--out", str(out)]
        monkeypatch.setattr(sys, "argv", command)
        augmentation.main()
    longer = tmp_path / "runs" / "none-9"
    shutil.copytree(tmp_path / "runs" / "none-0", longer)
    recipe = json.loads((longer / "recipe.json").read_text())
    (longer / "recipe.json").write_text(json.dumps(recipe | {"epochs": 5}))
    assert [len(augmentation.answered("none", tmp_path / "runs", faces, epochs)) for epochs in (1, 5)] == [1, 1]
    told = json.loads(out.read_text())
    assert {*told["arms"]} == {"none", "flip_affine_erase_spoil"} and told["epochs"] == 1
    clear = told["arms"]["none"]["kinds"]
    assert clear["clear"]["accuracy"] == clear["dark"]["accuracy"]  # the same faces, here
    assert str(tmp_path) not in out.read_text()
