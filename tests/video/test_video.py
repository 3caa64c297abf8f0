"""A film of two people who walk past each other, from the file to the table, the pictures and the command."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from test_reading import sending
from video_files import RATE, SIZE, crossing, write_film

from ferlib.cli import main
from ferlib.errors import MissingPackage, UserError
from ferlib.labels import COLOURS
from ferlib.predict import Predictor
from ferlib.synthetic.films import owners, switches
from ferlib.video.pictures import show_again
from ferlib.video.predictor import FramePrediction, TrackedFace, VideoPredictor
from ferlib.video.reading import VideoReader
from ferlib.video.table import LONGEST, VideoTable

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> tuple[Path, list]:
    """The film's file, and who is shown in each frame."""
    times, frames, truth = crossing()
    return write_film(tmp_path_factory.mktemp("film") / "crossing.mp4", frames, times), truth


@pytest.fixture(scope="module")
def predictor() -> VideoPredictor:
    return VideoPredictor()


@pytest.fixture(scope="module")
def table(film, predictor) -> VideoTable:
    return predictor.predict(film[0])


def test_who_crosses_keeps_the_number_and_smoothing_takes_the_flicker(film, table):
    rows, truth = np.array(table.rows), film[1]
    actors = owners(rows, truth)
    assert table.frames == len(truth) and table.seconds == pytest.approx(len(truth) / RATE, abs=0.01)
    assert (actors >= 0).mean() > 0.97 and len(rows) > 1.7 * len(truth)
    assert switches(rows["track"], actors) == 0 and set(rows["track"]) == {1, 2}
    expected = np.array(
        [table.classes.index(truth[r["frame"]][a].expression) for r, a in zip(rows, actors, strict=True)]
    )
    accuracy = {kind: (rows[kind].argmax(axis=1) == expected).mean() for kind in ("raw", "smoothed")}
    assert accuracy["smoothed"] >= accuracy["raw"] > 0.7 and accuracy["smoothed"] > 0.85
    assert all(track["label_changes_a_minute"]["smoothed"] <= 60 for track in table.summary())  # a change or two each


def test_a_row_says_what_a_photo_would(film, table):
    """Boxes and labels of frames, looked at by themselves, are the rows', but for what another crop changes."""
    predictor, rows, same = Predictor.load(), np.array(table.rows), []
    with VideoReader(film[0]) as reader:
        frames = [frame for frame in reader.frames() if frame.number % 15 == 6]
    for frame in frames:
        own, faces = rows[rows["frame"] == frame.number], predictor.predict(frame.pixels).faces
        if len(own) == len(faces) == 2:
            for row, face in zip(sorted(own, key=lambda row: row["box"][0]), faces, strict=True):
                assert np.abs(row["box"] - face.box).max() < 0.15 * (face.box[2] - face.box[0])
                same.append(table.classes[row["raw"].argmax()] == face.label)
    assert len(same) > len(frames) and np.mean(same) > 0.8


def test_the_summary_adds_up(table):
    rows = np.array(table.rows)
    for track in table.summary():
        own = rows[rows["track"] == track["track"]]
        assert track["first"] == own["time"][0] and track["last"] == own["time"][-1]
        assert sum(track["expressions"].values()) == pytest.approx(track["seconds"]) == own["seconds"].sum()
        assert track["seconds"] == pytest.approx(len(own) / RATE, abs=0.05)
    shown = {name for track in table.summary() for name in track["expressions"]}
    assert {"neutral", "happiness", "surprise"} <= shown


