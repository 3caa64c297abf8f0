"""What a measurement was made with and on, to be written beside it."""

import os
import platform
import re
import shlex
import sys
from pathlib import Path

import torch

from ferlib.utils.commit import commit


def typed_command() -> str:
    """The command that runs, as one would type it in the repository's folder; of absolute paths the last part."""
    return command(*(Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]))


def command(*words: str) -> str:
    """The command of the script that runs with these options."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


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
