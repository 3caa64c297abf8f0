"""The session for a lent GPU, tried on a CPU: everything but the time it takes."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from ferlib.data.fer2013 import VOTE_COLUMNS, load_fer2013, load_ferplus
from ferlib.models.registry import load_model

ROOT = Path(__file__).parents[2]


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
    parts = ["teacher_face_112_mixup", "methods", "student_s_0", "ivsa_sab", "ivsa_none", "speed"]
    done = run(*small, "--parts", *parts)
    assert done.returncode == 1  # the teacher and its student: their backbone's weights are not here
    told = json.loads((tmp_path / "out" / "session.json").read_text())
    steps = {
        name: {step: found["code"] for step, found in part["steps"].items()} for name, part in told["parts"].items()
    }
    tests = ["public", "private", "private_clean"]
    assert steps["ivsa_none"] == dict.fromkeys(["train", *tests, *(f"{test}_ten_crop" for test in tests)], 0)
    assert steps["ivsa_sab"] == {"train": 0}  # comes back, and is judged elsewhere
    assert steps["teacher_face_112_mixup"] == steps["student_s_0"] == {"train": 1} and steps["speed"] == {"run": 0}
    assert steps["methods"] == {"unpack": 0, "run": 1, "pack": 0}  # of the runs that are kept; no further ones
    assert "no weights file" in " ".join(told["parts"]["teacher_face_112_mixup"]["steps"]["train"]["last words"])
    assert told["faces"] == "compact copy" and len(told["parts"]["ivsa_sab"]["history"]) == 3
    for path in (tmp_path / "out").glob("models_*.zip"):
        with zipfile.ZipFile(path) as file:
            file.extractall(tmp_path / "back")
    best = tmp_path / "back" / "ivsa_sab" / "best"
    assert (best / "model.safetensors").stat().st_size < 16 << 20  # of 30 MB
    assert load_model(best).config.widths == (64, 128, 256, 512)
    again = run(*small, "--parts", "ivsa_sab", "ivsa_none", "speed")
    assert (again.returncode, again.stdout) == (0, "")  # nothing is left to do


@pytest.mark.slow
def test_students_learn_from_teachers_that_were_trained_and_wait_for_them(compact, tmp_path):
    weights = compact / "weights"
    weights.mkdir()
    save_file(timm.create_model("mobilenetv1_100").state_dict(), weights / "mobilenetv1_100_vggface2.safetensors")
    out = tmp_path / "out"
    places = ["--data", str(compact), "--work", str(tmp_path / "work"), "--out", str(out)]
    parts = ["student_s_0", "teacher_face_head_128"]
    assert run(*places, "--batches", "1", "--jobs", "2", "--minutes", "100", "--parts", *parts).returncode == 0
    told = json.loads((out / "session.json").read_text())["parts"]
    recipe = told["student_s_0"]["files"]["recipe"]
    assert [Path(teacher).parts[-2:] for teacher in recipe["teacher"].split(",")] == [("teacher_face_head_128", "best")]
    with zipfile.ZipFile(out / "models_0.zip") as file:
        assert {"student_s_0/best/model.safetensors", "teacher_face_head_128/history.csv"} <= set(file.namelist())


@pytest.mark.slow
def test_finished_runs_travel_without_weights_and_give_the_same_table(tmp_path):
    reproduce = ["-m", "ferlib", "reproduce", "methods", "--quick", "--rows", "SCN", "--work"]
    finished = "benchmarks/finished_runs.py"
    for words in (
        [*reproduce, str(tmp_path / "here"), "--out", str(tmp_path / "here.json")],
        [finished, "pack", str(tmp_path / "here"), str(tmp_path / "runs.zip")],
        [finished, "unpack", str(tmp_path / "runs.zip"), str(tmp_path / "there")],
        [*reproduce, str(tmp_path / "there"), "--out", str(tmp_path / "there.json")],
    ):
        subprocess.run([sys.executable, *words], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    with zipfile.ZipFile(tmp_path / "runs.zip") as file:
        assert not [name for name in file.namelist() if "safetensors" in name]
        started = json.loads(next(file.read(name) for name in file.namelist() if name.endswith("environment.json")))
    assert "here.json" in started[0]["arguments"] and str(tmp_path) not in json.dumps(started[0]["arguments"])
    (here,), (there,) = (json.loads((tmp_path / f"{p}.json").read_text())["entries"] for p in ("here", "there"))
    times = ("ms_per_face",)
    one, other = ([{k: v for k, v in row.items() if k not in times} for row in e["rows"]] for e in (here, there))
    assert one == other and [row["name"] for row in one] == ["plain", "SCN"]


def test_kept_runs_do_not_tell_where_things_were():
    for archive in sorted((ROOT / "results").glob("*_runs.zip")):
        with zipfile.ZipFile(archive) as file:
            for name in file.namelist():
                if name.endswith(".json"):
                    assert not re.search(rb'"/(?!")', file.read(name)), (archive.name, name)


@pytest.mark.slow
def test_a_training_whose_time_is_up_brings_back_its_best_epoch(compact, tmp_path):
    places = ["--data", str(compact), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    done = run(*places, "--minutes", "2", "--grace", "300", "--jobs", "1", "--parts", "ivsa_sab")
    steps = json.loads((tmp_path / "out" / "session.json").read_text())["parts"]["ivsa_sab"]["steps"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert steps["train"]["stopped"] and steps["train"]["code"] == 130
    with zipfile.ZipFile(tmp_path / "out" / "models_0.zip") as file:
        assert "ivsa_sab/best/model.safetensors" in file.namelist()
