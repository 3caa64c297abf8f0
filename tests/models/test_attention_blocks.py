"""CBAM's and IVSA's attention blocks against loops written from the papers' formulas."""

import math
from collections.abc import Sequence

import pytest
import torch

from ferlib.models.attention_blocks import (
    CBAM,
    ChannelGate,
    SalientAttentionBlock,
    SpatialGate,
    channel_importance,
    channel_pools,
)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def lively(module: torch.nn.Module) -> torch.nn.Module:
    """In double precision, with parameters that nobody would choose, norms included."""
    torch.manual_seed(0)
    for parameter in module.double().requires_grad_(False).parameters():
        parameter.normal_()
    return module.eval()


def mlp_loop(weights: Sequence[torch.Tensor], vector: list[float]) -> list[float]:
    """W1 ReLU(W0 v), one number at a time."""
    first, second = (weight.tolist() for weight in weights)
    middle = [max(sum(w * v for w, v in zip(row, vector, strict=True)), 0.0) for row in first]
    return [sum(w * m for w, m in zip(row, middle, strict=True)) for row in second]


def pool_loop(plane: torch.Tensor, name: str) -> float:
    values = plane.flatten().tolist()
    if name == "avg":
        return sum(values) / len(values)
    if name == "max":
        return max(values)
    squares = sum(value * value for value in values)
    return math.sqrt(squares if name == "l2" else squares / len(values))


def channel_loop(gate: ChannelGate, image: torch.Tensor) -> list[float]:
    """The gate's weight for every channel of one image (C, H, W)."""
    weights = [gate.mlp[i].get_parameter("weight") for i in (0, 2)]
    vectors = [[pool_loop(plane, name) for plane in image] for name in gate.pools]
    if gate.sum_pools == "before":
        scores = mlp_loop(weights, [sum(values) for values in zip(*vectors, strict=True)])
    else:
        scores = [sum(values) for values in zip(*(mlp_loop(weights, v) for v in vectors), strict=True)]
    return [sigmoid(score) for score in scores]


def spatial_loop(gate: SpatialGate, image: torch.Tensor) -> torch.Tensor:
    """The gate's weight for every position of one image (C, H, W), -> (H, W)."""
    channels, height, width = image.shape
    kernel, reach = gate.conv.kernel_size[0], gate.conv.kernel_size[0] // 2
    mean, top = image.sum(dim=0) / channels, image.max(dim=0).values
    planes = [mean, top] if gate.combine == "concat" else [mean + top]
    out = torch.zeros(height, width, dtype=torch.double)
    for i in range(height):
        for j in range(width):
            total = float(gate.conv.get_parameter("bias"))
            for p, plane in enumerate(planes):
                for u in range(kernel):
                    for v in range(kernel):
                        y, x = i + u - reach, j + v - reach
                        if 0 <= y < height and 0 <= x < width:
                            total += float(gate.conv.weight[0, p, u, v] * plane[y, x])
            out[i, j] = sigmoid(total)
    return out


@pytest.mark.parametrize("names", [("avg", "max"), ("avg", "max", "l2"), ("rms",)])
def test_channel_pools(names):
    x = torch.randn(2, 3, 4, 5, dtype=torch.double)
    expected = [[[pool_loop(plane, name) for plane in image] for name in names] for image in x]
    assert torch.allclose(channel_pools(x, names), torch.tensor(expected, dtype=torch.double))


@pytest.mark.parametrize("pools", [("avg", "max"), ("avg", "max", "l2"), ("avg", "max", "rms")])
@pytest.mark.parametrize("sum_pools", ["before", "after"])
def test_channel_gate(pools, sum_pools):
    gate = lively(ChannelGate(8, pools, sum_pools, reduction=4))
    x = torch.randn(3, 8, 5, 4, dtype=torch.double)
    expected = torch.tensor([channel_loop(gate, image) for image in x], dtype=torch.double)
    assert torch.allclose(gate(x), expected[:, :, None, None])


@pytest.mark.parametrize("kernel", [3, 7])
@pytest.mark.parametrize("combine", ["concat", "sum"])
def test_spatial_gate(kernel, combine):
    gate = lively(SpatialGate(kernel, combine))
    x = torch.randn(2, 6, 5, 4, dtype=torch.double)
    assert torch.allclose(gate(x)[:, 0], torch.stack([spatial_loop(gate, image) for image in x]))


def test_cbam_is_channel_then_spatial():
    block = lively(CBAM(8, reduction=4))
    x = torch.randn(2, 8, 5, 4, dtype=torch.double)
    for image, out in zip(x, block(x), strict=True):
        weighted = image * torch.tensor(channel_loop(block.channel, image), dtype=torch.double)[:, None, None]
        assert torch.allclose(out, weighted * spatial_loop(block.spatial, weighted))


