"""Grad-CAM against pytorch-grad-cam, and its manners."""

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from ferlib.explain.cam import predict_with_gradcam, to_unit_range
from ferlib.explain.overlay import overlay
from ferlib.models.zoo import create_model


def small(attention: str = "token", freeze_trunk: bool = True, detail_layers: int = 1):
    torch.manual_seed(0)
    return create_model(
        "convcut",
        trunk="tf_efficientnet_lite0",
        input_size=112,
        attention=attention,
        freeze_trunk=freeze_trunk,
        detail_layers=detail_layers,
    ).eval()


@pytest.mark.parametrize("attention", ["token", "channel", "none"])
@pytest.mark.parametrize("chosen", [None, 2])
def test_equals_pytorch_grad_cam_on_the_unfrozen_model(attention, chosen):
    model = small(attention, freeze_trunk=False)
    x = torch.randn(3, 3, 112, 112)
    targets = model(x).argmax(dim=1) if chosen is None else torch.full((3,), chosen)
    logits, maps = predict_with_gradcam(model, x, None if chosen is None else targets)
    with GradCAM(model, [model.cam_layer]) as reference:
        expected = reference(x, [ClassifierOutputTarget(int(target)) for target in targets])
    assert torch.allclose(logits, model(x), atol=1e-5)
    assert maps.shape == (3, 112, 112) and maps.max() > 0.99
    assert np.abs(maps.numpy() - expected).max() < 1e-4


def test_works_on_a_frozen_trunk_and_leaves_no_trace():
    frozen, free = small(), small(freeze_trunk=False)
    free.load_state_dict(frozen.state_dict())
    x = torch.randn(2, 3, 112, 112)
    with torch.inference_mode():
        before = frozen(x)
    logits, maps = predict_with_gradcam(frozen, x)
    assert torch.allclose(maps, predict_with_gradcam(free, x)[1], atol=1e-6)
    assert torch.equal(logits, before)
    assert all(parameter.grad is None for parameter in frozen.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in frozen.modules())


def test_maps_do_not_depend_on_neighbours():
    model, x = small(), torch.randn(4, 3, 112, 112)
    together = predict_with_gradcam(model, x)[1]
    assert torch.allclose(predict_with_gradcam(model, x[2:3])[1], together[2:3], atol=1e-4)


def test_unit_range():
    maps = torch.stack([torch.arange(4.0).view(2, 2), torch.full((2, 2), 7.0)])
    assert to_unit_range(maps)[0].flatten().tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert to_unit_range(maps)[1].eq(0).all()


def test_overlay_paints_what_is_hot_red_and_what_is_cold_blue():
    heat = np.zeros((4, 4), np.float32)
    heat[:2] = 1
    out = overlay(np.full((8, 8, 3), 128, np.uint8), heat).astype(int)
    assert out.shape == (8, 8, 3)
    assert out[0, 4, 0] > out[0, 4, 2] and out[7, 4, 2] > out[7, 4, 0]
    assert (overlay(np.full((8, 8, 3), 128, np.uint8), heat, opacity=0) == 128).all()
