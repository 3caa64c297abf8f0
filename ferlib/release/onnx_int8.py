"""Weights of an ONNX graph in eight bits, where they are such weights (`ferlib.models.int8`) already."""

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from ferlib.models.int8 import STEPS

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

EXACT = 1e-6  # of a channel's largest weight: what float32 leaves of a product


def store_in_int8(program: "ONNXProgram") -> None:
    """Store every weight that is whole steps times a scale a channel as int8 and scales, from which the graph makes it.

    The graph computes what it did. Whoever opens it does these products once: they are of constants.
    """
    graph = program.model.graph
    for name, weight in list(graph.initializers.items()):
        found = steps_and_scale(weight.const_value.numpy()) if weight.const_value is not None else None
        if found is None:
            continue
        steps, scale = (ir.Value(name=f"{name}_{part}", const_value=ir.tensor(value))
                        for part, value in zip(("steps", "scale"), found, strict=True))  # fmt: skip
        cast = ir.node("Cast", [steps], {"to": ir.DataType.FLOAT})
        product = ir.node("Mul", [cast.outputs[0], scale])
        ir.convenience.replace_all_uses_with(weight, product.outputs[0])
        del graph.initializers[name]
        graph.register_initializer(steps)
        graph.register_initializer(scale)
        graph.insert_before(graph[0], [cast, product])


def steps_and_scale(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """A weight as int8 of its shape and float32 scales along one of its axes; None where it is nothing like that."""
    if weight.dtype != np.float32 or weight.ndim < 2:
        return None
    for axis in range(weight.ndim):
        others = tuple(i for i in range(weight.ndim) if i != axis)
        largest = np.abs(weight).max(axis=others, keepdims=True)
        if weight.size < 4 * largest.size:  # nothing to be saved
            continue
        scale = largest / np.float32(STEPS)
        steps = np.rint(weight / np.where(scale > 0, scale, 1))
        if (np.abs(steps * scale - weight) <= EXACT * largest).all():
            return steps.astype(np.int8), scale
    return None
