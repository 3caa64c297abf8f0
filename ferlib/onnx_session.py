"""onnxruntime, which runs exported models fast on a CPU; here it does not report to its maker.

Since 1.29 its official builds send events about process, models and sessions to Microsoft, and keep an identifier of
the device in the user's cache, unless a variable of the environment says otherwise before it is first imported.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ferlib.errors import MissingPackage

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_INSTALL = "pip install onnxruntime"


def open_session(file: Path, threads: int = 1) -> "InferenceSession":
    """An ONNX file, ready to run on the CPU. May be used by several threads at once.

    Args:
        file: the model.
        threads: that one run uses.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackage(f"{file.name} needs onnxruntime, not installed: {_INSTALL}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores to others
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
