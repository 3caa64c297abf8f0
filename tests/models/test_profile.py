"""Costs and receptive fields of a model's parts, against counts by hand and against gradients."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

from ferlib.models.backbone import parameter_count
from ferlib.models.layers import BatchAttention
from ferlib.models.profile import Field, costs, count_flops, parts, receptive_fields
from ferlib.models.registry import MODELS, build_model, create_model

DIVIDED = [name for name, entry in MODELS.items() if type(entry.config).__name__ != "BaselineConfig"]


def sketch(name: str, **settings) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, **settings)


@pytest.mark.parametrize("name", DIVIDED)
def test_the_sums_are_those_of_the_whole_model(name):
    model = sketch(name)
    found = costs(model)
    assert sum(cost.parameters for cost in found) == parameter_count(model)
    assert sum(cost.flops for cost in found) == count_flops(model)
    assert sum(cost.trained for cost in found) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert [cost.part for cost in found] == list(parts(model))
    assert found[-1].part == "classifier"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("convcut", {"backbone": "tf_efficientnet_lite0", "input_size": 112, "detail_layers": 1}),
        ("convcut", {"backbone": "resnet18", "keep_stages": 4}),
        ("convcut_batch", {"keep_stages": 2, "detail_layers": 3}),
        ("convcut", {"head_norm": True}),
        ("pattlite", {"cut": "stage", "backbone": "tf_efficientnet_lite0"}),
        ("ivsa", {"block_place": "before", "gamma": "own", "widths": (8, 16, 32)}),
    ],
)
def test_the_sums_hold_for_other_settings(name, settings):
    model = sketch(name, **settings)
    found = costs(model)
    assert sum(cost.parameters for cost in found) == parameter_count(model)
    assert sum(cost.flops for cost in found) == count_flops(model)


def test_ivsa_by_hand():
    found = {cost.part: cost for cost in costs(sketch("ivsa", widths=(32, 48), hidden=20, kernel=3))}
    assert list(found) == ["stage 1", "stage 2", "attention", "dense layers", "classifier"]
    # two convolutions and two norms; the first stage works on 40 x 40 positions, the second on 20 x 20
    assert found["stage 1"].parameters == 9 * 1 * 32 + 9 * 32 * 32 + 4 * 32
    assert found["stage 1"].flops == 2 * 40 * 40 * 9 * (1 * 32 + 32 * 32)
    assert found["stage 2"].parameters == 9 * 32 * 48 + 9 * 48 * 48 + 4 * 48
    assert found["stage 2"].flops == 2 * 20 * 20 * 9 * (32 * 48 + 48 * 48)
    # an MLP C -> C/16 -> C and a 3x3 convolution of two maps each, behind the pooling
    mlps = 2 * (32 * 2) + 2 * (48 * 3)
    assert found["attention"].parameters == mlps + 2 * (2 * 9 + 1)
    assert found["attention"].flops == 2 * (mlps + 2 * 9 * 20 * 20 + 2 * 9 * 10 * 10)
    assert found["dense layers"].parameters == 48 * 100 * 20 + 20 + 20 * 20 + 20
    assert found["dense layers"].flops == 2 * (48 * 100 * 20 + 20 * 20)
    assert found["classifier"].parameters == 20 * 7 + 7 and found["classifier"].flops == 2 * 20 * 7


def test_the_head_of_convcut_by_hand():
    found = {cost.part: cost for cost in costs(sketch("convcut_channel"))}
    detail = (2 * 512, 16 * 512 + 512 * 256 + 256, 4 * 256 + 256 * 256 + 256)  # norm and two separable convolutions
    assert found["Detail Extraction"].parameters == sum(detail)
    assert found["Detail Extraction"].flops == 2 * (16 * (16 * 512 + 512 * 256) + 4 * (4 * 256 + 256 * 256))
    assert (found["attention"].parameters, found["attention"].flops) == (0, 2 * 256 * 256)
    assert "dense layer" not in found


@pytest.mark.parametrize("backbone", ["convnext_base", "tf_efficientnet_lite0", "resnet18"])
def test_a_shorter_backbone_costs_its_stages(backbone):
    whole = costs(sketch("convcut", backbone=backbone, keep_stages=4))
    for kept in (2, 3):
        shorter = costs(sketch("convcut", backbone=backbone, keep_stages=kept))
        assert [cost.part for cost in shorter[:kept]] == [f"stage {number + 1}" for number in range(kept)]
        assert shorter[:kept] == whole[:kept] and shorter[kept].part == "Detail Extraction"


def test_trained_means_not_frozen():
    frozen, whole = costs(sketch("pattlite")), costs(sketch("pattlite", freeze_backbone=False))
    assert [cost.trained for cost in frozen[:3]] == [0, 0, 0]
    assert [replace(cost, trained=cost.parameters) for cost in frozen] == whole


def test_the_model_is_left_alone(monkeypatch):
    monkeypatch.setattr(BatchAttention, "_warned", False)
    model = create_model("pattlite_published").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        costs(model)
        receptive_fields(model)
    assert not BatchAttention._warned  # a real evaluation still gets its warning
    assert model.training and all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match="Baseline has no parts"):
        costs(build_model(MODELS["resnet18"].config))


def test_fields_of_ivsa_by_hand():
    """Stride j before a stage: two 3x3 convolutions add 2j each, the 2x2 pooling adds j and doubles the stride."""
    expected = [
        Field("stage 1", (8, 20, 20), 2, 1 + 5 * 1),
        Field("stage 2", (8, 10, 10), 4, 6 + 5 * 2),
        Field("stage 3", (16, 5, 5), 8, 16 + 5 * 4),
        Field("stage 4", (16, 2, 2), 16, 36 + 5 * 8),
    ]
    for settings in ({}, {"block": "none"}, {"block": "cbam", "block_place": "before"}, {"kernel": 3}):
        assert receptive_fields(create_model("ivsa", widths=(8, 8, 16, 16), **settings)) == expected


def test_fields_of_convnext_by_hand():
    stem, stages = 4, [3, 3, 27]  # ConvNeXt-Base: 4x4 stride 4, then 7x7 blocks, 2x2 stride 2 between the stages
    field, stride, expected = stem, 4, []
    for number, blocks in enumerate(stages):
        if number:
            field, stride = field + stride, stride * 2
        field += 6 * stride * blocks
        expected.append((stride, field))
    # Detail Extraction: 4x4 stride 4, 2x2 stride 2
    expected.append((16 * 4 * 2, field + 3 * 16 + 1 * 64))
    assert [(found.stride, found.field) for found in receptive_fields(sketch("convcut"))] == expected


@pytest.mark.parametrize("name", ["convcut", "ivsa"])
def test_fields_are_those_of_one_side_of_a_face(name):
    model = sketch(name, flip_tta=True)
    assert receptive_fields(model) == receptive_fields(sketch(name))
    assert model.config.flip_tta


def transparent(module: nn.Module) -> nn.Module:
    """All weights positive, mean for maximum and no layer norm: with a positive image no gradient can vanish."""
    for name, child in module.named_children():
        if isinstance(child, nn.LayerNorm):
            setattr(module, name, nn.Identity())
        elif isinstance(child, nn.MaxPool2d):
            setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
        else:
            transparent(child)
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.01)
    return module.double().eval()


def extent(out: torch.Tensor, image: torch.Tensor) -> list[int]:
    """Height and width of what the middle unit of a map (1, C, H, W) depends on in the image."""
    (slope,) = torch.autograd.grad(out[0, :, out.shape[2] // 2, out.shape[3] // 2].sum(), image, retain_graph=True)
    touched = slope[0].sum(dim=0).nonzero()
    return (touched.max(dim=0).values - touched.min(dim=0).values + 1).tolist()


@pytest.mark.parametrize(
    ("name", "settings", "side"),
    [
        ("ivsa_plain", {"widths": (2, 3, 2, 3)}, 160),
        ("convcut", {"backbone": "convnext_atto", "keep_stages": 2, "width": 2}, 288),
        ("convcut", {"backbone": "tf_efficientnet_lite0", "keep_stages": 2, "width": 2, "attention": "none"}, 320),
        ("convcut_none", {"backbone": "resnet18", "keep_stages": 2, "width": 2}, 320),  # its shortcuts have strides
        ("pattlite", {"width": 2}, 640),
    ],
)
def test_fields_are_what_gradients_reach(name, settings, side):
    model = create_model(name, **settings)
    found = {field.part: field for field in receptive_fields(model)}
    model = transparent(model)
    maps = {}
    for part, modules in parts(model).items():
        if part in found:
            for module in modules:
                module.register_forward_hook(lambda _, __, out, part=part: maps.__setitem__(part, out))
    image = torch.ones(1, model.config.channels, side, side, dtype=torch.double, requires_grad=True)
    y = model.forward_features(image)
    if name == "ivsa_plain":
        model.reductions[-1](y, None)
    elif name == "pattlite":
        model.patches(y)
    seen = 0
    for part, out in maps.items():
        assert out.shape[2] == side // found[part].stride
        if found[part].field + found[part].stride < side:
            assert extent(out, image) == [found[part].field] * 2, part
            seen += 1
    assert seen >= 2


def test_only_square_kernels():
    model = create_model("ivsa", widths=(8,))
    model.convolutions[0][0] = nn.Conv2d(1, 8, (1, 3), padding=(0, 1))
    with pytest.raises(ValueError, match="square"):
        receptive_fields(model)
