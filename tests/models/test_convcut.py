"""Conv-cut's own additions: class maps, and the trunk's maps of two depths."""

import pytest
import torch
import torch.nn.functional as F

from ferlib.models.trunk import Trunk
from ferlib.models.zoo import create_model

SMALL = {"trunk": "tf_efficientnet_lite0", "width": 32, "input_size": 112, "detail_layers": 1}


@pytest.mark.parametrize("attention", ["token", "none"])
def test_the_logits_are_the_mean_of_the_class_maps(attention):
    torch.manual_seed(0)
    model = create_model("convcut", attention=attention, **SMALL).eval()
    features = model.forward_features(torch.randn(2, 3, 112, 112))
    maps = model.class_maps(features)
    assert maps.shape == (2, 8, 2, 2)
    assert torch.allclose(maps.mean(dim=(2, 3)), model.forward_head(features), atol=1e-5)


def test_class_maps_need_a_linear_end():
    model = create_model("convcut", attention="channel", **SMALL)
    with pytest.raises(ValueError, match="nothing between its pooling and its classifier"):
        model.class_maps(torch.randn(2, model.trunk.channels, 7, 7))


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
