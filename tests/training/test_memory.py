"""Memory: whole processes, as the benchmark measures them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")


def peak(*arguments: str, cache: Path) -> float:
    """Largest resident memory, MB, of a job of benchmarks/training_memory.py."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FERLIB_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    environment["MALLOC_ARENA_MAX"] = "1"  # else the peak depends on which threads met
    command = [sys.executable, str(ROOT / "benchmarks" / "training_memory.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return float(done.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.data
def test_ivsa_with_fer2013_in_memory_stays_under_3_gb(data_root, tmp_path):
    assert peak("ivsa", "256", cache=tmp_path) < 3000  # judged on two batches: more take time, not memory


@pytest.mark.slow
def test_building_a_cache_is_flat_in_memory(tmp_path):
    small, large = (peak("cache", str(count), cache=tmp_path) for count in (100, 1000))
    first, second = sorted(path.stat().st_size for path in (tmp_path / "features").iterdir())
    assert second - first > 110e6  # what the larger file holds more
    assert large - small < 90  # runs of the same size differ by up to 70 on a machine at work
