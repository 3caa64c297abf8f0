"""The training loop, in the open.

Every epoch's randomness (order, augmentation, dropout) is drawn from a generator seeded by (seed, epoch). So a run that
was killed and resumed at the last finished epoch goes exactly where the uninterrupted run goes, and nothing but model,
optimiser and epoch number needs to be kept.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from accelerate import Accelerator
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from tqdm.auto import tqdm

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.transforms import Preprocess
from ferlib.evaluation.metrics import summary
from ferlib.models.base import FaceModel
from ferlib.training.checkpoint import load_checkpoint, save_checkpoint, save_model
from ferlib.training.features import FeatureCache
from ferlib.training.recipes import Recipe
from ferlib.training.remedies import create_remedy, output_layer, shifted
from ferlib.training.sources import FeatureSource, PixelSource, targets_of


class _Head(nn.Module):
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
    """Train a model on the training split, selecting the epoch on the validation split. The test split is not touched.

    A model with a frozen trunk is trained on cached features when its augmentation is no more than a flip. Where the
    recipe's remedy shifts the finished logits, the shift is in the validation metrics, in best/ and in the model at the
    end, but not in the training state.

    Args:
        model: built from `recipe.config`; trained in place and left with the weights of the best epoch.
        data: has the splits "train" and "validation", and the model's classes in the model's order.
        recipe: how to train.
        out: run folder; gets recipe.json, history.csv, last.safetensors (to resume from) and best/ (a model folder).
        resume: continue the run in `out` after its last finished epoch.
        select_by: what decides the best epoch: a validation metric (a key of `ferlib.evaluation.metrics.summary`), or a
            name that `observe` returns.
        observe: called with the model, in evaluation mode, after the validation of every epoch; what it returns goes
            into the history. For watching a run, e.g. what another protocol would have said.

    Returns:
        One row an epoch: epoch, lr, train_loss, the validation metrics, what was observed, seconds.

    Raises:
        DataError: the data does not fit the model, or has no votes for soft targets.
        ValueError: the recipe's remedy fits neither the data nor the model.
        FileExistsError: `out` holds a run and `resume` is not set.
    """
    train, validation = data.split("train"), data.split("validation")
    if data.classes != model.config.classes:
        raise DataError(f"{data.name} has the classes {data.classes}, the model {model.config.classes}")
    if not len(train) or not len(validation):
        raise DataError(f"{data.name} has {len(train)} training and {len(validation)} validation faces; needs both")
    targets_of(train, recipe.target_kind)  # an error comes before any work
    remedy = create_remedy(recipe.remedy, train)
    if remedy.logit_shift is not None:
        output_layer(model)
    cached = getattr(model.config, "freeze_trunk", False) and recipe.augment in ("none", "flip")
    last = out / "last.safetensors"
    if last.exists() and not resume:
        raise FileExistsError(f"{out} already holds a run; continue it with resume, or choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.json").write_text(json.dumps(recipe.to_json(), indent=2))

    accelerator = Accelerator()
    device = accelerator.device
    model.to(device, memory_format=torch.channels_last)
    remedy.to(device)
    optimizer = create_optimizer_v2(
        model, {"sgd": "nesterov"}.get(recipe.optimizer, recipe.optimizer), recipe.lr, recipe.weight_decay
    )
    start, history = 0, []
    if resume and last.exists():
        start, history = load_checkpoint(last, model, optimizer)
    train_source, validation_source = (
        FeatureSource(part, FeatureCache.build(model, part, device=device), recipe.target_kind, device)
        if cached
        else PixelSource(part, Preprocess.of(model.config), recipe.augment, recipe.target_kind, device)
        for part in (train, validation)
    )
    network, optimizer = accelerator.prepare(_Head(model) if cached else model, optimizer)

    steps = max(len(train) // recipe.batch_size, 1)
    for epoch in range(start, recipe.epochs):
        began = time.perf_counter()
        torch.manual_seed(recipe.seed * 100_003 + epoch)
        order = remedy.order(len(train))[: steps * recipe.batch_size]
        model.train()
        loss_sum = torch.zeros((), device=device)
        batches = order.split(recipe.batch_size)
        for step, rows in enumerate(tqdm(batches, f"epoch {epoch + 1}/{recipe.epochs}", unit="step", leave=False)):
            progress = (epoch * steps + step) / (recipe.epochs * steps)
            lr = recipe.lr * schedule(recipe.schedule, progress, [entry[select_by] for entry in history])
            for group in optimizer.param_groups:
                group["lr"] = lr
            with accelerator.autocast():
                logits = network(train_source.inputs(rows, train=True))
                loss = remedy.loss(logits.float(), train_source.targets[rows.to(device)], progress)
            accelerator.backward(loss)
            if recipe.clip_norm:
                accelerator.clip_grad_norm_(network.parameters(), recipe.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss_sum += loss.detach()
        train_loss = float(loss_sum) / steps
        if not math.isfinite(train_loss):
            raise RuntimeError(f"the loss became {train_loss} in epoch {epoch + 1}; lower the learning rate")
        with shifted(model, remedy.logit_shift):  # what is judged and kept; training goes on without the shift
            probabilities = predict_source(network, validation_source)
            metrics = summary(validation_source.labels.numpy(), probabilities.numpy())
            row = {"epoch": epoch, "lr": lr, "train_loss": train_loss, **metrics, **(observe(model) if observe else {})}
            history.append(row | {"seconds": time.perf_counter() - began})
            if row[select_by] >= max(entry[select_by] for entry in history):
                save_model(model, out / "best")
        save_checkpoint(last, model, optimizer, epoch + 1, history)
        pd.DataFrame(history).to_csv(out / "history.csv", index=False)
        numbers = ", ".join(f"{key} {value:.4f}" for key, value in row.items() if key != "epoch")
        tqdm.write(f"epoch {epoch + 1}/{recipe.epochs}: {numbers}")
    best = type(model).from_pretrained(str(out / "best"))
    model.load_state_dict(best.state_dict())
    model.eval()
    return pd.DataFrame(history)


def best_epoch(history: pd.DataFrame, select_by: str = "accuracy") -> int:
    """Row of the epoch that `fit` kept: the highest validation metric, the last of equals."""
    return int(history[::-1][select_by].idxmax())


def schedule(name: str, progress: float, scores: Sequence[float] = ()) -> float:
    """Share of the highest learning rate at this share of the run (0 to 1).

    Args:
        name: one of `ferlib.training.recipes.SCHEDULES`.
        progress: share of the run's steps already taken.
        scores: validation metric of every finished epoch, for "plateau".
    """
    if name == "constant":
        return 1.0
    if name == "plateau":
        return plateau_factor(scores)
    rise = 0.3
    if progress < rise:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / rise)) / 2
    return (1 + math.cos(math.pi * (progress - rise) / (1 - rise))) / 2


def plateau_factor(scores: Sequence[float], factor: float = 0.75, patience: int = 5) -> float:
    """What ReduceLROnPlateau has made of the learning rate after these scores: × `factor` after every `patience` epochs
    without a new best. The constants are Khairuddin and Chen's (2021). Told from the history alone, it needs no state.
    """
    reductions, waited, best = 0, 0, -math.inf
    for score in scores:
        waited = 0 if score > best else waited + 1
        best = max(best, score)
        if waited == patience:
            reductions, waited = reductions + 1, 0
    return factor**reductions


@torch.inference_mode()
def predict_source(network: nn.Module, source: PixelSource | FeatureSource, batch_size: int = 128) -> Tensor:
    """Class probabilities (N, classes) on the CPU, in the order of the source."""
    network.eval()
    batches = torch.arange(len(source.labels)).split(batch_size)
    return torch.cat([network(source.inputs(rows, train=False)).float().softmax(dim=1).cpu() for rows in batches])
