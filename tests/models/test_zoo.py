"""Every model by name: its contract, its settings, saving and loading."""

import json
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from ferlib.models.trunk import Trunk, parameter_count
from ferlib.models.zoo import MODELS, create_model, list_models, load_model, released_models

SMALL = {"trunk": "tf_efficientnet_lite0", "input_size": 112}
DEPENDS_ON_NEIGHBOURS = {"convcut_batch", "convcut_published"}
pytestmark = pytest.mark.filterwarnings("ignore:batch attention mixes")


def small(name: str, **settings):
    """A model of this name, untrained but with lively outputs, small enough for a test."""
    torch.manual_seed(0)
    model = create_model(name, **(SMALL | settings))
    with torch.no_grad():
        model.classifier.weight.mul_(20)
    return model.eval()


def test_published_sizes():
    with torch.device("meta"):
        counts = {stages: parameter_count(Trunk("convnext_base", stages)) for stages in (2, 3, 4)}
    assert counts[3] == 60_121_216  # three stages, 60.12 M
    assert counts[4] == 88_591_464 - 1025 * 1000 - 2 * 1024  # ConvNeXt-Base, 88.59 M, less its head and last norm
    assert counts[2] < counts[3]


@pytest.mark.parametrize("trunk", ["convnext_nano", "tf_efficientnet_lite0", "mobilenetv1_100", "resnet18"])
@pytest.mark.parametrize("stages", [2, 3, 4])
def test_any_trunk_is_cut_at_its_stride(trunk, stages):
    net = Trunk(trunk, stages).eval()
    out = net(torch.randn(1, 3, 64, 64))
    assert out.shape == (1, net.channels, 64 // 2 ** (stages + 1), 64 // 2 ** (stages + 1))


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("side", [64, 75])
def test_contract(name, side):
    model = small(name)
    x = torch.randn(3, 3, side, side)
    features = model.forward_features(x)
    vector = model.forward_head(features, pre_logits=True)
    assert features.ndim == 4 and vector.ndim == 2 and len(vector) == 3
    assert torch.equal(model(x), model.forward_head(features))
    assert model(x).shape == (3, len(model.config.classes))
    seen = []
    with torch.no_grad():
        hook = model.cam_layer.register_forward_hook(lambda *call: seen.append(call[-1]))
        model(x)
        hook.remove()
    assert torch.equal(seen[0], features)


@pytest.mark.parametrize("name", sorted([*list_models(), *released_models()]))
def test_logits_do_not_depend_on_neighbours(name):
    model = load_model(name) if name in released_models() else small(name)
    side = model.config.input_size
    x = torch.randn(16, 3, side, side, generator=torch.Generator().manual_seed(1))
    others = torch.randn(15, 3, side, side, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        alone, batch, among_others = model(x[:1]), model(x)[:1], model(torch.cat([others, x[:1]]))[-1:]
    change = max((batch - alone).abs().max(), (among_others - alone).abs().max())
    if name in DEPENDS_ON_NEIGHBOURS:
        assert change > 1e-2
    else:
        assert change <= 1e-4


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("freeze_trunk", [True, False])
def test_every_trainable_parameter_is_used(name, freeze_trunk):
    model = small(name, freeze_trunk=freeze_trunk).train()
    model(torch.randn(4, 3, 112, 112)).square().sum().backward()
    trunk = {id(parameter) for parameter in model.trunk.parameters()}
    for parameter in model.parameters():
        frozen = freeze_trunk and id(parameter) in trunk
        assert (parameter.grad is None) == frozen


def test_a_frozen_trunk_never_moves():
    model = small("convcut").train()
    before = {key: value.clone() for key, value in model.trunk.state_dict().items()}
    model(torch.randn(4, 3, 112, 112))
    assert all(torch.equal(value, before[key]) for key, value in model.trunk.state_dict().items())
    assert model.detail.training and not model.trunk.training


@pytest.mark.parametrize("name", list_models())
def test_save_and_load(name, tmp_path):
    model = small(name)
    model.save_pretrained(str(tmp_path))
    again = load_model(tmp_path)
    x = torch.randn(2, 3, 112, 112)
    assert again.config == model.config and not again.training
    assert torch.equal(again(x), model(x))


@pytest.mark.parametrize(
    "damage", ["missing tensor", "extra tensor", "truncated", "not JSON", "bad setting", "no config"]
)
def test_damaged_model_folders_are_refused(tmp_path, damage):
    small("linear_probe").save_pretrained(str(tmp_path))
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    tensors = load_file(weights)
    if damage == "missing tensor":
        del tensors["classifier.bias"]
        save_file(tensors, weights)
    elif damage == "extra tensor":
        save_file(tensors | {"surplus": torch.ones(1)}, weights)
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "not JSON":
        config.write_text("{")
    elif damage == "bad setting":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"attention": "psychic"}))
    else:
        config.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        load_model(tmp_path)


def test_unknown_models_and_settings_are_refused():
    with pytest.raises(ValueError, match="unknown model 'resnet'"):
        create_model("resnet")
    with pytest.raises(ValueError, match="has no setting colour"):
        create_model("convcut", colour="red")
    with pytest.raises(ValueError, match="attention must be one of"):
        create_model("convcut", attention="psychic")
    with pytest.raises(ValueError, match="timm has no model"):
        create_model("convcut", trunk="convnext_gigantic")
    with pytest.raises(ValueError, match="no model 'nonsense'"):
        load_model("nonsense")


def test_pretrained_weights_fail_quickly_offline():
    start = time.perf_counter()
    with pytest.raises(RuntimeError, match=r"could not be downloaded.*trunk_weights=.*pretrained=False"):
        create_model("convcut", pretrained=True, **SMALL)
    assert time.perf_counter() - start < 5


def test_local_trunk_weights_are_loaded_strictly(tmp_path):
    source = small("convcut")
    state = {key.removeprefix("net.model."): value for key, value in source.trunk.state_dict().items()}
    save_file(state | {"classifier.weight": torch.ones(3, 3)}, tmp_path / "whole.safetensors")
    model = create_model("convcut", trunk_weights=tmp_path / "whole.safetensors", **SMALL)
    assert all(torch.equal(value, source.trunk.state_dict()[key]) for key, value in model.trunk.state_dict().items())
    source.save_pretrained(str(tmp_path))
    model = create_model("linear_probe", trunk_weights=tmp_path / "model.safetensors", **SMALL)
    assert all(torch.equal(value, source.trunk.state_dict()[key]) for key, value in model.trunk.state_dict().items())
    del state["conv_stem.weight"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(RuntimeError, match=r"lacks 1 of .* conv_stem.weight"):
        create_model("convcut", trunk_weights=tmp_path / "part.safetensors", **SMALL)
    with pytest.raises(RuntimeError, match="no weights file"):
        create_model("convcut", trunk_weights=tmp_path / "absent.safetensors", **SMALL)


def test_variants_are_what_they_say():
    for name, entry in MODELS.items():
        assert entry.config.architecture == name
        assert (entry.config.attention == "batch") == (name in DEPENDS_ON_NEIGHBOURS)
