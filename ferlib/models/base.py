"""Base classes of all models: the contract of `FaceModel`, its config, saving and loading."""

# No `from __future__ import annotations` in the model files: the hub mixin reads the annotation of `config`.

import copy
import io
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from ferlib import labels
from ferlib.errors import UserError
from ferlib.models.int8 import dequantised
from ferlib.runtime.released import model_folder
from ferlib.utils.devices import device_of
from ferlib.utils.old_names import renamed_fields, renamed_parameter
from ferlib.utils.tensor_files import let_read
from ferlib.utils.validation import check_range, check_types

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std


@dataclass(frozen=True)
class ModelConfig:
    """Settings that a model is built from, and how its input is prepared.

    Attributes:
        architecture: the model's name in the registry.
        classes: class names in the order of the logits.
        input_size: side of the square input in pixels.
        downscale_to: faces are first reduced to this side, because the training faces had no more detail; None: no.
        centre_crop: the input is the middle of the reduced face, not the whole of it resized.
        grey: whether colour is removed from the input, as in the training faces.
        flip_tta: outside training, logits are the mean of those for the image and for its mirror image: for twice the
            time, an answer that does not depend on which side is left.
        mean, std: normalisation for pixels in 0..1, one number an input channel: three, or one for grey input. None
            stands for what the backbone was pretrained with, and is replaced by numbers when the model is built, see
            `ferlib.models.registry.build_model`.
        temperature: probabilities are softmax(logits / temperature); of a released model it is fitted on validation
            faces (`ferlib calibrate`), so that they mean what they say, else 1.

    Raises:
        ValueError: a field is not of its type, or its value is impossible; the message names it.
    """

    architecture: str
    classes: tuple[str, ...] = labels.FERPLUS
    input_size: int = 224
    downscale_to: int | None = None
    centre_crop: bool = False
    grey: bool = False
    flip_tta: bool = False
    mean: tuple[float, ...] | None = IMAGENET_MEAN
    std: tuple[float, ...] | None = IMAGENET_STD
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):  # lists, when read from JSON
            if isinstance(getattr(self, field.name), list):
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))
        check_types(self)
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise UserError(f"classes must be at least two different names, not {self.classes}")
        labels.require_class_names(self.classes)
        if self.input_size < 1:
            raise UserError(f"input_size must be positive, not {self.input_size}")
        if self.centre_crop and (self.downscale_to or 0) < self.input_size:
            raise UserError("centre_crop needs a downscale_to of at least input_size to crop from")
        check_range(self, 0, math.inf, "temperature", exclusive=True)
        check_range(self, 1, math.inf, "downscale_to")
        if self.mean is None or self.std is None:
            if self.mean != self.std:
                raise UserError("give both mean and std, or neither for those of the backbone")
        elif len(self.mean) != len(self.std) or len(self.mean) not in ((1, 3) if self.grey else (3,)):
            raise UserError(f"mean and std need 3 numbers each, or 1 if grey, not {self.mean} and {self.std}")
        if not all(map(math.isfinite, (*(self.mean or ()), *(self.std or ())))) or min(self.std or (1,)) <= 0:
            raise UserError(f"mean and std must be finite, and std above 0, not {self.mean} and {self.std}")
        self._check_sizes()

    def _check_sizes(self) -> None:
        """Assert what settings mean that several architectures have: it is the same in each."""
        own = {field.name for field in fields(self)}
        check_range(self, 0, 1, *({"dropout", "head_dropout"} & own))
        check_range(self, 1, math.inf, *({"width", "hidden", "bottleneck"} & own))
        widths = getattr(self, "widths", (1,))
        if not widths or min(widths) < 1:
            raise UserError(f"widths must be whole numbers above 0, one a stage, not {widths}")

    @property
    def channels(self) -> int:
        """Input channels C."""
        return len(self.mean or IMAGENET_MEAN)

    @property
    def side(self) -> int:
        """Side in pixels at which pictures of a folder are read: the larger of the two that they are scaled to.

        With a `downscale_to` below it the model sees less of them: `InputSettings.face_side`.
        """
        return max(self.input_size, self.downscale_to or 0)

    def own_normalisation(self) -> Normalisation:
        """Mean and std that the backbone of this architecture is pretrained with; ImageNet's if it has none."""
        return IMAGENET_MEAN, IMAGENET_STD