def test_channel_importance_is_eq_5():
    gamma = torch.tensor([0.5, -1.0, 2.5])
    assert channel_importance(gamma, "literal").tolist() == pytest.approx([0.125, 0.25, 0.625])
    assert channel_importance(gamma, "normalised").tolist() == pytest.approx([0.375, 0.75, 1.875])
    assert channel_importance(gamma, "none").tolist() == [1, 1, 1]
    assert torch.isfinite(channel_importance(torch.zeros(3), "normalised")).all()


@pytest.mark.parametrize("rescale", ["none", "literal", "normalised"])
@pytest.mark.parametrize("gamma", ["stage", "own"])
@pytest.mark.parametrize(("kernel", "combine", "sum_pools"), [(3, "concat", "before"), (7, "sum", "after")])
def test_salient_attention_block(rescale, gamma, kernel, combine, sum_pools):
    block = SalientAttentionBlock(8, kernel, combine, sum_pools, rescale=rescale, gamma=gamma, reduction=4)
    block = lively(block)
    x, handed = torch.randn(2, 8, 5, 4, dtype=torch.double), torch.randn(8, dtype=torch.double)
    for image, out in zip(x, block(x, handed), strict=True):
        factors = handed
        if gamma == "own":  # in evaluation, with the starting statistics 0 and 1
            factors = block.norm.weight
            image = image / math.sqrt(1 + 1e-5) * factors[:, None, None] + block.norm.bias[:, None, None]
        total = sum(abs(float(g)) for g in factors)
        scale = {"none": 0.0, "literal": 1 / total, "normalised": 8 / total}[rescale]
        importance = [abs(float(g)) * scale if scale else 1.0 for g in factors]
        weights = [w * g for w, g in zip(channel_loop(block.channel, image), importance, strict=True)]
        refined = image * torch.tensor(weights, dtype=torch.double)[:, None, None]
        assert torch.allclose(out, refined * spatial_loop(block.spatial, refined))


@pytest.mark.parametrize("parts", ["channel", "spatial"])
def test_one_gate_alone(parts):
    block = lively(SalientAttentionBlock(8, parts=parts, rescale="literal", reduction=4))
    x, gamma = torch.randn(2, 8, 5, 4, dtype=torch.double), torch.randn(8, dtype=torch.double)
    importance = (gamma.abs() / gamma.abs().sum())[:, None, None]
    for image, out in zip(x, block(x, gamma), strict=True):
        if parts == "spatial":
            expected = image * spatial_loop(block.spatial, image)
        else:
            expected = image * torch.tensor(channel_loop(block.channel, image))[:, None, None] * importance
        assert torch.allclose(out, expected)


def test_gamma_on_both_gates_weighs_the_positions_too():
    block = lively(SalientAttentionBlock(8, gamma="both", side=4, rescale="normalised", reduction=4))
    x, gamma = torch.randn(3, 8, 4, 4, dtype=torch.double), torch.randn(8, dtype=torch.double)
    norm = block.position_norm
    channels = gamma.abs() * 8 / gamma.abs().sum()
    positions = (norm.weight.abs() * 16 / norm.weight.abs().sum()).view(4, 4)
    for image, out in zip(x, block(x, gamma), strict=True):
        weights = torch.tensor(channel_loop(block.channel, image))
        refined = image * (weights * channels)[:, None, None]
        gate = spatial_loop(block.spatial, refined) * positions
        scale, shift = (one.view(4, 4) for one in (norm.weight, norm.bias))  # with the starting statistics 0 and 1
        assert torch.allclose(out, (refined / math.sqrt(1 + 1e-5) * scale + shift) * gate)
    assert block(torch.randn(1, 8, 7, 7, dtype=torch.double), gamma).shape == (1, 8, 7, 7)


def test_literal_rescaling_shrinks_by_the_number_of_channels():
    torch.manual_seed(0)
    x, gamma = torch.randn(4, 64, 6, 6), torch.ones(64)
    block = SalientAttentionBlock(64, rescale="normalised").requires_grad_(False)
    block.spatial.conv.weight.zero_()  # the spatial weights are one constant
    normalised = block(x, gamma)
    block.rescale = "literal"
    assert torch.allclose(block(x, gamma), normalised / 64, rtol=1e-4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SpatialGate(4), "kernel must be odd"),
        (lambda: SpatialGate(3, "product"), "combine must be"),
        (lambda: ChannelGate(8, sum_pools="during"), "sum_pools must be"),
        (lambda: SalientAttentionBlock(8, rescale="doubled"), "rescale must be"),
        (lambda: SalientAttentionBlock(8, gamma="mine"), "gamma must be"),
        (lambda: SalientAttentionBlock(8, l2="l3"), "l2 must be"),
        (lambda: SalientAttentionBlock(8, parts="half"), "parts must be"),
        (lambda: SalientAttentionBlock(8, gamma="both"), "needs the side of the map"),
    ],
)
def test_impossible_settings_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
