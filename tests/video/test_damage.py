"""What FFmpeg notices of damage to a film is said, once a place; sound films of every kind are not called damaged."""

import re
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from test_reading import frames_of, write_other
from video_files import crossing

from ferlib.cli import main
from ferlib.video.predictor import VideoPredictor
from ferlib.video.reading import VideoReader

OPEN = {"x264-params": "open-gop=1:keyint=12:bframes=3"}  # pictures before a key one that need the one before that
KINDS = [
    ("avi", "mpeg4", {"bf": "2"}), ("mpegts", "mpeg2video", {"bf": "2"}), ("mpegts", "libx264", OPEN),
    ("mp4", "libx264", OPEN), ("matroska", "libx264", OPEN),
]  # fmt: skip


def moving(count: int = 100) -> list[np.ndarray]:
    """Frames of a noise that moves."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 128, (96, 160 + count, 3))
    return [(scene[:, k : k + 160] + rng.integers(0, 64, (96, 160, 3))).astype(np.uint8) for k in range(count)]


def overwrite(film: Path, places: int, size: int = 3000) -> None:
    """Put noise into a film at so many places, as far as can be from each other and its ends."""
    rng, content = np.random.default_rng(1), bytearray(film.read_bytes())
    for place in range(1, places + 1):
        start = place * len(content) // (places + 1)
        content[start : start + size] = rng.bytes(size)
    film.write_bytes(content)


@pytest.mark.parametrize(("form", "codec", "options"), KINDS)
def test_a_film_of_which_parts_were_overwritten_is_damaged(tmp_path, form, codec, options):
    """Of three places FFmpeg may lose one without a trace; none counts twice."""
    film = write_other(tmp_path / "film", form, codec, moving(), options=options)
    frames, reader = frames_of(film)
    assert len(frames) == 100 and reader.trouble is None
    overwrite(film, 3)
    frames, reader = frames_of(film)
    assert len(frames) > 50 and re.fullmatch(f"{film} is damaged: [1-3] of its parts cannot be read", reader.trouble)


@pytest.mark.parametrize("places", [1, 2])
def test_a_place_is_one_part_though_packets_and_pictures_of_it_are_broken(tmp_path, places):
    film = write_other(tmp_path / "film.mp4", "mp4", "libx264", moving(200), options=OPEN)
    overwrite(film, places, 12_000)
    assert frames_of(film)[1].trouble == f"{film} is damaged: {places} of its parts cannot be read"


def test_a_film_that_lost_a_picture_is_damaged(tmp_path):
    """A transport stream without the packets of one: what is beside the gap is marked, and every picture whole."""
    film = tmp_path / "film.ts"
    write_other(film, "mpegts", "libx264", moving(), options={"x264-params": "keyint=1:bframes=0"})
    content = film.read_bytes()
    begin = [at for at in range(0, len(content), 188) if content[at + 1] & 0x5F == 0x41 and not content[at + 2]]
    start, end = next(one for one in pairwise(begin[40:]) if 2 < (one[1] - one[0]) // 188 % 16 < 14)
    film.write_bytes(content[:start] + content[end:])  # not by sixteens, by which packets are counted
    frames, reader = frames_of(film)
    assert len(frames) == 99 and reader.trouble == f"{film} is damaged: 1 of its parts cannot be read"
    with av.open(str(film)) as container:
        assert not any(picture.is_corrupt for picture in container.decode(video=0))


@pytest.mark.parametrize(("form", "codec", "options"), KINDS[1:3])
def test_joined_films_and_one_that_starts_between_key_pictures_are_sound(tmp_path, form, codec, options):
    """Parts of a second each, whose packets are counted anew, as servers send them; and a film without its start."""
    pictures, parts = moving(), []
    for start in range(4):
        own = pictures[25 * start : 25 * start + 25]
        parts.append(write_other(tmp_path / "part", form, codec, own, start=start, options=options).read_bytes())
    film = tmp_path / "film"
    film.write_bytes(b"".join(parts))
    with av.open(str(film)) as container:
        assert sum(packet.is_corrupt for packet in container.demux(video=0)), "a mark at a seam"
    frames, reader = frames_of(film)
    assert len(frames) == 100 and reader.trouble is None
    content = write_other(film, form, codec, pictures, options=options).read_bytes()
    film.write_bytes(content[len(content) // 3 // 188 * 188 :])
    frames, reader = frames_of(film)
    assert 50 < len(frames) < 90 and reader.trouble is None


@pytest.mark.parametrize("form", ["avi", "mpegts"])
def test_the_command_and_python_say_so(tmp_path, capsys, form):
    film = write_other(tmp_path / "film", form, "mpeg4" if form == "avi" else "mpeg2video", crossing()[1][:30])
    assert main(["video", str(film)]) == 0 and not capsys.readouterr().err
    overwrite(film, 1)
    assert main(["video", str(film)]) == 1
    assert capsys.readouterr().err == f"ferlib: {film} is damaged: 1 of its parts cannot be read\n"
    with pytest.warns(UserWarning, match="is damaged: 1 of its parts"):
        assert "is damaged" in VideoPredictor().predict(film, every=10).trouble
    with pytest.warns(UserWarning, match="is damaged: 1 of its parts"):
        assert "is damaged" in VideoPredictor().predict(film, every=5, until=1.0).trouble
    assert main(["video", str(film), "--seconds", "1"]) == 1
    assert "is damaged" in capsys.readouterr().err


def test_nothing_is_said_of_damage_that_was_not_read(tmp_path):
    """Frames are decoded ahead, here to the end; what is said is of those that were taken."""
    film = write_other(tmp_path / "film.mp4", "mp4", "libx264", moving(200), options=OPEN)
    overwrite(film, 1, 12_000)
    with VideoReader(film) as reader:
        said = {frame.number: reader.trouble for frame in reader.frames(50)}
    assert said[0] is said[50] is None
    assert said[150] == reader.trouble == f"{film} is damaged: 1 of its parts cannot be read"
