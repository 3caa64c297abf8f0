"""Which learning rate and which decay every parameter gets."""

import pytest
import torch

from ferlib.models.zoo import create_model
from ferlib.training.optimizer import create_optimizer
from ferlib.training.recipes import RECIPES

SMALL = {"trunk": "tf_efficientnet_lite0", "width": 32, "input_size": 64, "freeze_trunk": False}


def settings_of(model, recipe) -> dict[str, tuple[float, float]]:
    """Parameter name -> (lr_scale, weight_decay)."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = create_optimizer(model, recipe).param_groups
    return {names[id(p)]: (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_every_trainable_parameter_once_and_only_matrices_decay():
    model = create_model("convcut", **SMALL)
    found = settings_of(model, RECIPES["convcut"].override(SMALL | {"weight_decay": 0.1}))
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        assert found[name] == (1, 0.1 if parameter.ndim > 1 else 0)
    frozen = create_model("convcut", **(SMALL | {"freeze_trunk": True}))
    assert settings_of(frozen, RECIPES["convcut"]).keys() == {n for n in found if not n.startswith("trunk.")}


def test_layer_decay_falls_from_the_head_to_the_first_layer():
    model = create_model("convcut", **SMALL)
    found = settings_of(model, RECIPES["convcut"].override(SMALL | {"layer_decay": 0.5}))
    scales = {name: scale for name, (scale, _) in found.items()}
    assert {scale for name, scale in scales.items() if not name.startswith("trunk.")} == {1}
    blocks = [scales[f"trunk.net.model.blocks.{stage}.0.conv_dw.weight"] for stage in range(5)]
    in_order = [scales["trunk.net.model.conv_stem.weight"], *blocks]
    assert in_order == sorted(in_order) and in_order[-1] < 1
    last = max(scale for name, scale in scales.items() if name.startswith("trunk."))
    assert last == 0.5 and min(scales.values()) == scales["trunk.net.model.bn1.weight"]
    powers = sorted(set(scales.values()), reverse=True)
    assert powers == pytest.approx([0.5**k for k in range(len(powers))])


def test_the_optimizer_is_the_recipes():
    model = create_model("convcut", **SMALL)
    for name, kind in {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}.items():
        optimizer = create_optimizer(model, RECIPES["convcut"].override(SMALL | {"optimizer": name, "lr": 0.3}))
        assert isinstance(optimizer, kind) and all(group["lr"] == 0.3 for group in optimizer.param_groups)
        assert name != "sgd" or all(group["nesterov"] and group["momentum"] == 0.9 for group in optimizer.param_groups)
