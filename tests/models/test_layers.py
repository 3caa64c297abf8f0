"""Layers against slow, independent versions written from the formulas."""

import math

import pytest
import torch
from torch import nn

from ferlib.models.layers import (
    BatchAttention,
    ChannelAttention,
    DetailExtraction,
    SeparableConv2d,
    TokenAttention,
    global_average_pool,
    pad_same,
)


def softmax(values: list[float]) -> list[float]:
    exponentials = [math.exp(value - max(values)) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def attention_loop(queries, keys, values, scale) -> torch.Tensor:
    """softmax(Q Kᵀ · scale) V, one number at a time."""
    out = torch.zeros(len(queries), values.shape[1], dtype=values.dtype)
    for i, query in enumerate(queries):
        weights = softmax([sum((query * key).tolist()) * scale for key in keys])
        for weight, value in zip(weights, values, strict=True):
            out[i] += weight * value
    return out


@pytest.mark.parametrize(
    ("kernel", "stride", "height", "width", "before"),
    [
        (4, 4, 8, 8, (0, 0)),
        (4, 4, 7, 14, (0, 1)),  # a row is missing: below; two columns are: one on each side
        (4, 4, 14, 5, (1, 1)),  # three columns: one before, two behind
        (2, 2, 5, 3, (0, 0)),
        (1, 1, 4, 6, (0, 0)),
        (3, 2, 6, 7, (0, 1)),
    ],
)
def test_separable_conv_is_depthwise_then_pointwise_padded_as_keras_does(kernel, stride, height, width, before):
    """`before`: rows above and columns to the left, by TensorFlow's rule for "same", counted by hand."""
    torch.manual_seed(0)
    layer = SeparableConv2d(3, 5, kernel, stride).double().requires_grad_(False)
    x = torch.randn(2, 3, height, width, dtype=torch.double)
    out_h, out_w = math.ceil(height / stride), math.ceil(width / stride)
    expected = torch.zeros(2, 5, out_h, out_w, dtype=torch.double)
    for b in range(2):
        for i in range(out_h):
            for j in range(out_w):
                sums = [0.0] * 3
                for c in range(3):
                    for u in range(kernel):
                        for v in range(kernel):
                            y, z = i * stride + u - before[0], j * stride + v - before[1]
                            if 0 <= y < height and 0 <= z < width:  # zeros outside
                                sums[c] += float(x[b, c, y, z] * layer.depthwise.weight[c, 0, u, v])
                for o in range(5):
                    weights = layer.pointwise.weight[o, :, 0, 0]
                    expected[b, o, i, j] = sum(float(w) * s for w, s in zip(weights, sums, strict=True))
                    expected[b, o, i, j] += layer.pointwise.bias[o]
    assert torch.allclose(layer(x), expected, atol=1e-12)


def test_padding_only_completes_the_last_patch():
    x = torch.ones(1, 1, 7, 8)
    assert pad_same(x, 4, 4).shape == (1, 1, 8, 8)
    assert pad_same(x, 4, 4)[0, 0, 7].sum() == 0
    assert pad_same(torch.ones(1, 1, 8, 4), 4, 4).shape == (1, 1, 8, 4)


def test_batch_attention_mixes_the_images_of_the_batch():
    y = torch.randn(5, 6, dtype=torch.double)
    expected = attention_loop(y, y, y, 1 / math.sqrt(6))
    assert torch.allclose(BatchAttention(6).train()(y), expected)
    assert torch.allclose(BatchAttention(6).train()(y[:1]), y[:1])  # alone: the identity


def test_batch_attention_with_the_published_scale():
    layer = BatchAttention(6, learned_scale=True).train().double()
    y = torch.randn(5, 6, dtype=torch.double)
    assert torch.allclose(layer(y), attention_loop(y, y, y, 1.0))


def test_batch_attention_warns_once_in_evaluation():
    BatchAttention._warned = False
    layer = BatchAttention(6).eval()
    with pytest.warns(UserWarning, match="depend on their neighbours"):
        layer(torch.randn(2, 6))
    layer(torch.randn(2, 6))  # warnings are errors in these tests


def test_channel_attention_is_per_image():
    y = torch.randn(4, 6, dtype=torch.double)
    expected = torch.stack([attention_loop(v[:, None], v[:, None], v[:, None], 1 / math.sqrt(6))[:, 0] for v in y])
    assert torch.allclose(ChannelAttention()(y), expected)


def test_token_attention_is_eq_2_over_positions():
    torch.manual_seed(0)
    layer = TokenAttention(6).double()
    x = torch.randn(2, 6, 3, 2, dtype=torch.double)
    for image, out in zip(x, layer(x), strict=True):
        tokens = torch.stack([image[:, i, j] for i in range(3) for j in range(2)])
        q, k, v = (tokens @ m.weight.T + m.bias for m in (layer.query, layer.key, layer.value))
        expected = attention_loop(q, k, v, 1 / math.sqrt(6))
        assert torch.allclose(out.flatten(1).T, expected)
    weights = layer.weights(x)
    assert weights.shape == (2, 6, 6) and torch.allclose(weights.sum(dim=2), torch.ones(2, 6, dtype=torch.double))


@pytest.mark.parametrize("size", [(14, 14), (7, 7), (4, 4), (5, 9)])
@pytest.mark.parametrize("layers", [0, 1, 2, 3])
@pytest.mark.parametrize("norm", ["before", "after"])
def test_detail_extraction_takes_any_map(size, layers, norm):
    block = DetailExtraction(12, 16, layers, norm).eval()
    out = block(torch.randn(2, 12, *size))
    strides = math.prod(block.KERNELS[:layers])
    assert out.shape == (2, 16 if layers else 12, *(math.ceil(side / strides) for side in size))
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm)]
    assert len(norms) == (1 if layers else 0)


def test_global_average_pool():
    assert torch.allclose(global_average_pool(torch.arange(12.0).view(1, 2, 2, 3)), torch.tensor([[2.5, 8.5]]))


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="detail_layers must be 0 to 3"):
        DetailExtraction(8, layers=4)
    with pytest.raises(ValueError, match="norm must be"):
        DetailExtraction(8, norm="between")
