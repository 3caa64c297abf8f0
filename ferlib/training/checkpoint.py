"""Files of a training run, each written atomically, and no pickle:

recipe.json         everything that decided the run
environment.json    one entry a start: data, pretrained weights, commit, versions, machine, processes
history.csv         one row an epoch
last.safetensors    model, EMA model, training method and optimiser after the last finished epoch, to go on from
best/               the model of the best of the epochs in last.safetensors, for `load_model`
metrics.json        when the run has ended: the best epoch and its validation metrics
tensorboard/        the history as curves, where TensorBoard is installed
"""

import json
import os
import platform
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock, Timeout
from safetensors import safe_open
from torch import nn
from torch.optim import Optimizer

from ferlib.errors import UserError
from ferlib.evaluation.kept_epoch import best_epoch
from ferlib.evaluation.metrics import METRICS
from ferlib.models.base import FaceModel
from ferlib.training.recipes import Recipe
from ferlib.utils.atomic import atomic_write, read_json, replace_folder, write_json, write_through
from ferlib.utils.commit import commit
from ferlib.utils.old_names import renamed_fields
from ferlib.utils.tensor_files import save_tensors

#: Data sets of the same faces in the same splits.
SAME_SPLITS = {"fer2013", "ferplus", "ferplus_most_votes"}


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Attributes:
        path: where it is.
    """

    path: Path

    @property
    def last(self) -> Path:
        """State after the last finished epoch."""
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        """Model folder of the best epoch."""
        return self.path / "best"

    @contextmanager
    def used_alone(self) -> Iterator[None]:
        """Within `with`, no other training writes into the folder; the processes of one training count as one.

        Raises:
            UserError: another is at work in it.
        """
        if os.environ.get("RANK", "0") != "0":
            yield
            return
        lock = FileLock(self.path.parent / f".{self.path.name}.lock", timeout=0)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise UserError(f"another training is at work in {self.path}; choose another folder (--out)") from None
        try:
            yield
        finally:
            with suppress(OSError):  # before it is free, or the file of the next one would be removed
                Path(lock.lock_file).unlink()
            lock.release()

    def check(
        self, recipe: Recipe, model: FaceModel, method: nn.Module, resume: bool, began: Mapping[str, Any]
    ) -> None:
        """Assert that the run can be started, before any work is done.

        Args:
            recipe, model, method: of the run.
            resume: whether a run that is there may go on.
            began: what cannot change on the way beside the recipe, as `start` gets it: data, weights, choice of epoch.

        Raises:
            FileExistsError: the folder holds a run and `resume` is not set, or a trained model without its last state.
            ValueError: the run to resume was started with another recipe, on other data, from other weights or with
                another way to choose the epoch.
            OSError: the disk has too little room.
        """
        if self.last.exists() and not resume:
            raise FileExistsError(
                f"{self.path} already holds a run; continue it (--resume) or choose another folder (--out)"
            )
        if self.best.exists() and not self.last.exists():
            raise FileExistsError(
                f"{self.path} holds a model, but no {self.last.name} to go on from; choose another folder (--out)"
            )
        if self.last.exists():
            before = renamed_fields(json.loads((self.path / "recipe.json").read_text()))
            now = renamed_fields(json.loads(json.dumps(recipe.to_json())))  # a method of one's own may have such a name
            changes = _differences(before, now)
            if changes:
                raise UserError(f"the run in {self.path} was started with another recipe: {', '.join(changes)}")
            if changes := _differences(*self._what_began(began)):
                raise UserError(f"the run in {self.path} was started otherwise: {', '.join(changes)}")
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; a run needs a folder (--out)")
        self.path.mkdir(parents=True, exist_ok=True)
        whole, own = (sum(value.nbytes for value in part.state_dict().values()) for part in (model, method))
        parameters = [*model.parameters(), *method.parameters()]
        trained = sum(parameter.nbytes for parameter in parameters if parameter.requires_grad)
        # best/ and last.safetensors (model, EMA model, method, two moments of the optimiser), each twice while replaced
        needed, free = 2 * (3 * whole + own + 2 * trained) + 10_000_000, shutil.disk_usage(self.path).free
        if needed > free:
            raise OSError(f"the run needs {needed / 1e6:,.0f} MB, but {self.path} has {free / 1e6:,.0f} MB free")

    def _what_began(self, now: Mapping[str, Any]) -> tuple[dict, dict]:
        """The things in `now` as the run recorded them at its start, and as they are; a file's name does not count."""
        first = json.loads((self.path / "environment.json").read_text())[0]
        both = [{key: facts[key] for key in now if key in first} for facts in (first, now)]
        for facts in both:
            if "sha256" in (facts.get("backbone_weights") or {}):
                facts["backbone_weights"] = {"sha256": facts["backbone_weights"]["sha256"]}
        return both[0], both[1]

    def start(self, recipe: Recipe, **setting: object) -> None:
        """Write recipe and environment; clear what a killed process may have left half written.

        Args:
            recipe: of the run.
            **setting: what the loop knows of the environment, JSON-ready.
        """
        for partial in self.path.glob("*.partial"):
            shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
        if not self.best.exists() and self._old_best.exists():  # killed between the two renames of `replace_folder`
            self._old_best.rename(self.best)
        shutil.rmtree(self._old_best, ignore_errors=True)
        self._settle_best(self._finished_epochs())
        self._write_json("recipe.json", recipe.to_json())
        place = self.path / "environment.json"
        starts = json.loads(place.read_text()) if place.exists() and self.last.exists() else []
        self._write_json("environment.json", [*starts, environment() | setting])

    def save_best(self, model: FaceModel, epoch: int) -> None:
        """Write the model of the best epoch so far, counted from 0; it becomes best/ when `save_last` has that epoch.

        Were it best/ before, a kill in between would leave there a model of which no history tells.
        """
        partial = self.path / f"best.{os.getpid()}.partial"
        model.save_pretrained(str(partial))
        write_through(partial)
        partial.rename(self.path / f"best.epoch_{epoch}")

    def _settle_best(self, epochs: int) -> None:
        """Make what `save_best` wrote best/ if its epoch is among so many finished ones, else remove it.

        At every moment there is a whole best/, under this name or as best.old (see `start`).
        """
        for folder in self.path.glob("best.epoch_*"):
            if int(folder.name.rpartition("_")[2]) < epochs:
                replace_folder(folder, self.best, self._old_best)
            else:
                shutil.rmtree(folder)

    def _finished_epochs(self) -> int:
        """Epochs after which last.safetensors was written."""
        if not self.last.exists():
            return 0
        with safe_open(self.last, framework="pt") as file:
            return int(file.metadata()["epoch"])

    @property
    def _old_best(self) -> Path:
        return self.path / "best.old"

    def save_last(
        self,
        model: nn.Module,
        ema_model: nn.Module | None,
        method: nn.Module,
        optimizer: Optimizer,
        epoch: int,
        history: list[dict],
    ) -> None:
        """Everything needed to go on after `epoch` finished epochs, in one file; the history as a table, and best/."""
        tensors = {f"model.{key}": value.contiguous() for key, value in model.state_dict().items()}
        tensors |= {f"method.{key}": value.contiguous() for key, value in method.state_dict().items()}
        if ema_model is not None:
            tensors |= {f"ema_model.{key}": value.contiguous() for key, value in ema_model.state_dict().items()}
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                if value is not None:
                    tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value).contiguous()
        with atomic_write(self.last) as partial:
            save_tensors(tensors, partial, metadata={"epoch": str(epoch), "history": json.dumps(history)})
            write_through(partial)
        self._settle_best(epoch)
        self._write_history(pd.DataFrame(history))

    def load_last(
        self, model: nn.Module, ema_model: nn.Module | None, method: nn.Module, optimizer: Optimizer
    ) -> list[dict]:
        """Restore model, EMA model, training method and optimiser in place; gives the history, a row an epoch."""
        with safe_open(self.last, framework="pt") as file:
            metadata = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        average = "averaged." if any(key.startswith("averaged.") for key in tensors) else "ema_model."  # its old name
        for prefix, module in (("model.", model), (average, ema_model), ("method.", method)):
            if module is not None:
                state = {key.removeprefix(prefix): v for key, v in tensors.items() if key.startswith(prefix)}
                module.load_state_dict(state, strict=True)
        states: dict[int, dict] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".", 2)
                states.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
        return json.loads(metadata["history"])

    def finish(self, history: pd.DataFrame, select_by: str, recipe: Recipe) -> None:
        """Write the history as a table, and metrics.json: what the best epoch reached on the faces that chose it."""
        self._write_history(history)  # a kill may have come between it and the last epoch
        best = history.loc[best_epoch(history, select_by, recipe.kept_gain)]
        figures = {"epochs": len(history), "select_by": select_by, "protocol": recipe.protocol, "best": best.to_dict()}
        self._write_json("metrics.json", figures)

    def _write_history(self, history: pd.DataFrame) -> None:
        with atomic_write(self.path / "history.csv") as partial:
            history.to_csv(partial, index=False)

    def _write_json(self, name: str, content: object) -> None:
        write_json(self.path / name, content, indent=2)


