"""Training methods by name: `--set method=NAME`. A method of one's own is registered with `register_method`."""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

import numpy as np

from ferlib.data.dataset import FaceDataset
from ferlib.errors import UserError
from ferlib.models.base import FaceModel
from ferlib.training.methods import imbalance
from ferlib.training.methods.base import Batch, Method, MethodSettings, Outputs, TrainedNetwork, TrainingSet
from ferlib.training.methods.ddamfn import DDAMFNLoss
from ferlib.training.methods.dmue import DMUE
from ferlib.training.methods.eac import EAC
from ferlib.training.methods.ltnet import LTNet
from ferlib.training.methods.mek import MEK
from ferlib.training.methods.mixup import Mixup
from ferlib.training.methods.neighbour_labels import NeighbourLabels
from ferlib.training.methods.qcs import QCS
from ferlib.training.methods.scn import SCN

__all__ = [
    "METHODS",
    "Batch",
    "Method",
    "MethodSettings",
    "Outputs",
    "TrainedNetwork",
    "TrainingSet",
    "create_method",
    "method_settings",
    "register_method",
]

METHODS: dict[str, type[Method]] = {
    "plain": Method,
    "sampler": imbalance.Sampler,
    "weights": imbalance.Weights,
    "class_balanced": imbalance.ClassBalanced,
    "focal": imbalance.Focal,
    "ldam": imbalance.LDAM,
    "logit_adjusted": imbalance.LogitAdjusted,
    "logit_adjusted_posthoc": imbalance.LogitAdjustedPostHoc,
    "label_smoothing": imbalance.LabelSmoothing,
    "soft_labels": imbalance.SoftLabels,
    "mixup": Mixup,
    "scn": SCN,
    "ltnet": LTNet,
    "neighbour_labels": NeighbourLabels,
    "eac": EAC,
    "mek": MEK,
    "dmue": DMUE,
    "ddamfn": DDAMFNLoss,
    "qcs": QCS,
}


def register_method(name: str, method: type[Method]) -> type[Method]:
    """Make a method of one's own known by a name, for recipes; gives the method back.

    Raises:
        UserError: the name is taken by another method.
    """
    if METHODS.setdefault(name, method) is not method:
        raise UserError(f"there is a training method {name} already: {METHODS[name].__name__}")
    return method


def method_settings(name: str, settings: Mapping[str, Any]) -> MethodSettings:
    """The settings of a method by name, those that are not given as its paper has them.

    Raises:
        UserError: unknown method or setting, or an impossible value.
    """
    if name not in METHODS:
        raise UserError(f"method must be one of {', '.join(METHODS)}, not {name!r}")
    own = [field.name for field in fields(METHODS[name].Settings)]
    unknown = sorted(settings.keys() - set(own))
    if unknown:
        there = f"it has {', '.join(own)}" if own else "it has none"
        raise UserError(f"the method {name} has no setting {', '.join(unknown)}; {there}")
    return METHODS[name].Settings(**settings)


def create_method(
    name: str, train: FaceDataset, model: FaceModel, settings: Mapping[str, Any] = MappingProxyType({})
) -> Method:
    """A training method by name, fitted to the training faces.

    Args:
        name: a key of `METHODS`.
        train: the training split.
        model: the network that will be trained.
        settings: the method's own, by name, see `method_settings`.

    Raises:
        UserError: unknown name or setting, or a class without training faces under a method that divides by class
            sizes.
    """
    chosen = method_settings(name, settings)
    labels = train.labels().numpy()
    counts = np.bincount(labels, minlength=len(train.classes))
    empty = [train.classes[i] for i in np.flatnonzero(counts == 0)]
    if empty and METHODS[name].uses_counts:
        raise UserError(
            f"the method {name} goes by class sizes, but {train.name} has no training faces of {', '.join(empty)}; "
            "leave these classes out or take another method"
        )
    return METHODS[name](TrainingSet(train, labels, counts, model, chosen))
