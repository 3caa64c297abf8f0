"""A model from elsewhere, so that it can be evaluated and audited like one of ours."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from inspect import signature
from typing import Any, cast

from torch import Tensor, nn

from ferlib.errors import UserError
from ferlib.models.base import FaceModel, ModelConfig


class ExternalModel(nn.Module):
    """Somebody else's module beside what the evaluation has to know about it.

    Args:
        model: maps normalised images (B, channels, S, S) to logits (B, classes).
        config: its classes in the order of the logits, and how images are prepared for it.
    """

    def __init__(self, model: nn.Module, config: ModelConfig):
        super().__init__()
        self.model, self.config = model, config

    def forward(self, x: Tensor) -> Tensor:
        logits, expected = self.model(x), (len(x), len(self.config.classes))
        if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
            given = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise UserError(
                f"{self.config.architecture} must give logits of shape {expected}, images by classes, not {given}"
            )
        return logits


AnyModel = FaceModel | ExternalModel  #: what can be evaluated and audited


def call_for_model(name: str) -> nn.Module:
    """The model that the function of this name makes. **This runs the code of that module.**

    Args:
        name: "package.module:callable"; called without arguments.

    Raises:
        UserError: there is no such callable, it wants arguments, or it does not return a module.
    """
    module, _, attribute = name.partition(":")
    try:
        build = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(f"{name!r} is not a MODULE:CALLABLE that can be imported: {error}") from error
    if not callable(build):
        raise UserError(f"{name} cannot be called, so it makes no model")
    try:
        signature(build).bind()
    except TypeError as error:
        raise UserError(f"{name} cannot be called without arguments: {error}") from error
    except ValueError:  # of what is not written in Python nothing is known
        pass
    model = build()
    if not isinstance(model, nn.Module):
        raise UserError(f"{name} must return a torch.nn.Module, not {type(model).__name__}")
    return model


def with_config(
    model: nn.Module, name: str, classes: Sequence[str], settings: Mapping[str, Any] | None = None
) -> AnyModel:
    """Somebody's model in evaluation mode, with what has to be known about it.

    A model with a `config` of the project's kind (`ModelConfig`) says itself what it wants. Of any other it is assumed
    that its logits stand for `classes` in their order and that it takes ImageNet-normalised RGB images of 224 px.

    Args:
        model: see `call_for_model`.
        name: that it is to have.
        classes: of the data set.
        settings: fields of `ModelConfig` that differ from these assumptions, e.g. {"input_size": 112, "grey": True}.

    Raises:
        UserError: a setting does not exist, or the model brings a config of its own.
    """
    settings = dict(settings or {})
    if isinstance(getattr(model, "config", None), ModelConfig):
        if settings:
            raise UserError(f"{name} brings a config of its own, so {', '.join(settings)} cannot be set")
        return cast(FaceModel, model.eval())  # by its kind, if not by its class
    known = [field.name for field in fields(ModelConfig) if field.name != "architecture"]
    if unknown := sorted(settings.keys() - set(known)):
        raise UserError(f"no setting {', '.join(unknown)}; a model has {', '.join(known)}")
    return ExternalModel(model, ModelConfig(name, **{"classes": tuple(classes)} | settings)).eval()
