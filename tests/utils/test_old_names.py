"""Settings, recipes and weights saved by the first edition are read under today's names."""

import json
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ferlib.cli import build_parser
from ferlib.cli.settings import parse_settings
from ferlib.models.base import FaceModel, ModelConfig
from ferlib.models.registry import create_model, load_model
from ferlib.training.checkpoint import RunFolder
from ferlib.training.recipes import Recipe
from ferlib.utils.old_names import FIELDS, renamed_fields

OLD = {new: old for old, new in FIELDS.items()}


def as_saved_before(folder):
    """Give a saved model's settings and parameters the names of the first edition."""
    path, weights = folder / "config.json", folder / "model.safetensors"
    path.write_text(json.dumps({OLD.get(key, key): value for key, value in json.loads(path.read_text()).items()}))
    state = {key.replace("backbone.", "trunk.", 1): value for key, value in load_file(weights).items()}
    save_file(state, weights, {"format": "pt"})
    assert "trunk" in path.read_text() and any(key.startswith("trunk.") for key in state)


def test_a_model_of_the_first_edition_loads(tmp_path):
    model = create_model(
        "convcut", backbone="test_convnext", keep_stages=2, input_size=32, width=16, flip_tta=True
    ).eval()
    model.save_pretrained(str(tmp_path))
    as_saved_before(tmp_path)
    again = load_model(tmp_path)
    assert again.config == model.config
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(x), model(x))
    started = create_model(
        "linear_probe", backbone="test_convnext", keep_stages=2, input_size=32, backbone_weights=tmp_path
    )
    assert all(
        torch.equal(value, model.backbone.state_dict()[key]) for key, value in started.backbone.state_dict().items()
    )


@dataclass(frozen=True)
class OwnConfig(ModelConfig):
    """A config of one's own, with a field that the first edition had in another meaning."""

    mirror: str = "no"


class Own(FaceModel):
    """A model of one's own, with a part that the first edition called so, too."""

    def __init__(self, config: OwnConfig):
        super().__init__()
        self.config, self.trunk = config, nn.Conv2d(3, 4, 3)


def test_a_model_of_ones_own_may_have_such_names(tmp_path):
    model = Own(OwnConfig("own", mirror="yes"))
    model.save_pretrained(str(tmp_path))
    again = Own.from_pretrained(tmp_path)
    assert again.config == model.config and torch.equal(again.trunk.weight, model.trunk.weight)
    recipe = {"method": "own", "method_settings": {"mirror": 2}, "mirror": True}
    assert renamed_fields(recipe) == {"method": "own", "method_settings": {"mirror": 2}, "flip_tta": True}


def test_a_setting_that_no_edition_knew_is_refused(tmp_path):
    create_model("ivsa", widths=(8, 8, 8, 8), hidden=8).save_pretrained(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"spelt_wrong": 1}))
    with pytest.raises(ValueError, match="spelt_wrong"):
        load_model(tmp_path)


def test_a_run_of_the_first_edition_is_the_same_recipe(tmp_path):
    model = create_model("convcut", backbone="test_convnext", keep_stages=2, input_size=32, width=16)
    recipe = Recipe(model.config, epochs=2, ema_decay=0.9, max_grad_norm=1.0)
    plain = nn.Module()
    run = RunFolder(tmp_path)
    run.start(recipe)
    run.last.touch()
    path = tmp_path / "recipe.json"
    saved = json.loads(path.read_text())
    saved["config"] = {OLD.get(key, key): value for key, value in saved["config"].items()}
    path.write_text(json.dumps({OLD.get(key, key): value for key, value in saved.items()}))
    assert "clip_norm" in path.read_text()
    run.check(recipe, model, plain, resume=True, began={})
    with pytest.raises(ValueError, match=r"max_grad_norm 1\.0 there, 2\.0 here"):
        run.check(Recipe(model.config, epochs=2, ema_decay=0.9, max_grad_norm=2.0), model, plain, resume=True, began={})


def test_commands_noted_by_the_first_edition_still_run():
    assert parse_settings(["trunk=a", "average=0.9"]) == {"backbone": "a", "ema_decay": 0.9}
    options = build_parser().parse_args(["train", "convcut", "--data", "ferplus", "--trunk-weights", "x.safetensors"])
    assert options.backbone_weights == "x.safetensors"
    studied = [
        "reproduce",
        "ladder",
        "--data",
        "ferplus",
        "--trunk",
        "convnext_nano",
        "--trunk-weights",
        "none",
        "--out",
        "x.json",
    ]
    options = build_parser().parse_args(studied)
    assert (options.table, options.backbone, options.backbone_weights) == ("protocols", "convnext_nano", "none")
    options = build_parser().parse_args([*studied[:4], *studied[8:]])
    assert (options.backbone, options.backbone_weights) == (None, None)  # the command's own


def test_names_are_translated_at_every_depth():
    assert renamed_fields([{"config": {"trunk": "a"}, "average": None}]) == [
        {"config": {"backbone": "a"}, "ema_decay": None}
    ]


def test_the_setting_of_logit_adjustment_moves_to_its_method():
    for method, expected in (("logit_adjusted", {"tau": 0.2}), ("focal", {})):
        old = {"config": {}, "method": method, "tau": 0.2}
        assert renamed_fields(old) == {"config": {}, "method": method, "method_settings": expected}
    assert renamed_fields({"tau": 0.2}) == {"tau": 0.2}  # on the command line
