"""The backbone: its sizes, where it is cut, its maps of two depths."""

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from ferlib.errors import UserError
from ferlib.models.backbone import Backbone, parameter_count
from ferlib.models.registry import create_model


def test_published_sizes():
    with torch.device("meta"):
        counts = {stages: parameter_count(Backbone("convnext_base", stages)) for stages in (2, 3, 4)}
    assert counts[3] == 60_121_216  # three stages, 60.12 M
    assert counts[4] == 88_591_464 - 1025 * 1000 - 2 * 1024  # ConvNeXt-Base, 88.59 M, less its head and last norm
    assert counts[2] < counts[3]


def test_the_published_cut_leaves_what_the_authors_code_leaves():
    """Less than three stages by blocks 25 to 27 and the second half of the 24th, each of 512 channels."""
    with torch.device("meta"):
        model = create_model("convcut_published")
        assert model.forward_features(torch.empty(2, 3, 224, 224)).shape == (2, 512, 14, 14)
    second_half = (512 * 2048 + 2048) + (2048 * 512 + 512) + 512  # two dense layers, layer scale
    first_half = (7 * 7 * 512 + 512) + 2 * 512  # depthwise convolution, layer norm
    assert parameter_count(model.backbone) == 60_121_216 - 4 * second_half - 3 * first_half == 51_640_448


@pytest.mark.parametrize(("backbone", "block"), [("convnext_atto", 2), ("convnext_tiny", 5), ("test_convnext", 0)])
def test_the_published_cut_is_inside_a_block(backbone, block, tmp_path):
    """Whether its norm takes channels first or last, and from a file of the whole backbone or of its first stages."""
    torch.manual_seed(0)
    whole = timm.create_model(backbone).eval()
    seen = []
    whole.stages[2].blocks[block].norm.register_forward_hook(lambda *call: seen.append(call[-1]))
    state = whole.state_dict()
    kept = {key: value for key, value in state.items() if key.startswith(("stem", "stages.0", "stages.1", "stages.2"))}
    for name, tensors in (("whole", state), ("part", kept)):
        save_file(tensors, tmp_path / f"{name}.safetensors")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        whole(x)
        expected = seen[0] if backbone == "convnext_atto" else seen[0].permute(0, 3, 1, 2)
        for name in ("whole", "part"):
            weights = tmp_path / f"{name}.safetensors"
            model = create_model("convcut_published", backbone=backbone, backbone_weights=weights).eval()
            assert torch.equal(model.forward_features(x), expected) and expected.shape[2:] == (4, 4)
    missing = f"stages.2.blocks.{block}.norm.weight"
    save_file({key: value for key, value in kept.items() if key != missing}, tmp_path / "less.safetensors")
    with pytest.raises(RuntimeError, match=f"lacks 1 of .* {missing}"):
        create_model("convcut_published", backbone=backbone, backbone_weights=tmp_path / "less.safetensors")


def test_where_there_is_no_such_block():
    assert create_model("convcut_published", backbone="resnet18").config.cut == "stage"
    for settings, message in (
        ({"keep_stages": 2}, "inside the third stage"),
        ({"two_depths": True}, "two_depths"),
        ({"cut": "nowhere"}, "cut must be"),
    ):
        with pytest.raises(ValueError, match=message):
            create_model("convcut_published", **settings)


@pytest.mark.parametrize("backbone", ["convnext_nano", "tf_efficientnet_lite0", "mobilenetv1_100", "resnet18"])
@pytest.mark.parametrize("stages", [2, 3, 4])
def test_any_backbone_is_cut_at_its_stride(backbone, stages):
    net = Backbone(backbone, stages).eval()
    out = net(torch.randn(1, 3, 64, 64))
    assert out.shape == (1, net.channels, 64 // 2 ** (stages + 1), 64 // 2 ** (stages + 1))


@pytest.mark.parametrize(("height", "width"), [(112, 112), (72, 88), (75, 97)])
def test_two_depths_are_the_two_maps_side_by_side(height, width):
    torch.manual_seed(0)
    both = Backbone("tf_efficientnet_lite0", 3, two_depths=True).eval()
    deep, early = Backbone("tf_efficientnet_lite0", 3).eval(), Backbone("tf_efficientnet_lite0", 2).eval()
    for backbone in (deep, early):
        state = both.state_dict()
        backbone.load_state_dict({key: state[key] for key in backbone.state_dict()})
    x = torch.randn(1, 3, height, width)
    out, last, first = both(x), deep(x), early(x)
    assert out.shape[1] == both.channels == deep.channels + 4 * early.channels
    assert torch.allclose(out[:, : deep.channels], last, atol=1e-5)
    folded = out[:, deep.channels :].unflatten(1, (early.channels, 2, 2))  # (1, C, 2, 2, h, w)
    h, w = last.shape[-2:]
    for i in range(2):
        for j in range(2):
            part = first[:, :, i : 2 * h : 2, j : 2 * w : 2]
            part = F.pad(part, (0, w - part.shape[3], 0, h - part.shape[2]))
            assert torch.allclose(folded[:, :, i, j], part, atol=1e-5)


@pytest.mark.parametrize("stages", [2, 3, 4])
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv1_100", "convnext_atto"])
def test_the_last_stage_makes_the_map_out_of_its_input(name, stages):
    backbone = Backbone(name, stages).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features, stage_input = backbone.with_stage_input(x)
        assert torch.equal(features, backbone(x))
        assert stage_input.shape[-1] == 2 * features.shape[-1]
        assert torch.allclose(backbone.last_stage(stage_input), features, atol=1e-5)
    own = {id(parameter) for parameter in backbone.parameters()}
    assert {id(parameter) for parameter in backbone.last_stage.parameters()} < own


def test_the_last_stage_of_the_published_cut_ends_inside_its_block():
    model = create_model("convcut_published", backbone="convnext_atto").eval()
    with torch.no_grad():
        features, stage_input = model.backbone.with_stage_input(torch.randn(2, 3, 64, 64))
        assert torch.allclose(model.backbone.last_stage(stage_input), features, atol=1e-5)


def test_two_depths_need_both_maps():
    with pytest.raises(ValueError, match=r"no map at stride 8 \(keep_stages=3\)"):
        Backbone("vit_tiny_patch16_224", 3, two_depths=True)


def test_where_there_is_no_last_stage():
    with pytest.raises(ValueError, match="take a model of one"):
        Backbone("mobilenetv1_100", 3, two_depths=True).last_stage  # noqa: B018
    with pytest.raises(ValueError, match="resnet18 keeps its stages in no list"):
        Backbone("resnet18", 3).last_stage  # noqa: B018


@pytest.mark.parametrize("stages", [0, 1, 5])
def test_so_many_stages_are_not_kept(stages):
    with pytest.raises(UserError, match="keep_stages must be 2, 3 or 4"):
        Backbone("test_convnext", stages)


def test_a_short_third_stage_is_not_cut_within():
    with pytest.raises(UserError, match="a third stage of 1 blocks has no fourth from the end"):
        create_model("convcut_published", backbone="test_convnext2", input_size=64)
