"""PAtt-Lite: its size, its cut, its patch extraction and its attention against slow, independent versions."""

import math
from itertools import pairwise
from typing import Any, cast

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from ferlib.models.backbone import parameter_count
from ferlib.models.pattlite import PatchExtraction, PAttLite
from ferlib.models.registry import create_model

pytestmark = pytest.mark.filterwarnings("ignore:batch attention mixes")


def narrow(attention: str, **settings) -> PAttLite:
    """A thin PAtt-Lite in double precision, in evaluation mode, its batch norm with statistics of its own."""
    torch.manual_seed(0)
    model = create_model("pattlite", attention=attention, **({"width": 6, "bottleneck": 5} | settings)).double().eval()
    assert isinstance(model, PAttLite)
    torch.nn.init.uniform_(model.bottleneck.get_buffer("2.running_mean"), 0, 0.1)
    torch.nn.init.uniform_(model.bottleneck.get_buffer("2.running_var"), 0.001, 0.01)
    return model.requires_grad_(False)


def softmax(values: list[float]) -> list[float]:
    exponentials = [math.exp(value - max(values)) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def mixture(weights: list[float], values: list[Tensor]) -> Tensor:
    return sum((weight * value for weight, value in zip(weights, values, strict=True)), torch.tensor(0.0))


def keras_count(cut_in_block_9: bool) -> int:
    """Parameters of the authors' model for 8 classes by hand; Keras counts batch-norm statistics, 4 a channel."""
    backbone = 27 * 32 + 4 * 32
    widths = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512]  # input of block 1, outputs of blocks 1 to 11
    for block, (inputs, outputs) in enumerate(pairwise(widths), start=1):
        if not cut_in_block_9 or block <= 9:
            backbone += 9 * inputs + 4 * inputs
        if not cut_in_block_9 or block < 9:
            backbone += inputs * outputs + 4 * outputs
    patches = (16 * 512 + 512 * 256 + 256) + (4 * 256 + 256 * 256 + 256) + (256 * 256 + 256)
    return backbone + patches + (256 * 32 + 32) + 4 * 32 + 1 + (32 * 8 + 8)


def test_size_is_the_papers():
    for cut, inside_block_9 in (("published", True), ("stage", False)):
        model = create_model("pattlite_published", cut=cut)
        buffers = dict(model.named_buffers())
        statistics = sum(buffers[name].numel() for name in buffers if name.endswith(("running_mean", "running_var")))
        assert parameter_count(model) + statistics == keras_count(inside_block_9)
    assert f"{keras_count(True) / 1e6:.2f}" == "1.10"  # million, the paper's number


@pytest.mark.parametrize("cut", ["published", "stage"])
def test_the_backbone_is_cut_where_it_says(cut, tmp_path):
    torch.manual_seed(0)
    whole = timm.create_model("mobilenetv1_100").eval()
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    model = create_model("pattlite", cut=cut, backbone_weights=tmp_path / "whole.safetensors").eval()
    ninth, eleventh = whole.blocks[3][3], whole.blocks[3][5]  # of the paper's blocks, counted from 1
    seen = []
    (ninth.bn1 if cut == "published" else eleventh.bn2).register_forward_hook(lambda *call: seen.append(call[-1]))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        whole(x)
        assert torch.equal(model.forward_features(x), seen[0])
    assert seen[0].shape == (2, 512, 4, 4) and seen[0].std() > 0


def test_local_weights_are_loaded_strictly(tmp_path):
    source = create_model("pattlite")
    state = {key.removeprefix("net.model."): value for key, value in source.backbone.state_dict().items()}
    last = "blocks.3.3.conv_dw.weight"
    save_file({key: value for key, value in state.items() if key != last}, tmp_path / "part.safetensors")
    with pytest.raises(RuntimeError, match=f"lacks 1 of .* {last}"):
        create_model("pattlite", backbone_weights=tmp_path / "part.safetensors")
    source.save_pretrained(str(tmp_path))
    model = create_model("pattlite_none", backbone_weights=tmp_path / "model.safetensors")
    assert all(
        torch.equal(value, source.backbone.state_dict()[key]) for key, value in model.backbone.state_dict().items()
    )


def separable_loop(x: Tensor, layer, kernel: int, size: tuple[int, int], before: tuple[int, int]) -> Tensor:
    """Depthwise, pointwise, ReLU, one number at a time; `before` zeros stand above and to the left of x (C, H, W)."""
    channels, height, width = x.shape
    out = torch.zeros(len(layer.pointwise.weight), *size, dtype=x.dtype)
    for i in range(size[0]):
        for j in range(size[1]):
            sums = torch.zeros(channels, dtype=x.dtype)
            for u in range(kernel):
                for v in range(kernel):
                    row, column = i * kernel + u - before[0], j * kernel + v - before[1]
                    if 0 <= row < height and 0 <= column < width:
                        sums += x[:, row, column] * layer.depthwise.weight[:, 0, u, v]
            out[:, i, j] = (layer.pointwise.weight[:, :, 0, 0] @ sums + layer.pointwise.bias).clamp_min(0)
    return out