def check_select_by(select_by: str, observed: Collection[str]) -> None:
    """Assert that something can choose the epoch.

    Args:
        select_by: its name.
        observed: names of what is known of an epoch beside the validation metrics.

    Raises:
        UserError: it is lower where a model is better, or there is no such metric.
    """
    if select_by in ("ece", "train_loss"):
        raise UserError(f"the epoch is kept that has the highest score; {select_by} is lower where a model is better")
    if select_by not in (known := (*METRICS, *observed)):
        raise UserError(f"select_by must be one of {', '.join(known)}, not {select_by!r}")


def selected_on(folder: str | Path, data: Mapping[str, Any]) -> str | None:
    """The split of a data set that chose a model's epoch: of a run's best/ or of a released folder.

    None where there is no record, where what chose it is none of `METRICS`, or where it was trained on another data
    set, on other splits of this one, or on a folder, of whose splits nothing is known.

    Args:
        folder: of the model.
        data: the data set, by `described`.
    """
    folder = Path(folder)
    own = recorded_data(folder)
    if (record := folder / "training.json").is_file():
        split = read_json(record)["selected"]["split"]
    elif (record := folder.parent / "metrics.json").is_file() and _of_a_run(folder):
        split = choosing_split(read_json(record))
    else:
        return None
    if own is None:
        return split
    if own["name"] == "folder" or other_splits(own, data):  # a folder is anybody's
        return None
    return split if own["name"] == data["name"] or {own["name"], data["name"]} <= SAME_SPLITS else None


