"""Films among many photos: what is followed in them, and what the page shows of it."""

import csv
import io
import random
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from video_files import ODD, crossing, write_film, write_sound

from ferlib.app import films
from ferlib.app.films import Film, is_film, require_film, watch
from ferlib.app.films_html import film_html
from ferlib.errors import UserError
from ferlib.predict import Predictor
from ferlib.video.predictor import VideoPredictor
from ferlib.video.reading import Frame, VideoReader

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    times, frames, _ = crossing()
    return write_film(tmp_path_factory.mktemp("film") / "crossing.mp4", frames, times)


@pytest.fixture(scope="module")
def predictor():
    return Predictor.load()


def watched(path, predictor, stopped=lambda: False) -> tuple[list[float], Film]:
    steps, found = [], []
    for step in watch(path, "my film.mp4", predictor, stopped):
        found.append(step) if isinstance(step, Film) else steps.append(step)
    (film,) = found
    return steps, film


@pytest.fixture(scope="module")
def film(path, predictor):
    return watched(path, predictor)[1]


def test_two_people_who_cross_are_two_faces_with_their_expressions(film):
    first, second = film.faces
    assert film.seconds == pytest.approx(4, abs=0.2) and film.remark == ""
    for face, script in ((first, ["neutral", "happiness"]), (second, ["surprise", "neutral"])):
        assert face.picture.shape == (96, 96, 3)
        longest = sorted(face.spans, key=lambda span: span[0] - span[1])[:2]
        assert [label for _, _, label in sorted(longest)] == script
        (_, turned, _), (begun, _, _) = sorted(longest)
        assert turned == pytest.approx(2, abs=0.5) and begun == pytest.approx(2, abs=0.5)
        for (_, end, _), (start, _, _) in zip(face.spans, face.spans[1:], strict=False):
            assert end <= start + 0.2
    rows = list(csv.DictReader(io.StringIO(film.csv)))
    assert {row["track"] for row in rows} == {"1", "2"} and float(rows[0]["smoothed_neutral"]) >= 0


def test_it_is_looked_at_a_few_times_a_second_and_can_be_stopped(path, predictor, monkeypatch):
    monkeypatch.setattr(films, "LOOKS", 5)
    steps, whole = watched(path, predictor)
    assert len(steps) == 20 and steps == sorted(steps)
    _, part = watched(path, predictor, stopped=lambda: True)
    assert part.remark == "It was stopped here." and part.seconds < 0.5 < whole.seconds
    monkeypatch.setattr(films, "MOST_SECONDS", 1.0)
    _, beginning = watched(path, predictor)
    assert "Only its first 1 seconds" in beginning.remark and beginning.seconds == pytest.approx(1, abs=0.3)


def test_the_timeline_is_drawn_to_scale_and_said(film):
    html = film_html(replace(film, name="<b>.mp4"))
    assert "<b>.mp4" not in html.replace(">1</b>", "") and "&lt;b&gt;.mp4: 4.0 s, 2 faces" in html
    bands = re.findall(r'class="band".*?</div>', html)
    assert len(bands) == 2
    for band, face in zip(bands, film.faces, strict=True):
        widths = [float(one) for one in re.findall(r"width:([\d.]+)%", band)]
        assert widths == pytest.approx([100 * (end - start) / film.seconds for start, end, _ in face.spans], abs=0.01)
        assert f"Face {face.number}: {face.spans[0][2]} from 0.0 to" in unescape(band)
    shares = [int(one) for one in re.findall(r"</span> (\d+) %", html)]
    assert sum(shares) == pytest.approx(100, abs=2) and shares == sorted(shares, reverse=True)
    assert 'download="&lt;b&gt;.csv"' in html


def test_faces_that_are_not_shown_are_counted(film):
    assert film.followed == 2
    some = film_html(replace(film, faces=film.faces[:1], followed=25))
    assert "25 faces, the 1 seen longest are shown" in some
    none = film_html(replace(film, faces=(), followed=1))
    assert "one face, none for 0.3 seconds" in none and "download=" in none
    assert "no face was found" in film_html(replace(film, faces=(), followed=0))


def test_files_that_are_no_films_are_told_without_their_place_on_the_server(tmp_path, predictor):
    for name in ("text.mp4", "empty.mp4"):
        ODD[name][0](tmp_path / name)
        with (tmp_path / name).open("rb") as file, pytest.raises(UserError, match=r"is not a film|is empty"):
            require_film(file, name)
    write_sound(tmp_path / "sound.mp4")
    with (tmp_path / "sound.mp4").open("rb") as file:
        require_film(file, "sound.mp4")
    with pytest.raises(UserError, match=r"^song\.mp4 has no pictures, only sound\.$") as refused:
        list(watch(tmp_path / "sound.mp4", "song.mp4", predictor, lambda: False))
    assert str(tmp_path) not in str(refused.value)


