"""A device that is not the CPU and yet computes: PyTorch's "meta" device with numbers in it. No test.

Inside `fake_device()`, what is moved to "meta" or made there keeps its numbers. As on a GPU, an operation on tensors of
two devices is an error, and so is taking one to NumPy without bringing it home.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

FAKE = torch.device("meta")


class FarTensor(Tensor):
    """A tensor on the fake device; its numbers are `near`."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> "FarTensor":
        with torch.inference_mode(False):  # PyTorch gives its views no version in inference mode, and then wants one
            far = Tensor._make_wrapper_subclass(cls, near.shape, strides=near.stride(), dtype=near.dtype, device=FAKE)
        far.near = near
        return far

    def numpy(self, **options: Any) -> Any:
        raise TypeError("can't convert meta device type tensor to numpy")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __getitem__(self, places: Any) -> Tensor:
        places = places if isinstance(places, tuple) else (places,)
        return super().__getitem__(tuple(torch.tensor(p) if isinstance(p, list) else p for p in places))

    def new_tensor(self, data: Any, dtype: torch.dtype | None = None, *others: Any, **options: Any) -> Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype).to(FAKE)  # PyTorch's own makes one without numbers

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # PyTorch's annotations have a C function here, without self
        cls, operation: Any, types: Any, arguments: tuple = (), options: dict | None = None
    ) -> Any:
        return dispatch(operation, arguments, options or {})


def dispatch(operation: Any, arguments: tuple, options: dict) -> Any:
    """Run an operation on the numbers, and put the result where it belongs."""
    tensors = [value for value in tree_flatten((arguments, options))[0] if isinstance(value, Tensor)]
    far = [value for value in tensors if isinstance(value, FarTensor)]
    moves = "copy" in operation.name() or operation.name() == "aten::index.Tensor"  # which takes places on the CPU too
    if far and not moves and any(value.ndim for value in tensors if not isinstance(value, FarTensor)):
        raise RuntimeError(f"Expected all tensors to be on the same device: {operation}, {[t.device for t in tensors]}")
    goal = options.get("device")
    there = bool(far) if goal is None else torch.device(goal) == FAKE
    if operation.name() == "aten::copy_":
        there = isinstance(arguments[0], FarTensor)
    if goal is not None:
        options = options | {"device": torch.device("cpu")}
    result = operation(*tree_map(_near, arguments), **tree_map(_near, options))
    if operation._schema.is_mutable and isinstance(result, Tensor):
        return arguments[0]
    return tree_map(lambda value: FarTensor(value) if isinstance(value, Tensor) and there else value, result)


def _near(value: Any) -> Any:
    return value.near if isinstance(value, FarTensor) else value


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, operation: Any, types: Any, arguments: tuple = (), options: dict | None = None) -> Any:
        return dispatch(operation, arguments, options or {})


@contextmanager
def fake_device(monkeypatch: Any) -> Iterator[torch.device]:
    """While it lasts, there is an accelerator, the fake one."""
    with monkeypatch.context() as patch:
        patch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: FAKE)
        patch.setattr(torch.accelerator, "device_count", lambda: 1)
        patch.setattr(torch.accelerator, "is_available", lambda: True)
        with _Mode():
            yield FAKE
