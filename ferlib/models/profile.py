"""Profile of a model, part by part: parameters, floating-point operations, stride and receptive field.

A part is a stage of the backbone or a block of the head (`parts`). Conv-cut, IVSA and PAtt-Lite are divided alike, so
that they can be laid side by side.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ferlib.errors import UserError
from ferlib.models.attention_blocks import CBAM, SalientAttentionBlock
from ferlib.models.backbone import Backbone, parameter_count
from ferlib.models.base import FaceModel
from ferlib.models.convcut import ConvCut
from ferlib.models.heads import HeadModel
from ferlib.models.ivsa import IVSA, Reduction
from ferlib.models.layers import unwarned
from ferlib.models.pattlite import PAttLite
from ferlib.models.vtff import TwoStreamBackbone

#: Parts behind the last map.
HEADS = ("attention", "dense layer", "dense layers", "head norm", "LBP backbone", "head", "classifier")


@dataclass(frozen=True)
class Cost:
    """Parameters and floating-point operations of one part.

    Attributes:
        part: its name, see `parts`.
        parameters: their number.
        trained: how many of them are trained; those of a frozen backbone are not.
        flops: operations for one face at the model's input size, see `count_flops`.
    """

    part: str
    parameters: int
    trained: int
    flops: int


@dataclass(frozen=True)
class Field:
    """Receptive field of one position of a part's feature map.

    Attributes:
        part: the part's name, see `parts`.
        size: the map at the model's input size, (C, H, W).
        stride: pixels from one unit to the next.
        field: side in pixels of the square that a unit depends on; may be larger than the image.
    """

    part: str
    size: tuple[int, int, int]
    stride: int
    field: int


def parts(model: FaceModel) -> dict[str, list[nn.Module]]:
    """A model's parts by name, in the order in which a face passes them; every parameter is in exactly one.

    Raises:
        ValueError: it is neither Conv-cut nor IVSA nor PAtt-Lite nor a `HeadModel`.
    """
    found: dict[str, list[nn.Module]]
    if isinstance(model, IVSA):
        reductions = [cast(Reduction, module) for module in model.reductions]
        found = {
            f"stage {number}": [convolutions, reduction.pool]
            for number, (convolutions, reduction) in enumerate(
                zip(model.convolutions, reductions, strict=True), start=1
            )
        }
        blocks = [reduction.block for reduction in reductions if reduction.block is not None]
        found |= {"attention": blocks, "dense layers": [model.hidden]}
    elif isinstance(model, ConvCut | PAttLite):
        found = backbone_stages(model.backbone)
        if isinstance(model, ConvCut):
            found["Detail Extraction"] = [model.detail]
        else:
            found["patch extraction"] = [model.patches]
        found |= {
            "attention": [model.token_attention, model.pooled_attention],
            "dense layer": [model.bottleneck],
            "head norm": [model.head_norm],
        }
    elif isinstance(model, HeadModel):
        found = backbone_stages(model.backbone)
        if isinstance(model.backbone, TwoStreamBackbone):
            found["LBP backbone"] = [model.backbone.texture]
        found["head"] = [model.head]
    else:
        raise UserError(f"a {type(model).__name__} has no parts with names; Conv-cut, IVSA and PAtt-Lite have")
    found["classifier"] = [model.classifier]
    used = {
        name: [module for module in modules if not isinstance(module, nn.Identity)] for name, modules in found.items()
    }
    return {name: modules for name, modules in used.items() if modules}


def backbone_stages(backbone: Backbone) -> dict[str, list[nn.Module]]:
    """A backbone's layers by stage, counted as in `Backbone`: stage 1 ends at stride 4, stage 2 at 8, stage 3 at 16.

    What comes before a stage's end, such as the stem, belongs to it.
    """
    net = backbone.net.model
    ends = {entry["module"]: entry["reduction"] for entry in cast(Any, net.feature_info)}  # "stages.0" or "layer1" -> 4
    containers = {name.partition(".")[0] for name in ends if "." in name}
    layers: list[tuple[str, nn.Module]] = []
    for name, module in net.named_children():
        layers += (
            [(f"{name}.{place}", layer) for place, layer in module.named_children()]
            if name in containers
            else [(name, module)]
        )
    last = {stride: name for name, stride in ends.items() if 4 <= stride <= backbone.stride}  # the last of each stride
    found: dict[str, list[nn.Module]] = {}
    waiting: list[nn.Module] = []
    for name, module in layers:
        waiting.append(module)
        if name in last.values():
            found[f"stage {len(found) + 1}"], waiting = waiting, []
    return found  # what follows the last stage is not built


def costs(model: FaceModel) -> list[Cost]:
    """Parameters and floating-point operations of every part.

    The sums are `parameter_count(model)` and `count_flops(model)`. Nothing is computed: a copy of the model runs on the
    meta device. Its state is left alone.
    """
    copy = deepcopy(model).to("meta")
    found = parts(copy)
    flops = dict.fromkeys(found, 0)
    with FlopCounterMode(display=False) as counter:

        def start(part: str) -> None:
            flops[part] -= counter.get_total_flops()

        def stop(part: str, _: Tensor) -> None:
            flops[part] += counter.get_total_flops()

        with _hooked(found, start, stop):
            _run(copy)
    return [
        Cost(
            part,
            sum(parameter_count(module) for module in modules),
            sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad),
            flops[part],
        )
        for part, modules in found.items()
    ]


def count_flops(model: FaceModel) -> int:
    """Floating-point operations for one face at the model's input size, 2 for a multiply-add.

    Counted are convolutions and matrix products, as PyTorch's `FlopCounterMode` does; norms, activations and pooling
    are not. Nothing is computed: a copy of the model runs on the meta device, where tensors have shapes but no content.
    """
    model, config = deepcopy(model).to("meta").eval(), model.config
    image = torch.empty(1, config.channels, config.input_size, config.input_size, device="meta")
    with torch.no_grad(), unwarned(), FlopCounterMode(display=False) as counter:
        model(image)
    return counter.get_total_flops()


def receptive_fields(model: FaceModel) -> list[Field]:
    """Stride and receptive field of every part's map, of all parts before `HEADS`.

    A convolution or pooling of side k widens the field by (k - 1) times the stride before it, and multiplies the stride
    by its own (Araujo et al. 2019). Where paths run side by side, as in a residual block, the longest counts: that with
    all the convolutions but the shortcut's. (Of blocks with several long paths, GoogLeNet's and Inception's, all are
    added up, which is too much.) Attention is left out: the gates of IVSA and CBAM pool over
    the whole map, so strictly every unit behind the first of them depends on the whole image, if only through one
    number a channel.
    """
    copy = deepcopy(model).to("meta")
    copy.config = replace(copy.config, flip_tta=False)  # one side of a face, or every layer would count twice
    maps = {part: modules for part, modules in parts(copy).items() if part not in HEADS}
    gates = [module for module in copy.modules() if isinstance(module, CBAM | SalientAttentionBlock)]
    inside = {layer for gate in gates for layer in gate.modules()}
    spatial = {
        name: [module]
        for name, module in copy.named_modules()
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
        and module not in inside
        and not _in_shortcut(copy, name)
    }
    side = stride = 1
    found: dict[str, Field] = {}

    def widen(name: str, _: Tensor) -> None:
        nonlocal side, stride
        (layer,) = spatial[name]
        side += (_one(layer.kernel_size) - 1) * _one(getattr(layer, "dilation", 1)) * stride
        stride *= _one(layer.stride)

    def note(part: str, out: Tensor) -> None:
        _, channels, height, width = out.shape
        found[part] = Field(part, (channels, height, width), stride, side)  # a later layer of the part overwrites it

    with _hooked(spatial, None, widen), _hooked(maps, None, note):
        _run(copy)
    return list(found.values())


def _in_shortcut(model: FaceModel, name: str) -> bool:
    """True for a layer beside the convolutions of a residual block: what timm calls its downsample."""
    block, beside, _ = name.rpartition(".downsample.")
    return bool(beside) and hasattr(model.get_submodule(block), "conv1")  # ConvNeXt's stages begin with one of the name


def output_shapes(model: FaceModel) -> dict[str, tuple[int, ...]]:
    """Shapes of what the model's modules give for one face at its input size, without the batch, by module name.

    Nothing is computed, see `count_flops`. Of a module that runs several times the last run counts.
    """
    copy = deepcopy(model).to("meta")
    found: dict[str, tuple[int, ...]] = {}

    def note(name: str, out: Any) -> None:
        if isinstance(out, Tensor):
            found[name] = tuple(out.shape[1:])

    with _hooked({name: [module] for name, module in copy.named_modules() if name}, None, note):
        _run(copy)
    return found


def _one(size: int | tuple[int, ...]) -> int:
    """The side of a square kernel or stride.

    Raises:
        ValueError: it is not square.
    """
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) > 1:
        raise UserError(f"receptive fields are computed for square kernels and strides only, not for {size}")
    return sides.pop()


def _run(model: FaceModel) -> None:
    """One empty face through a model on the meta device, in evaluation mode."""
    config = model.config
    with torch.no_grad(), unwarned():
        model.eval()(torch.empty(1, config.channels, config.input_size, config.input_size, device="meta"))


@contextmanager
def _hooked(
    modules: Mapping[str, Iterable[nn.Module]],
    before: Callable[[str], None] | None,
    after: Callable[[str, Tensor], None],
) -> Iterator[None]:
    """While it lasts, `before(name)` is called before and `after(name, output)` after each of the modules runs."""
    with ExitStack() as stack:
        for name, group in modules.items():
            for module in group:
                if before is not None:
                    hook = module.register_forward_pre_hook(lambda *_, name=name: before(name))
                    stack.callback(hook.remove)
                hook = module.register_forward_hook(lambda _, __, out, name=name: after(name, out))
                stack.callback(hook.remove)
        yield
