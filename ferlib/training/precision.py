"""In which numbers a training computes: float32, or bfloat16 where the recipe or the device wants it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from ferlib.training.recipes import Recipe


def precision_of(recipe: Recipe, device: torch.device) -> str:
    """Precision of forward and backward pass on a device: "float32" or "bfloat16"; warns where that is a slow one."""
    if recipe.precision == "auto":
        return "bfloat16" if device.type == "cuda" and _knows_bfloat16(device) else "float32"
    if recipe.precision == "bfloat16" and not _knows_bfloat16(device):
        warnings.warn("this processor has no instructions for bfloat16 and takes many times as long with it; "
                      "--set precision=float32 is for such processors", stacklevel=2)  # fmt: skip
    return recipe.precision


def _knows_bfloat16(device: torch.device) -> bool:
    """True for a CPU or NVIDIA GPU with instructions for it (GPUs before Ampere only pretend), and for what else."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return True


@contextmanager
def slow_convolutions_in_float32(network: nn.Module, recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Inside, a bfloat16 training on a CPU computes those convolutions in float32 whose backward pass is slow there.

    These are the depthwise ones with a stride. On a processor with instructions for bfloat16 their gradients take many
    times as long as in float32 (PyTorch 2.12), a good part of a MobileNet's training step.
    """
    wanted = device.type == "cpu" and precision_of(recipe, device) == "bfloat16"
    slow = [module for module in network.modules() if wanted and is_strided_depthwise(module)]
    for module in slow:
        module.forward = partial(_in_float32, module)
    try:
        yield
    finally:
        for module in slow:
            del module.forward  # its class's own is seen again


def is_strided_depthwise(module: nn.Module) -> bool:
    """True for a convolution that looks at every channel alone and gives a smaller map."""
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1 and max(module.stride) > 1


def _in_float32(convolution: nn.Module, x: Tensor) -> Tensor:
    """The convolution of a map, in float32 under autocast too; the answer has the map's precision."""
    with torch.autocast(x.device.type, enabled=False):
        return type(convolution).forward(convolution, x.float()).to(x.dtype)
