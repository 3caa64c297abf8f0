"""Tables of many photos: the same rows as one photo at a time, in parts that are made once."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from photo_folder import GOOD, make_photos, parts_of, rows_of
from PIL import Image
from worker_tasks import FragileJob

from ferlib.bulk.job import Counts, Job, Shard
from ferlib.bulk.local import TRIES, do_locally
from ferlib.bulk.manifest import begin
from ferlib.bulk.photos import photos_of, shard_of
from ferlib.bulk.progress import Progress
from ferlib.bulk.run import predict_table
from ferlib.bulk.storage import open_store
from ferlib.cli import main
from ferlib.errors import MissingPackage, UserError
from ferlib.predict import Predictor
from ferlib.predict_many import ENDED
from ferlib.results import csv_columns, table_rows


@pytest.fixture(scope="module")
def photos(tmp_path_factory, portrait, astronaut) -> Path:
    return make_photos(tmp_path_factory.mktemp("bulk") / "photos", portrait, astronaut)


@pytest.fixture(scope="module")
def table(photos, tmp_path_factory) -> Path:
    """Of one process, five photos a part."""
    out = tmp_path_factory.mktemp("tables") / "one.parquet"
    summary = predict_table(photos, out, workers=1, shard_size=5)
    assert (summary.photos, summary.before, summary.faces, summary.errors) == (GOOD + 5, 0, 24, 5)
    assert summary.unread == 4  # there is one photo of nobody
    return out


def test_rows_are_those_of_one_photo_at_a_time(photos, table):
    predictor = Predictor.load()
    names = ["photo", *csv_columns(predictor.classes)]
    rows = rows_of(table)
    assert list(rows[0]) == names and len({(row["photo"], row["face"]) for row in rows}) == len(rows) == 24 + 5
    paths = [path for path, *_ in ((row["image"],) for row in rows)]
    assert paths == sorted(paths, key=Path) and all(os.path.isabs(path) for path in paths)
    expected = []
    for number, result in enumerate(predictor.predict([photos])):
        for row in table_rows(result, predictor.classes):
            row[0] = row[0].encode("utf-8", "backslashreplace").decode()
            expected.append(dict(zip(names, [number, *row], strict=True)))
    for row, other in zip(rows, expected, strict=True):
        numbers = [name for name, value in row.items() if isinstance(value, float)]
        assert [row.pop(name) for name in numbers] == pytest.approx([other.pop(name) for name in numbers], abs=1e-6)
        other["error"] = other["error"] and other["error"].encode("utf-8", "backslashreplace").decode()
        assert row == other


def test_bad_files_are_rows_with_a_reason(table):
    errors = {Path(row["image"]).name: row["error"] for row in rows_of(table) if row["error"]}
    assert errors.keys() == {"nobody.png", "text.jpg", "empty.png", "cut.jpg", "broken\\udcff.gif"}
    assert errors["nobody.png"] == "No face was found in the picture." and "not a picture" in errors["text.jpg"]
    assert "0 bytes" in errors["empty.png"] and "damaged" in errors["cut.jpg"]


def test_two_processes_make_the_same_files(photos, table, tmp_path):
    predict_table(photos, tmp_path / "two", workers=2, shard_size=5)
    assert parts_of(tmp_path / "two") == parts_of(table) and len(parts_of(table)) == 5


def test_finished_parts_stay_and_the_rest_is_made(photos, table, tmp_path, capsys):
    out = tmp_path / "again.parquet"
    command = ["predict", "--recursive", str(photos), "--out", str(out), "--shard-size", "5", "--workers", "2"]
    assert main(command) == 0
    assert (
        "23 photos\nin this run 24 faces, 1 photo without one, 4 photos that could not be read"
        in capsys.readouterr().out
    )
    assert parts_of(out) == parts_of(table)
    for number in (1, 3):
        (out / f"part-00000{number}.parquet").unlink()
    (out / "_part-000001.parquet.0123.partial").write_bytes(b"half a part")  # of a process that was killed
    assert pd.read_parquet(out)["photo"].nunique() == 13  # can be read at any time
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert main(command) == 0
    assert "13 of them before\nin this run" in capsys.readouterr().out
    assert parts_of(out) == parts_of(table) and not list(out.glob("*.partial"))
    assert all((out / name).stat().st_mtime_ns == time for name, time in before.items())
    assert main(command) == 0 and capsys.readouterr().out.endswith("23 photos, 23 of them before\n")


def test_a_run_goes_on_where_another_of_the_same_table_ended_first(tmp_path):
    """The other finds all parts there, and removes the unfinished file of this one."""
    this, other = open_store(str(tmp_path)), open_store(str(tmp_path))
    with this.write("part") as file:
        file.write(b"whole")
        with other.write("part") as same:
            same.write(b"whole")
        other.remove_partial()
    assert (tmp_path / "part").read_bytes() == b"whole" and this.names() == {"part"}
    with pytest.raises(FileNotFoundError), this.write("lost") as file:
        this.remove_partial()


@pytest.mark.parametrize("name", ["_manifest.json", "_photos.parquet"])
def test_damaged_notes_of_a_run_are_told_in_a_sentence(name, photos, table, tmp_path, capsys):
    out = tmp_path / "table"
    shutil.copytree(table, out)
    (out / "part-000001.parquet").unlink()
    (out / name).write_bytes(b"neither JSON nor Parquet")
    command = ["predict", "--recursive", str(photos), "--out", str(out), "--shard-size", "5", "--workers", "1"]
    assert main(command) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and f"{name} in {out} is damaged" in line


def test_a_folder_that_cannot_be_read_is_a_row(photos, tmp_path, closed):
    closed(photos / "b")
    found = [os.fsdecode(photo) for photo in photos_of(str(photos))]
    assert str(photos / "b") in found and not any(photo.startswith(f"{photos}/b/") for photo in found)


def test_other_inputs_are_refused_in_a_sentence(photos, table, tmp_path, capsys):
    before = parts_of(table)
    common = ["predict", "--recursive", "--out", str(table)]

    def said(*more: str) -> str:
        assert main([*common, *more]) == 1
        line = capsys.readouterr().err
        assert line.count("\n") == 1 and "was begun with other inputs" in line
        return line

    fewer = said(str(photos / "b"), "--shard-size", "5")
    assert "(photos: 23, now 18); go on with the same ones" in fewer
    assert "(shard size: 5, now 6)" in said(str(photos), "--shard-size", "6")
    assert "(columns)" in said(str(photos), "--shard-size", "5", "--landmarks")
    assert "(model)" in said(str(photos), "--shard-size", "5", "--model", "ivsa_fer2013")
    assert "(detection: True, now False)" in said(str(photos), "--shard-size", "5", "--no-detection")
    listed = tmp_path / "list.txt"
    names = [os.fsdecode(name) for name in photos_of(str(photos))]
    listed.write_bytes(b"\n".join(os.fsencode(name) for name in reversed(names)))
    assert "(names of photos)" in said(str(listed), "--shard-size", "5")
    assert parts_of(table) == before


def test_a_folder_with_something_else_is_left_alone(photos, tmp_path, capsys):
    (tmp_path / "thesis.doc").write_text("five years of work")
    assert main(["predict", "--recursive", str(photos), "--out", str(tmp_path)]) == 1
    assert "holds something else (thesis.doc); choose another folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_lists_of_paths(photos, tmp_path, monkeypatch):
    """Text or Parquet, relative to the folder one stands in, names of any bytes, in their order, repeated or not."""
    monkeypatch.chdir(photos)
    names = [b"two0.jpg", b"b/text.jpg", b"broken\xff.gif", b"two0.jpg", b"absent.jpg"]
    expected = [os.fsencode(photos) + b"/" + name for name in names]
    (tmp_path / "list.txt").write_bytes(b"\r\n".join(names) + b"\n\n")
    assert list(photos_of(str(tmp_path / "list.txt"))) == expected
    for columns in ({"n": range(5), "path": names}, {"pictures": names}, {"file": ["x"] * 5, "image": names}):
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "list.parquet")
        assert list(photos_of(str(tmp_path / "list.parquet"))) == expected
    predict_table(tmp_path / "list.parquet", tmp_path / "out", workers=1)
    rows = rows_of(tmp_path / "out")
    assert [row["photo"] for row in rows] == [0, 0, 1, 2, 3, 3, 4] and "There is no file" in rows[-1]["error"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent", None, "there is no folder, list or photo"),
        ("empty.txt", b"\n", "there is no photo in"),
        ("text.parquet", b"text", "not a readable list"),
        ("two.parquet", {"a": ["x"], "b": ["y"]}, "has no column image, path or file"),
        ("numbers.parquet", {"path": [1, 2]}, "not a readable list"),
        ("list.csv", b"image\na.jpg\n", "is no photo; a list of paths is a .txt"),
    ],
)
def test_what_is_no_list_is_refused_in_a_sentence(tmp_path, capsys, name, content, said):
    path = tmp_path / name
    if isinstance(content, dict):
        pyarrow.parquet.write_table(pyarrow.table(content), path)
    elif content is not None:
        path.write_bytes(content)
    assert main(["predict", "--recursive", str(path), "--out", str(tmp_path / "new" / "out")]) == 1
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1 and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--recursive"], "say where with --out"),
        (["--recursive", "--out", "t", "--explain", "gradcam"], "without heat maps"),
        (["--recursive", "--out", "t", "--format", "csv"], "without heat maps and --format"),
        (["--recursive", "--out", "t", "--workers", "0"], "one worker"),
        (["--recursive", "--out", "t", "--address", "here:1"], "of a Ray cluster"),
        (["--workers", "2"], "--workers is of tables"),
        (["--shard-size", "2"], "--shard-size is of tables"),
    ],
)
def test_options_that_mean_nothing_are_refused(photos, capsys, monkeypatch, tmp_path, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(photos), *words]) == 1
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_everything_that_was_asked_for_is_a_column(photos, tmp_path):
    faces = photos / "b" / "c"
    predict_table(
        faces, tmp_path / "t", workers=1, coverage=0.9, truth="votes", landmarks=True, model="convcut_ferplus"
    )
    frame = pd.read_parquet(tmp_path / "t")
    assert list(frame.columns) == ["photo", *csv_columns(Predictor.load().classes, sets=True, measures=True)]
    assert (frame["coverage"] == np.float32(0.9)).all() and frame["yaw"].abs().max() < 30
    assert all(label in names.split() for label, names in zip(frame["label"], frame["prediction_set"], strict=True))
    predict_table(faces, tmp_path / "whole", workers=1, detection=False)
    assert len(pd.read_parquet(tmp_path / "whole")) == 6  # each picture is one face


def test_a_photo_that_ends_its_process_is_a_row(portrait, tmp_path):
    """As one too large for the memory, or for which a decoder crashes: it is tried some times."""
    (tmp_path / "photos").mkdir()
    for name, light in (("a", 1), ("b", 0.2), ("c", 1), ("d", 0.2), ("e", 1)):
        Image.fromarray((portrait[::2, ::2] * light).astype(np.uint8)).save(tmp_path / "photos" / f"{name}.png")
    job = FragileJob(str(tmp_path / "t"), 4, "convcut_ferplus")
    manifest = begin(job, [str(tmp_path / "photos")])
    places = []
    counts = list(do_locally(replace(job, digest=manifest.digest), range(2), 1, lambda *place: places.append(place)))
    assert counts == [Counts(4, 2, 2, 2), Counts(1, 1)]
    assert [row["error"] for row in rows_of(tmp_path / "t")] == [None, ENDED, None, ENDED, None]
    assert places.count((0, 1)) == places.count((0, 3)) == TRIES


def test_a_shard_is_the_same_wherever_it_is_done(photos, table, tmp_path):
    """In this process, without any engine."""
    job = Job(str(tmp_path / "t"), 5, "convcut_ferplus")
    job = Job(job.out, 5, job.model, digest=begin(job, [str(photos)]).digest)
    job(Shard(4))
    (part,) = parts_of(tmp_path / "t").items()
    assert part[0] == "part-000004.parquet" and len(rows_of(tmp_path / "t")) == len(
        [row for row in rows_of(table) if row["photo"] >= 20]
    )


def test_a_list_of_other_photos_than_the_manifest_says_is_refused(photos, tmp_path):
    """As two runs begun at the same moment in one folder might leave it."""
    job = Job(str(tmp_path / "t"), 5, "convcut_ferplus")
    digest = begin(job, [str(photos)]).digest
    assert shard_of(job.out, 0, digest)
    with pytest.raises(UserError, match="of other photos than its manifest"):
        shard_of(job.out, 0, digest[::-1])


def test_without_pyarrow_it_says_so(monkeypatch, photos, tmp_path):
    monkeypatch.setattr("ferlib.utils.packages.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"needs pyarrow, not installed: pip install 'ferlib\[parquet\]'"):
        predict_table(photos, tmp_path / "t")


@pytest.mark.parametrize("setting", [{"faces": "largest"}, {"min_face": 5}])
def test_a_wrong_setting_leaves_nothing_behind(photos, tmp_path, setting):
    with pytest.raises(UserError, match="faces"):
        predict_table(photos, tmp_path / "t", workers=1, **setting)
    assert not (tmp_path / "t").exists()
    assert begin(Job(str(tmp_path / "t"), 5, "convcut_ferplus"), [str(photos)]).photos == GOOD + 5


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"model": "nonsense"}, "nonsense"),
        ({"coverage": 0.5}, "coverage"),
        ({"device": "nonsense"}, "nonsense"),
        ({"coverage": 0.9, "truth": "nonsense"}, "truth"),
    ],
)
def test_what_the_model_refuses_is_told_before_photos_are_listed(photos, tmp_path, setting, said):
    with pytest.raises((UserError, OSError), match=said):
        predict_table(photos, tmp_path / "t", workers=1, **setting)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("mount_point_stays", [True, False])
def test_photos_of_a_share_that_is_away_have_their_rows_when_it_is_back(tmp_path, portrait, capsys, mount_point_stays):
    """Those of shard 1 are on it; of shard 0 one photo alone is gone for good, and has a row that says so."""
    here, share = tmp_path / "here", tmp_path / "share"
    for folder in (here, share):
        folder.mkdir()
        for name in ("a.png", "b.png"):
            Image.fromarray(portrait[::4, ::4]).save(folder / name)
    out = tmp_path / "table"
    command = ["predict", "--recursive", str(here), str(share), "--out", str(out), "--shard-size", "2"]
    command += ["--workers", "1"]
    begin(Job(str(out), 2, "convcut_ferplus"), [str(here), str(share)])
    (here / "b.png").unlink()
    share.rename(tmp_path / "disconnected")
    if mount_point_stays:
        share.mkdir()
    listed = open_store(str(out))
    job = Job(str(out), 2, "convcut_ferplus", digest=json.loads((out / "_manifest.json").read_text())["digest"])
    assert list(do_locally(job, [0, 1], 1)) == [Counts(2, 1, 1, 1), Counts(away=2)]
    assert "part-000000.parquet" in listed.names() and "part-000001.parquet" not in listed.names()
    if mount_point_stays:
        share.rmdir()
    (tmp_path / "disconnected").rename(share)
    Image.fromarray(portrait[::4, ::4]).save(here / "b.png")  # the list is of the same names as before
    assert main(command) == 0
    assert "4 photos, 2 of them before\nin this run 2 faces, 0 photos without one" in capsys.readouterr().out
    assert ["There is no file" in (row["error"] or "") for row in rows_of(out)] == [False, True, False, False]


def test_a_table_whose_photos_are_away_says_so(tmp_path, portrait, capsys):
    Image.fromarray(portrait[::4, ::4]).save(tmp_path / "a.png")
    listed = tmp_path / "list.txt"
    listed.write_text(f"{tmp_path}/share/a.png\n{tmp_path}/share/b.png\n{tmp_path}/a.png\n")
    command = ["predict", "--recursive", str(listed), "--out", str(tmp_path / "out"), "--shard-size", "2"]
    for _ in range(2):
        assert main([*command, "--workers", "1"]) == 1
        assert (
            "2 photos and the folders or stores they were in are not there; is a disk or a share"
            in capsys.readouterr().err
        )
        assert [path.name for path in (tmp_path / "out").glob("part-*")] == ["part-000001.parquet"]


def test_a_file_is_no_folder_for_a_table(photos, tmp_path):
    (tmp_path / "t").write_text("mine")
    with pytest.raises(UserError, match="t is a file; a table needs a folder"):
        predict_table(photos, tmp_path / "t")
    assert (tmp_path / "t").read_text() == "mine"


def test_an_unknown_engine_is_refused(photos, tmp_path):
    with pytest.raises(UserError, match="local, ray, not 'spark'"):
        predict_table(photos, tmp_path / "t", engine="spark")


def test_progress_says_how_far_how_fast_and_how_long(monkeypatch, capsys):
    moments = iter([100.0, *[110.0] * 2, *[300.0] * 9])
    monkeypatch.setattr("ferlib.bulk.progress.time.monotonic", lambda: next(moments))
    progress = Progress(100_000, 1_000, 500)
    progress.at(2, 100)  # ten seconds
    assert progress.line() == "1,100 of 100,000 photos (1.1%), 10.0 photos/s, 2 h 44 min left"
    progress.shard_done(2, 500)
    assert progress.line().startswith("1,500 of 100,000 photos (1.5%), 2.5 photos/s, 10 h 56 min left")
    assert capsys.readouterr().err == "1,500 of 100,000 photos (1.5%), 2.5 photos/s, 10 h 56 min left\n"


def test_the_manifest_says_what_the_table_is_made_of(table):
    found = json.loads((table / "_manifest.json").read_text())
    assert found["photos"] == 23 and found["shard_size"] == 5 and len(found["digest"]) == len(found["model"]) == 64
    assert pyarrow.parquet.ParquetFile(table / "_photos.parquet").num_row_groups == 5


def test_making_a_table_loads_nothing_of_the_lab(photos, tmp_path):
    code = (
        "import sys\nfrom ferlib.bulk.run import predict_table\n"
        "predict_table(sys.argv[1], sys.argv[2], workers=1)\n"
        "print({'torch', 'timm', 'sklearn', 'ray', 'fsspec'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(photos / "b" / "c"), str(tmp_path / "t")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_picture_is_listed_as_itself(photos, tmp_path):
    Image.new("RGB", (90, 90)).save(tmp_path / "one.png")
    assert list(photos_of(str(tmp_path / "one.png"))) == [os.fsencode(tmp_path / "one.png")]
    assert list(photos_of(f"file://{tmp_path}")) == [os.fsencode(tmp_path / "one.png")]
