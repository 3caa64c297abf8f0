"""Answers that nobody has fetched: who is forgotten for others, and who may ask no more."""

import asyncio
from types import SimpleNamespace

import pytest

from ferlib.app import unread_answers
from ferlib.app.answer_streams import AnswerStreams
from ferlib.app.unread_answers import UnreadAnswers


@pytest.fixture
def answers(monkeypatch):
    """Three sessions, all there may be: the first is being answered, the second has an answer, the third has none."""
    monkeypatch.setattr(unread_answers, "SESSIONS", 3)
    running = {"event": SimpleNamespace(session_hash="busy")}
    queue = SimpleNamespace(event_ids_to_events=running, pending_event_ids_session={"done": {"a"}, "idle": {"b"}})
    answers = UnreadAnswers(queue, AnswerStreams())
    for session in ("busy", "done", "idle"):
        answers[session] = asyncio.Queue()
    answers["done"].put_nowait("an answer")
    return answers


def test_a_session_without_answers_goes_first_and_one_that_is_answered_never(answers):
    answers["new"] = asyncio.Queue()
    assert list(answers) == ["busy", "done", "new"] and "idle" not in answers.queue.pending_event_ids_session
    answers["new"].put_nowait("an answer")
    answers["newer"] = asyncio.Queue()
    assert list(answers) == ["busy", "new", "newer"] and not answers.queue.pending_event_ids_session


def test_a_session_that_reads_its_answers_stays(answers):
    async def read(scope, receive, send):
        answers["new"] = asyncio.Queue()

    for session in (b"done", b"idle"):
        scope = {"query_string": b"session_hash=" + session}
        asyncio.run(answers.streams.answer(read, scope, None, None))
        assert session.decode() in answers and not answers.streams.is_open(session.decode())
        answers.pop("new")
        answers.setdefault("idle" if session == b"done" else "done", asyncio.Queue())


def test_of_a_visitor_who_left_nothing_stays(answers):
    del answers["done"]  # as Gradio does when a stream breaks off
    assert answers.queue.pending_event_ids_session == {"idle": {"b"}}


def test_a_session_may_leave_so_much_unread(answers):
    for _ in range(unread_answers.UNREAD):
        answers["done"].put_nowait("an answer")
    assert answers.is_full("done") and not answers.is_full("idle") and not answers.is_full("unknown")
