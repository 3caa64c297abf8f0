"""A run's history as TensorBoard curves: `tensorboard --logdir runs`. Where TensorBoard is not installed, nothing."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


class TensorBoardLog:
    """Curves of one run.

    Args:
        folder: for TensorBoard's event files.
        start: epoch the run begins or goes on at; what a killed run drew from there on is dropped.
    """

    def __init__(self, folder: Path, start: int):
        self._writer = None
        with suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=start)

    def add(self, row: Mapping[str, float]) -> None:
        """One row of the history: everything in it against its `epoch`."""
        if self._writer is None:
            return
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, int(row["epoch"]))
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
