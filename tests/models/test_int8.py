"""Weights in eight bits: what is stored, what is computed with, and that every way of loading knows them."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from ferlib.models.int8 import SCALE, dequantised, quantised
from ferlib.models.registry import create_model, load_model

PROBE = {"backbone": "test_convnext", "keep_stages": 2, "input_size": 32}


def test_every_weight_is_within_half_a_step_and_the_largest_is_exact():
    weight = torch.randn(5, 3, 4) * torch.logspace(-9, 3, 5).view(5, 1, 1)
    stored = quantised({"weight": weight, "bias": torch.randn(5)})
    assert stored["weight"].dtype == torch.int8 and stored["weight"].abs().amax(dim=(1, 2)).tolist() == [127] * 5
    back = dequantised(stored)
    assert list(back) == ["weight", "bias"] and back["weight"].dtype == torch.float32
    largest = weight.abs().amax(dim=(1, 2), keepdim=True)
    assert ((back["weight"] - weight).abs() <= largest / 254 * (1 + 1e-5)).all()
    assert torch.allclose(back["weight"].abs().amax(dim=(1, 2), keepdim=True), largest, rtol=1e-6)


def test_stored_once_more_nothing_changes_and_nothing_but_weights_is_touched():
    state = {
        "dead": torch.zeros(2, 3),
        "mean": torch.randn(4),
        "count": torch.tensor(3),
        "half": torch.randn(2, 2).half(),
    }
    once = dequantised(quantised(state))
    assert torch.equal(once["dead"], state["dead"]) and torch.equal(once["mean"], state["mean"])
    assert once["count"].dtype == torch.int64 and once["half"].dtype == torch.float32
    again = quantised(once)
    assert all(torch.equal(again[name], value) for name, value in quantised(state).items() if not name.endswith(SCALE))


@pytest.mark.parametrize("part", ["model", "backbone"])
def test_a_model_and_a_backbone_start_from_weights_in_eight_bits(tmp_path, part):
    torch.manual_seed(0)
    model = create_model("linear_probe", **PROBE)
    model.save_pretrained(str(tmp_path))
    weights = quantised(load_file(tmp_path / "model.safetensors"))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = (
        load_model(tmp_path) if part == "model" else create_model("linear_probe", backbone_weights=tmp_path, **PROBE)
    )
    expected = dequantised(weights)
    for name, value in loaded.state_dict().items():
        if part == "model" or name.startswith("backbone."):
            assert torch.equal(value, expected[name])
