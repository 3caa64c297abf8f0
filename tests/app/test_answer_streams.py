"""The end of a stream of answers loses no question."""

import asyncio

from ferlib.app import answer_streams
from ferlib.app.answer_streams import AnswerStreams

SCOPE = {"query_string": b"session_hash=s1"}
BODY, CLOSE = (b'data: {"msg":"%s"}\n\n' % name for name in (b"process_completed", b"close_stream"))


class Page:
    """A page that reads a stream: what it got, and when it leaves."""

    def __init__(self):
        self.got, self.left, self.last = [], asyncio.Event(), asyncio.Event()

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.got.append(message)
        if message.get("body") == CLOSE:
            self.last.set()


def stream(told: list, *bodies: bytes):
    """An application that sends these and listens for the visitor to leave, as Gradio's does."""

    async def app(scope, receive, send):
        async def listen():
            told.append((await receive())["type"])

        listening = asyncio.create_task(listen())
        for body in bodies:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await asyncio.sleep(0.05)  # a busy machine
        listening.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


async def question(streams, session="s1"):
    answered = []

    async def send(message):
        answered.append(message["type"])

    await streams.after(session, send)({"type": "http.response.start"})
    return answered


def test_a_page_that_closes_a_stream_as_agreed_has_not_left():
    async def run():
        told, page, streams = [], Page(), AnswerStreams()
        answering = asyncio.create_task(streams.answer(stream(told, BODY, CLOSE), SCOPE, page.receive, page.send))
        await page.last.wait()
        page.left.set()
        await answering
        assert not told
        assert [message["body"] for message in page.got] == [BODY, CLOSE, b""]

    asyncio.run(run())


def test_a_page_that_leaves_before_the_end_has_left():
    async def run():
        told, page, streams = [], Page(), AnswerStreams()
        page.left.set()
        await streams.answer(stream(told, BODY), SCOPE, page.receive, page.send)
        assert told == ["http.disconnect"]

    asyncio.run(run())


def test_a_question_waits_until_the_page_has_left_the_stream_that_ends():
    async def run():
        page, streams = Page(), AnswerStreams()
        answering = asyncio.create_task(streams.answer(stream([], CLOSE), SCOPE, page.receive, page.send))
        await page.last.wait()
        asking = asyncio.create_task(question(streams))
        assert await question(streams, "another page")
        await asyncio.sleep(0.1)
        assert not asking.done()
        page.left.set()
        assert await asking
        await answering
        assert await question(streams)

    asyncio.run(run())


def test_a_page_that_never_leaves_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(answer_streams, "LEAVING", 0.1)

    async def run():
        page, streams = Page(), AnswerStreams()
        answering = asyncio.create_task(streams.answer(stream([], CLOSE), SCOPE, page.receive, page.send))
        await page.last.wait()
        assert await question(streams)
        await answering

    asyncio.run(run())
