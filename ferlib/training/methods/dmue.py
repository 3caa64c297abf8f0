"""DMUE: Dive into Ambiguity (She, Hu, Shi, Wang, Shen, Mei, CVPR 2021): what else could an ambiguous face be?

Beside the network (the target branch) stand as many auxiliary branches as there are classes: copies of the last stage
of its backbone, on the map that goes into it, with pooling and a classifier of C - 1 classes. Branch c is trained on
the faces of the other classes, and so says of a face of class c to which of the others it is closest.

    L_aux  = mean over c of CE(z_c, y) over the faces with y ≠ c
    p̃      = softmax(z_c / T) of a face with y = c, 0 at c, without a gradient; T = 1.2
    L_soft = mean over faces and classes of (softmax(z)_k [k ≠ y] - p̃_k)²
    L_sp   = mean over c of the mean of (G(z_c) - G(f))² over pairs of faces with y ≠ c
             G: the matrix of inner products of a batch's rows, each of its rows divided by its norm; f: target vector
    s      = sigmoid(Linear(PReLU(Linear([a, one-hot y])))), a: mean cosine of f to the batch's faces of every class,
             scaled to 0..1 for every face
    L_CE   = CE(s z, y)
    loss   = r↑ (L_CE + 0.5 L_soft + 1000 L_sp) + r↓ L_aux
    r↑     = exp(-5 (1 - e/a)²) until epoch a, then 1;  r↓ = 1 until a, then exp(-(1 - a/e)²);  a = 10 of 36 epochs

After training the target branch stands alone: nothing of this is in the saved model.

It is expensive: the last stage runs C + 1 times for every face, and a run's state holds C copies of it. With seven
classes and three stages of EfficientNet-Lite0 or MobileNetV1 at 64 px, a step takes 4.2 to 4.4 times as long as a plain
one on one core (EAC and MEK: 2.1 to 2.4 times).

Departures: e goes on with every step instead of every epoch. p̃ comes from a branch in evaluation mode, whose batch
norm uses the statistics of the faces it was trained on; the authors' code uses those of the few faces of class c, and
leaves out batches with fewer than two of a class. Here a class that is not in the batch has a = 0, and a branch with
fewer than two faces rests for the step. That code leaves the confidence module out of its optimiser, here it is
trained. Its dropout and batch norm before the classifiers are not in the paper's equations, and not here; its one rate
for the backbone and another for the classifiers are one here.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ferlib.data.imbalance import sampling_weights
from ferlib.errors import UserError
from ferlib.models.backbone import BackboneModel
from ferlib.models.base import FaceModel, evaluating
from ferlib.models.layers import global_average_pool
from ferlib.training import losses
from ferlib.training.methods.base import Batch, Method, MethodSettings, Outputs, TrainingSet
from ferlib.utils.validation import check_range

TEMPERATURE = 1.2  # of the auxiliary branches' answers


@dataclass(frozen=True)
class LatentDistribution(MethodSettings):
    """Settings of DMUE.

    Attributes:
        soft_weight: of L_soft.
        similarity_weight: of L_sp.
        ramp: fraction of the run after which the target branch counts in full and the auxiliary ones fade: a.
        balanced: faces are drawn so that all classes are equally frequent, as the authors' code does.
    """

    soft_weight: float = 0.5
    similarity_weight: float = 1000.0
    ramp: float = 10 / 36
    balanced: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 0, math.inf, "soft_weight", "similarity_weight")
        check_range(self, 0, 1, "ramp")
        check_range(self, 0, math.inf, "ramp", exclusive=True)


class Branch(nn.Module):
    """A copy of a backbone's last stage with a classifier, its input (B, C', H', W') -> logits (B, classes - 1).

    Args:
        model: whose backbone's last stage is copied, with its weights.
    """

    def __init__(self, model: BackboneModel):
        super().__init__()
        self.stage = deepcopy(model.backbone.last_stage)
        self.classifier = nn.Linear(model.backbone.channels, len(model.config.classes) - 1)

    def forward(self, stage_input: Tensor) -> Tensor:
        return self.classifier(global_average_pool(self.stage(stage_input)))


class Confidence(nn.Module):
    """Confidence s of a face in its label, (B, 1) in 0..1, from `class_similarity` (B, classes) and labels (B,)."""

    def __init__(self, classes: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * classes, classes), nn.PReLU(), nn.Linear(classes, 1))

    def forward(self, similarity: Tensor, labels: Tensor) -> Tensor:
        own = F.one_hot(labels, similarity.shape[1])
        return self.layers(torch.cat([similarity, own], dim=1)).sigmoid()


class DMUE(Method):
    """Auxiliary branches that mine what else a face could be. Needs hard targets and a trained timm backbone."""

    Settings = LatentDistribution
    stage_input = True
    hard_only = True

    def __init__(self, training: TrainingSet):
        super().__init__(training)
        self.settings = cast(LatentDistribution, training.settings)
        model = on_trained_backbone(training.model)
        classes = len(model.config.classes)
        self.branches = nn.ModuleList(Branch(model) for _ in range(classes))
        self.confidence = Confidence(classes)
        if self.settings.balanced:
            self.sampling = torch.tensor(sampling_weights(training.labels))

    def step(self, network: Callable[[Tensor], Outputs], batch: Batch) -> tuple[Tensor, Tensor]:
        outputs, labels = network(batch.views[0]), batch.targets
        stage_input = cast(Tensor, outputs.stage_input)
        answers, soft = [], torch.zeros_like(outputs.logits, dtype=torch.float32)
        for c, branch in enumerate(self.branches):
            own = labels == c
            answers.append(branch(stage_input[~own]).float() if (~own).sum() > 1 else None)
            if own.any():
                with torch.no_grad(), evaluating(branch):
                    soft[own] = other_classes(branch(stage_input[own]).float(), c)
        with torch.autocast(labels.device.type, enabled=False):
            logits, vector = outputs.logits.float(), outputs.vector.float()
            scale = self.confidence(class_similarity(vector, labels, logits.shape[1]), labels)
            target = losses.cross_entropy(scale * logits, labels)
            target = target + self.settings.soft_weight * soft_loss(logits, labels, soft)
            target = target + self.settings.similarity_weight * similarity_loss(answers, vector, labels)
            auxiliary = auxiliary_loss(answers, labels)
        up, down = ramp_up(batch.progress, self.settings.ramp), ramp_down(batch.progress, self.settings.ramp)
        return up * target + down * auxiliary, logits


def on_trained_backbone(model: FaceModel) -> BackboneModel:
    """The model, after a check that it stands on a timm backbone, which is trained.

    Raises:
        UserError: it does not, or it is not.
    """
    if not isinstance(model, BackboneModel):
        raise UserError(
            "the method dmue copies the last stage of a timm backbone, as convcut and linear_probe have; "
            f"{model.config.architecture} has none"
        )
    if model.config.freeze_backbone:
        raise UserError("the method dmue trains the backbone, but it is frozen; give freeze_backbone=false")
    return model


def auxiliary_loss(answers: list[Tensor | None], labels: Tensor) -> Tensor:
    """L_aux: the mean over the branches of their cross-entropies, each over the faces of the other classes.

    Args:
        answers: of every branch c, logits (faces with y ≠ c, classes - 1) without the column of c; None: it rests.
        labels: (B,).
    """
    terms = [
        losses.cross_entropy(z, without_class(labels[labels != c], c)) for c, z in enumerate(answers) if z is not None
    ]
    return _mean(terms, labels)


def similarity_loss(answers: list[Tensor | None], vectors: Tensor, labels: Tensor) -> Tensor:
    """L_sp: the mean over the branches of the squared difference between `similarities` of their logits and vectors.

    Args:
        answers: see `auxiliary_loss`.
        vectors: of the target branch, (B, D).
        labels: (B,).
    """
    terms = [
        F.mse_loss(similarities(z), similarities(vectors[labels != c])) for c, z in enumerate(answers) if z is not None
    ]
    return _mean(terms, labels)


def _mean(terms: list[Tensor], labels: Tensor) -> Tensor:
    """Mean of scalars, 0 of none."""
    return sum(terms, torch.zeros((), device=labels.device)) / max(len(terms), 1)


def soft_loss(logits: Tensor, labels: Tensor, soft: Tensor) -> Tensor:
    """L_soft: mean of (p_k [k ≠ y] - p̃_k)² over faces and classes.

    Args:
        logits: of the target branch, (B, classes).
        labels: (B,).
        soft: p̃, (B, classes), 0 at the face's own class.
    """
    others = logits.softmax(dim=1).scatter(1, labels.unsqueeze(1), 0.0)
    return F.mse_loss(others, soft)


def without_class(labels: Tensor, c: int) -> Tensor:
    """Labels (B,), none of them c, as places among the classes without c."""
    return labels - (labels > c).long()


def other_classes(logits: Tensor, c: int) -> Tensor:
    """Distribution p̃ (B, classes), 0 at c, from branch c's logits (B, classes - 1)."""
    p = (logits / TEMPERATURE).softmax(dim=1)
    return torch.cat([p[:, :c], torch.zeros_like(p[:, :1]), p[:, c:]], dim=1)