def test_a_damaged_film_is_a_sentence_or_what_is_left_of_it(path, predictor, tmp_path):
    whole, rng = path.read_bytes(), random.Random(0)
    said = []
    for number in range(12):
        damaged = bytearray(whole)
        for _ in range(10 ** (1 + number % 4)):
            damaged[rng.randrange(40, len(whole))] = rng.randrange(256)
        (tmp_path / "bad.mp4").write_bytes(damaged)
        try:
            watched(tmp_path / "bad.mp4", predictor)
        except UserError as error:
            said.append(str(error))
    assert 0 < len(said) < 12 and all(one.startswith("my film.mp4 ") and one.endswith(".") for one in said)


@pytest.mark.parametrize(
    "text",
    ["#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/x.ts", "ffconcat version 1.0\nfile /etc/passwd",
     "#EXTM3U\nAVI \n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\nfile:///home/x/private.mp4\n#EXT-X-ENDLIST"],
)  # fmt: skip
def test_lists_of_other_files_are_not_followed(tmp_path, text):
    (tmp_path / "list.mp4").write_text(text)
    with (tmp_path / "list.mp4").open("rb") as file, pytest.raises(UserError, match="is not a film"):
        require_film(file, "list.mp4")


@pytest.mark.parametrize(("form", "demuxer"), [("mp4", "mov"), ("matroska", "matroska"), ("avi", "avi")])
def test_a_film_is_read_as_what_it_begins_as_and_as_nothing_else(tmp_path, predictor, monkeypatch, form, demuxer):
    with av.open(str(tmp_path / "film"), "w", format=form) as target:
        stream = target.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for grey in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 60 * grey, np.uint8), format="rgb24")
            target.mux(stream.encode(frame.reformat(format="yuv420p")))
        target.mux(stream.encode())
    asked, begin = [], VideoReader.__init__
    monkeypatch.setattr(
        VideoReader, "__init__", lambda *args, **settings: asked.append(settings["demuxer"]) or begin(*args, **settings)
    )
    steps, film = watched(tmp_path / "film", predictor)
    assert asked == [demuxer] and len(steps) == 4 and film.remark == ""


def test_films_are_known_by_their_names():
    assert is_film("A.MP4") and is_film("b.webm") and not is_film("mp4.jpg")


@pytest.mark.parametrize("name", ["film.MPG", "film.wmv", "film.mts"])
def test_a_film_that_cannot_be_read_is_told_which_can(name):
    assert is_film(name)
    with pytest.raises(UserError, match=rf"^{name} is not a film \(MP4, MOV, WebM, MKV and AVI can be read\)\.$"):
        require_film(io.BytesIO(b"\x00\x00\x01\xba and what follows"), name)


@pytest.mark.parametrize(
    ("rate", "every"), [(24, 3), (25, 3), (29.97, 3), (10.01, 1), (5, 1), (60, 6), (1 / 3, 1), (1e6, 24)]
)
def test_a_film_is_looked_at_no_more_than_ten_times_a_second(path, predictor, monkeypatch, rate, every):
    def enter(reader):
        reader.rate = rate
        return reader

    steps = []
    monkeypatch.setattr(VideoReader, "__enter__", enter)
    monkeypatch.setattr(VideoPredictor, "frames", lambda _, __, step: steps.append(step) or iter(()))
    list(watch(path, "my film.mp4", predictor, lambda: False))
    assert steps == [every]


@pytest.mark.parametrize(
    ("times", "looks", "remark"),
    [((n * 0.01 for n in range(300)), range(28, 35), ""),
     ((0.0 for _ in range(40_000)), range(2, 3), "Only its first 0 seconds were looked at.")],
    ids=["faster than it says", "all at once"],
)  # fmt: skip
def test_the_looks_at_a_film_are_few_whatever_its_rate(path, predictor, monkeypatch, times, looks, remark):
    looked_at, find = [], VideoPredictor._judge
    grey = np.full((64, 96, 3), 90, np.uint8)
    frames = (Frame(number, time, grey) for number, time in enumerate(times))
    monkeypatch.setattr(VideoReader, "frames", lambda *_: frames)
    monkeypatch.setattr(VideoPredictor, "_judge", lambda *args: looked_at.append(args[1].time) or find(*args))
    _, film = watched(path, predictor)
    assert len(looked_at) in looks and film.remark == remark


def test_a_film_whose_clock_stands_still_can_be_stopped(path, predictor, monkeypatch):
    grey, read = np.full((64, 96, 3), 90, np.uint8), []
    frames = (read.append(number) or Frame(number, 0.0, grey) for number in range(40_000))
    monkeypatch.setattr(VideoReader, "frames", lambda *_: frames)
    _, film = watched(path, predictor, stopped=lambda: len(read) >= 50)
    assert film.remark == "It was stopped here." and len(read) < 100
