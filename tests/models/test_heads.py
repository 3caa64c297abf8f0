"""The rival methods' heads against slow versions written apart, and what each must do."""

import math

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ferlib.models.apvit import APViT
from ferlib.models.ddamfn import DDAMFN
from ferlib.models.registry import create_model
from ferlib.models.tokens import keep_largest
from ferlib.models.two_depth_vit import TwoDepthViT
from ferlib.models.vtff import VTFF

ROUNDING = 1e-5  # the positions are computed in single precision
RIVALS = ("ddamfn", "apvit", "two_depth_vit", "vtff")
SMALL = {"width": 8, "heads": 2, "backbone": "test_convnext", "keep_stages": 2, "input_size": 32}


def model_of(name: str, **settings):
    """A narrow model in double precision and evaluation mode, its norms with numbers of their own."""
    torch.manual_seed(0)
    model = create_model(name, **settings).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.get_buffer("running_mean"), -0.1, 0.1)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 2)
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.requires_grad_(False)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def normed(norm, vector: Tensor) -> Tensor:
    """A channel vector (C,) through a batch norm in evaluation mode."""
    return (vector - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias


def coordinate_attention(head, x: Tensor) -> Tensor:
    """One face's weights (C, S, S), a number at a time; x (C, S, S)."""
    channels, side, _ = x.shape
    convolution, norm, _ = head.joint

    def squeezed(vector: Tensor) -> Tensor:
        y = convolution.weight[:, :, 0, 0] @ vector + convolution.bias
        y = normed(norm, y)
        return torch.tensor([v * min(max(v + 3, 0), 6) / 6 for v in y.tolist()], dtype=x.dtype)

    out = torch.zeros_like(x)
    (along_rows, row_norm), (along_columns, column_norm) = head.along_rows, head.along_columns
    rows = [torch.stack([x[c, i] @ along_rows.weight[c, 0, 0] for c in range(channels)]) for i in range(side)]
    columns = [
        torch.stack([x[c, :, j] @ along_columns.weight[c, 0, :, 0] for c in range(channels)]) for j in range(side)
    ]
    rows, columns = [normed(row_norm, row) for row in rows], [normed(column_norm, column) for column in columns]
    for i in range(side):
        row = head.rows.weight[:, :, 0, 0] @ squeezed(rows[i]) + head.rows.bias
        for j in range(side):
            column = head.columns.weight[:, :, 0, 0] @ squeezed(columns[j]) + head.columns.bias
            for c in range(channels):
                out[c, i, j] = sigmoid(float(row[c])) * sigmoid(float(column[c]))
    return out


def test_ddamfn_by_hand():
    model = model_of("ddamfn", backbone="test_convnext", keep_stages=2, input_size=32, squeeze=3)
    assert isinstance(model, DDAMFN) and model.head.side == 4
    features = torch.randn(2, model.backbone.channels, 4, 4, dtype=torch.double)
    vector, maps = model.forward_details(features)
    for face, found, given in zip(features, vector, maps, strict=True):
        by_head = [coordinate_attention(head, face) for head in model.head.attention]
        assert torch.allclose(given, torch.stack(by_head), atol=1e-12)
        y = face * torch.maximum(*by_head)
        whole, norm = model.head.whole
        summed = torch.stack([(y[c] * whole.weight[c, 0]).sum() for c in range(len(face))])
        assert torch.allclose(found, normed(norm, summed), atol=1e-12)
    assert (maps[:, 0] - maps[:, 1]).abs().max() > 0.01


def block_by_hand(block, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """One face's tokens (N, D) through a block, head by head; and the attention averaged over the heads (N, N)."""

    def norm(layer, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=1, keepdim=True)
        return centred / (centred.square().mean(dim=1, keepdim=True) + layer.eps).sqrt() * layer.weight + layer.bias

    attention, width = block.attention, tokens.shape[1]
    size = width // attention.heads
    x = norm(block.before_attention, tokens)
    all_three = x @ attention.queries_keys_values.weight.T + attention.queries_keys_values.bias
    q, k, v = all_three[:, :width], all_three[:, width : 2 * width], all_three[:, 2 * width :]
    parts, weights = [], []
    for head in range(attention.heads):
        own = slice(head * size, (head + 1) * size)
        scores = torch.exp(q[:, own] @ k[:, own].T / math.sqrt(size))
        weights.append(scores / scores.sum(dim=1, keepdim=True))
        parts.append(weights[-1] @ v[:, own])
    tokens = tokens + torch.cat(parts, dim=1) @ attention.project.weight.T + attention.project.bias
    first, _, second = block.mlp
    hidden = norm(block.before_mlp, tokens) @ first.weight.T + first.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    return tokens + hidden @ second.weight.T + second.bias, torch.stack(weights).mean(dim=0)


def places(height: int, width: int, size: int) -> Tensor:
    """Of every position (h·w, D), a quarter each: sines of row and column, cosines of row and column."""
    out = torch.zeros(height * width, size, dtype=torch.double)
    for place in range(height * width):
        for quarter in range(4):
            along, function = divmod(place, width)[quarter % 2], (math.sin, math.cos)[quarter // 2]
            for k in range(size // 4):
                out[place, quarter * size // 4 + k] = function(along * 10000 ** (-k / (size // 4)))
    return out


def embedded(layer, x: Tensor) -> Tensor:
    """One face's map (C, h, w) as tokens (h·w, D)."""
    _, height, width = x.shape
    at_places = [layer.project.weight[:, :, 0, 0] @ x[:, i, j] for i in range(height) for j in range(width)]
    tokens = torch.stack(at_places) + layer.project.bias
    return tokens + places(height, width, tokens.shape[1])


def last_norm(layer, tokens: Tensor) -> Tensor:
    return nn.functional.layer_norm(tokens, tokens.shape[1:], layer.weight, layer.bias, layer.eps)


def test_apvit_by_hand():
    model = model_of("apvit", **SMALL, depth=4)
    assert isinstance(model, APViT)
    model.head.class_token.token.copy_(torch.randn(1, 1, 8))
    features = torch.randn(3, model.backbone.channels, 4, 5, dtype=torch.double)
    vector, tokens = model.forward_details(features)
    for face, found, left in zip(features, vector, tokens, strict=True):
        strength = face.abs().sum(dim=0).flatten().tolist()
        kept = sorted(range(20), key=strength.__getitem__, reverse=True)[: round(20 * 160 / 196)]
        assert len(kept) == 16
        t = torch.cat([model.head.class_token.token[0], embedded(model.head.tokens, face)[kept]])
        for number, block in enumerate(model.head.blocks):
            t, weights = block_by_hand(block, t)
            if number >= 2:
                seen = weights[0, 1:].tolist()
                best = sorted(range(len(seen)), key=seen.__getitem__, reverse=True)[: round(0.9 * len(seen))]
                t = torch.cat([t[:1], t[1:][best]])
        assert len(left) == len(t) == 1 + 13  # 16, 14, 13
        assert torch.allclose(found, last_norm(model.head.norm, t)[0], atol=ROUNDING)


def test_what_attentive_pooling_leaves_out_does_not_matter():
    """A weak position may be anything weaker; and none is left out where all are kept."""
    model = model_of("apvit", **SMALL)
    features = torch.rand(2, model.backbone.channels, 4, 4, dtype=torch.double) + 1
    weak = features.clone()
    weak[:, :, 1, 2] *= 0.1
    weaker = weak.clone()
    weaker[:, :, 1, 2] *= -0.5
    assert torch.equal(model.forward_head(weak), model.forward_head(weaker))
    assert not torch.allclose(model.forward_head(weak), model.forward_head(features))
    model.head.kept_positions = 1.0
    assert not torch.allclose(model.forward_head(weak), model.forward_head(weaker))


@pytest.mark.parametrize(("tokens", "kept"), [(196, 160), (49, 40), (1, 1)])
def test_the_papers_share_of_positions(tokens, kept):
    scores = torch.randperm(tokens).float()[None]
    found = keep_largest(scores.unsqueeze(2), scores, 160 / 196)
    assert found.flatten().tolist() == list(range(tokens - 1, tokens - 1 - kept, -1))


def test_the_two_depth_vit_by_hand():
    model = model_of("two_depth_vit", **SMALL)
    assert isinstance(model, TwoDepthViT)
    deep, early = model.head.depths
    features = model.forward_features(torch.randn(2, 3, 32, 32, dtype=torch.double))
    assert features.shape == (2, deep + early, 4, 4)
    vector, tokens = model.forward_details(features)
    for face, found, given in zip(features, vector, tokens, strict=True):
        parts = zip(model.head.tokens, (face[:deep], face[deep:]), strict=True)
        t = torch.cat([embedded(layer, part) for layer, part in parts])
        for block in model.head.blocks.blocks:
            t, _ = block_by_hand(block, t)
        t = last_norm(model.head.blocks.norm, t)
        assert t.shape == (32, 8) and torch.allclose(given, t, atol=ROUNDING)
        assert torch.allclose(found, t.mean(dim=0), atol=ROUNDING)


def test_vtff_by_hand():
    model = model_of("vtff", **SMALL)
    assert isinstance(model, VTFF)
    channels = model.backbone.texture.channels
    model.head.class_token.token.copy_(torch.randn(1, 1, 8))
    features = torch.randn(2, 2 * channels, 3, 4, dtype=torch.double)
    vector, _ = model.forward_details(features)
    gate = model.head.gate

    def bottleneck(layers, u: Tensor) -> Tensor:
        hidden = (layers[0].weight[:, :, 0, 0] @ u + layers[0].bias).clamp_min(0)
        return layers[2].weight[:, :, 0, 0] @ hidden + layers[2].bias

    for face, found in zip(features, vector, strict=True):
        a, b = face[:channels], face[channels:]
        u = torch.einsum("oc,chw->ohw", gate.image.weight[:, :, 0, 0], a)
        u = u + torch.einsum("oc,chw->ohw", gate.texture.weight[:, :, 0, 0], b)
        overall = bottleneck(gate.overall, u.mean(dim=(1, 2)))
        x = torch.zeros_like(a)
        for i in range(3):
            for j in range(4):
                g = torch.sigmoid(overall + bottleneck(gate.local, u[:, i, j]))
                x[:, i, j] = g * b[:, i, j] + (1 - g) * a[:, i, j]
        t = torch.cat([model.head.class_token.token[0], embedded(model.head.tokens, x)])
        for block in model.head.blocks.blocks:
            t, _ = block_by_hand(block, t)
        assert torch.allclose(found, last_norm(model.head.blocks.norm, t)[0], atol=ROUNDING)


def test_both_backbones_of_vtff_start_from_the_same_weights(tmp_path):
    whole = timm.create_model("test_convnext")
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    model = create_model("vtff", **SMALL, backbone_weights=tmp_path / "whole.safetensors")
    one, other = model.backbone.net.state_dict(), model.backbone.texture.net.state_dict()
    assert one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())
    assert all(one[f"model.{key}"].data_ptr() != other[f"model.{key}"].data_ptr() for key in ("stem.0.weight",))
    assert torch.equal(one["model.stem.0.weight"], whole.state_dict()["stem.0.weight"])
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        a, b = model.eval().forward_features(x).chunk(2, dim=1)
    assert a.shape == b.shape and not torch.allclose(a, b)  # they see different pictures


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("side", [32, 33, 64, 100])
def test_any_picture_size(name, side):
    settings = SMALL if name != "ddamfn" else {key: SMALL[key] for key in ("backbone", "keep_stages", "input_size")}
    model = create_model(name, **settings).eval()
    with torch.no_grad():
        logits = model(torch.randn(2, 3, side, side + 1))
    assert logits.shape == (2, 8) and logits.isfinite().all()


def test_each_stream_of_a_trained_vtff_goes_on_from_its_own_weights(tmp_path):
    trained = create_model("vtff", **SMALL)
    with torch.no_grad():
        trained.backbone.texture.net.model.get_parameter("stem.0.weight").zero_()
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    other = create_model("vtff", **SMALL, backbone_weights=tmp_path / "model.safetensors")
    for name, value in trained.backbone.state_dict().items():
        assert torch.equal(value, other.backbone.state_dict()[name]), name


def test_ddamfn_in_training_needs_two_faces():
    model = create_model("ddamfn", **{key: SMALL[key] for key in ("backbone", "keep_stages", "input_size")})
    with pytest.raises(ValueError, match="at least two faces in training"):
        model.train()(torch.randn(1, 3, 32, 32))


def test_impossible_settings_are_refused():
    for name, settings, message in (
        ("apvit", {"width": 30, "heads": 3}, "width must be a multiple of 4 and of heads"),
        ("apvit", {"kept_positions": 1.2}, "kept_positions must be"),
        ("two_depth_vit", {"depth": 0}, "depth must be at least 1"),
        ("vtff", {"reduction": 0}, "reduction must be at least 1"),
        ("ddamfn", {"heads": 1}, "heads must be at least 2"),
        ("vtff", {"attention": "batch"}, "has no setting attention"),
        ("vtff", {"grey": True, "mean": (0.5,), "std": (0.5,)}, "three channels"),
    ):
        with pytest.raises(ValueError, match=message):
            create_model(name, **settings)