class FaceModel(nn.Module, PyTorchModelHubMixin):
    """An expression classifier.

    Contract: `forward(x)` takes normalised images (B, channels, H, W) and gives logits (B, classes): the mean of
    `forward_head(forward_features(side))` over `sides(x)`, which is the images alone or, with `flip_tta`, both sides of
    them. Whoever takes a model apart goes over `sides` too, and puts it together with `mean_of` and `map_of`; then the
    answer is that of `forward`. The features are the spatial map (B, C, h, w) that Grad-CAM looks at, the output of
    `cam_layer`. `classifier` is affine. In evaluation mode a prediction must not depend on the other images of the
    batch, except for variants that say so in their name.

    `save_pretrained(folder)` writes `model.safetensors` and `config.json`; `from_pretrained(folder or hub name)` reads
    them back, strictly by default. `ferlib.models.registry.load_model` finds the class by the config.
    """

    config: ModelConfig
    classifier: nn.Module  # the last layer, (B, D) -> logits (B, classes)
    has_backbone = False  # whether there is a pretrained part, for which `backbone_weights` can be given
    started_from: dict[str, str] | None = None  # `weights_record` of its backbone's weights; None: not known

    def forward(self, x: Tensor) -> Tensor:
        return mean_of([self.forward_head(self.forward_features(side)) for side in self.sides(x)])

    def sides(self, x: Tensor) -> tuple[Tensor, ...]:
        """Views of images (B, channels, H, W) that an answer is the mean over.

        The images as they are; with `flip_tta`, outside training, also their mirror images.
        """
        return (x, x.flip(-1)) if self.config.flip_tta and not self.training else (x,)

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised images (B, channels, H, W) -> feature map (B, C, h, w)."""
        raise NotImplementedError

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature map (B, C, h, w) -> logits (B, classes), or with `pre_logits` the vector (B, D) before them."""
        raise NotImplementedError

    def forward_details(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Feature map (B, C, h, w) -> the vector (B, D) before the logits, and details that training may look at.

        What the details are, the model says; most have none.
        """
        return self.forward_head(features, pre_logits=True), None

    @property
    def cam_layer(self) -> nn.Module:
        """The layer whose output is `forward_features`."""
        raise NotImplementedError

    @property
    def mixes_batch(self) -> bool:
        """True if a prediction depends on the other images of its batch, by the design of the model."""
        return getattr(self.config, "attention", None) == "batch"

    @property
    def needs_two(self) -> bool:
        """True if one face is no training batch, as where a batch norm stands behind the pooling."""
        return False

    def check_batch(self, faces: int) -> None:
        """Assert that the network can be trained with batches of so many faces.

        Raises:
            UserError: they are too few for one of its batch norms.
        """
        if faces < 2 and self.needs_two:
            name = self.config.architecture
            raise UserError(f"{name} has a batch norm after its pooling and needs at least two faces in training")

    def check_training(self, faces: int) -> None:
        """`check_batch`, and of a single face a trial too: the whole map may be one position for a batch norm."""
        self.check_batch(faces)
        if faces < 2:
            side, channels = self.config.input_size, len(self.config.mean or IMAGENET_MEAN)
            try:
                with torch.random.fork_rng(), torch.no_grad():
                    copy.deepcopy(self).train()(torch.zeros(1, channels, side, side, device=device_of(self)))
            except ValueError as error:
                name = self.config.architecture
                raise UserError(f"{name} has a batch norm over a map of one position at {side} px, "
                                "and needs at least two faces in training") from error  # fmt: skip

    @classmethod
    def from_pretrained(  # type: ignore[override]  # nothing but these is used of the mixin's many settings
        cls, name_or_dir: str | Path, *args: Any, strict: bool = True, **kwargs: Any
    ) -> Self:
        """Load from a folder or from the Hugging Face hub; every parameter must be there and no other.

        Settings and parameters may have the names of earlier editions (`ferlib.utils.old_names`), and weights may be
        stored in eight bits (`ferlib.models.int8`).
        """
        folder = model_folder(name_or_dir)
        if "config" not in kwargs:
            config_class = signature(cls.__init__).parameters["config"].annotation
            settings = json.loads((folder / "config.json").read_text())
            kwargs["config"] = config_class(**renamed_fields(settings, {field.name for field in fields(config_class)}))
        with redirect_stdout(io.StringIO()):  # the mixin prints, into what may be a command's output
            return super().from_pretrained(str(folder), *args, strict=strict, **kwargs)

    def _save_pretrained(self, save_directory: Path) -> None:
        super()._save_pretrained(save_directory)
        let_read(save_directory / "model.safetensors")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name in [name for name in state_dict if name.startswith(prefix)]:
            old = name.removeprefix(prefix)
            if not hasattr(self, old.partition(".")[0]):  # a model of one's own may have a part of such a name
                state_dict[prefix + renamed_parameter(old)] = state_dict.pop(name)
        plain = dequantised(state_dict)
        state_dict.clear()
        state_dict.update(plain)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def mean_of(sides: Sequence[Tensor]) -> Tensor:
    """The answer for an image from those for its sides (`FaceModel.sides`), all of one shape: their mean."""
    return sides[0] if len(sides) == 1 else torch.stack(tuple(sides)).mean(dim=0)


def map_of(sides: Sequence[Tensor]) -> Tensor:
    """One map (B, h, w) over an image from those over its sides: their mean, the mirror image's turned back."""
    image, *mirrored = sides
    return mean_of([image, *(side.flip(-1) for side in mirrored)])


@torch.inference_mode(False)  # what is moved inside it could never have gradients again
def to_device(model: nn.Module, device: str | torch.device) -> None:
    """Move a model to a device, its weights laid out with the channels last, as convolutions like them."""
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in PyTorch's annotations


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode; afterwards, also after an error, every part is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    for module, mode in modes:
        if mode:  # setting an attribute of a module is slow, and this stands in front of every prediction
            module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            if module.training != mode:
                module.training = mode
