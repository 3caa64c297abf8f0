"""The trunk: its sizes, where it is cut, its maps of two depths."""

import pytest
import torch
import torch.nn.functional as F

from ferlib.models.trunk import Trunk, parameter_count


def test_published_sizes():
    with torch.device("meta"):
        counts = {stages: parameter_count(Trunk("convnext_base", stages)) for stages in (2, 3, 4)}
    assert counts[3] == 60_121_216  # three stages, 60.12 M
    assert counts[4] == 88_591_464 - 1025 * 1000 - 2 * 1024  # ConvNeXt-Base, 88.59 M, less its head and last norm
    assert counts[2] < counts[3]


@pytest.mark.parametrize("trunk", ["convnext_nano", "tf_efficientnet_lite0", "mobilenetv1_100", "resnet18"])
@pytest.mark.parametrize("stages", [2, 3, 4])
def test_any_trunk_is_cut_at_its_stride(trunk, stages):
    net = Trunk(trunk, stages).eval()
    out = net(torch.randn(1, 3, 64, 64))
    assert out.shape == (1, net.channels, 64 // 2 ** (stages + 1), 64 // 2 ** (stages + 1))


@pytest.mark.parametrize(("height", "width"), [(112, 112), (72, 88), (75, 97)])
def test_two_depths_are_the_two_maps_side_by_side(height, width):
    torch.manual_seed(0)
    both = Trunk("tf_efficientnet_lite0", 3, two_depths=True).eval()
    deep, early = Trunk("tf_efficientnet_lite0", 3).eval(), Trunk("tf_efficientnet_lite0", 2).eval()
    for trunk in (deep, early):
        state = both.state_dict()
        trunk.load_state_dict({key: state[key] for key in trunk.state_dict()})
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
