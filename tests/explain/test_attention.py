"""The models' own attention, recorded without leaving a trace."""

import pytest
import torch

from ferlib.explain.attention import attention_layers, attention_map, predict_with_attention
from ferlib.models.registry import create_model


def hooks(model) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_token_attention_says_how_much_a_position_is_attended_to():
    torch.manual_seed(0)
    model = create_model("convcut", backbone="tf_efficientnet_lite0", input_size=64, detail_layers=0).eval()
    x = torch.randn(2, 3, 64, 64)
    logits, maps = predict_with_attention(model, x)
    (found,) = maps.values()
    with torch.no_grad():
        assert torch.allclose(logits, model(x), atol=1e-6)
        tokens = model.detail(model.forward_features(x)).flatten(2).transpose(1, 2)  # (2, 16, C)
        layer = model.token_attention
        for own, image in zip(tokens, found, strict=True):
            received = torch.zeros(16)
            for query in layer.query(own):
                received += torch.stack([query @ key / own.shape[1] ** 0.5 for key in layer.key(own)]).softmax(0) / 16
            assert torch.allclose(image.flatten(), received, atol=1e-5)
    assert found.sum(dim=(1, 2)).tolist() == pytest.approx([1, 1])
    assert hooks(model) == 0


@pytest.mark.parametrize("name", ["ivsa", "ivsa_cbam"])
def test_spatial_gates_of_every_stage(name):
    torch.manual_seed(0)
    model = create_model(name, widths=(8, 8, 8, 8), hidden=8).eval()
    x = torch.randn(3, 1, 40, 40)
    logits, maps = predict_with_attention(model, x)
    assert [tuple(gate.shape) for gate in maps.values()] == [(3, side, side) for side in (20, 10, 5, 2)]
    assert all(((gate > 0) & (gate < 1)).all() for gate in maps.values())
    with torch.no_grad():  # the first stage by hand
        stage, block = model.convolutions[0], model.reductions[0].block
        y = model.reductions[0].pool(stage(x))
        weights = block.channel(y)
        if name == "ivsa":
            weights = weights * (8 * stage.gamma.abs() / stage.gamma.abs().sum())[:, None, None]
        assert torch.allclose(next(iter(maps.values())), block.spatial(weights * y)[:, 0], atol=1e-6)
        assert torch.allclose(logits, model(x), atol=1e-6)


def test_hooks_go_also_after_a_failure(tiny):
    with pytest.raises(RuntimeError):
        predict_with_attention(tiny, torch.zeros(1, 3, 40, 40))
    assert hooks(tiny) == 0


def test_models_without_it_say_so():
    model = create_model("ivsa_plain", widths=(8, 8, 8, 8), hidden=8)
    assert not attention_layers(model)
    with pytest.raises(ValueError, match="ivsa_plain has no attention over positions"):
        predict_with_attention(model, torch.zeros(1, 1, 40, 40))


def test_one_map_of_many():
    maps = {"a": torch.tensor([[[0.2, 0.4]]]), "b": torch.tensor([[[0.9, 0.1]]])}
    assert attention_map({"a": maps["a"]}, torch.Size((1, 2))).tolist() == [[[0, 1]]]
    assert attention_map(maps, torch.Size((1, 2))).eq(0).all()  # they cancel
