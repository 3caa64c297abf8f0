"""The cache: files are written whole or not at all, whoever else writes them."""

import subprocess
import sys

import numpy as np
import pytest

from ferlib.utils.atomic import atomic_write
from ferlib.utils.cache import cache_dir, cached_array

ARRAY = np.arange(12).reshape(3, 4)
#: A process that is building an array when another one is. Arguments: its mark, the other's mark.
BUILDER = """
import sys, time
from pathlib import Path
import numpy as np
from ferlib.utils.cache import cached_array

def build():
    Path(sys.argv[1]).touch()
    while not Path(sys.argv[2]).exists():
        time.sleep(0.01)
    return np.full((500, 500), 7)

print(cached_array("both", "key", build).sum())
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("FERLIB_CACHE", str(tmp_path / "cache"))
    return cache_dir()


def refuse() -> np.ndarray:
    pytest.fail("built again")


def test_an_array_is_built_once(folder):
    assert (cached_array("set", "key", lambda: ARRAY) == ARRAY).all()
    assert (cached_array("set", "key", refuse) == ARRAY).all()
    assert (cached_array("set", "other", lambda: ARRAY + 1) == ARRAY + 1).all()
    assert sorted(path.name for path in folder.iterdir()) == ["set-key.npy", "set-other.npy"]


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"something else"])
def test_a_damaged_file_is_built_again(folder, content):
    cached_array("set", "key", lambda: ARRAY)
    (folder / "set-key.npy").write_bytes(content)
    assert (cached_array("set", "key", lambda: ARRAY) == ARRAY).all()
    assert (cached_array("set", "key", refuse) == ARRAY).all()


def test_a_full_disk_leaves_nothing_behind(folder, monkeypatch):
    def full_disk(handle, array, **options):
        handle.write(b"\x93NUMPY\x01\x00")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        cached_array("set", "key", lambda: ARRAY)
    assert not list(folder.iterdir())


def test_a_file_has_its_name_only_when_it_is_whole(folder):
    path = folder / "below" / "file.txt"
    with atomic_write(path) as partial:
        partial.write_text("new")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]


def test_two_writers_in_one_process_do_not_meet(folder):
    path = folder / "file.txt"
    with atomic_write(path) as first:
        first.write_text("first")
        with atomic_write(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first" and list(folder.iterdir()) == [path]


def test_two_processes_that_build_the_same_both_end_well(folder, tmp_path):
    marks = [str(tmp_path / name) for name in ("one", "two")]
    command = [sys.executable, "-c", BUILDER]
    processes = [subprocess.Popen([*command, *order], stdout=subprocess.PIPE) for order in (marks, marks[::-1])]
    try:
        answers = [int(process.communicate(timeout=120)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert answers == [7 * 500 * 500] * 2 and [process.returncode for process in processes] == [0, 0]
    assert (cached_array("both", "key", refuse) == 7).all() and len(list(folder.iterdir())) == 1
