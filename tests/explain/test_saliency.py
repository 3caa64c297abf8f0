"""Gradients against finite differences, SmoothGrad and integrated gradients against naive loops and their promises."""

import pytest
import torch
from torch import nn

from ferlib.explain.saliency import input_gradients, integrated_gradients, saliency_map, smooth_gradients


def test_gradients_are_slopes(exact):
    model, x = exact
    _, gradients = input_gradients(model, x, 4)
    for place in ((0, 0, 20, 20), (2, 0, 5, 30)):
        step = torch.zeros_like(x)
        step[place] = 1e-5
        with torch.no_grad():
            slope = (model(x + step) - model(x - step))[place[0], 4] / 2e-5
        assert gradients[place] == pytest.approx(float(slope), rel=1e-3)


def test_smooth_gradients_equal_a_naive_loop(exact):
    model, x = exact
    logits, smooth = smooth_gradients(model, x, copies=3, noise=0.2)
    random = torch.Generator().manual_seed(0)
    wobbles = [torch.randn(1, 40, 40, generator=random).double() for _ in range(3)]
    for i, image in enumerate(x):
        total = 0
        for wobble in wobbles:
            one = (image + 0.2 * (image.max() - image.min()) * wobble)[None].requires_grad_()
            model(one)[0, logits[i].argmax()].backward()
            total = total + one.grad[0]
        assert torch.allclose(smooth[i], total / 3, atol=1e-8 * total.abs().max())
    model.zero_grad(set_to_none=True)
    assert torch.allclose(smooth_gradients(model, x, noise=0.0)[1], input_gradients(model, x)[1], atol=1e-8)


class Quadratic(nn.Module):
    """Two logits: 3 Σx² + x₀ and Σx. The midpoint rule is exact for them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(1)
        return torch.stack([3 * flat.square().sum(dim=1) + flat[:, 0], flat.sum(dim=1)], dim=1)


def test_integrated_gradients_are_complete(noise):
    """They add up to the difference of the logits (Sundararajan et al. 2017, proposition 1)."""
    model, x = Quadratic(), noise.double()
    for start in (torch.zeros_like(x), x.flip(0)):
        for target in (0, 1):
            logits, attributions = integrated_gradients(model, x, target, baseline=start, steps=3)
            gain = (logits - model(start))[:, target]
            assert torch.allclose(attributions.sum(dim=(1, 2, 3)), gain)
    attributions = integrated_gradients(model, x, 0)[1]
    assert torch.allclose(attributions[:, 0, 1:], 3 * x[:, 0, 1:].square())  # from 0: every pixel's own square


def test_and_nearly_so_on_a_network(exact):
    """Max-pooling and a small, jagged network make the way long: its gradients are many times the gain."""
    model, x = exact[0], exact[1][:1]
    logits, attributions = integrated_gradients(model, x, 3, baseline=0.5 * x, steps=128)
    with torch.no_grad():
        gain = float((logits - model(0.5 * x))[0, 3])
    assert float(attributions.sum()) == pytest.approx(gain, abs=0.02 * float(attributions.abs().sum()))
    few = integrated_gradients(model, x, 3, baseline=0.5 * x, steps=4)[1]
    assert abs(float(few.sum()) - gain) > abs(float(attributions.sum()) - gain)


def test_integrated_gradients_equal_a_naive_loop_and_start_anywhere(exact):
    model, x = exact
    start = x.flip(0) * 0.5
    _, attributions = integrated_gradients(model, x, 1, baseline=start, steps=4)
    total = torch.zeros_like(x[0])
    for position in (0.125, 0.375, 0.625, 0.875):
        point = (start[0] + position * (x[0] - start[0]))[None].requires_grad_()
        model(point)[0, 1].backward()
        total += point.grad[0] / 4
    model.zero_grad(set_to_none=True)
    assert torch.allclose(attributions[0], total * (x[0] - start[0]), atol=1e-8)


def test_no_trace(tiny, noise):
    for method in (input_gradients, smooth_gradients, integrated_gradients):
        assert not any(result.requires_grad for result in method(tiny, noise))
    assert all(parameter.grad is None for parameter in tiny.parameters())
    assert not noise.requires_grad and not tiny.training


def test_map_takes_the_strongest_channel():
    attributions = torch.tensor([[[[1.0, -4.0]], [[-2.0, 3.0]]]])
    assert saliency_map(attributions).tolist() == [[[0.5, 1.0]]]
    assert saliency_map(torch.zeros(1, 3, 2, 2)).eq(0).all()
