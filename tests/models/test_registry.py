"""Every model by name: its contract, its settings, saving and loading."""

import json
import time
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ferlib.models.base import FaceModel
from ferlib.models.baselines import Baseline
from ferlib.models.convcut import ConvCut
from ferlib.models.ivsa import IVSA
from ferlib.models.pattlite import PAttLite
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import MODELS, create_model, list_models, load_model, released_models
from ferlib.training.logit_shift import output_layer

CONVCUT = {"backbone": "tf_efficientnet_lite0", "input_size": 112}
SMALL: dict[type, dict[str, Any]] = {ConvCut: CONVCUT, PAttLite: {"input_size": 112}, Baseline: {"input_size": 48}}
DEPENDS_ON_NEIGHBOURS = {"convcut_batch", "convcut_published", "pattlite_published"}
FREEZABLE = [name for name, entry in MODELS.items() if "freeze_backbone" in {f.name for f in fields(entry.config)}]
pytestmark = [pytest.mark.filterwarnings("ignore:batch attention mixes"), pytest.mark.usefixtures("narrow_vgg")]


def noise(model: FaceModel, images: int, side: int | None = None, seed: int = 1) -> Tensor:
    """Images of independent normal pixels, of the model's own size if no other is given."""
    side = side or model.config.input_size
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, model.config.channels, side, side, generator=generator)


def small(name: str, **settings: Any) -> FaceModel:
    """A model of this name, small enough for a test; untrained, but logits of single images differ by about 1."""
    torch.manual_seed(0)
    model = create_model(name, **(SMALL.get(MODELS[name].model, {}) | settings)).eval()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = None  # the statistics of a single pass
    with torch.no_grad():
        model.forward_head(model.forward_features(noise(model, 16)))
        for norm in norms:
            norm.eval().momentum = 0.1
        alone = torch.cat([model(image[None]) for image in noise(model, 4)])
        output_layer(model).weight.div_(alone.std(dim=0).max())
    return model


@pytest.fixture(scope="module", params=sorted([*list_models(), *released_models()]))
def model(request) -> FaceModel:
    """Every model by name, built once for all tests of this file, which leave its parameters as they are."""
    return (load_model if request.param in released_models() else small)(request.param)


