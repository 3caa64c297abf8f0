"""Training methods: what a step of training minimises, as an object.

The loop (`ferlib.training.loop`) goes over the faces, calls the method for every batch, and takes an optimiser step on
the loss it returns. Everything in which published methods differ is in here: the loss, a second view of every face,
networks or labels of their own that are learnt along, and which faces an epoch draws.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import numpy as np
import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn

from ferlib.data.dataset import FaceDataset
from ferlib.models.backbone import BackboneModel
from ferlib.models.base import FaceModel
from ferlib.training import losses
from ferlib.utils.validation import check_types


@dataclass(frozen=True)
class MethodSettings:
    """Numbers and switches of a method that a recipe can set, by name: none here. A method with some has a subclass.

    Raises:
        UserError: a field is not of its type, or its value is impossible; the message names it.
    """

    def __post_init__(self) -> None:
        check_types(self)

    @property
    def least_batch(self) -> int:
        """Faces that a batch must have at least; a recipe with fewer is refused."""
        return 1


@dataclass(frozen=True)
class TrainingSet:
    """Facts that a method may be built from, all of the training split.

    Attributes:
        dataset: the split.
        labels: true class of every face, (N,) int64; of soft targets the class with the most votes.
        counts: faces of every class, (classes,).
        model: the network that will be trained; not to be changed, nor kept as a part of the method.
        settings: the method's own.
    """

    dataset: FaceDataset
    labels: np.ndarray
    counts: np.ndarray
    model: FaceModel
    settings: MethodSettings = field(default_factory=MethodSettings)

    @property
    def vector_size(self) -> int:
        """Length D of the vector that the model's classifier turns into logits."""
        return next(layer.in_features for layer in self.model.classifier.modules() if isinstance(layer, nn.Linear))


@dataclass(frozen=True)
class Batch:
    """One step's faces, on the device of the network.

    Attributes:
        views: inputs of the network, `Method.views` of them, each augmented by its own draw, or the second the mirror
            image of the first (`Method.mirrored`). Pixels (B, C, S, S), or with cached features the feature maps
            (B, C, h, w): the face as it is and flipped, in either order.
        targets: (B,) class indices, or (B, classes) distributions.
        rows: places of the faces in the training split, (B,).
        progress: fraction of the run's steps already taken, 0 to 1.
    """

    views: tuple[Tensor, ...]
    targets: Tensor
    rows: Tensor
    progress: float


class Outputs(NamedTuple):
    """Answers of the network for one view of a batch of faces.

    Attributes:
        logits: (B, classes).
        vector: (B, D), what the classifier turns into the logits.
        features: the feature map (B, C, h, w), `FaceModel.forward_features`; with cached features it has no gradient.
        details: `FaceModel.forward_details`, for methods that are made for one model.
        stage_input: the feature map that goes into the backbone's last stage, (B, C', h', w'), where the method asks
            for it (`Method.stage_input`), else None.
    """

    logits: Tensor
    vector: Tensor
    features: Tensor
    details: Tensor | None = None
    stage_input: Tensor | None = None


class TrainedNetwork(nn.Module):
    """A model as a method sees it: a view of the faces -> `Outputs`; it shares the model's parameters.

    Args:
        model: that is trained.
        cached: whether views are feature maps from a cache, else pixels.
        stage_input: whether `Outputs.stage_input` is given; the model is a `BackboneModel` then, and views are pixels.
    """

    def __init__(self, model: FaceModel, cached: bool, stage_input: bool = False):
        super().__init__()
        self.model, self.cached, self.stage_input = model, cached, stage_input

    def forward(self, view: Tensor) -> Outputs:
        before = None
        if self.stage_input:
            features, before = cast(BackboneModel, self.model).backbone.with_stage_input(view)
        else:
            features = view if self.cached else self.model.forward_features(view)
        vector, details = self.model.forward_details(features)
        return Outputs(self.model.classifier(vector), vector, features, details=details, stage_input=before)


def model_in(network: Callable) -> FaceModel:
    """The model that a step's network is made of, also where it is shared by processes or compiled."""
    return extract_model_from_parallel(network, keep_torch_compile=False).model


class Method(nn.Module):
    """Plain training: cross-entropy over all faces alike. A subclass changes what its paper changes.

    A method that needs the logits alone overrides `loss`; one that needs feature maps, several views or the faces'
    places overrides `step`. Parameters and buffers of its own are trained, saved and restored with the network's;
    anything that decides the next step must be one of them, so that a resumed run goes where an uninterrupted one goes.
    A step may draw from PyTorch's global generators, which the loop seeds for every epoch, and from no other.
    Under SAM a step is computed twice, see `ferlib.training.sam`; buffers are what the first time makes of them. With
    several processes the rows of its own buffers with a row a face (N, ...) are exchanged at the end of every epoch.

    Args:
        training: the training split.

    Attributes:
        Settings: the class of its settings; no name in it may be one of a recipe or of a model's config.
        views: views of every face that a step needs, 1 or 2.
        mirrored: true if the second view is the mirror image of the first, and not augmented by a draw of its own.
        stage_input: true if it needs the map that goes into the backbone's last stage, see `Outputs`.
        targets: "hard" or "soft" where the method asks for them, whatever the recipe says; else None.
        uses_counts: true if it divides by class sizes, and so needs a training face of every class.
        hard_only: true if it needs one true class a face.
        group: faces that belong together in `order`; a batch must hold whole groups.
        sampling: probability (N,) of every face to be drawn, with replacement; None: every face once an epoch.
        post_hoc: true if training itself is plain, and all it does is the `logit_shift` of the finished model.
        logit_shift: (classes,), added to the logits of the model that is evaluated and saved; None: nothing.
    """

    Settings: type[MethodSettings] = MethodSettings
    views = 1
    mirrored = False
    stage_input = False
    targets: str | None = None
    uses_counts = False
    hard_only = False
    post_hoc = False
    group = 1
    sampling: Tensor | None = None
    logit_shift: Tensor | None

    def __init__(self, training: TrainingSet):
        super().__init__()
        self.register_buffer("logit_shift", None)

    def order(self, faces: int) -> Tensor:
        """The faces (N,) of one epoch, in the order of its steps, from PyTorch's global generator."""
        if self.sampling is None:
            return torch.randperm(faces)
        return torch.multinomial(self.sampling, faces, replacement=True)

    def step(self, network: Callable[[Tensor], Outputs], batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss to be minimised, a scalar, and logits (B, classes) for the training accuracy, in the order of `batch`.

        Args:
            network: takes a view and gives its `Outputs`, in training mode.
            batch: the faces.
        """
        logits = network(batch.views[0]).logits.float()
        return self.loss(logits, batch.targets, batch.progress), logits

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        """Loss of a batch, a scalar.

        Args:
            logits: (B, classes).
            targets: (B,) class indices or (B, classes) distributions.
            progress: fraction of the run's steps already taken, 0 to 1.
        """
        return losses.cross_entropy(logits, targets)

    def keep(self, name: str, values: np.ndarray) -> None:
        """Hold constants that go with the module to its device; they are not part of its state."""
        self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)