@pytest.mark.parametrize("size", [(14, 14), (13, 6), (7, 9), (3, 3), (1, 1), (5, 18)])
def test_patch_extraction_is_the_authors(size):
    torch.manual_seed(0)
    block = PatchExtraction(3, 4).double().requires_grad_(False)
    x = torch.randn(2, 3, *size, dtype=torch.double)
    quarter = tuple(math.ceil(side / 4) for side in size)
    before = tuple((4 * q - side) // 2 for q, side in zip(quarter, size, strict=True))  # Keras's "same"
    eighth = tuple(max(q // 2, 1) for q in quarter)  # Keras's "valid", but never nothing
    for image, out in zip(x, block(x), strict=True):
        y = separable_loop(image, block[0], 4, quarter, before)
        y = separable_loop(y, block[2], 2, eighth, (0, 0))
        last = block[4]
        y = (torch.einsum("oc,chw->ohw", last.weight[:, :, 0, 0], y) + last.bias[:, None, None]).clamp_min(0)
        assert out.std() > 0 and torch.allclose(out, y, atol=1e-12)


def bottleneck_loop(model: PAttLite, pooled: Tensor) -> Tensor:
    """Dense layer, ReLU, batch norm in evaluation mode, (width,) -> (bottleneck,)."""
    dense, _, norm = cast(Any, model.bottleneck)
    y = (dense.weight @ pooled + dense.bias).clamp_min(0)
    return (y - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias


@pytest.mark.parametrize("attention", ["none", "batch", "channel", "token"])
def test_head_with_every_reading_of_the_attention(attention):
    model = narrow(attention)
    features = torch.randn(3, 512, 20, 15, dtype=torch.double) * torch.tensor([1, 4, 16]).view(3, 1, 1, 1)
    patches = model.patches(features)  # (3, 6, 2, 2)
    assert patches.shape[2:] == (2, 2)
    if attention == "token":
        query, key, value = model.token_attention.query, model.token_attention.key, model.token_attention.value
        attended = []
        for image in patches.flatten(2):  # (6, 4)
            q, k, v = ([m.weight @ token + m.bias for token in image.T] for m in (query, key, value))
            weights = [softmax([float(a @ b) / math.sqrt(6) for b in k]) for a in q]
            attended.append(torch.stack([mixture(row, v) for row in weights], dim=1))
        pooled = torch.stack(attended).mean(dim=2)
    else:
        pooled = patches.mean(dim=(2, 3))
    y = torch.stack([bottleneck_loop(model, vector) for vector in pooled])
    if attention == "batch":  # Keras: softmax(scale · x xᵀ) x, the scale learned
        model.pooled_attention.scale.fill_(0.7)
        y = torch.stack([mixture(softmax([0.7 * float(a @ b) for b in y]), list(y)) for a in y])
    elif attention == "channel":
        rows = [
            [mixture(softmax([float(a * b) / math.sqrt(5) for b in vector]), list(vector)) for a in vector]
            for vector in y
        ]
        y = torch.stack([torch.stack(row) for row in rows])
    assert torch.allclose(model.forward_head(features, pre_logits=True), y, atol=1e-12)
    logits = torch.stack([model.classifier.weight @ vector + model.classifier.bias for vector in y])
    assert logits.std(dim=0).min() > 1e-3 and torch.allclose(model.forward_head(features), logits, atol=1e-12)


@pytest.mark.parametrize("side", [1, 16, 33, 75, 224])
def test_any_picture_size(side):
    model = create_model("pattlite").eval()
    with torch.no_grad():
        logits = model(torch.randn(1, 3, side, side + 1))
    assert logits.shape == (1, 8) and logits.isfinite().all()


def test_a_training_step_leaves_a_frozen_backbone_alone():
    torch.manual_seed(0)
    model = create_model("pattlite_published").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(4, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    same = {key for key, value in model.state_dict().items() if torch.equal(value, before[key])}
    assert {key for key in before if key.startswith("backbone.")} <= same  # batch-norm statistics included
    assert not same & {"patches.0.depthwise.weight", "bottleneck.2.running_mean", "classifier.weight"}


@pytest.mark.parametrize("freeze_backbone", [True, False])
def test_a_batch_of_one(freeze_backbone):
    model = create_model("pattlite", freeze_backbone=freeze_backbone)
    x = torch.randn(1, 3, 64, 64)
    with pytest.raises(ValueError, match="at least two faces in training"):
        model.train()(x)
    assert model.eval()(x).shape == (1, 8)


def test_other_backbones_are_cut_after_their_stage():
    model = create_model("pattlite", backbone="tf_efficientnet_lite0", cut="stage").eval()
    assert model.forward_features(torch.randn(1, 3, 64, 64)).shape == (1, 112, 4, 4)
    with pytest.raises(ValueError, match=r"inside a block of MobileNetV1.*cut=stage"):
        create_model("pattlite", backbone="tf_efficientnet_lite0")


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="attention must be one of"):
        create_model("pattlite", attention="psychic")
    with pytest.raises(ValueError, match="cut must be"):
        create_model("pattlite", cut="nowhere")
    with pytest.raises(ValueError, match="three channels"):
        create_model("pattlite", grey=True, mean=(0.5,), std=(0.5,))
