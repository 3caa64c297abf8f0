"""Sharpness-aware minimisation, SAM (Foret et al., ICLR 2021), around any training method.

With g the gradient of the step's loss at the weights w, the gradient that the optimiser gets is the one at w + e,

    e = ρ g / ||g||        (eq. 2, p = 2; the norm is over all weights together)

and the step is taken from w. Both passes see the same faces, the same draws of dropout, and the same buffers: running
statistics of batch norm and the state of a method (labels it has changed, say) change once a step, by the pass at w.
Loss and logits are those at w. A step takes twice the time. On accelerators other than CUDA's the draws of dropout are
not repeated.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def sharpness_aware(
    passes: Callable[[], tuple[Tensor, Tensor]], module: nn.Module, rho: float
) -> tuple[Tensor, Tensor]:
    """Run a forward and backward pass twice, so that the gradients left behind are those of SAM; the first's answers.

    Args:
        passes: gives loss and logits, and leaves the loss's gradients on the parameters, which had none.
        module: holds everything that is trained and every buffer that the passes change.
        rho: ρ, the length of e.
    """
    device = next(module.parameters()).device
    before = [buffer.clone() for buffer in module.buffers()]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # the second pass draws the same
        loss, logits = (answer.detach().clone() for answer in passes())  # a compiled network reuses their memory
    with torch.no_grad():
        after = [buffer.clone() for buffer in module.buffers()]
        _restore(module.buffers(), before)
        moved = [parameter for parameter in module.parameters() if parameter.grad is not None]
        weights = [parameter.clone() for parameter in moved]
        gradients = [parameter.grad for parameter in moved]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients if g is not None]))
        for parameter, gradient in zip(moved, gradients, strict=True):
            parameter.add_(gradient * (rho / norm.clamp(min=1e-12)))
            parameter.grad = None
    passes()
    with torch.no_grad():
        _restore(moved, weights)
        _restore(module.buffers(), after)
    return loss, logits


def _restore(tensors: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
