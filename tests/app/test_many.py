"""Many photos and films, one after the other: who waits for what, and what is said of them."""

import itertools
import re
import time
from contextlib import contextmanager

import pytest
from people import face, result_of

from ferlib.app.films import Film
from ferlib.app.service import CLOSED, FULL, WATCHING, Busy, NoAnswer
from ferlib.app.tabs import many
from ferlib.app.tabs.many import ManyTab, Turns, Work
from ferlib.app.uploads import Uploads
from ferlib.results import ImagePrediction

PHOTO, CLIP = {"path": "/sent/photo.jpg"}, {"path": "/sent/0", "orig_name": "clip.mp4"}
FILM = Film("clip.mp4", 2.0, (), "")


class Crowded:
    """A service in which a place is free from the `free`-th question on."""

    def __init__(self, free: float, refusal: NoAnswer):
        self.free, self.refusal, self.asked = free, refusal, 0

    def _enter(self):
        self.asked += 1
        if self.asked < self.free:
            raise self.refusal

    @contextmanager
    def look(self, *_):
        self._enter()
        yield [result_of(face(fear=0.9))]

    def watch(self, *_):
        self._enter()
        yield FILM


def looked_at(tmp_path, service, file, stopped=lambda: False) -> tuple[Work, list[str]]:
    work = Work(1)
    steps = ManyTab(service, Uploads(tmp_path)).looked_at(file, None, work, stopped)
    return work, [re.sub(r"<.*?>", "", step).strip() for step in steps]


@pytest.mark.parametrize(("file", "said"), [(PHOTO, FULL), (CLIP, WATCHING)])
def test_stop_ends_the_waiting_at_once_and_until_then_it_is_told(tmp_path, file, said):
    began = time.monotonic()
    work, told = looked_at(tmp_path, Crowded(1e9, Busy(said)), file, lambda: time.monotonic() - began > 1)
    name = "photo.jpg" if file is PHOTO else "clip.mp4"
    reason = said[0].lower() + said.partition(".")[0][1:]
    assert f"0 of 1: {name} waits: {reason}" in told
    assert time.monotonic() - began < 15 and not work.results and not work.films


@pytest.mark.parametrize("file", [PHOTO, CLIP])
def test_who_waits_has_a_turn(tmp_path, monkeypatch, file):
    monkeypatch.setattr(many, "PAUSE", 0)
    work, _ = looked_at(tmp_path, Crowded(4, Busy(FULL)), file)
    assert len(work.results) + len(work.films) == 1 and all(one.error is None for one in work.results)


def test_a_film_waits_longer_than_a_photo(tmp_path, monkeypatch):
    """As long as the longest film before it may take, and more."""
    clock = itertools.count(step=10)  # seconds
    monkeypatch.setattr(many.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(many, "PAUSE", 0)
    asked = []
    for file in (PHOTO, CLIP):
        service = Crowded(1e9, Busy(FULL))
        work, _ = looked_at(tmp_path, service, file)
        assert [one.error for one in work.results] == [FULL]
        asked.append(service.asked)
    assert asked[1] > 5 * asked[0] and many.FILM_WAITS > 2 * 120


def test_nobody_waits_for_a_page_that_shuts_down(tmp_path):
    service = Crowded(1e9, NoAnswer(CLOSED))
    work, _ = looked_at(tmp_path, service, CLIP)
    assert service.asked == 1 and work.results[0].error == CLOSED


def outcome(number: int, results=(), films=(), sent: int = 0) -> str:
    work = Work(number, films=list(films))
    for result in results:
        work.add(result)
    (said,) = re.findall('<p role="status">(.*?)</p>', work.outcome(sent))
    return said


GOOD, BAD = result_of(face(fear=0.9)), ImagePrediction("x", (), "x is empty.")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((5, [GOOD, GOOD, BAD, BAD], [FILM]), "2 photos, 2 faces, 1 film; 2 files without a result."),
        ((1, [BAD]), "1 file without a result."),
        ((2, [GOOD]), "1 photo, 1 face. Stopped: 1 file was not looked at."),
        ((3, [GOOD]), "1 photo, 1 face. Stopped: 2 files were not looked at."),
        ((1,), "Stopped: 1 file was not looked at."),
        ((1, [], [FILM], 501), "1 film. Only the first 500 files were looked at."),
    ],
)
def test_the_outcome_counts_what_was_seen_and_what_could_not_be(given, said):
    assert outcome(*given) == said


def test_files_that_wait_for_their_turn_are_not_deleted_for_their_age(tmp_path, monkeypatch):
    monkeypatch.setattr(many, "KEPT", 0.01)
    paths = [tmp_path / f"{number}.jpg" for number in range(3)]
    for path in paths:
        path.write_bytes(b"sent")
    came = [path.stat().st_ctime_ns for path in paths]
    time.sleep(0.02)
    turns = Turns(Uploads(tmp_path), [{"path": str(path)} for path in paths])
    files = iter(turns)

    def younger() -> list[bool]:
        nonlocal came
        before, came = came, [path.stat().st_ctime_ns for path in paths]
        return [now > one for now, one in zip(came, before, strict=True)]

    next(files)
    assert younger() == [True] * 3  # they may have lain there for long before the first one's turn
    time.sleep(0.02)
    assert next(files) == {"path": str(paths[1])} and younger() == [False, True, True]
    time.sleep(0.02)
    turns.keep()  # the second takes long
    assert younger() == [False, True, True] and list(files) == [{"path": str(paths[2])}]
