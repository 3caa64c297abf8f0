"""Cut a test set into batches, in several orders, and predict it batch by batch.

For an honest model the cut makes no difference. For one that mixes the faces of a batch it decides the accuracy.
"""

import shlex
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.errors import UserError
from ferlib.evaluation.external_model import AnyModel
from ferlib.labels import mapping
from ferlib.models.inference import run_batches
from ferlib.models.preprocess import Preprocess
from ferlib.utils.devices import device_of

#: "sorted": class by class, as RAF-DB and FERPlus are stored on disk and as the published code reads them, in the order
#: of the data set within a class; "shuffled": at random; "single": one face at a time; "stored": in the order of the
#: data set.
BATCH_ORDERS = ("sorted", "shuffled", "single", "stored")

#: Positions in the data set, int64 (B,) on the CPU -> logits (B, classes).
Logits = Callable[[Tensor], Tensor]


def alone_order(mixes: bool) -> str:
    """The batch order in which every face is answered as if it were alone, of a model that mixes the faces or not."""
    return "single" if mixes else "stored"


def ordered_batches(
    labels: Sequence[int] | np.ndarray, batch_order: str, batch_size: int = 64, seed: int = 0
) -> list[np.ndarray]:
    """Cut a test set into batches. Every face stands in exactly one of them; the incomplete last batch is kept.

    Args:
        labels: classes (N,) of the faces.
        batch_order: one of `BATCH_ORDERS`.
        batch_size: faces a batch; "single" has batches of one, whatever it says.
        seed: of "shuffled".

    Returns:
        Positions in the data set, int64, an array a batch.

    Raises:
        ValueError: unknown batch_order, or a batch of less than one face.
    """
    labels = np.asarray(labels)
    if batch_order not in BATCH_ORDERS:
        raise UserError(f"batch_order must be one of {', '.join(BATCH_ORDERS)}, not {batch_order!r}")
    if batch_size < 1:
        raise UserError(f"batch_size must be positive, not {batch_size}")
    if batch_order == "sorted":
        order = np.argsort(labels, kind="stable")
    elif batch_order == "shuffled":
        order = np.random.default_rng(seed).permutation(len(labels))
    else:
        order = np.arange(len(labels))
    size = 1 if batch_order == "single" else batch_size
    return [order[start : start + size] for start in range(0, len(order), size)]


def predict_batches(logits: Logits, batches: Sequence[np.ndarray]) -> np.ndarray:
    """Class probabilities (N, classes), float64, in the order of the data set, predicted batch by batch.

    Args:
        logits: gives the logits of these positions; see `pixel_logits` and `ferlib.training.features.feature_logits`.
        batches: from `ordered_batches`; together they are 0..N-1, each once.

    Raises:
        UserError: the model's probabilities are not numbers.
    """
    order = np.concatenate(batches)
    found = torch.cat(list(run_batches(logits, map(torch.from_numpy, batches)))).cpu().double().softmax(dim=1).numpy()
    if not np.isfinite(found).all():
        raise UserError("the model gives probabilities that are not numbers")
    probabilities = np.empty_like(found)
    probabilities[order] = found
    return probabilities


def predict_in_order(
    logits: Logits, labels: Sequence[int] | np.ndarray, batch_order: str, batch_size: int = 64, seed: int = 0
) -> np.ndarray:
    """Class probabilities (N, classes) of `predict_batches`, of faces cut as by `ordered_batches`.

    Where a last batch of one face is one that the model cannot answer (its batch norm wants more values, say), that
    face goes with the batch before it.

    Raises:
        ValueError: of `ordered_batches`; or the model's probabilities are not numbers.
    """
    batches = ordered_batches(labels, batch_order, batch_size, seed)
    *before, last = batches
    try:
        return predict_batches(logits, batches)
    except (ValueError, RuntimeError) as error:
        if isinstance(error, UserError) or len(last) > 1 or not before or len(before[-1]) == 1:
            raise
    return predict_batches(logits, [*before[:-1], np.concatenate([before[-1], last])])


def pixel_logits(
    model: AnyModel, dataset: FaceDataset, ten_crop: bool = False, classes: Sequence[str] | None = None
) -> Logits:
    """A model over a data set's pixels, for `predict_batches`: its logits, divided by its temperature.

    The model must be in evaluation mode, see `evaluating`; it is asked where it is.

    Args:
        model: takes normalised images; its `config` says how they are prepared.
        dataset: the faces.
        ten_crop: logarithm of the mean probabilities over ten crops of every face (four corners, centre, and their
            mirror images) in place of the logits.
        classes: the classes wanted, in this order; the others' logits are left out, so that the probabilities of these
            sum to 1. None: all of the model's.

    Raises:
        DataError: the model does not know one of the classes.
    """
    preprocess, device, known = Preprocess.of(model.config), device_of(model), model.config.classes
    columns = mapping(classes or known, known)
    temperature = model.config.temperature
    wanted = slice(None) if classes is None else columns
    if unknown := [name for name, column in zip(classes or known, columns, strict=True) if column < 0]:
        words = " ".join(map(shlex.quote, unknown))
        remedy = "" if len(unknown) == len(columns) else f"; `evaluate` leaves them out by --without {words}"
        raise DataError(f"the model does not know {', '.join(unknown)}, classes of {dataset.name}{remedy}")

    def logits(rows: Tensor) -> Tensor:
        pixels = dataset.pixels[rows].to(device)
        if not ten_crop:
            return model(preprocess(pixels))[:, wanted] / temperature
        crops = torch.stack(
            [(model(crop).cpu().double() / temperature).log_softmax(dim=1) for crop in preprocess.ten_crops(pixels)]
        )
        return crops.logsumexp(dim=0)[:, wanted] - np.log(len(crops))

    return logits
