"""kill -9 at any moment, then --resume: the weights of the run that was not killed, bit for bit."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).parents[1] / "helpers" / "run_of_processes.py"
SETTINGS = {
    "backbone": "tf_efficientnet_lite0",
    "keep_stages": 2,
    "width": 32,
    "input_size": 48,
    "grey": True,
    "freeze_backbone": False,
    "augment": "flip_affine",
    "schedule": "plateau",
    "ema_decay": 0.9,
    "epochs": 12,
}


def start(out: Path, cache: Path) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "FERLIB_CACHE": str(cache)}
    command = [sys.executable, str(SCRIPT), json.dumps(SETTINGS), str(out), "resume"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_until_running(process: subprocess.Popen, out: Path) -> None:
    """Until this start has written its entry, so the kill hits training and not the import of PyTorch."""
    place, entries = out / "environment.json", 0
    if place.exists():
        entries = len(json.loads(place.read_text()))
    while process.poll() is None:
        if place.exists() and len(json.loads(place.read_text())) > entries:
            return
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_weights(tmp_path):
    seed = random.randrange(10**6)
    print(f"kills drawn with seed {seed}")  # shown when the test fails
    moments = random.Random(seed)
    whole = start(tmp_path / "whole", tmp_path / "cache")
    began = None
    wait_until_running(whole, tmp_path / "whole")
    began = time.perf_counter()
    assert whole.wait() == 0, whole.stderr.read()[-2000:]
    seconds = time.perf_counter() - began

    kills = 0
    while True:
        process = start(tmp_path / "killed", tmp_path / "cache")
        if kills < 3:
            wait_until_running(process, tmp_path / "killed")
            time.sleep(moments.uniform(0, 0.5 * seconds))
            process.kill()
        process.wait()
        if process.returncode == 0:
            break
        assert process.returncode == -9, process.stderr.read()[-2000:]
        kills += 1
    assert kills > 0
    for file in ("last.safetensors", "best/model.safetensors"):
        one, other = (load_file(tmp_path / run / file) for run in ("whole", "killed"))
        assert one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items()), file
    names = {path.name for path in (tmp_path / "killed").iterdir()}
    assert not [name for name in names if "partial" in name or name.startswith("best.")]
