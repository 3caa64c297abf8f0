"""Films as people have them, and streams that do not wait."""

import os
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from video_files import ODD, write_film

from ferlib.video import reading
from ferlib.video.reading import VideoError, VideoReader
from ferlib.video.writing import VideoWriter


def gradient(number: int = 0, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """A frame that is dark at its top left, and whose number is a bar at the bottom; (H, W, 3) uint8."""
    width, height = size
    frame = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 100, width)).astype(np.uint8)
    frame[-8:, : 2 * number + 2] = 255
    return np.repeat(frame[..., None], 3, axis=2)


def frames_of(path, demuxer: str | None = None, **settings) -> tuple[list, VideoReader]:
    with VideoReader(path, demuxer=demuxer) as reader:
        return list(reader.frames(**settings)), reader


def test_times_are_the_frames_own(tmp_path):
    """A film with a variable frame rate, which starts late."""
    times = np.cumsum([1.5, 0.04, 0.2, 0.013, 1.0, 0.04, 0.04])
    path = write_film(tmp_path / "a.mp4", [gradient(n) for n in range(7)], times)
    frames, reader = frames_of(path)
    np.testing.assert_allclose([frame.time for frame in frames], times - times[0], atol=1e-4)
    assert [frame.number for frame in frames] == list(range(7)) == list(range(reader.read)) and not reader.trouble
    assert [frame.number for frame in frames_of(path, every=3)[0]] == [0, 3, 6]


