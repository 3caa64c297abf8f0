"""Gradients of a method's own parameters, averaged over the processes of a run."""

import torch
from accelerate import Accelerator

from ferlib.training.methods.base import Method


def average_gradients(method: Method, accelerator: Accelerator) -> None:
    """Give the method's parameters the mean of all processes' gradients; one that no process uses keeps none.

    Without a gradient the optimiser leaves a parameter alone; one of zeros would let its weight decay.

    Args:
        method: of this process, after the backward pass.
        accelerator: knows the processes.
    """
    parameters = list(method.parameters())
    if not parameters:
        return
    here = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.float32)
    used = accelerator.reduce(here.to(accelerator.device), "sum").tolist()
    for parameter, processes in zip(parameters, used, strict=True):
        if processes:
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad  # unused by this one
            parameter.grad = accelerator.reduce(grad, "mean")
