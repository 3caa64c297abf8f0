"""What a measurement was made on, to be written beside it."""

import os
import platform
import re
from pathlib import Path

import torch

from ferlib.utils.commit import commit


def machine() -> dict:
    """Processor, graphics card, threads, load, torch and commit."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return {
        "machine": f"{os.cpu_count()} x {names[0] if names else platform.machine()}" + (f", {gpu}" if gpu else ""),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "commit": commit(),
    }
