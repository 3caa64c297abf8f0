"""The benchmarks of the app measure what they say."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from types import ModuleType

import pytest

from ferlib import predict

pytest.importorskip("gradio")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def load() -> ModuleType:
    import app_load

    return app_load


@pytest.fixture
def latency() -> ModuleType:
    import app_latency

    return app_latency


def face(*box: int, **scores: float) -> dict:
    return {"box": list(box), "scores": scores}


def test_differing_answers_are_counted(load):
    one = face(0, 0, 9, 9, fear=0.25, anger=0.75)
    before = {"same": [one], "moved": [one], "changed": [one], "gone": [one], "empty": [], "failed": [one]}
    after = {
        "same": [face(0, 0, 9, 9, fear=0.2504, anger=0.7496)],
        "moved": [face(1, 0, 9, 9, fear=0.25, anger=0.75)],
        "changed": [face(0, 0, 9, 9, fear=0.26, anger=0.74)],
        "gone": [],
        "empty": [],
    }
    ours = [load.Answer(Path(name), 1.0, {"faces": found}) for name, found in before.items()]
    theirs = [load.Answer(Path(name), 1.0, {"faces": found}) for name, found in reversed(after.items())]
    assert load.differing(ours, [*theirs, load.Answer(Path("failed"), 1.0, error="no answer")]) == 4


def test_a_server_that_is_not_there_is_an_error(load, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"nothing")
    answers, taken = load.ask_all(f"http://127.0.0.1:{port}", [photo] * 3, clients=2)
    summary = load.summary(answers, [3 / taken], load.np.ones(3))
    assert summary["requests"] == summary["errors"] == 3 and "ConnectError" in summary["first errors"][0]


@pytest.mark.slow
@pytest.mark.data
def test_load_on_the_running_app(data_root, tmp_path):
    out = tmp_path / "load.json"
    counts = ["--requests", "6", "--rounds", "2", "--clients", "2", "--more", "10", "--wait", "0"]
    command = [sys.executable, "benchmarks/app_load.py", *counts, "--out", str(out)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=300)
    report = json.loads(out.read_text())
    for figures in report["turns"]["clients"].values():
        assert figures["requests"] == 6 and figures["errors"] == 0 and figures["with a face"] >= 4
        assert 0 < figures["p50, s"] <= figures["p95, s"]
    assert report["turns"]["photos in which answers differ"] == report["memory"]["errors"] == 0
    assert 100 < report["memory"]["before"]["resident, MB"] <= report["memory"]["after"]["peak, MB"]
    assert report["files"]["left by the server"] > 0  # too early for it
    assert report["files"]["left after the end"] == report["files"]["exit code after Ctrl-C"] == 0


@pytest.mark.slow
def test_an_attack_on_the_running_app(tmp_path):
    out = tmp_path / "attack.json"
    counts = ["--minutes", "0.1", "--queued", "60", "--bombs", "2"]
    command = [sys.executable, "benchmarks/app_attack.py", *counts, "--out", str(out)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=900)
    report = json.loads(out.read_text())
    assert report["use"]["errors"] == 0 < report["use"]["requests"] and report["growth, MB"] < 300
    doors = report["doors"]
    assert doors["requests"] > 1000 and doors["answers by status"]["200"] > 500
    assert doors["read"] == doors["written"] == doors["fetched"] == 0
    assert report["names"]["answers by status"] == {"403": report["names"]["requests"]}
    assert sum(report["queue"]["answers by status"].values()) == 60 and "500" not in doors["answers by status"]
    assert report["bombs"]["answers"] == {"No face was found in the picture.": 2}
    assert report["bombs"]["growth, MB"] < 200 and report["bombs"]["visitor's answers meanwhile"] > 0


def test_the_steps_are_those_of_a_prediction(latency, tmp_path):
    predictor = predict.Predictor.load()
    photo = latency.portraits(tmp_path)[0]
    before = predict.read_image
    latency.ours(predictor, photo, None)  # loads the detector
    runs = [latency.ours(predictor, photo, None) for _ in range(5)]
    assert predict.read_image is before
    for run in runs:
        assert run["faces"] == 1 and set(run["steps"]) == {step for step, *_ in latency.STEPS}
        assert sum(run["steps"].values()) <= run["seconds"]
    assert any(0.8 * run["seconds"] < sum(run["steps"].values()) for run in runs)  # other work comes in between


def test_a_step_takes_the_time_it_takes(latency):
    steps = latency.Steps()
    slow = steps._timed("sleep", time.sleep)
    slow(0.02)
    slow(0.03)
    assert 0.05 <= steps.seconds["sleep"] < 2


def test_medians_over_photos_with_one_face(latency):
    draw = random.Random(0)
    photos = [Path(name) for name in "abcdef"]
    names = (latency.OURS, latency.EXPLAINED, latency.HAAR, latency.MTCNN)
    seconds = {name: {photo: [draw.random() for _ in range(3)] for photo in photos} for name in names}
    faces = {name: dict.fromkeys(photos, 1) for name in names}
    faces[latency.HAAR][photos[1]], faces[latency.MTCNN][photos[4]] = 0, 2
    told = {
        name: {
            photo: [
                {"seconds": s, "faces": faces[name][photo], "steps": {"classification": s / 2}}
                for s in seconds[name][photo]
            ]
            for photo in photos
        }
        for name in names
    }
    report = latency.compare(told, photos)
    assert report["with a face"] == dict.fromkeys(names, 6) | {latency.HAAR: 5}
    assert report["with one face, found by all"] == 4
    kept = [photos[i] for i in (0, 2, 3, 5)]
    expected = {name: 1000 * median(sorted(seconds[name][photo])[1] for photo in kept) for name in names}
    assert report["ms"] == pytest.approx(expected, abs=0.01)
    explanation = expected[latency.EXPLAINED] - expected[latency.OURS]
    assert report["ms of ours"]["explanation"] == pytest.approx(explanation, abs=0.01)
    assert report["ours to fer"][latency.HAAR] == pytest.approx(
        expected[latency.OURS] / expected[latency.HAAR], abs=0.01
    )
