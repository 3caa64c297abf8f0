"""IVSA: its sizes, its readings, its stages against the equations."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from ferlib.models.backbone import parameter_count
from ferlib.models.ivsa import IVSA, IVSAConfig
from ferlib.models.registry import create_model

NARROW: dict[str, Any] = {"widths": (8, 16, 24, 32), "hidden": 20}


def narrow(**settings) -> IVSA:
    torch.manual_seed(0)
    model = create_model("ivsa", **(NARROW | settings)).eval()
    assert isinstance(model, IVSA)
    return model


def test_sizes_follow_from_the_paper():
    """Convolutions without bias, norms, gates and dense layers counted by hand."""
    widths, classes = (64, 128, 256, 512), 7
    stages = sum(9 * a * b + 9 * b * b + 4 * b for a, b in zip((1, *widths), widths, strict=False))
    dense = 512 * 2 * 2 * 1000 + 1000 + 1000 * 1000 + 1000 + 1000 * classes + classes
    gates = sum(2 * c * (c // 16) for c in widths)
    assert parameter_count(create_model("ivsa_plain")) == stages + dense
    assert parameter_count(create_model("ivsa_cbam")) == stages + dense + gates + 4 * (2 * 49 + 1)
    assert parameter_count(create_model("ivsa")) == stages + dense + gates + 4 * (2 * 49 + 1)
    assert parameter_count(create_model("ivsa", kernel=3)) == stages + dense + gates + 4 * (2 * 9 + 1)
    assert parameter_count(create_model("ivsa", combine="sum")) == stages + dense + gates + 4 * (49 + 1)
    assert parameter_count(create_model("ivsa", gamma="own")) == stages + dense + gates + 396 + 2 * sum(widths)


@pytest.mark.parametrize("place", ["after", "before"])
def test_plain_ivsa_is_eq_1_and_2(place):
    model = narrow(block="none", block_place=place)
    x = torch.randn(2, 1, 40, 40)
    y = x
    for stage in range(4):
        for module in (0, 3):
            convolution, norm = model.convolutions[stage][module], model.convolutions[stage][module + 1]
            y = F.conv2d(y, convolution.weight, padding=1)
            y = F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias)
            y = F.gelu(y)
        if stage == 3:
            assert torch.allclose(model.forward_features(x), y, atol=1e-6)
        y = F.max_pool2d(y, 2)
    first, second = model.hidden[1], model.hidden[4]
    y = F.gelu(second(F.gelu(first(y.flatten(1)))))
    assert torch.allclose(model(x), model.classifier(y), atol=1e-6)


@pytest.mark.parametrize("block", ["sab", "cbam"])
def test_the_block_stands_where_it_is_said_to(block):
    after, before = narrow(block=block), narrow(block=block, block_place="before")
    before.load_state_dict(after.state_dict())
    x, gamma = torch.randn(2, 8, 10, 10), torch.linspace(0.5, 1.5, 8)
    assert after.reductions[0](x, gamma).shape == before.reductions[0](x, gamma).shape == (2, 8, 5, 5)
    assert torch.equal(after.reductions[0](x, gamma), after.reductions[0].attend(F.max_pool2d(x, 2), gamma))
    assert torch.equal(before.reductions[0](x, gamma), F.max_pool2d(before.reductions[0].attend(x, gamma), 2))


def test_gamma_is_the_stages_and_learns():
    model = narrow().train()
    model(torch.randn(4, 1, 40, 40)).square().sum().backward()
    with_block = model.convolutions[0].gamma.grad.clone()
    assert model.convolutions[0].gamma is model.convolutions[0][4].weight
    plain = narrow(rescale="none").train()
    plain.load_state_dict(model.state_dict())
    plain(torch.randn(4, 1, 40, 40)).square().sum().backward()
    assert not torch.allclose(with_block, plain.convolutions[0].gamma.grad)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block": "se"}, "block must be"),
        ({"block_place": "inside"}, "block_place must be"),
        ({"input_size": 12}, "need an input of at least 16 px"),
        ({"kernel": 4}, "kernel must be odd"),
        ({"downscale_to": 32}, "centre_crop needs a downscale_to"),
        ({"mean": (0.5, 0.5)}, "mean and std need 3 numbers"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        create_model("ivsa", **settings)


def test_pretrained_weights_are_refused():
    with pytest.raises(ValueError, match="has no backbone"):
        IVSA(IVSAConfig(), backbone_weights="imagenet")
