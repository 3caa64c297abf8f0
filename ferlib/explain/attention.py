"""The model's own attention: not an explanation of an answer, but a part of how it is computed.

Conv-cut and PAtt-Lite with "token" attention weigh positions against positions (`TokenAttention`, Conv-cut's eq. 2).
IVSA's Salient Attention Blocks and CBAM multiply every stage's map by a weight a position (`SpatialGate`, eq. 8).
Neither knows the target class, and neither says what a weight does to the answer.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ferlib.errors import UserError
from ferlib.explain.map_tools import enlarge_map, to_unit_range
from ferlib.models.attention_blocks import SpatialGate
from ferlib.models.base import FaceModel, evaluating, map_of, mean_of
from ferlib.models.layers import TokenAttention


def attention_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers with attention over positions by name, in the order in which they run; empty where there is none."""
    kinds = TokenAttention | SpatialGate
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


@contextmanager
def recorded(layers: dict[str, nn.Module]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Record inputs and outputs of some layers while the `with` lasts, name -> (input, output)."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str, module: nn.Module) -> RemovableHandle:
        return module.register_forward_hook(lambda _, inputs, output: seen.update({name: (inputs[0], output)}))

    handles = [watch(name, module) for name, module in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def predict_with_attention(model: FaceModel, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits (B, classes) of images (B, C, H, W), and the attention of every layer, name -> (B, h, w) in its size.

    A spatial gate's map is its weight in 0..1. Token attention has a row of weights a position; its map is how much a
    position is attended to, the mean over the rows, and sums to 1. Of a model that looks at both sides of a face a map
    is the mean of the two, that of the mirror image turned back.

    Raises:
        ValueError: the model has no attention over positions.
    """
    layers = attention_layers(model)
    if not layers:
        raise UserError(f"{model.config.architecture} has no attention over positions to show")
    logits: list[Tensor] = []
    maps: dict[str, list[Tensor]] = {name: [] for name in layers}
    with evaluating(model), torch.no_grad(), recorded(layers) as seen:
        for side in model.sides(x):
            logits.append(model.forward_head(model.forward_features(side)))
            for name, layer in layers.items():
                inputs, output = seen[name]
                if isinstance(layer, TokenAttention):
                    maps[name].append(layer.weights(inputs).mean(dim=1).unflatten(1, inputs.shape[-2:]))
                else:
                    maps[name].append(output[:, 0])
    return mean_of(logits), {name: map_of(sides) for name, sides in maps.items()}


def attention_map(maps: dict[str, Tensor], size: torch.Size) -> Tensor:
    """One map (B, H, W) in 0..1 of those of all layers: each scaled to 0..1 and enlarged, then their mean, scaled."""
    layers = [enlarge_map(to_unit_range(layer), size) for layer in maps.values()]
    return to_unit_range(torch.stack(layers).mean(dim=0))
