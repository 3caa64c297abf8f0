"""A training method of one's own: two views of every face must get the same answer.

    python examples/own_training_method.py

A method is an object that the training loop asks for the loss of every batch. It may hold parameters and buffers; they
are trained, saved and restored with the network's.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch.nn.functional as F
from torch import Tensor

from ferlib.data.synthetic import load_synthetic
from ferlib.models.registry import create_model
from ferlib.training.loop import fit
from ferlib.training.methods import Batch, Method, Outputs, register_method
from ferlib.training.recipes import Recipe


class Consistency(Method):
    """Cross-entropy of the first view, and half the divergence between the answers for the two views."""

    views = 2

    def step(self, network: Callable[[Tensor], Outputs], batch: Batch) -> tuple[Tensor, Tensor]:
        first, second = (network(view).logits.float() for view in batch.views)
        gap = F.kl_div(second.log_softmax(dim=1), first.log_softmax(dim=1), log_target=True, reduction="batchmean")
        return self.loss(first, batch.targets, batch.progress) + 0.5 * gap, first


register_method("consistency", Consistency)

faces = load_synthetic(20)
for name in ("plain", "consistency"):
    model = create_model("ivsa", widths=(8, 16, 16, 32), hidden=32, classes=faces.classes)
    recipe = Recipe(model.config, epochs=2, batch_size=16, augment="flip", method=name)
    with TemporaryDirectory() as folder:
        history = fit(model, faces, recipe, Path(folder))
    print(name, history["train_loss"].round(3).tolist())
