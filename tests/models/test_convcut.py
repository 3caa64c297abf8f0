"""The trunk's maps of two depths."""

import pytest
import torch
import torch.nn.functional as F

from ferlib.models.trunk import Trunk


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