def other_splits(own: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    """True if two records, by `described`, are of one data set but not of the same validation and test faces."""
    there, here = own.get("faces", {}), data["faces"]
    known = own["name"] == data["name"] and bool(there)
    return known and any(there.get(split) != here.get(split) for split in ("validation", "test"))


def recorded_data(folder: Path) -> dict[str, Any] | None:
    """The record, by `described`, of what a run's best/ or a released model was trained on; None without one."""
    if (record := folder / "training.json").is_file():
        return read_json(record)["data"]
    if (record := folder.parent / "environment.json").is_file() and _of_a_run(folder):
        return json.loads(record.read_text())[-1].get("data")
    return None


def _of_a_run(folder: Path) -> bool:
    """True if a model is the best/ of a run, and what lies beside it the run's; not anybody's files of such names."""
    return folder.name == "best" and (folder.parent / "recipe.json").is_file()


def choosing_split(figures: Mapping[str, Any]) -> str | None:
    """The split that chose a run's epoch, by its metrics.json; None where something observed did, of test perhaps."""
    if figures["select_by"] not in METRICS:
        return None
    return "test" if figures["protocol"] == "published" else "validation"


def environment() -> dict:
    """Versions, machine and arguments that a run's numbers may depend on beside its recipe, JSON-ready."""
    return {
        "commit": commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "timm", "accelerate", "numpy")},
        "cuda": torch.version.cuda,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "arguments": sys.argv[1:],
    }


def _differences(before: dict, now: dict) -> list[str]:
    """Words for every setting that differs: "lr 0.01 there, 0.02 here"."""
    changes = []
    for key in sorted(before.keys() | now.keys()):
        there, here = before.get(key), now.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            changes += _differences(there, here)
        elif there != here:
            changes.append(f"{key} {there} there, {here} here")
    return changes
