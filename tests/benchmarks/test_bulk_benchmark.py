"""The benchmark of bulk prediction on a few small photos: what is killed is made up for, and no second is left out."""

import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from subprocess import Popen
from typing import Any

import bulk
import pyarrow.parquet
import pytest
from bulk_runs import Photos, alive, compare, link, run
from photo_folder import make_photos

COUNT, SHARD = 36, 2
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched in /proc")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, portrait: Any, astronaut: Any) -> Path:
    """Six small photos; two of them give no face."""
    folder = make_photos(tmp_path_factory.mktemp("photos") / "all", portrait, astronaut)
    kept = tmp_path_factory.mktemp("photos") / "few"
    kept.mkdir()
    for name in ("astronaut0.jpg", "b/cut.jpg", "nobody.png", "portrait0.jpg", "two0.jpg", "b/astronaut1.JPG"):
        os.link(folder / name, kept / Path(name).name)
    return kept


@pytest.fixture
def benchmark(few, tmp_path, monkeypatch):
    """A function that calls the benchmark as a command, and returns its report."""
    out = tmp_path / "bulk.json"

    def call(*words: str) -> dict | None:
        common = ["--out", str(out), "--photos-from", str(few), "--photos", str(COUNT), "--shard-size", str(SHARD)]
        monkeypatch.setattr(sys, "argv", ["bulk.py", *words, *common])
        bulk.main()
        return json.loads(out.read_text())[words[0]] if out.exists() else None

    return call


def assert_whole(found: dict) -> None:
    """Nothing is lost, there twice, or another answer than a lone process's; of six photos one has two faces."""
    assert found["photos_without_a_row"] == found["photos_twice"] == found["photos_with_other_rows"] == 0
    assert found["rows"] == COUNT + COUNT // 6


def test_sizes(benchmark, few):
    found = benchmark("sizes", "--different", "2")
    plain, whole = found["bytes_a_photo"].values()
    assert whole > plain > 100  # a part of two photos is nearly all names of columns
    assert found["photos"] == SHARD and found["photos_listed"] == COUNT
    assert found["bytes_of_the_list_a_photo"] > 10
    assert found["seconds_to_list"].keys() == {"folder", "txt"}


@pytest.mark.slow
def test_a_run_in_pieces(benchmark, tmp_path):
    """Killed after a second, then after a little more, until it is done; every piece is in the sum."""
    calls, began, report = 0, time.monotonic(), None
    while not report:
        report = benchmark("long", "--work", str(tmp_path / "work"), "--seconds", str(1 + 0.7 * calls))
        calls += 1
    passed = time.monotonic() - began
    assert_whole(report)
    pieces = report["pieces"]
    assert calls == len(pieces) >= 2
    # the last piece's parent is killed too when its time is up after the last part and before its own end
    assert all(one["parent_killed"] for one in pieces[:-1])
    assert report["killed"]["parent"] == sum(one["parent_killed"] for one in pieces)
    assert [one["photos_before"] for one in pieces] == [0, *(one["photos"] for one in pieces[:-1])]
    assert report["seconds"] == pytest.approx(sum(one["seconds"] for one in pieces)) and report["seconds"] < passed
    assert all(one["seconds"] >= 1 for one in pieces[:-1]) and pieces[-1]["photos"] == COUNT
    assert report["photos_counted"] == COUNT
    assert report["photos_a_second"] == pytest.approx(COUNT / report["seconds"], abs=0.1)
    assert 50 < report["largest_MB"] < 2000
    assert [json.loads(note.read_text()) for note in sorted((tmp_path / "work").glob("piece-*"))] == pieces


def test_seconds_without_a_clock_are_not_counted(benchmark, tmp_path):
    """Parts that were made while the benchmark was not there are in the table, and not in the rate."""
    work = tmp_path / "work"
    assert benchmark("long", "--work", str(work), "--seconds", "0.2") is None
    unseen = Photos(work / "photos", work / "table", SHARD)
    run(unseen.command(2))
    report = benchmark("long", "--work", str(work))
    assert_whole(report)
    assert report["photos_counted"] == 0 == report["photos_a_second"]