def similarities(rows: Tensor) -> Tensor:
    """Inner products of all pairs of rows, (B, D) -> (B, B), each row of them divided by its Euclidean norm."""
    return F.normalize(rows @ rows.mT, dim=1)


def class_similarity(vectors: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean cosine of every face to the batch's faces of every class, scaled to 0..1 for every face, (B, classes).

    A class that is not in the batch gets 0, and so do all where they are equal.

    Args:
        vectors: (B, D).
        labels: (B,).
        classes: how many there are.
    """
    unit, members = F.normalize(vectors, dim=1), F.one_hot(labels, classes).float()  # (B, D), (B, classes)
    counts = members.sum(dim=0)
    mean = (unit @ unit.mT) @ members / counts.clamp(min=1)  # (B, classes)
    there = counts > 0
    low = mean.masked_fill(~there, math.inf).amin(dim=1, keepdim=True)
    high = mean.masked_fill(~there, -math.inf).amax(dim=1, keepdim=True)
    return ((mean - low) / (high - low).clamp(min=1e-6)).masked_fill(~there, 0.0)


def ramp_up(progress: float, end: float) -> float:
    """r↑, the weight of the target branch's losses: exp(-5 (1 - progress / end)²), from `end` on 1.

    Args:
        progress: fraction of the run's steps already taken, 0 to 1.
        end: of the ramp, as such a fraction.
    """
    return math.exp(-5 * (1 - min(progress / end, 1)) ** 2)


def ramp_down(progress: float, end: float) -> float:
    """r↓, the weight of the auxiliary branches' loss: 1 up to `end`, then exp(-(1 - end / progress)²)."""
    return math.exp(-((1 - end / max(progress, end)) ** 2))
