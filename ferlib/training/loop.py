"""The training loop, in the open: on a CPU, a GPU, or in several processes on one or many machines.

Every epoch's randomness (order, augmentation, dropout) is drawn from a generator seeded by (seed, epoch). So a run that
was killed and resumed at the last finished epoch goes exactly where the uninterrupted run goes, and nothing but the
weights, the optimiser and the history needs to be kept.

Started by `accelerate launch` or `torchrun`, every process holds the whole data and takes its fraction of every batch:
the batch size, the order of the faces and the learning rate mean the same for any number of processes. What differs are
the draws of augmentation and dropout, and what a process computes from its fraction of the batch alone: batch norm, and
losses that compare its faces (SCN's ranking, the neighbours of the label bank, DMUE's similarities, DDAMFN's 1 / D).
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin, broadcast
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from ferlib.data.dataset import DataError, FaceDataset, described
from ferlib.errors import RunError, UserError
from ferlib.evaluation.batches import alone_order, ordered_batches
from ferlib.evaluation.kept_epoch import best_epoch, epochs_without_gain
from ferlib.evaluation.metrics import summary
from ferlib.models.base import FaceModel, to_device
from ferlib.models.inference import run_batches
from ferlib.training.batch_sources import FeatureSource, PixelSource, create_source, targets_of
from ferlib.training.checkpoint import RunFolder, check_select_by
from ferlib.training.distillation import distillation_targets, teachers_record
from ferlib.training.logit_shift import output_layer, shifted
from ferlib.training.methods import Batch, Method, TrainedNetwork, create_method, method_settings
from ferlib.training.precision import precision_of, slow_convolutions_in_float32
from ferlib.training.recipes import Recipe
from ferlib.training.sam import sharpness_aware
from ferlib.training.schedules import schedule
from ferlib.training.several_processes import average_gradients, share_rows
from ferlib.training.tensorboard import TensorBoardLog
from ferlib.utils.devices import choose_device
from ferlib.utils.progress import progress

JUDGED_AT_ONCE = 128  # faces a batch where the batch makes no difference


def fit(
    model: FaceModel,
    data: FaceDataset,
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    select_by: str = "accuracy",
    observe: Callable[[FaceModel], Mapping[str, float]] | None = None,
) -> pd.DataFrame:
    """Train a model on the training split, selecting the epoch on the validation split.

    The test split is not touched, unless the recipe's protocol is "published" or `observe` looks at it. A model with a
    frozen backbone is trained on cached features when its augmentation is no more than a flip. Where the recipe's
    method shifts the finished logits, the shift is in the validation metrics, in best/ and in the model at the end, but
    not in the training state.

    Args:
        model: built from `recipe.config`; trained in place and left with the weights of the best epoch.
        data: has the splits "train" and "validation" ("test" by the protocol "published"), and the model's classes in
            the model's order.
        recipe: how to train.
        out: run folder; what it gets stands in `ferlib.training.checkpoint`.
        resume: continue the run in `out` after its last finished epoch.
        select_by: what decides the best epoch, the higher the better: a validation metric (a key of
            `ferlib.evaluation.metrics.METRICS`), or a name that `observe` returns.
        observe: called with the model, in evaluation mode, after the validation of every epoch; what it returns goes
            into the history. For watching a run, e.g. what another protocol would have said.

    Returns:
        One row an epoch: epoch, lr, train_loss, train_accuracy (over the steps, with augmentation and dropout), the
        validation metrics, what was observed, train_seconds (the steps alone) and seconds (with judging).

    Raises:
        DataError: the data does not fit the model or the teacher, or has no votes for soft targets.
        ValueError: the recipe's method does not fit the data or the model, there is no such teacher, the run to resume
            had another recipe or data, another training is at work in `out`, a batch cannot be shared by the processes
            or leaves one too few faces for the method, or `select_by` is none of these.
        FileExistsError: `out` holds a run and `resume` is not set.
        OSError: the disk has too little room.
        RuntimeError: the loss is no longer a number.
    """
    with RunFolder(out).used_alone():
        return _trained(_Run.start(model, data, recipe, out, resume, select_by, observe))


def _trained(run: "_Run") -> pd.DataFrame:
    recipe = run.recipe
    for epoch in range(len(run.history), recipe.epochs - recipe.first_epoch):
        if run.has_stalled():
            break
        began = time.perf_counter()
        with slow_convolutions_in_float32(nn.ModuleList([run.network, run.method]), recipe, run.accelerator.device):
            figures = run.train(epoch)
        run.judge(epoch, figures, began)
        run.save(epoch)
    return run.finish()


@dataclass
class _Run:
    """A training in progress: set up by `start`, then for every epoch `train`, `judge` and `save`, at the end `finish`.

    Attributes:
        model: the network that is trained.
        candidate: the network that is judged and kept: the model, or the average of its weights.
        network: the model as steps go through it, as Accelerate prepared it.
        step_network: the network, or the same compiled.
        method: what a step minimises.
        targets: of the training faces, on the device; with the teacher's answers in them, if there is one.
        truth: the classes that the data gives these faces, on the device.
        history: a row an epoch that has ended.
    """

    model: FaceModel
    candidate: FaceModel
    ema_model: ModelEmaV3 | None
    network: nn.Module
    step_network: Callable
    method: Method
    optimizer: Optimizer
    recipe: Recipe
    targets: Tensor
    truth: Tensor
    train_source: PixelSource | FeatureSource
    judged_source: PixelSource | FeatureSource
    accelerator: Accelerator
    folder: RunFolder
    select_by: str
    observe: Callable[[FaceModel], Mapping[str, float]] | None
    tensorboard: TensorBoardLog | None
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def start(
        cls,
        model: FaceModel,
        data: FaceDataset,
        recipe: Recipe,
        out: Path,
        resume: bool,
        select_by: str,
        observe: Callable[[FaceModel], Mapping[str, float]] | None,
    ) -> "_Run":
        """Check everything that can be checked before the work, then build what the epochs need; arguments of `fit`."""
        check_select_by(select_by, (select_by,) if observe else ())  # of what is observed more is known after an epoch
        recipe = replace(recipe, config=model.config)  # which has the backbone's normalisation in numbers
        train, judged = _training_and_judged(data, model, recipe)
        targets = targets_of(train, recipe.target_kind)
        accelerator = Accelerator(
            cpu=choose_device().type == "cpu",  # else it knows no processes on CPUs
            mixed_precision="no",  # the recipe says what is computed how, not the launcher's settings
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),  # the number alone gives way to them
        )
        device, processes = accelerator.device, accelerator.num_processes
        method = fitted_method(recipe, train, model, processes)
        folder = RunFolder(out)
        began: dict[str, Any] = {"data": described(data), "select_by": select_by}
        began["backbone_weights"] = model.started_from
        if recipe.teacher:
            began["teachers"] = teachers_record(recipe.teacher)
        folder.check(recipe, model, method, resume, began)
        truth = targets.argmax(dim=1) if targets.ndim == 2 else targets
        if recipe.teacher:
            targets = distillation_targets(targets, train, recipe.teacher, recipe.teacher_fraction)

        to_device(model, device)
        to_device(method, device)
        optimizer = create_optimizer_v2(
            nn.ModuleList([model, method]) if list(method.parameters()) else model,
            {"sgd": "nesterov"}.get(recipe.optimizer, recipe.optimizer),
            recipe.lr,
            recipe.weight_decay,
        )
        ema_model = ModelEmaV3(model, recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None
        history = folder.load_last(model, ema_model, method, optimizer) if folder.last.exists() else []
        accelerator.wait_for_everyone()  # all have looked into the folder
        tensorboard = None
        if accelerator.is_main_process:
            facts = {"device": str(device), "processes": processes, "precision": precision_of(recipe, device)}
            folder.start(recipe, **began, **facts, epoch=len(history))
            tensorboard = TensorBoardLog(out / "tensorboard", len(history))

        with accelerator.local_main_process_first():  # a cache is built by one process a machine, found by the others
            train_source = create_source(model, train, recipe.augment, device)
            judged_source = create_source(model, judged, recipe.augment, device)
        cached = isinstance(train_source, FeatureSource)
        network, optimizer = accelerator.prepare(TrainedNetwork(model, cached, method.stage_input), optimizer)
        return cls(
            model=model,
            candidate=ema_model.module if ema_model else model,
            ema_model=ema_model,
            network=network,
            step_network=network if recipe.compile == "no" else torch.compile(network, mode=recipe.compile),
            method=method,
            optimizer=optimizer,
            recipe=recipe,
            targets=targets.to(device),
            truth=truth.to(device),
            train_source=train_source,
            judged_source=judged_source,
            accelerator=accelerator,
            folder=folder,
            select_by=select_by,
            observe=observe,
            tensorboard=tensorboard,
            history=history,
        )

    def has_stalled(self) -> bool:
        """True after `recipe.patience` epochs without a new best."""
        scores = self.scores if self.recipe.patience_on == "score" else [row["train_accuracy"] for row in self.history]
        if not self.recipe.patience or not scores:
            return False
        return epochs_without_gain(scores, self.recipe.least_gain)[-1] >= self.recipe.patience

    @property
    def scores(self) -> list[float]:
        """The score that selects the epoch, of every epoch that has ended."""
        return [row[self.select_by] for row in self.history]

    def train(self, epoch: int) -> dict[str, float]:
        """Take the steps of one epoch; gives learning rate, loss, training accuracy and seconds.

        Raises:
            RunError: the loss is no longer a number.
        """
        recipe, accelerator, began = self.recipe, self.accelerator, time.perf_counter()
        faces, epochs = len(self.targets), recipe.epochs - recipe.first_epoch
        steps = max(faces // recipe.batch_size, 1)
        share = slice(accelerator.process_index, None, accelerator.num_processes)
        seed = recipe.seed * 100_003 + epoch
        torch.manual_seed(seed)  # for what all processes share: the order, and which faces are mirrored in a cache
        order = self.method.order(faces)[: steps * recipe.batch_size].view(steps, -1)  # (steps, batch size)
        inputs = self.train_source.training_batches(order, share, self.method.views, self.method.mirrored)
        torch.manual_seed(seed * 1009 + accelerator.process_index)  # for augmentation and dropout
        self.network.train()
        self.method.train()
        loss_sum, hits = torch.zeros((), device=accelerator.device), torch.zeros((), device=accelerator.device)
        scores = self.scores
        work = zip(order[:, share], inputs, strict=True)
        bar = progress(work, f"epoch {epoch + 1}/{epochs}", "step", accelerator.is_main_process, steps)
        for step, (rows, views) in enumerate(bar):
            done = (epoch * steps + step) / (epochs * steps)
            lr = recipe.lr * schedule(recipe.schedule, done, scores, recipe.first_epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            rows = rows.to(accelerator.device)
            loss, logits = self.step(Batch(views, self.targets[rows], rows, done))
            if self.ema_model:
                self.ema_model.update(self.model, epoch * steps + step)
            loss_sum += loss.detach()
            hits += (logits.detach().argmax(dim=1) == self.truth[rows]).sum()
        if accelerator.num_processes > 1:
            share_rows(self.method, order, faces, accelerator)
        train_loss = float(accelerator.reduce(loss_sum, "mean")) / steps  # waits for the device
        train_accuracy = float(accelerator.reduce(hits, "sum")) / order.numel()
        if not math.isfinite(train_loss):
            raise RunError(f"the loss became {train_loss} in epoch {epoch + 1}; lower the learning rate")
        seconds = time.perf_counter() - began
        return {"lr": lr, "train_loss": train_loss, "train_accuracy": train_accuracy, "train_seconds": seconds}

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Take one optimiser step on a batch; loss and logits."""
        passes = partial(self._passes, batch)
        if self.recipe.sam_rho is None:
            loss, logits = passes()
        else:
            trained = nn.ModuleList([self.network, self.method])
            loss, logits = sharpness_aware(passes, trained, self.recipe.sam_rho)
        if self.recipe.max_grad_norm:
            self.accelerator.clip_grad_norm_(self.network.parameters(), self.recipe.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss, logits

    def _passes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Forward and backward pass of a step, which leave gradients; loss and logits."""
        with self._autocast():
            loss, logits = self.method.step(self.step_network, batch)
        self.accelerator.backward(loss)
        if self.accelerator.num_processes > 1:  # the network's own are averaged on the way back
            average_gradients(self.method, self.accelerator)
        return loss, logits

    def judge(self, epoch: int, figures: dict[str, float], began: float) -> None:
        """Add the epoch's validation metrics to the history, and keep its model in best/ if it is the best so far."""
        if self.accelerator.num_processes > 1:  # each has batch-norm statistics of its own
            parts = (self.model, self.ema_model, self.method)
            broadcast([buffer for part in parts if part for buffer in part.buffers()])
        with shifted(self.candidate, self.method.logit_shift):  # in what is judged and kept, not in what is trained on
            batches = judging_batches(self.judged_source.labels, self.candidate, self.recipe)
            with self._autocast():
                probabilities = predict_shared(self.candidate, self.judged_source, batches, self.accelerator)
            train_seconds = figures.pop("train_seconds")
            row = {"epoch": epoch, **figures, **summary(self.judged_source.labels, probabilities.numpy())}
            observed = self.observe(self.candidate) if self.observe else {}
            check_select_by(self.select_by, observed)
            row |= observed
            self.history.append(row | {"train_seconds": train_seconds, "seconds": time.perf_counter() - began})
            if self.accelerator.is_main_process:
                if best_epoch(pd.DataFrame(self.history), self.select_by, self.recipe.kept_gain) == epoch:
                    self.folder.save_best(self.candidate, epoch)
                told = ", ".join(f"{name} {value:.4f}" for name, value in row.items() if name != "epoch")
                tqdm.write(f"epoch {epoch + 1}/{self.recipe.epochs - self.recipe.first_epoch}: {told}")

    def save(self, epoch: int) -> None:
        """Write the state to go on from, and the curves."""
        if self.tensorboard:
            self.folder.save_last(self.model, self.ema_model, self.method, self.optimizer, epoch + 1, self.history)
            self.tensorboard.add(self.history[-1])

    def finish(self) -> pd.DataFrame:
        """Close the run and give the model the weights of the best epoch; the history as a table."""
        frame = pd.DataFrame(self.history)
        if self.tensorboard:
            self.tensorboard.close()
            self.folder.finish(frame, self.select_by, self.recipe)
        self.accelerator.wait_for_everyone()
        self.model.load_state_dict(type(self.model).from_pretrained(str(self.folder.best)).state_dict())
        self.model.eval()
        return frame

    def _autocast(self) -> torch.autocast:
        device = self.accelerator.device
        return torch.autocast(device.type, torch.bfloat16, enabled=precision_of(self.recipe, device) == "bfloat16")


def _training_and_judged(data: FaceDataset, model: FaceModel, recipe: Recipe) -> tuple[FaceDataset, FaceDataset]:
    """The split that is trained on and the one that selects the epoch; raises a DataError where they do not fit."""
    judging = "test" if recipe.protocol == "published" else "validation"
    train, judged = data.split("train"), data.split(judging)
    if data.classes != model.config.classes:
        raise DataError(f"{data.name} has the classes {data.classes}, the model {model.config.classes}")
    if not len(train) or not len(judged):
        raise DataError(f"{data.name} has {len(train)} training and {len(judged)} {judging} faces; add some")
    return train, judged


def fitted_method(recipe: Recipe, train: FaceDataset, model: FaceModel, processes: int = 1) -> Method:
    """The recipe's method for these training faces and this network; UserError where it does not fit one of them."""
    method = create_method(recipe.method, train, model, recipe.method_settings)
    if method.logit_shift is not None:
        output_layer(model)
    if recipe.batch_size % processes:
        raise UserError(f"a batch of {recipe.batch_size} cannot be shared evenly by {processes} processes")
    least = method_settings(recipe.method, recipe.method_settings).least_batch
    faces = min(recipe.batch_size, len(train)) // processes
    if faces < least:
        raise UserError(f"the method {recipe.method} needs {least} faces in a batch of a process, not {faces}")
    model.check_training(faces)
    if processes > 1 and method.group > 1:
        raise UserError(f"the method {recipe.method} needs its faces in one process, not in {processes}")
    return method


def judging_batches(labels: np.ndarray, model: FaceModel, recipe: Recipe) -> list[np.ndarray]:
    """Batches of the faces (labels (N,)) that select the epoch, see `Recipe.protocol`."""
    if recipe.protocol == "published":
        return ordered_batches(labels, "sorted", recipe.batch_size)
    return ordered_batches(labels, alone_order(model.mixes_batch), JUDGED_AT_ONCE)


def predict_shared(
    model: FaceModel, source: PixelSource | FeatureSource, batches: list[np.ndarray], accelerator: Accelerator
) -> Tensor:
    """Class probabilities (N, classes), float64 on the CPU, in the order of the source; every process does its share.

    Args:
        model: put into evaluation mode.
        source: of the faces, pixels or the maps of the model's frozen backbone.
        batches: from `ordered_batches`, covering the source.
        accelerator: knows the processes.
    """
    model.eval()
    answer = model.forward_head if isinstance(source, FeatureSource) else model
    mine = batches[accelerator.process_index :: accelerator.num_processes]
    rows = map(torch.from_numpy, mine)
    found = list(run_batches(lambda places: answer(source.inputs(places)).float(), rows))
    logits = torch.zeros(len(source.labels), len(model.config.classes), device=accelerator.device)
    if found:
        logits[torch.from_numpy(np.concatenate(mine)).to(accelerator.device)] = torch.cat(found)
    # each row comes from one process, the others add zeros; not every device has float64
    return accelerator.reduce(logits, "sum").cpu().double().softmax(dim=1)
