"""LTNet (Zeng, Shan and Chen, "Facial Expression Recognition with Inconsistently Annotated Datasets", ECCV 2018).

The network's answer p = softmax(z) stands for the latent truth. Annotator j turns it into a label by a confusion matrix
T_j (classes, classes of j), whose rows are distributions: T_j[y, k] is the probability that j says k of a face that is
y. With ỹ_nj what j said of face n:

    loss = -mean_n Σ_j log Σ_y p_ny T_j[y, ỹ_nj]

The matrices are trained with the network and start near the identity. At the start of every step entries that have
become negative are raised to a minimum and the rows divided by their sums, as the authors' layer does. The plain
network is trained first (`warm_up`), with cross-entropy on the data's own labels; the rate is the recipe's. The latent
truth, argmax p, is what the model answers afterwards.

The first annotator is the data set itself; others are those that it carries, see `FaceDataset.other_annotators`:
FERPlus carries FER2013's labels of the same faces. With the data's own labels alone the matrix is a model of their
noise.

Departures: the loss is the paper's; the authors' code applies a second softmax to T_j p, and their minimum is 0.01, not
0.001. The division by the sums is part of what is differentiated; without it all entries of a row rise together, and
Adam, which steps by the sign, would draw every matrix towards the uniform one (they use SGD).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from ferlib.errors import UserError
from ferlib.labels import mapping
from ferlib.training import losses
from ferlib.training.methods.base import Batch, Method, MethodSettings, Outputs, TrainingSet
from ferlib.utils.validation import check_range

LEAST = 1e-3  # what an entry that is not above 0 is raised to: every label stays possible, every logarithm finite
OWN = "own"  # the annotator whose labels the data set has


@dataclass(frozen=True)
class LatentTruth(MethodSettings):
    """Settings of LTNet.

    Attributes:
        warm_up: fraction of the run with plain cross-entropy on the data's own labels.
        diagonal: of a matrix at the start; the rest of a row is spread evenly.
        other_annotators: whether labels of other annotators are used, where the data carries them.
    """

    warm_up: float = 0.5
    diagonal: float = 0.95
    other_annotators: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 0, 1, "warm_up", "diagonal")


class LTNet(Method):
    """Cross-entropy of every annotator's labels, through a learnt confusion matrix of each.

    Attributes:
        confusion: a matrix (classes, classes of the annotator) by the annotator's name; "own" are the data's labels.
    """

    Settings = LatentTruth
    hard_only = True

    def __init__(self, training: TrainingSet):
        super().__init__(training)
        self.settings = cast(LatentTruth, training.settings)
        classes = training.dataset.classes
        annotators = {OWN: (classes, torch.tensor(training.labels))}
        if self.settings.other_annotators:
            others = training.dataset.other_annotators()
            annotators |= {parameter_name(name): of for name, of in others.items()}
        self.confusion = nn.ParameterDict()
        for name, (names, labels) in annotators.items():
            self.confusion[name] = nn.Parameter(near_identity(classes, names, self.settings.diagonal))
            self.register_buffer(f"labels_{name}", labels, persistent=False)

    def step(self, network: Callable[[Tensor], Outputs], batch: Batch) -> tuple[Tensor, Tensor]:
        logits = network(batch.views[0]).logits.float()
        if batch.progress < self.settings.warm_up:
            return losses.cross_entropy(logits, batch.targets), logits
        loss = logits.new_zeros(())
        for name, matrix in self.confusion.items():
            with torch.no_grad():
                matrix.copy_(row_stochastic(matrix))
            labels = self.get_buffer(f"labels_{name}")[batch.rows]
            loss = loss + annotator_loss(logits, matrix / matrix.sum(dim=1, keepdim=True), labels)
        return loss, logits

    def matrices(self) -> dict[str, np.ndarray]:
        """The confusion matrices (classes, classes of the annotator) by the annotator's name; rows sum to 1."""
        return {name: row_stochastic(matrix.detach()).cpu().numpy() for name, matrix in self.confusion.items()}


def parameter_name(annotator: str) -> str:
    """Name of an annotator's matrix among the parameters, where PyTorch allows no dots."""
    return annotator.replace(".", "_")


def annotator_loss(logits: Tensor, matrix: Tensor, labels: Tensor) -> Tensor:
    """-log Σ_y p_y T[y, ỹ], summed over the faces with a label and divided by the batch, a scalar.

    Args:
        logits: (B, classes).
        matrix: T, (classes, classes of the annotator), rows sum to 1, no entry 0.
        labels: ỹ, (B,), -1 where the annotator gave none.
    """
    given = labels >= 0
    of_label = matrix.log().T[labels.clamp(min=0)]  # (B, classes): log T[:, ỹ]
    return -((logits.log_softmax(dim=1) + of_label).logsumexp(dim=1) * given).sum() / len(labels)


def row_stochastic(matrix: Tensor) -> Tensor:
    """The matrix with entries above 0 and rows that sum to 1; such a matrix stays as it is."""
    raised = matrix.where(matrix > 0, LEAST)
    return raised / raised.sum(dim=1, keepdim=True)


def near_identity(classes: tuple[str, ...], others: tuple[str, ...], diagonal: float) -> Tensor:
    """Matrix (classes, others): `diagonal` where the names agree, and the rest of a row spread evenly."""
    matrix = torch.full((len(classes), len(others)), (1 - diagonal) / max(len(others) - 1, 1))
    for row, column in enumerate(mapping(classes, others)):
        if column < 0:
            matrix[row] = 1 / len(others)
        else:
            matrix[row, column] = diagonal
    return row_stochastic(matrix)


def read_matrices(file: Path) -> dict[str, np.ndarray]:
    """`LTNet.matrices` of a run, after its last finished epoch.

    Args:
        file: last.safetensors of a run with this method.

    Raises:
        UserError: the run had another method.
    """
    prefix = "method.confusion."
    with safe_open(file, framework="pt") as tensors:
        names = [key for key in tensors.keys() if key.startswith(prefix)]  # noqa: SIM118 (not a dict)
        found = {key.removeprefix(prefix): row_stochastic(tensors.get_tensor(key)).numpy() for key in names}
    if not found:
        raise UserError(f"{file} is not of a run with the method ltnet")
    return found
