"""Old files go, the page's own stay."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ferlib.app.cleanup import all_files, delete_old, delete_oldest, delete_regularly, files_by_age, upload_folder


@pytest.fixture
def folder(tmp_path):
    for name in ("own/image.webp", "one/photo.jpg", "two/deeper/boxes.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"picture")
    return tmp_path


def test_old_files_and_the_folders_they_leave_are_deleted(folder):
    own = {folder / "own" / "image.webp"}
    delete_old(folder, own, age=60)
    assert len(all_files(folder)) == 3  # nothing is as old as that
    delete_old(folder, own, age=60, now=time.time() + 61)
    assert all_files(folder) == own
    assert [path.name for path in folder.iterdir()] == ["own"]
    (folder / "new").mkdir()
    delete_old(folder, own, age=60)
    assert (folder / "new").exists()


def test_files_that_come_later_are_deleted_regularly_until_the_end(folder):
    stop = threading.Event()
    thread = threading.Thread(target=delete_regularly, args=(folder, all_files(folder), 0.05, 0.02, stop))
    thread.start()
    deadline = time.monotonic() + 10
    time.sleep(0.1)
    (folder / "late.jpg").write_bytes(b"picture")
    while (folder / "late.jpg").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    stop.set()
    thread.join(10)
    assert not thread.is_alive() and len(all_files(folder)) == 3


def test_the_oldest_give_way(folder):
    own = {folder / "own" / "image.webp"}
    order = [path for _, _, path in files_by_age(folder)]
    assert {*order} == all_files(folder)
    delete_oldest(folder, own, max_bytes=10**9, max_files=0, age=60)
    assert len(all_files(folder)) == 3  # all are needed still
    delete_oldest(folder, own, max_bytes=14, max_files=9, age=-1)
    assert all_files(folder) == own | {order[-1]}
    delete_oldest(folder, own, max_bytes=10**9, max_files=0, age=-1)
    assert all_files(folder) == own


def test_folders_of_servers_that_were_killed_are_deleted_by_the_next_one(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    code = (
        "import time; from pathlib import Path; from ferlib.app.cleanup import upload_folder\n"
        "with upload_folder(600) as folder: (folder / 'a.jpg').write_text('picture'); print(folder, flush=True); "
        "time.sleep(600)"
    )
    servers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in ("killed", "alive")
    ]
    try:
        killed, alive = (tmp_path / one.stdout.readline().strip() for one in servers)
        somebody_elses = tmp_path / "ferlib-app-notes"
        somebody_elses.mkdir()
        servers[0].send_signal(signal.SIGKILL)
        servers[0].wait()
        with upload_folder(600) as new:
            assert {*tmp_path.iterdir()} == {killed, alive, somebody_elses, new}  # one might be about to be locked
        for folder in (killed, alive, somebody_elses):
            os.utime(folder, (0, 0))
        with upload_folder(600) as new:
            assert {*tmp_path.iterdir()} == {alive, somebody_elses, new}
        assert {*tmp_path.iterdir()} == {alive, somebody_elses} and (alive / "a.jpg").exists()
    finally:
        for server in servers:
            server.kill()
