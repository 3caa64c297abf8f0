"""Two processes train like one: same seed, same order of faces, same batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from small_runs import SMALL

SCRIPT = Path(__file__).with_name("run_of_processes.py")


def run(processes: int, settings: dict, out: Path) -> subprocess.CompletedProcess:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *launcher, str(SCRIPT), json.dumps(settings), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_two_processes_give_the_metrics_of_one(tmp_path):
    # left out: batch norm and dropout, which depend on the share of the batch that a process sees
    settings = {"epochs": 3, "detail_norm": "after", "dropout": 0.0, "lr": 0.01, "average": 0.9, "remedy": "sampler"}
    histories = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        result = run(processes, SMALL | settings, out)
        assert result.returncode == 0, result.stderr[-2000:]
        assert result.stdout.count("epoch 3/3") == 1  # one process speaks
        assert json.loads((out / "environment.json").read_text())[0]["processes"] == processes
        histories.append(pd.read_csv(out / "history.csv"))
    one, two = histories
    for metric in ("accuracy", "balanced_accuracy", "macro_f1", "ece"):
        assert (one[metric] - two[metric]).abs().max() < 0.001, metric  # a tenth of a point
    assert one["train_loss"].tolist() == pytest.approx(two["train_loss"].tolist(), rel=1e-4)
    weights = [load_file(tmp_path / name / "last.safetensors") for name in ("1", "2")]
    trained = [key for key in weights[0] if key.startswith("model.classifier")]
    assert trained and all(torch.allclose(weights[0][key], weights[1][key], atol=1e-4) for key in trained)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    result = run(2, SMALL | {"batch_size": 15}, tmp_path)
    assert result.returncode != 0 and "a batch of 15 cannot be shared evenly by 2 processes" in result.stderr
    assert not (tmp_path / "last.safetensors").exists()
