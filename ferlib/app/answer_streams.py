"""The streams through which Gradio answers its page, closed so that no question is lost meanwhile.

A page asks by one request and reads all its answers from another, which stays open until the last one has come. Gradio
then tells the page to close it. A question asked at that very moment may be lost in two ways: the page believes that
the old stream will bring the answer, and closes it; or the server takes the closing for a visitor who left, and drops
everything he has asked. So the server is not told of a stream that was closed as agreed, and a question is accepted
only when the page has left the stream that ends.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LAST = b'"msg":"close_stream"'
LEAVING = 1.0  # seconds that a page has to leave a stream that ends


class AnswerStreams:
    """The streams that are open, by the session of the page that reads them."""

    def __init__(self) -> None:
        self._ending: dict[str, asyncio.Event] = {}
        self._open: Counter[str] = Counter()

    def is_open(self, session: str) -> bool:
        """True if a session's answers are being read."""
        return session in self._open

    async def answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the application answer a page's request for a stream."""
        session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
        left = asyncio.Event()

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                left.set()
                if self._ending.get(session) is left:
                    await asyncio.Event().wait()  # for good: the application ends by itself, and this with it
            return message

        async def sending(message: Message) -> None:
            if LAST in message.get("body", b""):
                self._ending[session] = left
            await send(message)
            if self._ending.get(session) is left and message.get("more_body"):
                await _within(left, LEAVING)

        self._open[session] += 1
        try:
            await app(scope, receiving, sending)
        finally:
            left.set()
            self._open[session] -= 1
            self._open += Counter()  # without those that are closed
            if self._ending.get(session) is left:
                del self._ending[session]

    def after(self, session: str, send: Send) -> Send:
        """`send` for the answer to a question: it waits until the page has left the stream that ends, if one does."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and (left := self._ending.get(session)):
                await _within(left, LEAVING)
            await send(message)

        return sending


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, so long at most."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