def test_a_frame_says_how_long_it_lasts(tmp_path):
    """Until the next one that is asked for, or the film's end; by the film's rate, as the next one is not read yet."""
    film = write_other(tmp_path / "a.mp4", "mp4", "libx264", [gradient(n) for n in range(8)], Fraction(1, 2))
    for every, lasts in ((1, [2.0] * 8), (3, [6, 6, 4]), (8, [16]), (100, [16])):
        assert [frame.lasts for frame in frames_of(film, every=every)[0]] == pytest.approx(lasts)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_film_is_turned_as_it_says(tmp_path, rotation):
    upright = gradient(20)
    stored = np.ascontiguousarray(np.rot90(upright, -rotation // 90))
    (frame,), _ = frames_of(write_film(tmp_path / "a.mp4", [stored], [0.0], rotation))
    assert frame.pixels.shape == upright.shape
    assert np.abs(frame.pixels.astype(int) - upright).mean() < 4


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flips", [(True, False), (False, True), (True, True)])
def test_a_film_is_mirrored_as_it_says(tmp_path, rotation, flips):
    """As selfie cameras write them: turned, then mirrored from left to right, from top to bottom, or both."""
    stored = gradient(20)
    with av.open(str(tmp_path / "a.mp4"), "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.set_display_rotation(rotation, *flips)
        target.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        target.mux(stream.encode())
    (frame,), _ = frames_of(tmp_path / "a.mp4")
    expected = np.rot90(stored, rotation // 90)
    expected = expected[:, ::-1] if flips[0] else expected
    expected = expected[::-1] if flips[1] else expected
    assert frame.pixels.shape == expected.shape and frame.pixels.flags.c_contiguous
    assert np.abs(frame.pixels.astype(int) - expected).mean() < 4


def test_a_film_is_tagged_with_the_colours_it_is_written_in(tmp_path):
    """BT.709, of whatever size, so that no player need guess: the luma is as it says there, and we read the same."""
    colours = np.array([(40, 180, 90), (200, 60, 50)])
    picture = np.repeat(np.repeat(colours[None], 48, axis=1), 64, axis=0).astype(np.uint8)
    path = write_film(tmp_path / "a.mp4", [picture] * 3, [0.0, 0.1, 0.2])
    with av.open(str(path)) as film:
        frame = next(film.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (1, 1, 1, 1)
    luma = frame.to_ndarray()[:64]
    read = frames_of(path)[0][0].pixels.astype(float)
    for columns, colour in zip((slice(8, 40), slice(56, 88)), colours, strict=True):
        assert luma[:, columns].mean() == pytest.approx(16 + 219 * (colour @ (0.2126, 0.7152, 0.0722)) / 255, abs=2)
        assert np.abs(read[:, columns].mean(axis=(0, 1)) - colour).max() < 6


@pytest.mark.parametrize(("shape", "rotation"), [(Fraction(4, 3), 0), (Fraction(3, 4), 90), (Fraction(99, 1), 0)])
def test_pixels_that_are_not_square_are_shown_as_wide_as_they_should_be(tmp_path, shape, rotation):
    """As on DVD, DV and HDV; what no film can mean is not believed."""
    stored = gradient(20, (160, 120))
    with av.open(str(tmp_path / "a.mp4"), "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.sample_aspect_ratio = shape
        if rotation:
            stream.set_display_rotation(rotation)
        target.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        target.mux(stream.encode())
    (frame,), _ = frames_of(tmp_path / "a.mp4")
    width = round(160 * shape) if shape < 4 else 160
    expected = np.asarray(Image.fromarray(stored).resize((width, 120)))
    expected = np.rot90(expected, rotation // 90)
    assert frame.pixels.shape == expected.shape
    assert np.abs(frame.pixels.astype(int) - expected).mean() < 4
    (again,), _ = frames_of(write_film(tmp_path / "annotated.mp4", [frame.pixels], [0.0]))
    assert again.pixels.shape == (*(side // 2 * 2 for side in expected.shape[:2]), 3)


def test_a_film_squeezed_too_much_is_not_decoded_either(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_PIXELS", 96 * 64)
    monkeypatch.setattr(reading, "_stretch", lambda stream: 2.0)
    with pytest.raises(VideoError, match=r"a\.mp4 is too large \(192 x 64 pixels\)"):
        VideoReader(write_film(tmp_path / "a.mp4", [gradient()], [0.0]))


@pytest.mark.parametrize("later", [0, 3600], ids=["again from 0", "an hour later"])
def test_the_time_of_joined_films_goes_on(tmp_path, later):
    """Two films of two seconds joined by `cat`: the stamps of the second begin anew, or leap."""
    parts = []
    for name, start in (("a.ts", 0), ("b.ts", later)):
        part = write_other(tmp_path / name, "mpegts", "mpeg2video", [gradient(n % 40) for n in range(50)], start=start)
        parts.append(part.read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    frames, reader = frames_of(tmp_path / "both.ts")
    times = np.array([frame.time for frame in frames])
    assert len(frames) >= 98 and times[-1] == pytest.approx((len(frames) - 1) / 25, abs=0.1)
    np.testing.assert_allclose(np.diff(times), 0.04, atol=0.01)
    assert reader.trouble is None


@pytest.mark.parametrize(
    ("stamps", "believed", "times"),
    [([5, 5.04, 5.08], 0, [0, 0.04, 0.08]), ([0, 0.04, 900, 0.12, 0.16], 0, [0, 0.04, 0.08, 0.12, 0.16]),
     ([0, 30, 60], 61, [0, 30, 60]), ([0, 0.08, 0.04, 0.12], 1, [0, 0.08, 0.08, 0.12]),
     ([None, None, 7, 7.04], 1, [0, 0.04, 0.08, 0.12]), ([3, 3, 3], 1, [0, 0, 0])],
    ids=["late", "one far ahead", "pauses", "out of order", "without", "standing still"],
)  # fmt: skip
def test_the_clock_goes_by_the_stamps_that_can_be_true(stamps, believed, times):
    clock = reading._Clock(0.04, believed)
    assert [clock(stamp) for stamp in stamps] == pytest.approx(times)


@pytest.mark.parametrize("name", ODD)
def test_no_film_is_one_sentence(tmp_path, name):
    make, sentence = ODD[name]
    make(tmp_path / name)
    with pytest.raises(VideoError, match=sentence) as caught:
        VideoReader(tmp_path / name)
    assert "\n" not in str(caught.value) and "Errno" not in str(caught.value)


def test_a_name_that_looks_like_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_film(tmp_path / "12:30.mp4", [gradient()], [0.0])
    assert len(frames_of("12:30.mp4")[0]) == 1


def test_a_name_with_a_tilde_or_of_a_pipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_film(tmp_path / "~clip.mp4", [gradient()], [0.0])
    assert len(frames_of("~clip.mp4")[0]) == 1
    with pytest.raises(VideoError, match=r"there is no film ~nobody/a\.mp4"):
        VideoReader("~nobody/a.mp4")
    os.mkfifo(tmp_path / "ff")
    with pytest.raises(VideoError, match="ff is not an ordinary file"):
        VideoReader("ff")


def test_the_cover_of_a_record_is_no_film(tmp_path):
    """An mp3 or m4a has its cover as a video stream of one picture."""
    from video_files import write_sound

    sound, path = write_sound(tmp_path / "sound.mp4"), tmp_path / "record.mp4"
    with av.open(str(sound)) as source, av.open(str(path), "w", format="mp4") as target:
        audio = target.add_stream_from_template(source.streams.audio[0])
        cover = target.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 96, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = audio
                target.mux(packet)
        target.mux(cover.encode(av.VideoFrame.from_ndarray(gradient(), format="rgb24")))
        target.mux(cover.encode())
    with pytest.raises(VideoError, match="only sound"):
        VideoReader(path)


def write_other(
    path, form: str, codec: str, frames: list, rate: Fraction | int = 25, sound: float = 0.0, start=0, options=None
):
    """Write frames as a film of another form than ours, from a second on, and so many seconds of silence."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format=form) as target:
        stream = target.add_stream(codec, rate=rate, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        audio = target.add_stream("aac", rate=44100) if sound else None
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number + round(start * rate), 1 / Fraction(rate)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
        if audio:
            for start in range(0, round(44100 * sound), 1024):
                silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
                silence.sample_rate, silence.pts, silence.time_base = 44100, start, Fraction(1, 44100)
                target.mux(audio.encode(silence))
            target.mux(audio.encode())
    return path


@pytest.mark.parametrize(("form", "sound"), [("mp4", 0.0), ("matroska", 0.0), ("matroska", 20.0), ("flv", 30.0)])
def test_a_whole_film_is_not_called_cut_short(tmp_path, form, sound):
    """Its last picture stands for two seconds; its sound may outlast it."""
    film = write_other(tmp_path / "slow", form, "libx264", [gradient(n) for n in range(8)], Fraction(1, 2), sound)
    frames, reader = frames_of(film)
    assert len(frames) == 8 and reader.trouble is None
    assert reader.seconds is None if form == "flv" else reader.seconds == pytest.approx(16)


def test_a_film_that_is_cut_short_or_damaged_gives_what_it_has(tmp_path):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (64, 96, 3)).astype(np.uint8) for _ in range(100)]
    for name, form, codec, said in (
        ("half.ts", "mpegts", "mpeg2video", None),  # which does not say how long it is
        ("half.mkv", "matroska", "libx264", r"half\.mkv is cut short: its pictures end after [12]\.\d of 4\.0 s"),
        ("half.webm", "webm", "libvpx", r"half\.webm is cut short: its pictures end after [12]\.\d of 4\.0 s"),
    ):
        half = write_other(tmp_path / name, form, codec, noise)
        half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
        frames, reader = frames_of(half)
        assert 30 < len(frames) < 70
        assert re.search(said, reader.trouble) if said else reader.trouble is None
    film = write_film(tmp_path / "film.mp4", noise, np.arange(100) / 25)
    content = bytearray(film.read_bytes())
    start = len(content) // 4
    content[start : 2 * start] = bytes(start)  # as long as before: the index at the end stays where it is
    film.write_bytes(content)
    frames, reader = frames_of(film)
    assert len(frames) > 10 and re.search(r"film\.mp4 is damaged: \d+ of its parts cannot be read$", reader.trouble)


def test_a_film_of_larger_pictures_than_a_photo_may_have_is_not_decoded(tmp_path, monkeypatch):
    big = write_other(tmp_path / "big.mkv", "matroska", "mjpeg", [np.zeros((6000, 9000, 3), np.uint8)])
    with pytest.raises(VideoError, match=r"big\.mkv is .*too large .*at most 52 megapixels"):
        frames_of(big)
    film = write_film(tmp_path / "a.mp4", [gradient()], [0.0])
    monkeypatch.setattr(reading, "MAX_PIXELS", 96 * 64 - 1)
    with pytest.raises(VideoError, match=r"a\.mp4 is too large \(96 x 64 pixels\)"):
        VideoReader(film)


def test_of_one_format_lists_of_other_films_are_not_followed(tmp_path):
    film = write_film(tmp_path / "private.mp4", [gradient()], [0.0])
    for name, text in (
        ("list.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\nfile://{film}\n#EXT-X-ENDLIST\n"),
        ("list.txt", f"ffconcat version 1.0\nfile {film}\n"),
    ):
        (tmp_path / name).write_text(text)
        for demuxer in ("mov", "matroska", "avi"):
            with pytest.raises(VideoError, match=f"{name} is not a film that can be read"):
                VideoReader(tmp_path / name, demuxer=demuxer)
    assert len(frames_of(film, demuxer="mov")[0]) == 1


def test_a_reader_that_is_left_early_ends_its_thread(tmp_path):
    path = write_film(tmp_path / "a.mp4", [gradient(n) for n in range(40)], np.arange(40) / 25)
    before = threading.active_count()
    with VideoReader(path) as reader:
        for frame in reader.frames():
            if frame.number == 2:
                break
    assert threading.active_count() == before and reader.read < 40


@contextmanager
def sending(frames: Iterable[np.ndarray]) -> Iterator[str]:
    """Send frames as a stream, 25 a second, to who comes first; the address."""
    server = socket.create_server(("127.0.0.1", 0))

    def send() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("wb") as file, av.open(file, "w", format="mpegts") as target:
            stream = target.add_stream("mpeg1video", rate=25, bit_rate=2_000_000)
            assert isinstance(stream, av.VideoStream)
            stream.pix_fmt = "yuv420p"
            began = time.perf_counter()
            for number, pixels in enumerate(frames):
                if not number:
                    stream.height, stream.width = pixels.shape[:2]
                time.sleep(max(0.0, began + number / 25 - time.perf_counter()))
                target.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
                file.flush()
            target.mux(stream.encode())

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
    sender.join(10)
    server.close()


def test_a_stream_never_falls_behind():
    """Twenty-five frames a second come in, five are taken: each is a new one, and the others are counted."""
    with sending(gradient(number % 45) for number in range(75)) as address, VideoReader(address) as reader:
        assert reader.live and reader.seconds is None
        taken, late = [], []
        for frame in reader.frames():
            now = time.perf_counter()
            taken.append(frame.number)
            late.append(now - frame.time)
            time.sleep(0.2)
    assert len(taken) + reader.dropped == reader.read > 60 and reader.dropped > len(taken)
    assert max(late[2:]) - min(late) < 2.5, "frames that are ever older"  # all of them would take nine seconds more


def test_a_stream_that_opens_and_sends_nothing_is_not_called_damaged(tmp_path):
    reader = VideoReader(write_film(tmp_path / "a.mp4", [gradient()], [0.0]), live=True)
    reader._container = Silent(reader._container)
    with reader, pytest.raises(VideoError, match=r"breaks off after 0 pictures \(nothing came for 10 s\)$"):
        list(reader.frames())


class Silent:
    """An open container from which nothing comes until PyAV ends the wait."""

    def __init__(self, container):
        self.container = container

    def demux(self, _):
        raise av.error.ExitError(0, "Immediate exit requested", "tcp://127.0.0.1:1")

    def close(self) -> None:
        self.container.close()


def test_a_camera_that_is_not_there():
    with pytest.raises(VideoError, match="77 is not a camera that can be read"):
        VideoReader(77)


def test_a_film_that_cannot_be_finished_leaves_no_file(tmp_path):
    def write() -> None:
        with VideoWriter(tmp_path / "a.mp4") as writer:
            writer.write(gradient(), 0.0)
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert not list(tmp_path.iterdir())


def test_a_film_that_fails_at_its_end_leaves_the_one_before(tmp_path, monkeypatch):
    """As on a full disk, which is told when the last frames are flushed, or when the file is closed."""
    path = write_film(tmp_path / "a.mp4", [gradient()], [0.0])
    before, open_file = path.read_bytes(), av.open
    for name in ("mux", "close"):
        with monkeypatch.context() as patch:
            patch.setattr(av, "open", lambda *args, name=name, **kwargs: Full(open_file(*args, **kwargs), name))
            with pytest.raises(OSError, match="No space left"), VideoWriter(path) as writer:
                writer.write(gradient(1), 0.0)
        assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path], name


class Full:
    """A film's container in which one thing fails for want of room."""

    def __init__(self, container, failing: str):
        self.container, self.failing = container, failing

    def __getattr__(self, name):
        return getattr(self.container, name)

    def mux(self, packets) -> None:
        self._fail("mux", packets)
        self.container.mux(packets)

    def close(self) -> None:
        self.container.close()
        self._fail("close", True)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _fail(self, name: str, now) -> None:
        if now and name == self.failing:
            raise OSError(28, "No space left on device")


def test_without_a_frame_no_film_is_written(tmp_path):
    with VideoWriter(tmp_path / "a.mp4"):
        pass
    assert not list(tmp_path.iterdir())
