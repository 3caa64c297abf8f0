"""What onnxruntime does beside its work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ferlib.runtime.session import available_threads

pytest.importorskip("onnxruntime")
CODE = """
import numpy as np
from ferlib.detection.blazeface import detect
detect(np.zeros((128, 128, 3), np.uint8))
"""


def files_left(folder: Path, before: str = "") -> list[str]:
    """What a process that finds no face leaves in its home and temporary folder."""
    # nothing else of this environment: with CI in it, it is silent by itself
    environment = {"HOME": str(folder), "TMPDIR": str(folder), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", before + CODE], env=environment, cwd=Path(__file__).parents[2], check=True)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_nothing_is_kept_for_its_maker(tmp_path):
    """Its telemetry writes an identifier of the device, and its events until they are sent."""
    assert files_left(tmp_path) == []


def test_it_would_be_kept_otherwise(tmp_path):
    """Or else the test above says nothing."""
    assert files_left(tmp_path, "import onnxruntime; onnxruntime.SessionOptions()") != []


@pytest.mark.parametrize(("said", "expected"), [("3", 3), ("4,2", 4), ("0", None), ("many", None), (None, None)])
def test_threads_are_as_many_as_the_user_says_else_as_this_process_has_cores(monkeypatch, said, expected):
    if said is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 5, 7, 8}, raising=False)
    assert available_threads() == (5 if expected is None else expected)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc")
def test_a_server_gives_back_what_a_large_picture_took():
    """A process keeps what the detector took for a picture of this size, unless it is a server."""
    program = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from ferlib.app.cleanup import keep_memory_compact\n"
        "from ferlib.detection.blazeface import detect\n"
        "def resident():\n"
        "    return int(Path('/proc/self/statm').read_text().split()[1]) * 4096 / 1e6\n"
        "if sys.argv[1:]:\n"
        "    keep_memory_compact()\n"
        "detect(np.zeros((96, 96, 3), np.uint8))\n"
        "before = resident()\n"
        "detect(np.zeros((1072, 1312, 3), np.uint8))\n"
        "print(resident() - before)\n"
    )
    server, other = (
        float(subprocess.check_output([sys.executable, "-c", program, *words], text=True)) for words in (["yes"], [])
    )
    assert other > server + 70, (other, server)
