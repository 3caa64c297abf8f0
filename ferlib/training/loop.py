"""The training loop, in the open: on a CPU, a GPU, or in several processes on one or many machines.

Every epoch's randomness (order, augmentation, dropout) is drawn from a generator seeded by (seed, epoch). So a run that
was killed and resumed at the last finished epoch goes exactly where the uninterrupted run goes, and nothing but the
weights, the optimiser and the history needs to be kept.

Started by `accelerate launch` or `torchrun`, every process holds the whole data and takes its fraction of every batch:
the batch size, the order of the faces and the learning rate mean the same for any number of processes. What differs is
batch norm, which sees a process's fraction of the batch, and the draws of augmentation and dropout.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from tqdm import tqdm

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.errors import RunError, UserError
from ferlib.evaluation.batches import ordered_batches
from ferlib.evaluation.metrics import summary
from ferlib.models.base import FaceModel, to_device
from ferlib.training.batch_sources import FeatureSource, PixelSource, create_source, targets_of
from ferlib.training.checkpoint import RunFolder, best_epoch
from ferlib.training.distillation import distillation_targets
from ferlib.training.imbalance import create_remedy, output_layer, shifted
from ferlib.training.recipes import Recipe
from ferlib.training.schedules import epochs_without_gain, schedule
from ferlib.training.tensorboard import Board
from ferlib.utils.devices import choose_device
from ferlib.utils.progress import progress

JUDGED_AT_ONCE = 128  # faces a batch where the batch makes no difference


class Head(nn.Module):
    """A model from its feature map on, as a module of its own, sharing the model's parameters."""

    def __init__(self, model: FaceModel):
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        return self.model.forward_head(features)


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
    """Train a model on the training split, selecting the epoch on the validation split. The test split is not touched,
    unless the recipe's protocol is "published".

    A model with a frozen backbone is trained on cached features when its augmentation is no more than a flip. Where the
    recipe's remedy shifts the finished logits, the shift is in the validation metrics, in best/ and in the model at the
    end, but not in the training state.

    Args:
        model: built from `recipe.config`; trained in place and left with the weights of the best epoch.
        data: has the splits "train" and "validation" ("test" by the protocol "published"), and the model's classes in
            the model's order.
        recipe: how to train.
        out: run folder; what it gets stands in `ferlib.training.checkpoint`.
        resume: continue the run in `out` after its last finished epoch.
        select_by: what decides the best epoch: a validation metric (a key of `ferlib.evaluation.metrics.summary`), or a
            name that `observe` returns.
        observe: called with the model, in evaluation mode, after the validation of every epoch; what it returns goes
            into the history. For watching a run, e.g. what another protocol would have said.

    Returns:
        One row an epoch: epoch, lr, train_loss, train_accuracy (over the steps, with augmentation and dropout), the
        validation metrics, what was observed, train_seconds (the steps alone) and seconds (with judging).

    Raises:
        DataError: the data does not fit the model or the teacher, or has no votes for soft targets.
        ValueError: the recipe's remedy does not fit the data or the model, there is no such teacher, the run to resume
            had another recipe, or the batch cannot be shared by the processes.
        FileExistsError: `out` holds a run and `resume` is not set.
        OSError: the disk has too little room.
        RuntimeError: the loss is no longer a number.
    """
    recipe = replace(recipe, config=model.config)  # which has the backbone's normalisation in numbers
    judging = "test" if recipe.protocol == "published" else "validation"
    train, judged = data.split("train"), data.split(judging)
    if data.classes != model.config.classes:
        raise DataError(f"{data.name} has the classes {data.classes}, the model {model.config.classes}")
    if not len(train) or not len(judged):
        raise DataError(f"{data.name} has {len(train)} training and {len(judged)} {judging} faces; needs both")
    targets = targets_of(train, recipe.target_kind)
    if recipe.teacher:
        targets = distillation_targets(targets, train, recipe.teacher, recipe.teacher_fraction)
    remedy = create_remedy(recipe.remedy, train, recipe.tau)
    if remedy.logit_shift is not None:
        output_layer(model)
    accelerator = Accelerator(cpu=choose_device().type == "cpu")  # else it knows no processes on CPUs
    device, processes, main = accelerator.device, accelerator.num_processes, accelerator.is_main_process
    if recipe.batch_size % processes:
        raise UserError(f"a batch of {recipe.batch_size} cannot be shared evenly by {processes} processes")
    folder = RunFolder(out)
    folder.check(recipe, model, resume)

    to_device(model, device)
    remedy.to(device)
    targets = targets.to(device)
    optimizer = create_optimizer_v2(
        model, {"sgd": "nesterov"}.get(recipe.optimizer, recipe.optimizer), recipe.lr, recipe.weight_decay
    )
    ema_model = ModelEmaV3(model, recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None
    candidate: FaceModel = ema_model.module if ema_model else model  # the model that is judged and kept
    start = 0
    history: list[dict[str, float]] = []
    if folder.last.exists():
        start, history = folder.load_last(model, ema_model, optimizer)
    precision = {"auto": "bfloat16" if device.type == "cuda" else "float32"}.get(recipe.precision, recipe.precision)
    accelerator.wait_for_everyone()  # all have looked into the folder
    if main:
        facts = {"data": described(data), "backbone_weights": model.started_from, "device": str(device)}
        folder.start(recipe, **facts, processes=processes, precision=precision, epoch=start)
        board = Board(out / "tensorboard", start)

    with accelerator.local_main_process_first():  # a cache is built by one process a machine and found by the others
        train_source, judged_source = (create_source(model, part, recipe.augment, device) for part in (train, judged))
    cached = isinstance(train_source, FeatureSource)
    network, optimizer = accelerator.prepare(Head(model) if cached else model, optimizer)
    step_network = network if recipe.compile == "no" else torch.compile(network, mode=recipe.compile)
    batches = judging_batches(judged_source.labels, candidate, recipe)

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")

    truth = targets.argmax(dim=1) if targets.ndim == 2 else targets
    epochs = recipe.epochs - recipe.first_epoch
    steps = max(len(train) // recipe.batch_size, 1)
    share = slice(accelerator.process_index, None, processes)
    for epoch in range(start, epochs):
        scores = [entry[select_by] for entry in history]
        watched = scores if recipe.patience_on == "score" else [entry["train_accuracy"] for entry in history]
        if recipe.patience and history and epochs_without_gain(watched, recipe.least_gain)[-1] >= recipe.patience:
            break
        began = time.perf_counter()
        seed = recipe.seed * 100_003 + epoch
        torch.manual_seed(seed)  # for what all processes share: the order, and which faces are mirrored in a cache
        order = remedy.order(len(train))[: steps * recipe.batch_size].view(steps, -1)  # (steps, batch size)
        inputs = train_source.training_batches(order, share)
        torch.manual_seed(seed * 1009 + accelerator.process_index)  # for augmentation and dropout
        network.train()
        loss_sum, hits = torch.zeros((), device=device), torch.zeros((), device=device)
        work = zip(order[:, share], inputs, strict=True)
        for step, (rows, x) in enumerate(progress(work, f"epoch {epoch + 1}/{epochs}", "step", main, steps)):
            done = (epoch * steps + step) / (epochs * steps)
            lr = recipe.lr * schedule(recipe.schedule, done, scores, recipe.first_epoch)
            for group in optimizer.param_groups:
                group["lr"] = lr
            with autocast():
                logits = step_network(x)
            rows = rows.to(device)
            loss = remedy.loss(logits.float(), targets[rows], done)
            accelerator.backward(loss)
            if recipe.max_grad_norm:
                accelerator.clip_grad_norm_(network.parameters(), recipe.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if ema_model:
                ema_model.update(model, epoch * steps + step)
            loss_sum += loss.detach()
            hits += (logits.detach().argmax(dim=1) == truth[rows]).sum()
        train_loss = float(accelerator.reduce(loss_sum, "mean")) / steps  # waits for the device
        train_accuracy = float(accelerator.reduce(hits, "sum")) / order.numel()
        train_seconds = time.perf_counter() - began
        if not math.isfinite(train_loss):
            raise RunError(f"the loss became {train_loss} in epoch {epoch + 1}; lower the learning rate")

        if processes > 1:  # each has batch-norm statistics of its own
            broadcast([*model.buffers(), *(ema_model.buffers() if ema_model else ())])
        with shifted(candidate, remedy.logit_shift):  # in what is judged and kept, not in what is trained on
            judge = Head(candidate) if cached else candidate
            with autocast():
                probabilities = predict_shared(judge, judged_source, batches, accelerator)
            row = {"epoch": epoch, "lr": lr, "train_loss": train_loss, "train_accuracy": train_accuracy}
            row |= summary(judged_source.labels, probabilities.numpy())
            row |= observe(candidate) if observe else {}
            history.append(row | {"train_seconds": train_seconds, "seconds": time.perf_counter() - began})
            if main and best_epoch(pd.DataFrame(history), select_by, recipe.kept_gain) == epoch:
                folder.save_best(candidate)
        if main:
            folder.save_last(model, ema_model, optimizer, epoch + 1, history)
            board.add(history[-1])
            figures = ", ".join(f"{name} {value:.4f}" for name, value in row.items() if name != "epoch")
            tqdm.write(f"epoch {epoch + 1}/{epochs}: {figures}")
    frame = pd.DataFrame(history)
    if main:
        board.close()
        folder.finish(frame, select_by, recipe)
    accelerator.wait_for_everyone()
    model.load_state_dict(type(model).from_pretrained(str(folder.best)).state_dict())
    model.eval()
    return frame


def described(data: FaceDataset) -> dict:
    """What a run notes of its data, JSON-ready: name, faces of every split, shape of a picture (C, H, W)."""
    faces = data.frame["split"].value_counts(sort=False)
    return {"name": data.name, "faces": {k: int(n) for k, n in faces.items()}, "pixels": list(data.pixels.shape[1:])}


def judging_batches(labels: np.ndarray, model: FaceModel, recipe: Recipe) -> list[np.ndarray]:
    """How the faces (labels (N,)) that select the epoch are cut into batches, see `Recipe.protocol`."""
    if recipe.protocol == "published":
        return ordered_batches(labels, "sorted", recipe.batch_size)
    return ordered_batches(labels, "single" if model.mixes_batch else "stored", JUDGED_AT_ONCE)


@torch.inference_mode()
def predict_shared(
    network: Head | FaceModel, source: PixelSource | FeatureSource, batches: list[np.ndarray], accelerator: Accelerator
) -> Tensor:
    """Class probabilities (N, classes), float64 on the CPU, in the order of the source; every process does its share.

    Args:
        network: takes the source's inputs; put into evaluation mode.
        source: of the faces.
        batches: from `ordered_batches`, covering the source.
        accelerator: knows the processes.
    """
    network.eval()
    mine = batches[accelerator.process_index :: accelerator.num_processes]
    found = [network(source.inputs(torch.from_numpy(rows))).double().softmax(dim=1) for rows in mine]
    classes = len(network.model.config.classes if isinstance(network, Head) else network.config.classes)
    probabilities = torch.zeros(len(source.labels), classes, dtype=torch.float64, device=accelerator.device)
    if found:
        probabilities[torch.from_numpy(np.concatenate(mine)).to(accelerator.device)] = torch.cat(found)
    return accelerator.reduce(probabilities, "sum").cpu()  # each row comes from one process, the others add zeros
