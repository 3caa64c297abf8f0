"""Runs that are killed, the parent or a worker, at any moment: no row is lost, and none is there twice."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from photo_folder import make_photos, parts_of, rows_of

from ferlib.bulk.local import TRIES
from ferlib.bulk.run import predict_table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(tmp_path_factory, portrait, astronaut) -> Path:
    return make_photos(tmp_path_factory.mktemp("bulk") / "photos", portrait, astronaut)


@pytest.fixture(scope="module")
def expected(photos, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("tables") / "one"
    predict_table(photos, out, workers=1, shard_size=2)
    return parts_of(out)


def start(photos: Path, out: Path) -> subprocess.Popen:
    words = ["predict", "--recursive", str(photos), "--out", str(out), "--workers", "2", "--shard-size", "2"]
    return subprocess.Popen([sys.executable, "-m", "ferlib", *words], stdout=subprocess.DEVNULL)


def workers_of(run: subprocess.Popen) -> list[psutil.Process]:
    try:
        return psutil.Process(run.pid).children()
    except psutil.NoSuchProcess:
        return []


def assert_complete(out: Path, expected: dict[str, bytes]) -> None:
    rows = [(row["photo"], row["face"]) for row in rows_of(out)]
    assert len(rows) == len(set(rows)) and {photo for photo, _ in rows} == set(range(23))
    assert parts_of(out) == expected


def test_a_killed_run_goes_on(photos, expected, tmp_path):
    """Killed again and again, a little later each time, and begun again at once, while its workers may still live."""
    draw, out, kills = random.Random(0), tmp_path / "t", 0
    while True:
        run = start(photos, out)
        try:
            run.wait(0.5 + 0.1 * kills + 0.3 * draw.random())
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait()
            kills += 1
            assert parts_of(out).items() <= expected.items()  # what is there is whole
        else:
            break
    assert run.returncode == 0 and kills >= 3
    assert_complete(out, expected)


def test_killed_workers_are_replaced(photos, expected, tmp_path):
    draw, out = random.Random(1), tmp_path / "t"
    run, killed = start(photos, out), 0
    while run.poll() is None:
        time.sleep(0.2 + 0.6 * draw.random())
        workers = workers_of(run)
        if workers and killed < TRIES - 1:
            workers[draw.randrange(len(workers))].kill()
            killed += 1
    assert run.returncode == 0 and killed >= 2
    assert_complete(out, expected)
