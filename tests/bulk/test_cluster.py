"""A Ray cluster on this machine: the same files as without one, also when a process or a machine is lost."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from photo_folder import make_photos, parts_of, rows_of

from ferlib.bulk.run import predict_table
from ferlib.cli import main
from ferlib.errors import UserError

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ferlib[cluster]'")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, portrait: Any, astronaut: Any) -> Path:
    return make_photos(tmp_path_factory.mktemp("bulk") / "photos", portrait, astronaut)


@pytest.fixture(scope="module")
def expected(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Parts of two photos each, made by one process."""
    out = tmp_path_factory.mktemp("tables") / "one"
    predict_table(photos, out, workers=1, shard_size=2)
    return parts_of(out)


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of two nodes with one core each; the second can be removed."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    own = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=own)
    second = cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
    cluster.wait_for_nodes()
    yield cluster, second
    cluster.shutdown()


def busy_processes() -> list[psutil.Process]:
    """Processes of Ray that are doing a shard."""
    return [one for one in psutil.process_iter(["cmdline"]) if "ray::_do" in " ".join(one.info["cmdline"] or ())]


@pytest.mark.slow
def test_a_cluster_of_one_machine_makes_the_same_files(photos, expected, tmp_path, capsys):
    command = ["predict", "--recursive", str(photos), "--out", str(tmp_path / "t"), "--engine", "ray"]
    assert main([*command, "--shard-size", "2", "--workers", "2"]) == 0
    assert "in this run 24 faces, 1 photo without one, 4 photos that could not be read" in capsys.readouterr().out
    assert parts_of(tmp_path / "t") == expected and not ray.is_initialized()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"  # nothing is reported to Ray's maker


@pytest.mark.slow
def test_a_killed_process_and_a_lost_node_cost_no_row(photos, expected, tmp_path, two_nodes):
    """One process is killed while it does a shard, then the second node with all that is on it."""
    cluster, second = two_nodes
    out = tmp_path / "t"
    done = threading.Event()
    lost = []

    def harm() -> None:
        while not done.is_set() and not lost:
            for one in busy_processes()[:1]:
                one.send_signal(signal.SIGKILL)
                lost.append("process")
            time.sleep(0.01)
        while not done.is_set() and len(parts_of(out)) < 3:
            time.sleep(0.01)
        if not done.is_set():
            cluster.remove_node(second, allow_graceful=False)
            lost.append("node")

    harmer = threading.Thread(target=harm)
    harmer.start()
    try:
        summary = predict_table(photos, out, engine="ray", address=cluster.address, shard_size=2)
    finally:
        done.set()
        harmer.join()
    assert lost == ["process", "node"]
    assert summary.photos == 23 and parts_of(out) == expected
    rows = [(row["photo"], row["face"]) for row in rows_of(out)]
    assert len(rows) == len(set(rows)) and {photo for photo, _ in rows} == set(range(23))


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_a_sentence(photos, tmp_path):
    with pytest.raises(UserError, match="does not answer"):
        predict_table(photos, tmp_path / "t", engine="ray", address="127.0.0.1:1")
