"""Exchange of a method's gradients, and of what it has learnt of single faces, between the processes of one run."""

import torch
from accelerate import Accelerator
from torch import Tensor

from ferlib.training.methods import Method


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


@torch.no_grad()
def share_rows(method: Method, order: Tensor, faces: int, accelerator: Accelerator) -> None:
    """Exchange the rows of the method's own saved buffers with a row a face, (N, ...): each from who last drew it.

    Args:
        method: of this process.
        order: the faces of the epoch that has ended, (steps, batch size); column j was process j modulo their number's.
        faces: N, in the training split.
        accelerator: knows the processes.
    """
    processes = accelerator.num_processes
    owner = torch.zeros(faces, dtype=torch.int64)  # faces not drawn are the same everywhere
    for step in order:
        owner[step] = torch.arange(len(step)) % processes
    mine = (owner == accelerator.process_index).to(accelerator.device)
    saved = method.state_dict(keep_vars=True)
    for name, buffer in method.named_buffers(recurse=False):  # a part's batch norm may have N channels
        if name in saved and buffer.ndim and len(buffer) == faces:
            own = torch.where(mine.view(-1, *[1] * (buffer.ndim - 1)), buffer, torch.zeros_like(buffer))
            buffer.copy_(accelerator.reduce(own, "sum"))