def test_csv_and_parquet_are_one_table(table, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    for ending in ("csv", "parquet"):
        table.write(tmp_path / f"a.{ending}")
    with (tmp_path / "a.csv").open() as file:
        lines = list(csv.DictReader(file))
    parquet = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert len(lines) == len(parquet) == len(table)
    for line, row in zip(lines[::17], parquet[::17], strict=True):
        assert list(line) == list(row)
        assert float(line["smoothed_neutral"]) == pytest.approx(row["smoothed_neutral"], abs=1e-6)
        assert line["label"] == row["label"] == max(table.classes, key=row.get)
        assert int(line["frame"]) == row["frame"] and float(line["time"]) == pytest.approx(row["time"], abs=1e-5)
        assert sum(row[f"smoothed_{name}"] for name in table.classes) == pytest.approx(1, abs=1e-5)
    with pytest.raises(UserError, match=r"\.csv or \.parquet"):
        table.write(tmp_path / "a.xlsx")


def test_parquet_without_pyarrow_says_how_to_get_it(table, tmp_path, monkeypatch):
    monkeypatch.setattr("ferlib.utils.packages.is_installed", lambda name: name != "pyarrow")
    with pytest.raises(MissingPackage, match=r"needs pyarrow, not installed: pip install 'ferlib\[parquet\]'"):
        table.write(tmp_path / "a.parquet")
    assert not list(tmp_path.iterdir())


def test_the_film_with_boxes_and_the_most_telling_faces(film, table, tmp_path):
    files = show_again(film[0], table, annotated=tmp_path / "boxed.mp4", telling=tmp_path / "telling")
    assert len(files) == len(table.most_telling()) >= 4
    assert Image.open(files[0]).width > 40 and files[0].name.startswith("track001_")
    with VideoReader(tmp_path / "boxed.mp4") as boxed, VideoReader(film[0]) as plain:
        pairs = list(zip(boxed.frames(), plain.frames(), strict=True))
    rows = np.array(table.rows)
    for drawn, frame in pairs[5::20]:
        assert drawn.time == pytest.approx(frame.time, abs=1e-3) and drawn.pixels.shape == frame.pixels.shape
        for row in rows[rows["frame"] == frame.number]:
            x0, y0, _, y1 = row["box"]
            colour = COLOURS[table.classes[row["smoothed"].argmax()]]
            edge = drawn.pixels[(y0 + y1) // 2, x0 + 1].astype(int)
            assert np.abs(edge - [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).max() < 60
    assert np.abs(pairs[5][0].pixels[-10:].astype(int) - pairs[5][1].pixels[-10:]).mean() < 6


def test_a_film_that_is_cut_short_says_so(film, predictor, tmp_path):
    """As an interview of which half was copied; where only its first second is asked for, nothing is missing."""
    _, frames, _ = crossing()
    with av.open(str(tmp_path / "half.mkv"), "w", format="matroska") as target:
        stream = target.add_stream("mjpeg", rate=RATE)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p"
        for pixels in frames:
            target.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        target.mux(stream.encode())
    half = tmp_path / "half.mkv"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    with pytest.warns(UserWarning, match=r"half\.mkv is cut short"):
        table = predictor.predict(half, every=8)
    assert "half.mkv is cut short" in table.trouble and 1 < table.seconds < 3
    assert predictor.predict(half, every=8, until=0.5).trouble is None


def test_every_third_frame(film, predictor):
    table = predictor.predict(film[0], every=3, until=2.0)
    rows = np.array(table.rows)
    assert set(rows["frame"] % 3) == {0} and rows["time"].max() < 2 and set(rows["track"]) == {1, 2}
    assert rows["seconds"] == pytest.approx(3 / RATE, abs=1e-3)


def test_a_row_lasts_until_the_next_frame(tmp_path, predictor):
    """A film with a variable frame rate; the same seconds come out as went in."""
    times, frames, _ = crossing()
    times = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.3, 12))
    table = predictor.predict(write_film(tmp_path / "a.mp4", frames[:12], times))
    rows = np.array(table.rows)
    starts = dict(zip(rows["frame"].tolist(), rows["seconds"].tolist(), strict=True))
    np.testing.assert_allclose([starts[frame] for frame in range(11)], np.diff(times), atol=2e-3)


@pytest.mark.parametrize(
    ("times", "seconds"),
    [([0, 2, 4.1, 6, 8], [2, 2.1, 1.9, 2, 2]), ([0, 0.04, 0.08, 5, 5.04], [0.04, 0.04, LONGEST, 0.04, 0.04])],
    ids=["far apart", "a pause"],
)
def test_a_pause_counts_for_little_and_frames_that_are_far_apart_for_all_of_their_time(times, seconds):
    table, scores = VideoTable(["neutral", "anger"]), {"neutral": 0.9, "anger": 0.1}
    face = TrackedFace(1, (0, 0, 48, 48), scores, scores, 0.0)
    for number, time in enumerate(times):
        table.add(FramePrediction(number, time, (face,), np.zeros((64, 64, 3), np.uint8)))
    table.end()
    assert table.rows["seconds"] == pytest.approx(seconds)
    assert table.summary()[0]["expressions"] == {"neutral": pytest.approx(sum(seconds))}


def test_one_frame_tells_no_rate_of_change():
    table, scores = VideoTable(["neutral", "anger"]), {"neutral": 0.9, "anger": 0.1}
    faces = tuple(TrackedFace(track, (0, 0, 48, 48), scores, scores, 0.0) for track in (1, 2))
    table.add(FramePrediction(0, 0.0, faces, np.zeros((64, 64, 3), np.uint8)))
    table.end()
    table.smooth()
    assert table.changes_a_second is None and table.rows["smoothed"] == pytest.approx(table.rows["raw"])


@pytest.mark.parametrize(
    ("frames", "every", "until", "seconds"),
    [(1, 1, None, 1 / RATE), (30, 30, None, 2.0), (30, 999, None, 2.0), (30, 999, 1.5, 1.5), (30, 20, None, 2.0)],
    ids=["one frame", "all but one passed over", "of more than there are", "until", "two looked at"],
)
def test_a_frame_looked_at_alone_has_an_expression(film, predictor, tmp_path, frames, every, until, seconds):
    times, pictures, _ = crossing()
    table = predictor.predict(write_film(tmp_path / "a.mp4", pictures[:frames], times[:frames]), every, until)
    assert table.seconds == pytest.approx(seconds, abs=0.01)
    for track in table.summary():
        assert sum(track["expressions"].values()) == pytest.approx(track["seconds"]) and track["expressions"]
        assert track["seconds"] == pytest.approx(seconds, abs=0.01)


def test_a_film_that_lies_on_its_side(film, predictor, tmp_path):
    times, frames, _ = crossing()
    stored = [np.ascontiguousarray(np.rot90(frame, -1)) for frame in frames[:6]]
    table = predictor.predict(write_film(tmp_path / "lying.mp4", stored, times[:6], rotation=90))
    assert len(table) == 12 and np.abs(table.rows["roll"]).max() < 25
    assert (table.rows["box"][:, 2] <= SIZE[0] + 20).all()


def test_the_command(film, tmp_path, capsys):
    out = tmp_path / "new" / "a.csv"
    files = ["--out", str(out), "--timeline", str(tmp_path / "a.html"), "--telling", str(tmp_path / "best")]
    assert main(["video", str(film[0]), "--seconds", "1.5", "--format", "json", *files]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [track["track"] for track in summary["tracks"]] == [1, 2] and summary["frames"]["dropped"] == 0
    assert len(out.read_text().splitlines()) == 1 + 2 * summary["frames"]["looked_at"]
    assert "plotly" in (tmp_path / "a.html").read_text(encoding="utf-8")[:20000] and list((tmp_path / "best").iterdir())
    assert main(["video", str(film[0]), "--seconds", "0.5"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].endswith("8 looked at") and len(table) == 4 and "surprise 0.5" in table[3]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [(["--out", "a.xls"], ".csv or .parquet"), (["--annotated", "a.avi"], "writes .mp4"),
     (["--every", "0"], "from 1 on"), (["--telling", __file__], "takes a folder for the pictures"),
     (["--timeline", "a.png"], "writes .html"), (["--seconds", "-1"], "more than 0"),
     (["--time-constant", "-1"], "0 or more"), (["--time-constant", "0.4"], "for a camera or stream")],
)  # fmt: skip
def test_what_cannot_be_written_is_said_before_the_first_frame(film, more, sentence, capsys):
    assert main(["video", str(film[0]), *more]) == 1
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def test_the_film_itself_is_not_overwritten(film, capsys):
    before = film[0].read_bytes()
    assert main(["video", str(film[0]), "--annotated", str(film[0].parent / "." / film[0].name)]) == 1
    assert "is the film itself" in capsys.readouterr().err and film[0].read_bytes() == before


def test_nor_is_it_where_it_is_named_from_the_home_folder(film, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(film[0].parent))
    assert main(["video", f"~/{film[0].name}", "--annotated", str(film[0])]) == 1
    assert "is the film itself" in capsys.readouterr().err


def test_no_face_is_said(tmp_path, capsys):
    meadow = np.linspace((90, 140, 220), (60, 150, 50), 180)[:, None].repeat(240, 1).astype(np.uint8)
    path = write_film(tmp_path / "meadow.mp4", [meadow] * 5, np.arange(5) / 5)
    assert main(["video", str(path), "--out", str(tmp_path / "a.csv")]) == 1
    assert capsys.readouterr().err == f"ferlib: no face was found in {path}\n"
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1


CODE = """
import sys
for name in {hidden!r}: sys.modules[name] = None
import ferlib.utils.packages as packages
find = packages.find_spec
packages.find_spec = lambda name: None if name in {hidden!r} else find(name)
from ferlib.cli import main
code = main(["video", {film!r}, "--seconds", "0.3", *{more!r}])
heavy = {{"torch", "pandas", "plotly", "gradio", "matplotlib"}}
print("heavy", sorted(heavy & {{name for name, module in sys.modules.items() if module}}))
sys.exit(code)
"""


@pytest.mark.parametrize(("hidden", "code"), [(("torch", "timm", "pandas", "plotly"), 0), (("av",), 1)])
def test_films_need_the_extra_and_nothing_of_the_lab(film, hidden, code):
    """In a process of its own, in which some packages cannot be imported."""
    run = [sys.executable, "-c", CODE.format(hidden=hidden, film=str(film[0]), more=())]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code and "heavy []" in done.stdout, done.stdout + done.stderr
    if code:
        assert done.stderr == "ferlib: a film needs av, not installed: pip install 'ferlib[video]'\n"


def test_what_a_timeline_lacks_is_said_before_the_first_frame(film, tmp_path):
    files = "--timeline", str(tmp_path / "a.html"), "--out", str(tmp_path / "a.csv")
    run = [sys.executable, "-c", CODE.format(hidden=("sklearn",), film=str(film[0]), more=files)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "ferlib: --timeline needs sklearn" in done.stderr, done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_smoothed_as_it_comes_knows_nothing_of_the_future(film, predictor):
    """The start of a film gives the same rows."""
    rows = []
    for until in (1.0, 2.0):
        table = VideoTable(predictor.predictor.classes)
        with VideoReader(film[0]) as reader:
            for frame in predictor.frames(reader, until=until):
                table.add(frame)
        table.end()
        rows.append(np.array(table.rows))
    np.testing.assert_array_equal(rows[0]["smoothed"], rows[1]["smoothed"][: len(rows[0])])
    assert np.abs(rows[1]["smoothed"] - rows[1]["raw"]).max() > 0.05


def test_a_stream_is_written_as_it_comes(tmp_path, capsys):
    """The table has rows while the stream still comes, which ends when it has; every frame looked at is drawn."""
    out, boxed, seen = tmp_path / "live.csv", tmp_path / "boxed.mp4", []
    pictures = crossing()[1]

    def until_written() -> Iterator[np.ndarray]:
        for number in range(1500):  # a minute at most
            yield pictures[abs((number + 59) % 118 - 59)]  # there and back
            if out.exists() and len(lines := out.read_text(encoding="utf-8").splitlines()) > 1:
                seen.extend(lines)
                return

    with sending(until_written()) as address:
        assert main(["video", address, "--out", str(out), "--annotated", str(boxed), "--faces", "main"]) == 0
    told = capsys.readouterr().out
    looked_at = int(re.search(r"([\d,]+) looked at, [\d,]+ dropped\n", told)[1].replace(",", ""))
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert 1 < len(seen) <= len(rows) + 1 and looked_at >= len(rows)
    first = rf" +\d+\.\d\d s  face {rows[0]['track']}: {rows[0]['smoothed_label']}\n"
    assert re.match(first, told)
    times = [float(row["time"]) for row in rows]
    assert times == sorted(set(times))
    with VideoReader(boxed) as reader:
        assert len(list(reader.frames())) == looked_at


def test_what_is_in_a_folder_stays_one_films(film, table, tmp_path, capsys):
    """Faces of two runs in one folder cannot be told apart: it is refused before the film is looked at."""
    (tmp_path / "track001_anger_1.00s.jpg").touch()
    assert main(["video", str(film[0]), "--telling", str(tmp_path), "--out", str(tmp_path / "a.csv")]) == 1
    assert "already holds faces of a film (track001_anger_1.00s.jpg)" in capsys.readouterr().err
    with pytest.raises(UserError, match="already holds faces"):
        show_again(film[0], table, telling=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["track001_anger_1.00s.jpg"]
    (tmp_path / "track001_anger_1.00s.jpg").rename(tmp_path / "track_of_mine.jpg")
    assert len(show_again(film[0], table, telling=tmp_path)) == len(table.most_telling())


def test_half_a_face_is_not_left(film, table, tmp_path, monkeypatch):
    """As on a full disk."""

    def half(_, file, *__, **___) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="No space left"):
        show_again(film[0], table, telling=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_main_face_alone_is_one_row_a_frame(film):
    """Two people of one size walk past each other: the one who is followed first stays the main one."""
    rows = np.array(VideoPredictor(faces="main").predict(film[0]).rows)
    assert len(rows) == len(np.unique(rows["frame"])) > 0.9 * len(film[1])
    assert (np.diff(rows["track"]) != 0).sum() <= 2


def test_small_faces_of_a_film_are_left_out(film, capsys):
    assert len(VideoPredictor(min_face=300).predict(film[0], until=0.5)) == 0
    assert main(["video", str(film[0]), "--min-face", "3"]) == 1
    assert "from 10 pixels on" in capsys.readouterr().err
