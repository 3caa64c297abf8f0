"""Checkpoints as safetensors, written whole or not at all. No pickle."""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.optim import Optimizer

from ferlib.models.base import FaceModel


def save_model(model: FaceModel, folder: Path) -> None:
    """`model.save_pretrained(folder)`, replacing the folder in one step."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    model.save_pretrained(str(partial))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def save_checkpoint(path: Path, model: FaceModel, optimizer: Optimizer, epoch: int, history: list[dict]) -> None:
    """Everything needed to go on after `epoch` finished epochs, in one file."""
    tensors = {f"model.{key}": value.contiguous() for key, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if value is not None:
                tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value).contiguous()
    partial = path.with_suffix(f".{os.getpid()}.partial")
    save_file(tensors, partial, metadata={"epoch": str(epoch), "history": json.dumps(history)})
    partial.replace(path)


def load_checkpoint(path: Path, model: FaceModel, optimizer: Optimizer) -> tuple[int, list[dict]]:
    """Restore model and optimiser in place; returns the number of finished epochs and the history."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    model.load_state_dict({key[6:]: value for key, value in tensors.items() if key.startswith("model.")}, strict=True)
    states: dict[int, dict] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            states.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(metadata["epoch"]), json.loads(metadata["history"])
