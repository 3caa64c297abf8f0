"""The session for a lent GPU, tried on a CPU: everything but the time it takes."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ferlib.data.fer2013 import VOTE_COLUMNS, load_fer2013, load_ferplus
from ferlib.models.registry import load_model

ROOT = Path(__file__).parents[1]


@pytest.fixture
def compact(synthetic_faces, tmp_path) -> Path:
    """A data root with synthetic faces as FER2013, in JPEG mosaics of 32 by 32 faces, and nine votes for each."""
    folder = tmp_path / "root" / "fer2013"
    folder.mkdir(parents=True)
    faces = synthetic_faces.pixels[:, 0].numpy()
    padded = np.concatenate([faces, np.zeros((-len(faces) % 1024, 48, 48), np.uint8)])
    mosaics = padded.reshape(-1, 32, 32, 48, 48).transpose(0, 1, 3, 2, 4).reshape(-1, 1536, 1536)
    files = []
    for mosaic in mosaics:
        Image.fromarray(mosaic).save(file := io.BytesIO(), "JPEG", quality=95)
        files.append(np.frombuffer(file.getvalue(), np.uint8))
    frame = synthetic_faces.frame
    usage = frame["split"].map({"train": 0, "validation": 1, "test": 2}).to_numpy(np.uint8)
    ends = np.cumsum([len(file) for file in files])
    labels = frame["label"].to_numpy(np.uint8)
    np.savez(folder / "fer2013_compact.npz", jpeg=np.concatenate(files), ends=ends, emotion=labels, usage=usage)
    names = ["Training", "PublicTest", "PrivateTest"]
    votes = ["Usage,Image name," + ",".join(VOTE_COLUMNS)]
    for label, split in zip(labels, usage, strict=True):
        votes.append(f"{names[split]},x," + ",".join("9" if i == label else "0" for i in range(len(VOTE_COLUMNS))))
    (folder / "fer2013new.csv").write_text("\n".join(votes) + "\n")
    return tmp_path / "root"


def test_the_compact_copy_becomes_the_usual_files(compact, synthetic_faces, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from fer2013_part import write_part

    write_part(compact / "fer2013", tmp_path / "whole")
    whole = load_fer2013(tmp_path / "whole")
    assert whole.frame["split"].tolist() == synthetic_faces.frame["split"].tolist()
    assert whole.frame["label"].tolist() == synthetic_faces.frame["label"].tolist()
    assert (whole.pixels.float() - synthetic_faces.pixels.float()).abs().mean() < 3  # JPEG
    write_part(tmp_path / "whole", tmp_path / "part", 20)
    part = load_fer2013(tmp_path / "part")
    assert part.frame["split"].value_counts().tolist() == [20, 20, 20]
    assert torch.equal(part.split("train").pixels, whole.split("train").pixels[:20])
    votes = load_ferplus(tmp_path / "part").frame.filter(like="votes_").to_numpy()
    assert (votes.argmax(axis=1) == load_fer2013(tmp_path / "part").frame["label"]).all()


def run(*options: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_session.py"), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_a_session_of_two_batches_and_its_continuation(compact, tmp_path):
    places = ["--data", str(compact), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    small = [*places, "--batches", "2", "--jobs", "1", "--minutes", "100"]
    done = run(*small, "--parts", "teacher_lite0", "ivsa_sab", "speed")
    assert done.returncode == 1  # the teacher: its backbone's weights are not here
    told = json.loads((tmp_path / "out" / "session.json").read_text())
    steps = {
        name: {step: found["code"] for step, found in part["steps"].items()} for name, part in told["parts"].items()
    }
    tests = ["public", "private", "private_clean"]
    assert steps["ivsa_sab"] == dict.fromkeys(["train", *tests, *(f"{test}_ten_crop" for test in tests)], 0)
    assert steps["teacher_lite0"] == {"train": 1} and steps["speed"] == {"run": 0}
    assert "no weights file" in " ".join(told["parts"]["teacher_lite0"]["steps"]["train"]["last words"])
    assert told["faces"] == "compact copy" and len(told["parts"]["ivsa_sab"]["history"]) == 3
    with zipfile.ZipFile(tmp_path / "out" / "ivsa_sab.zip") as file:
        file.extractall(tmp_path / "model")
    model = load_model(tmp_path / "model" / "best")
    assert (tmp_path / "model" / "best" / "model.safetensors").stat().st_size < 16 << 20  # of 30 MB
    assert model.config.widths == (64, 128, 256, 512)
    again = run(*small, "--parts", "ivsa_sab", "speed")
    assert (again.returncode, again.stdout) == (0, "")  # nothing is left to do


@pytest.mark.slow
def test_a_training_whose_time_is_up_is_judged_and_goes_on_later(compact, tmp_path):
    places = ["--data", str(compact), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    done = run(*places, "--minutes", "2", "--jobs", "1", "--parts", "ivsa_sab")
    steps = json.loads((tmp_path / "out" / "session.json").read_text())["parts"]["ivsa_sab"]["steps"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert steps["train"]["stopped"] and steps["train"]["code"] == 130
    assert steps["public"]["code"] == 0 or steps["public"]["stopped"]
