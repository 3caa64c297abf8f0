"""Weights in eight bits: a quarter of the file, and a network that computes with ordinary numbers all the same.

A matrix or kernel W (O, ...) becomes whole numbers q from -127 to 127 and one scale s an output channel o,

    s_o = max |W_o| / 127,    q_o = round(W_o / s_o),    W_o ≈ s_o · q_o

(symmetric quantisation by channel; Krishnamoorthi 2018, arXiv:1806.08342, sections 2.2 and 3.1). Only the file is
smaller: whoever loads it multiplies q by s and has float32 weights again. Activations are not quantised.
"""

import torch
from torch import Tensor

STEPS = 127
SCALE = ".int8_scale"  # behind the name of a tensor: the name of its scales

State = dict[str, Tensor]


def steps_and_scale(weight: Tensor, axis: int = 0) -> tuple[Tensor, Tensor]:
    """A weight as whole steps, int8 of its shape, and a scale a place along an axis, float32 (1, ..., O, ..., 1).

    Args:
        weight: floating-point numbers in two or more dimensions.
        axis: of the output channels.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = weight.float().abs().amax(dim=others, keepdim=True) / STEPS
    steps = weight.float() / scale.where(scale > 0, torch.ones(()))
    return steps.round().to(torch.int8), scale


def quantised(state: State) -> State:
    """Tensors by name, the matrices and kernels among them as int8 (O, ...), each with its scales, float32 (O, 1, ...).

    Args:
        state: a model's parameters and buffers; what has fewer than two dimensions stays as it is.
    """
    stored: State = {}
    for name, value in state.items():
        if value.ndim > 1 and value.is_floating_point():
            stored[name], stored[name + SCALE] = steps_and_scale(value)
        else:
            stored[name] = value
    return stored


def dequantised(state: State) -> State:
    """Tensors by name as they are computed with: float32 where `quantised` stored int8, others as they are."""
    return {
        name: value.float() * state[name + SCALE] if name + SCALE in state else value
        for name, value in state.items()
        if not name.endswith(SCALE)
    }
