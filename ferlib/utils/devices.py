"""Choose the device of a model, and find it again.

Whoever loads or makes a model chooses its device. A function that is given one asks `device_of`, brings its inputs
there and leaves the model where it was.
"""

import torch
from torch import nn

from ferlib.errors import UserError


def choose_device(name: str | torch.device = "auto") -> torch.device:
    """The device of this name, or for "auto" the accelerator (a GPU, say) if there is one, else the CPU.

    Args:
        name: "auto", "cpu", or what PyTorch calls a device, e.g. "cuda", "cuda:1", "mps".

    Raises:
        ValueError: there is no such device here.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return accelerator or torch.device("cpu")
    there = f"there is {accelerator} and the CPU" if accelerator else "there is only the CPU"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"{name!r} is no device: take auto, cpu, cuda, cuda:1 or the like; {there}") from error
    if device.type == "cpu":
        return device
    if accelerator is None or device.type != accelerator.type:
        raise UserError(f"there is no {device} here; {there}")
    if (device.index or 0) >= (count := torch.accelerator.device_count()):
        raise UserError(f"there is no {device} here; there are {count}, counted from 0")
    return device


def device_of(model: nn.Module) -> torch.device:
    """Device of a model's parameters; the CPU for one without any."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
