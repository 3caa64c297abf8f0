"""Pretrained weights for a backbone: timm's from the Hugging Face hub, or a local file; always loaded strictly.

And how the backbone wants its pixels: as it was pretrained, which is not ImageNet's mean and std for every one.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import timm
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from timm.models import PretrainedCfg
from torch import Tensor, nn

from ferlib.errors import RunError, UserError
from ferlib.models.base import Normalisation
from ferlib.models.int8 import dequantised
from ferlib.runtime.hub import hub_folder
from ferlib.utils.old_names import renamed_parameter

State = dict[str, Tensor]


class NoPretrainedWeights(RunError):
    """ImageNet weights are not to be had; the message names the two ways out."""

    def __init__(self, reason: str, file: str = "a local file"):
        super().__init__(
            f"{reason}; give {file} with backbone_weights=PATH.safetensors, or take random weights with "
            "pretrained=False"
        )
        self.command_line = (
            f"{reason}; give a file or a released model's name with --backbone-weights, or take random weights with "
            "--backbone-weights none"
        )


def check_timm_name(name: str) -> None:
    """Assert that timm has a model of this name; ValueError if not."""
    if not timm.is_model(name):
        raise UserError(f"timm has no model {name!r}; timm.list_models('*name*') finds names")


def timm_normalisation(name: str) -> Normalisation:
    """Mean and std that timm's weights of this model were trained with."""
    check_timm_name(name)
    source = cast(PretrainedCfg, timm.get_pretrained_cfg(name))  # None only for unknown names
    return tuple(source.mean), tuple(source.std)


def noted_normalisation(path: Path) -> Normalisation | None:
    """Mean and std that a weights file was trained with, where it says so; else None.

    They stand in the file's metadata, as JSON lists `mean` and `std`, or, where the file is the model.safetensors of a
    model of this project, in the config.json beside it.

    Raises:
        RuntimeError: what stands there are no numbers.
    """
    config = path.with_name("config.json")
    try:
        with safe_open(path, framework="pt") as file:
            notes = {key: json.loads(text) for key, text in (file.metadata() or {}).items() if key in ("mean", "std")}
        if not notes and path.name == "model.safetensors" and config.is_file():
            notes = json.loads(config.read_text())
        mean, std = notes.get("mean"), notes.get("std")
        return None if mean is None or std is None else (tuple(map(float, mean)), tuple(map(float, std)))
    except (SafetensorError, OSError):  # said when the weights are loaded
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise RunError(f"the mean and std noted for {path} are no lists of numbers ({error})") from error


def weights_record(weights: str | Path | None) -> dict[str, str]:
    """Name and checksum of pretrained weights, to be saved with a run.

    {"name": "none" or "imagenet"}, or the "name" of a file, without its folder, and its "sha256".
    """
    if weights in (None, "imagenet"):
        return {"name": str(weights).lower()}
    path = Path(weights)
    about = path.stat()
    return {"name": path.name, "sha256": _checksum(path, about.st_mtime_ns, about.st_size)}


@lru_cache  # a table asks for every run
def _checksum(path: Path, changed: int, size: int) -> str:
    """SHA-256 of a file that was changed at that time and has that many bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_timm_weights(
    net: nn.Module, weights: str | Path, prefixes: Sequence[str], translate: Callable[[State], State] | None = None
) -> None:
    """Load pretrained weights into a timm model, whole or truncated; every parameter it has must be found.

    Args:
        net: the timm model.
        weights: "imagenet" (timm's own, downloaded from the Hugging Face hub) or a file, see `load_weights_file`.
        prefixes, translate: see `load_weights_file`.

    Raises:
        RuntimeError: the download failed, or the file does not fit.
    """
    if weights == "imagenet":
        source = cast(dict[str, Any], net.pretrained_cfg)  # timm's note of where its weights are
        weights = _download(f"{source['architecture']}.{source.get('tag') or ''}".rstrip("."))
    load_weights_file(net, Path(weights), prefixes, translate)


def load_weights_file(
    net: nn.Module, path: Path, prefixes: Sequence[str], translate: Callable[[State], State] | None = None
) -> None:
    """Load a .safetensors file; every parameter of `net` must be found in it, others in it are left.

    Args:
        net: a whole backbone or its first stages.
        path: the file, with the parameter names of `net`, or of a model of this project that contains `net`.
        prefixes: what may stand before the names of `net`'s parameters in a model of this project; the first that is
            there counts.
        translate: gives the file's parameters the names and shapes they have in `net`.

    Raises:
        RuntimeError: the file cannot be read, or does not fit.
    """
    state = {renamed_parameter(key): value for key, value in _read(path).items()}
    for prefix in prefixes:
        if inside := {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}:
            state = inside
            break
    state = translate(state) if translate else state
    own = net.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    missing = own.keys() - state.keys() - counters
    if missing:
        raise RunError(f"{path} lacks {len(missing)} of {len(own)} backbone parameters, e.g. {min(missing)}")
    wrong = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    if wrong:
        raise RunError(f"{path} does not fit the backbone: {min(wrong)} has another shape")
    net.load_state_dict({key: state.get(key, own[key]) for key in own}, strict=True)


def _download(name: str) -> Path:
    try:
        return hub_folder(f"timm/{name}", ["model.safetensors"]) / "model.safetensors"
    except OSError as error:
        raise NoPretrainedWeights(f"the pretrained weights of {name} could not be downloaded ({error})") from error


def _read(path: Path) -> State:
    if not path.is_file():
        raise RunError(f"no weights file {path}")
    try:
        return dequantised(load_file(path))
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is not a readable safetensors file ({error})") from error
