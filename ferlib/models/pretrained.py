"""Pretrained weights for a backbone: timm's from the Hugging Face hub, or a local file; always loaded strictly."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ferlib.errors import RunError
from ferlib.models.hub import hub_folder

State = dict[str, Tensor]


def weights_record(weights: str | Path | None) -> dict[str, str]:
    """What a run notes of the pretrained weights it starts from, JSON-ready: {"name": "none" or "imagenet"}, or the
    "name" of a file, without its folder, and its "sha256"."""
    if weights in (None, "imagenet"):
        return {"name": str(weights).lower()}
    path = Path(weights)
    return {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def load_timm_weights(
    net: nn.Module, weights: str | Path, prefix: str, translate: Callable[[State], State] | None = None
) -> None:
    """Load pretrained weights into a timm model, whole or truncated; every parameter it has must be found.

    Args:
        net: the timm model.
        weights: "imagenet" (timm's own, downloaded from the Hugging Face hub) or a file, see `load_weights_file`.
        prefix, translate: see `load_weights_file`.

    Raises:
        RuntimeError: the download failed, or the file does not fit.
    """
    if weights == "imagenet":
        source = cast(dict[str, Any], net.pretrained_cfg)  # timm's note of where its weights are
        weights = _download(f"{source['architecture']}.{source.get('tag') or ''}".rstrip("."))
    load_weights_file(net, Path(weights), prefix, translate)


def load_weights_file(
    net: nn.Module, path: Path, prefix: str, translate: Callable[[State], State] | None = None
) -> None:
    """Load a .safetensors file; every parameter of `net` must be found in it, others in it are left.

    Args:
        net: a whole backbone or its first stages.
        path: the file, with the parameter names of `net`, or of a model of this project that contains `net`.
        prefix: what stands before the names of `net`'s parameters in a model of this project.
        translate: gives the file's parameters the names and shapes they have in `net`.

    Raises:
        RuntimeError: the file cannot be read, or does not fit.
    """
    state = _read(path)
    state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)} or state
    state = translate(state) if translate else state
    own = net.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    missing = own.keys() - state.keys() - counters
    if missing:
        raise RunError(f"{path} lacks {len(missing)} of {len(own)} trunk parameters, e.g. {min(missing)}")
    wrong = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    if wrong:
        raise RunError(f"{path} does not fit the trunk: {min(wrong)} has another shape")
    net.load_state_dict({key: state.get(key, own[key]) for key in own}, strict=True)


def _download(name: str) -> Path:
    try:
        return hub_folder(f"timm/{name}", ["model.safetensors"]) / "model.safetensors"
    except OSError as error:
        raise RunError(
            f"the pretrained weights of {name} could not be downloaded ({error}); give a "
            "local file with trunk_weights=PATH.safetensors, or take random weights with pretrained=False"
        ) from error


def _read(path: Path) -> State:
    if not path.is_file():
        raise RunError(f"no weights file {path}")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is not a readable safetensors file ({error})") from error
