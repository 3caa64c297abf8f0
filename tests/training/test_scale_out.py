"""Two processes train like one: same seed, same order of faces, same batches."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from small_runs import SMALL

SCRIPT = Path(__file__).parents[1] / "helpers" / "run_of_processes.py"
# left out: batch norm and dropout, which depend on the fraction of the batch that a process sees
SETTINGS = {"epochs": 3, "detail_norm": "after", "dropout": 0.0, "lr": 0.01, "ema_decay": 0.9, "method": "sampler"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[int, tuple[Path, subprocess.CompletedProcess]]:
    """By number of processes, the folder and the end of the same run; two first try a batch that they cannot share."""
    found = {}
    for processes in (1, 2):
        out = tmp_path_factory.mktemp("run") / str(processes)
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        command = [sys.executable, *launcher, str(SCRIPT), json.dumps(SMALL | SETTINGS), str(out)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
        command += ["odd"] if processes == 2 else []
        found[processes] = out, subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    return found


def test_two_processes_give_the_metrics_of_one(runs):
    histories = []
    for processes, (out, result) in runs.items():
        assert result.returncode == 0, result.stderr[-2000:]
        assert result.stdout.count("epoch 3/3") == 1  # one process speaks
        assert json.loads((out / "environment.json").read_text())[0]["processes"] == processes
        histories.append(pd.read_csv(out / "history.csv"))
    one, two = histories
    for metric in ("accuracy", "balanced_accuracy", "macro_f1", "ece"):
        assert (one[metric] - two[metric]).abs().max() < 0.001, metric  # a tenth of a point
    assert one["train_loss"].tolist() == pytest.approx(two["train_loss"].tolist(), rel=1e-4)
    weights = [load_file(out / "last.safetensors") for out, _ in runs.values()]
    trained = [key for key in weights[0] if key.startswith("model.classifier")]
    assert trained and all(torch.allclose(weights[0][key], weights[1][key], atol=1e-4) for key in trained)


def test_a_batch_that_cannot_be_shared_is_refused(runs):
    out, result = runs[2]
    assert result.stderr.count("a batch of 15 cannot be shared evenly by 2 processes") == 2  # each process says it
    assert not out.with_name("odd").exists()


def test_a_part_of_a_method_may_rest_in_one_process(tmp_path):
    """DMUE's branches do, where a process has too few faces for them; the others must not wait for their gradients."""
    settings = SMALL | {"epochs": 1, "batch_size": 4, "method": "dmue", "freeze_backbone": False, "width": 8}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(SCRIPT), json.dumps(settings), str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    assert math.isfinite(pd.read_csv(tmp_path / "run" / "history.csv")["train_loss"].iloc[0])
