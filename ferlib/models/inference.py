"""The one loop in which a model is asked about many faces, batch by batch, where the model is."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from ferlib.models.base import FaceModel, evaluating
from ferlib.utils.devices import device_of
from ferlib.utils.progress import progress


class Sliceable(Protocol):
    """Faces of which a slice is a tensor: a tensor itself, or pixels that are read when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


def faces_at_once(model: FaceModel, most: int) -> int:
    """The number of faces to ask a model about together: one where others would change its answer, else the most."""
    return 1 if getattr(model, "mixes_batch", False) else most


def run_batches(
    ask: Callable[[Tensor], Tensor], batches: Iterable[Tensor], description: str = "", total: int | None = None
) -> Iterator[Tensor]:
    """Answers batch by batch, without gradients, each where `ask` leaves it.

    Args:
        ask: answers one batch.
        batches: inputs, or positions in a data set.
        description: in front of a progress bar; without one there is no bar.
        total: number of batches, where `batches` cannot say.
    """
    for batch in progress(batches, description, "batch", visible=bool(description), total=total):
        with torch.inference_mode():
            answer = ask(batch)
        yield answer


def run_model(
    model: FaceModel,
    ask: Callable[[Tensor], Tensor],
    faces: Sliceable,
    batch_size: int = 64,
    description: str = "",
) -> Iterator[Tensor]:
    """Answers for faces in their order, batch by batch, on the model's device.

    Args:
        model: in evaluation mode while it is asked; left where it is and in the mode it was in.
        ask: answers one batch, which is on the model's device already.
        faces: (N, ...).
        batch_size: faces a batch.
        description: see `run_batches`.
    """
    device, starts = device_of(model), range(0, len(faces), batch_size)

    def evaluated(batch: Tensor) -> Tensor:
        with evaluating(model):
            return ask(batch.to(device))

    return run_batches(evaluated, (faces[start : start + batch_size] for start in starts), description, len(starts))