def test_a_piece_waits_for_the_last_one(benchmark, tmp_path):
    work = tmp_path / "work"
    assert benchmark("long", "--work", str(work), "--seconds", "0.2") is None
    (note,) = work.glob("piece-*.json")
    note.write_text(json.dumps(json.loads(note.read_text()) | {"process": os.getpid()}))
    with pytest.raises(SystemExit, match="still at work"):
        benchmark("long", "--work", str(work))


@pytest.mark.slow
def test_one_process_two_and_killed_ones_make_the_same_files(benchmark):
    ways = benchmark("kills", "--kills", "2", "--no-ray")["ways"]
    _, two, parent, workers = ways.values()
    for way in ways.values():
        assert_whole(way)
    assert two["same_files"] and parent["same_files"] and workers["same_files"]
    assert parent["killed"] and workers["killed"]


@pytest.mark.slow
def test_ray_makes_the_same_files(benchmark):
    if not importlib.util.find_spec("ray"):
        pytest.skip("Ray is not installed: pip install 'ferlib[cluster]'")
    ways = benchmark("kills", "--kills", "1")["ways"]
    (name,) = (name for name in ways if "Ray" in name)
    assert_whole(ways[name])
    assert ways[name]["same_files"]


def test_rates_are_of_all_ways(benchmark):
    report = benchmark("rates", "--runs", "1")
    loop, *tables = report["ways"].values()
    assert loop["beside_the_loop"] == 1 and len(tables) == 2
    for way in report["ways"].values():
        assert 0 < way["photos_a_second"] < 1000 and way["processor_ms_a_photo"] > 1


def test_lost_doubled_and_changed_rows_are_counted(few, tmp_path):
    """A part is deleted, one is there twice, and one has the rows of other photos."""
    reference, photos = Photos(few, tmp_path / "one", SHARD), Photos(tmp_path / "photos", tmp_path / "table", SHARD)
    run(reference.command(1))
    link(sorted(few.iterdir()), photos.folder, 12)
    run(photos.command(1))
    whole = {"rows": 14, "photos_without_a_row": 0, "photos_twice": 0, "photos_with_other_rows": 0}
    assert compare(photos, 12, reference) == whole
    first, _, third, fourth, *_ = photos.parts()
    (photos.table / "part-000009.parquet").write_bytes(first.read_bytes())
    assert compare(photos, 12, reference) == whole | {"rows": 16, "photos_twice": 2}
    first.unlink()
    assert compare(photos, 12, reference) == whole
    third.unlink()
    assert compare(photos, 12, reference)["photos_without_a_row"] == 2
    table = pyarrow.parquet.read_table(fourth)
    other = pyarrow.array([table["happiness"][0].as_py(), 0.5], pyarrow.float32())
    changed = table.set_column(table.column_names.index("happiness"), "happiness", other)
    pyarrow.parquet.write_table(changed, fourth)
    assert compare(photos, 12, reference)["photos_with_other_rows"] == 1


def test_links_are_hard_and_a_second_call_goes_on(few, tmp_path):
    files = sorted(few.iterdir())
    link(files, tmp_path / "links", 7)
    link(files, tmp_path / "links", 1003)
    links = sorted(path for path in (tmp_path / "links").rglob("*") if path.is_file())
    assert len(links) == 1003 and {path.parent.name for path in links} == {"000000", "000001"}
    assert all(os.path.samefile(path, files[number % len(files)]) for number, path in enumerate(links))


def test_processes_that_are_gone_are_seen():
    process = Popen([sys.executable, "-c", "input()"], stdin=-1)
    assert alive(process.pid)
    process.kill()
    while alive(process.pid):  # a zombie until it is waited for
        time.sleep(0.01)
    process.communicate()
    assert not alive(process.pid)
