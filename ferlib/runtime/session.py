"""onnxruntime, which runs exported models fast on a CPU; here it does not report to its maker.

Since 1.29 its official builds send events about process, models and sessions to Microsoft, and keep an identifier of
the device in the user's cache, unless a variable of the environment says otherwise before it is first imported.
"""

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from ferlib.errors import MissingPackage, UserError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

LARGE_INPUT = 8_000_000  # bytes
_INSTALL = "pip install onnxruntime"
_memory_is_returned = False


def open_session(file: Path, threads: int = 1) -> "InferenceSession":
    """An ONNX file, ready to run on the CPU. May be used by several threads at once.

    Args:
        file: the model.
        threads: that one run uses.

    Raises:
        MissingPackage: onnxruntime is not installed.
        UserError: the file is not there or is no whole ONNX file.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackage(f"{file.name} needs onnxruntime, not installed: {_INSTALL}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores to others
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own, one class for every complaint, none of them public
        raise UserError(f"{file} is not a readable ONNX file ({error})") from error


def return_memory() -> None:
    """From now on, models of this process give back what a run on a large input took.

    Else they keep it for the next one, which is faster: right for a table of photos, but not for a server
    that gets a large photo now and then.
    """
    global _memory_is_returned
    _memory_is_returned = True


def available_threads() -> int:
    """Threads for one run: as many as OMP_NUM_THREADS says, else one for each core that this process may run on."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # "4,2": the first is of the outer loop
    if said.isdecimal() and int(said):
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OnnxModel:
    """An ONNX file that runs in whatever process it finds itself in, in several threads at once.

    A session does not survive a fork (the threads it has stay behind in the parent) and cannot be pickled. So it is
    opened when it is first needed, and again in a process that was forked or that a copy was sent to.

    Args:
        file: The model.
        threads: That one run uses.
    """

    def __init__(self, file: Path, threads: int = 1):
        self.file, self.threads = file, threads
        self._session: InferenceSession | None = None
        _models.add(self)

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs, by name, for some inputs."""
        session, options = self._open(), None
        if _memory_is_returned and sum(array.nbytes for array in inputs.values()) > LARGE_INPUT:
            from onnxruntime import RunOptions

            options = RunOptions()
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return session.run(outputs, inputs, options)

    def metadata(self) -> dict[str, str]:
        """Notes written into the file by whoever made it."""
        return dict(self._open().get_modelmeta().custom_metadata_map)

    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return [output.name for output in self._open().get_outputs()]

    def _open(self) -> "InferenceSession":
        session = self._session
        if session is None:  # two threads may both open one: the last stays
            session = self._session = open_session(self.file, self.threads)
        return session

    def forget(self) -> None:
        """Leave the session of the parent process, without closing it: that would wait for the threads it had there."""
        if self._session is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
            self._session = None

    def __getstate__(self) -> dict[str, Any]:
        return {"file": self.file, "threads": self.threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        threads = min(state["threads"], available_threads())  # a worker has fewer than its parent
        self.__init__(state["file"], threads)  # type: ignore[misc]  # as new


_models: "WeakSet[OnnxModel]" = WeakSet()


def _forget_sessions() -> None:
    for model in _models:
        model.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_sessions)