@pytest.mark.parametrize("name", list_models())
def test_thirty_steps_on_synthetic_faces_lower_the_loss(name, synthetic_faces):
    """The same 24 faces again and again: a model that learns at all learns them."""
    sizes = {IVSA: {"widths": (16, 32, 48, 64), "hidden": 100}, Baseline: {"input_size": 32}}
    model = small(name, **sizes.get(MODELS[name].model, {"input_size": 64})).train()
    faces = synthetic_faces.subset(np.arange(0, len(synthetic_faces), len(synthetic_faces) // 24)[:24])
    x, labels = Preprocess.of(model.config)(faces.pixels), faces.labels()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for step in range(30):
        rows = torch.arange(8) * 3 + step % 3
        loss = nn.functional.cross_entropy(model(x[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])


@pytest.mark.parametrize("side", [64, 75])
def test_contract(model, side):
    x = noise(model, 3, side)
    seen = []
    with torch.no_grad():
        features = model.forward_features(x)
        vector = model.forward_head(features, pre_logits=True)
        hook = model.cam_layer.register_forward_hook(lambda *call: seen.append(call[-1]))
        logits = model(x)
        hook.remove()
        sides = [features, model.forward_features(x.flip(-1))] if model.config.flip_tta else [features]
        expected = torch.stack([model.forward_head(side) for side in sides]).mean(dim=0)
        torch.testing.assert_close(logits, expected)
        assert torch.allclose(model.forward_head(features), model.classifier(vector), atol=1e-5)
    assert features.ndim == 4 and vector.ndim == 2 and len(vector) == 3
    assert logits.shape == (3, len(model.config.classes)) and logits.isfinite().all()
    assert torch.equal(seen[0], features)


def test_logits_do_not_depend_on_neighbours(model):
    x, others = noise(model, 8).double(), noise(model, 7, seed=2).double()
    model.double()  # so that rounding, which deep untrained networks amplify, is no excuse
    with torch.inference_mode():
        alone, batch, among_others = model(x[:1]), model(x)[:1], model(torch.cat([others, x[:1]]))[-1:]
    model.float()
    change = max((batch - alone).abs().max(), (among_others - alone).abs().max())
    if model.config.architecture in DEPENDS_ON_NEIGHBOURS:
        assert change > 1e-2
    else:
        assert change <= 1e-9


@pytest.mark.parametrize("name", ["convcut", "ivsa"])
def test_a_mirror_model_answers_by_both_sides(name):
    """Outside training it gives the mean of what the plain model gives for the two sides; in training, one side's."""
    plain, both = small(name), small(name, flip_tta=True)
    both.load_state_dict(plain.state_dict())
    x = noise(plain, 3)
    with torch.inference_mode():
        expected = (plain.eval()(x) + plain(x.flip(-1))) / 2
        torch.testing.assert_close(both.eval()(x), expected)
        torch.testing.assert_close(both(x.flip(-1)), expected)
        assert not torch.allclose(plain(x), expected, atol=1e-3)
        answers = []
        for model in (plain, both):
            torch.manual_seed(0)  # of the dropout
            answers.append(model.train()(x))
        torch.testing.assert_close(*answers)


def assert_trained(model: FaceModel, frozen: set[int]) -> None:
    """After a backward pass, exactly the parameters that are not `frozen` have gradients."""
    model.train()
    model(noise(model, 4)).square().sum().backward()
    assert all((parameter.grad is None) == (id(parameter) in frozen) for parameter in model.parameters())
    model.zero_grad(set_to_none=True)
    model.eval()


def test_every_trainable_parameter_is_used(model):
    frozen = getattr(model.config, "freeze_backbone", False)
    assert_trained(model, {id(parameter) for parameter in model.backbone.parameters()} if frozen else set())


@pytest.mark.parametrize("name", FREEZABLE)
def test_every_parameter_is_used_when_nothing_is_frozen(name):
    assert_trained(small(name, freeze_backbone=False), set())


@pytest.mark.parametrize("name", ["convcut", "pattlite"])
def test_a_frozen_backbone_never_moves(name):
    model = small(name).train()
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    model(noise(model, 4))
    assert all(torch.equal(value, before[key]) for key, value in model.backbone.state_dict().items())
    assert model.classifier.training and not any(module.training for module in model.backbone.modules())


def test_save_and_load(model, tmp_path):
    model.save_pretrained(str(tmp_path))
    again = load_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()  # pytest keeps folders
    x = noise(model, 2)
    assert type(again) is type(model) and again.config == model.config and not again.training
    with torch.no_grad():
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
    with pytest.raises(ValueError, match="has no config.json" if damage == "no config" else "cannot be read"):
        load_model(tmp_path)


def test_unknown_models_and_settings_are_refused():
    with pytest.raises(ValueError, match="unknown model 'resnet'"):
        create_model("resnet")
    with pytest.raises(ValueError, match="has no setting colour"):
        create_model("convcut", colour="red")
    with pytest.raises(ValueError, match="attention must be one of"):
        create_model("convcut", attention="psychic")
    with pytest.raises(ValueError, match="timm has no model"):
        create_model("convcut", backbone="convnext_gigantic")
    with pytest.raises(ValueError, match="no model 'nonsense'"):
        load_model("nonsense")


def test_pretrained_weights_fail_quickly_offline():
    start = time.perf_counter()
    with pytest.raises(RuntimeError, match=r"could not be downloaded.*backbone_weights=.*pretrained=False"):
        create_model("convcut", pretrained=True, **CONVCUT)
    assert time.perf_counter() - start < 5


def test_local_backbone_weights_are_loaded_strictly(tmp_path):
    source = small("convcut")
    state = {key.removeprefix("net.model."): value for key, value in source.backbone.state_dict().items()}
    save_file(state | {"classifier.weight": torch.ones(3, 3)}, tmp_path / "whole.safetensors")
    model = create_model("convcut", backbone_weights=tmp_path / "whole.safetensors", **CONVCUT)
    assert all(
        torch.equal(value, source.backbone.state_dict()[key]) for key, value in model.backbone.state_dict().items()
    )
    source.save_pretrained(str(tmp_path))
    model = create_model("linear_probe", backbone_weights=tmp_path / "model.safetensors", **CONVCUT)
    assert all(
        torch.equal(value, source.backbone.state_dict()[key]) for key, value in model.backbone.state_dict().items()
    )
    del state["conv_stem.weight"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(RuntimeError, match=r"lacks 1 of .* conv_stem.weight"):
        create_model("convcut", backbone_weights=tmp_path / "part.safetensors", **CONVCUT)
    with pytest.raises(RuntimeError, match="no weights file"):
        create_model("convcut", backbone_weights=tmp_path / "absent.safetensors", **CONVCUT)


@pytest.mark.parametrize("name", {entry.model: name for name, entry in MODELS.items()}.values())
def test_only_models_with_a_pretrained_part_take_weights(name, tmp_path):
    error, message = (
        (RuntimeError, "no weights file") if MODELS[name].model.has_backbone else (ValueError, "from scratch")
    )
    with pytest.raises(error, match=message):
        create_model(name, backbone_weights=tmp_path / "absent.safetensors")


def test_variants_are_what_they_say():
    for name, entry in MODELS.items():
        assert entry.config.architecture == name
        assert (getattr(entry.config, "attention", None) == "batch") == (name in DEPENDS_ON_NEIGHBOURS)
