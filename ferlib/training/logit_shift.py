"""Numbers added to the logits of a finished model, in the bias of its last layer."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ferlib.errors import UserError
from ferlib.models.base import FaceModel


def output_layer(model: FaceModel) -> nn.Linear:
    """The last layer of the model's `classifier`.

    Raises:
        ValueError: it is not a linear layer with a bias.
    """
    layer = getattr(model, "classifier", None)
    while isinstance(layer, nn.Sequential):
        layer = layer[-1]
    if not isinstance(layer, nn.Linear) or layer.bias is None:
        raise UserError(
            f"{type(model).__name__} has no `classifier` ending in a linear layer with a bias, so its logits cannot "
            "be shifted; take another method, e.g. logit_adjusted"
        )
    return layer


@contextmanager
def shifted(model: FaceModel, shift: Tensor | None) -> Iterator[None]:
    """Within `with`, the model's logits have `shift` (classes,) added, in its classifier's bias; after it, they do not.

    The bias is put back bit for bit, also after an error.

    Raises:
        ValueError: the classifier has no bias, see `output_layer`.
    """
    if shift is None:
        yield
        return
    bias = output_layer(model).bias
    before = bias.detach().clone()
    try:
        with torch.no_grad():
            bias.add_(shift)
        yield
    finally:
        with torch.no_grad():
            bias.copy_(before)
