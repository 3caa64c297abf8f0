"""Weights of an ONNX graph in eight bits, where they are such weights (`ferlib.models.int8`) already."""

from typing import TYPE_CHECKING

import onnx_ir as ir
import torch
from torch import Tensor

from ferlib.models.int8 import STEPS, steps_and_scale

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

EXACT = 1e-6  # of a channel's largest weight: what float32 leaves of a product


def store_in_int8(program: "ONNXProgram") -> None:
    """Store every weight that is whole steps times a scale a channel as int8 and scales, from which the graph makes it.

    The graph computes what it did. Whoever opens it does these products once: they are of constants.
    """
    graph = program.model.graph
    for name, weight in list(graph.initializers.items()):
        if weight.const_value is None:
            continue
        found = exact_steps(torch.from_numpy(weight.const_value.numpy().copy()))
        if found is None:
            continue
        steps, scale = (ir.Value(name=f"{name}_{part}", const_value=ir.tensor(value.numpy()))
                        for part, value in zip(("steps", "scale"), found, strict=True))  # fmt: skip
        cast = ir.node("Cast", [steps], {"to": ir.DataType.FLOAT})
        product = ir.node("Mul", [cast.outputs[0], scale])
        ir.convenience.replace_all_uses_with(weight, product.outputs[0])
        del graph.initializers[name]
        graph.register_initializer(steps)
        graph.register_initializer(scale)
        graph.insert_before(graph[0], [cast, product])


def exact_steps(weight: Tensor) -> tuple[Tensor, Tensor] | None:
    """`steps_and_scale` along the axis by which they are the weight again; None where there is no such axis."""
    if weight.dtype != torch.float32 or weight.ndim < 2:
        return None
    for axis in range(weight.ndim):
        if weight.numel() < 4 * weight.shape[axis]:  # nothing to be saved
            continue
        steps, scale = steps_and_scale(weight, axis)
        if ((steps * scale - weight).abs() <= EXACT * STEPS * scale).all():
            return steps, scale
    return None
