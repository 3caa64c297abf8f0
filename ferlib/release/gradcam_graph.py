"""A model and its Grad-CAM as one graph of forward operations, which ONNX can express.

Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2) needs the gradient of the predicted class's logit over the feature map.
ONNX knows no gradients, but the backward pass of a head is itself a computation: `torch.func.vjp` gives it, and
`make_fx` writes it down operation by operation. Two of these operations are not in ONNX; both are linear and have an
equivalent that is (`DECOMPOSITIONS`).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from ferlib.errors import RunError
from ferlib.explain.map_tools import to_unit_range
from ferlib.models.base import FaceModel, map_of, mean_of
from ferlib.runtime.preprocess import resize_weights

TRACED = 7  # images a graph is traced with: not 1, which would be taken for fixed


def logits_and_gradcam(model: FaceModel, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, classes) and Grad-CAM of the predicted classes (B, H, W) in 0..1, as `ferlib.explain.cam` gives them.

    Args:
        model: in evaluation mode.
        x: normalised images (B, C, H, W).
    """
    sides = model.sides(x)
    if len(sides) > 1 and model.mixes_batch:
        raise RunError("a model whose answer depends on its batch is not exported with both sides of a face")
    features = model.forward_features(_one_batch(sides))
    of_sides, back = torch.func.vjp(model.forward_head, features)[:2]
    logits = mean_of(_of_each(of_sides, len(sides)))
    chosen = (logits >= logits.amax(dim=1, keepdim=True)).to(logits.dtype)  # one-hot; argmax has no graph of its own
    (gradients,) = back(_one_batch([chosen] * len(sides)))
    maps = (gradients.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1)
    heat = to_unit_range(map_of(_of_each(maps, len(sides))).relu())
    return logits, to_unit_range(_enlarged(heat, x.shape[-2:]))


def _one_batch(sides: Sequence[Tensor]) -> Tensor:
    """Tensors (B, ...), one a side, as one batch (B sides, ...): the sides of an image behind one another."""
    return sides[0] if len(sides) == 1 else torch.stack(tuple(sides), dim=1).flatten(0, 1)


def _of_each(batch: Tensor, sides: int) -> tuple[Tensor, ...]:
    """The way back from `_one_batch`."""
    return (batch,) if sides == 1 else batch.unflatten(0, (-1, sides)).unbind(1)


def _enlarged(maps: Tensor, size: torch.Size) -> Tensor:
    """Maps (B, h, w) -> (B, H, W), bilinear, as two small matrix products.

    `F.interpolate` would be traced as one gather a corner, with a table of all the positions in the file.
    """
    rows, columns = (
        torch.from_numpy(resize_weights(before, after)).to(maps.device)
        for before, after in zip(maps.shape[1:], size, strict=True)
    )
    return rows @ maps @ columns.T


def trace(model: FaceModel, images: Tensor) -> fx.GraphModule:
    """`logits_and_gradcam` of a model as a graph: images (B, C, H, W) of any number B -> logits, maps.

    Args:
        model: in evaluation mode.
        images: (`TRACED`, C, H, W), any, on the model's device.
    """
    only_the_batch: StatelessSymbolicContext = StatelessSymbolicContext([DimDynamic.DYNAMIC, *3 * [DimDynamic.STATIC]])
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    fake = mode.from_tensor(images, symbolic_context=only_the_batch)
    tracer = make_fx(
        lambda x: logits_and_gradcam(model, x), DECOMPOSITIONS, tracing_mode="symbolic", _allow_non_fake_inputs=True
    )
    with torch.no_grad():
        return tracer(fake).eval()


def _convolution_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: list[int] | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    output_mask: list[bool],
) -> tuple[Tensor, None, None]:
    """Gradient over a convolution's input: the transposed convolution of the gradient over its output."""
    if transposed or output_mask[1:] != [False, False]:
        raise NotImplementedError("only the gradient over the input of an ordinary convolution is in the graph")
    missing = [
        x.shape[2 + i] - ((gradient.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + dilation[i] * (side - 1) + 1)
        for i, side in enumerate(weight.shape[2:])
    ]  # rows and columns at the end that the convolution did not reach
    back = torch.ops.aten.convolution(gradient, weight, None, stride, padding, dilation, True, missing, groups)
    return back, None, None


def _adaptive_avg_pool2d_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """Gradient over the input of adaptive average pooling, which is a mean over windows of rows and of columns."""
    rows, columns = (_windows(x.shape[i], gradient.shape[i], gradient) for i in (2, 3))
    return rows.T @ gradient @ columns


def _windows(length: int, parts: int, like: Tensor) -> Tensor:
    """Adaptive average pooling of one side as a matrix (parts, length): row i averages the i-th window."""
    matrix = like.new_zeros(parts, length)
    for i in range(parts):
        start, end = i * length // parts, -(-(i + 1) * length // parts)
        matrix[i, start:end] = 1 / (end - start)
    return matrix


DECOMPOSITIONS: dict[OpOverload, Callable] = {
    torch.ops.aten.convolution_backward.default: _convolution_backward,
    torch.ops.aten._adaptive_avg_pool2d_backward.default: _adaptive_avg_pool2d_backward,
}
