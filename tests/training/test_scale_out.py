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

from ferlib.data.synthetic import load_synthetic

SCRIPT = Path(__file__).parents[1] / "helpers" / "run_of_processes.py"
# left out: batch norm and dropout, which depend on the fraction of the batch that a process sees
SETTINGS = {"epochs": 3, "detail_norm": "after", "dropout": 0.0, "lr": 0.01, "ema_decay": 0.9, "method": "sampler"}
pytestmark = pytest.mark.slow


def run(processes: int, settings: dict, out: Path, *flags: str) -> subprocess.CompletedProcess:
    """The end of a run in this number of processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *launcher, str(SCRIPT), json.dumps(SMALL | SETTINGS | settings), str(out), *flags]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[int, tuple[Path, subprocess.CompletedProcess]]:
    """By number of processes, the folder and the end of the same run; two first try a batch that they cannot share."""
    found = {}
    for processes in (1, 2):
        out = tmp_path_factory.mktemp("run") / str(processes)
        found[processes] = out, run(processes, {}, out, *(["odd"] if processes == 2 else []))
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
    settings = {"epochs": 2, "batch_size": 4, "method": "dmue", "freeze_backbone": False, "width": 8}
    settings |= {"backbone": "test_efficientnet", "keep_stages": 3}
    for out, *flags in ((tmp_path / "whole",), (tmp_path / "cut", "stop"), (tmp_path / "cut", "resume")):
        ended = run(2, settings, out, *flags)
        assert ended.returncode == 0, ended.stderr[-2000:]
    whole, cut = (pd.read_csv(tmp_path / name / "history.csv") for name in ("whole", "cut"))
    assert math.isfinite(whole["train_loss"].iloc[0]) and list(whole["train_loss"]) == list(cut["train_loss"])


def test_labels_that_a_method_changed_are_those_of_all_processes(tmp_path):
    """SCN without groups, so that no loss depends on a process's fraction of the batch, around it SAM."""
    settings = {"method": "scn", "share": 1.0, "margin": 0.0, "threshold": 0.0, "relabel_from": 0.0, "epochs": 1}
    settings["sam_rho"] = 0.01
    labels = {}
    for processes in (1, 2):
        ended = run(processes, settings, tmp_path / str(processes))
        assert ended.returncode == 0, ended.stderr[-2000:]
        labels[processes] = load_file(tmp_path / str(processes) / "last.safetensors")["method.labels"]
    changed = labels[1] != load_synthetic(20).split("train").labels()
    assert changed.sum() > 20 and (labels[1] != labels[2]).sum() <= 2  # a label on the edge may fall to either side
