"""The gate before the page: who may ask, for what, how much at a time, and the headers of every answer.

Everything a client sends passes here first. Gradio has more doors than the page needs (a proxy, recordings, an editor,
deep links ...), so only those that are used are open.
"""

import asyncio
import json
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import BinaryIO
from urllib.parse import parse_qsl, quote

import anyio
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ferlib.app.answer_streams import AnswerStreams
from ferlib.app.api.problems import problem, waiting
from ferlib.app.api.routes import PREDICT, PREFIX
from ferlib.app.batch_table import MOST_FILES
from ferlib.app.hosts import Hosts
from ferlib.app.live import LIVE, MAX_FRAME
from ferlib.app.request_checks import CALL, Page, Refused, check_id, checked
from ferlib.app.service import FULL
from ferlib.app.unread_answers import UnreadAnswers
from ferlib.app.uploads import MAX_BYTES, Uploads
from ferlib.images import ImageError

LOG = logging.getLogger("ferlib.app")
READABLE = re.compile(
    r"/(config|theme\.css|robots\.txt|favicon\.ico|manifest\.json|health|(static|assets|svelte)/.+)?"
    r"|/gradio_api/(info|openapi\.json|app_id|queue/data|upload_progress|heartbeat/\w+|call/(v2/)?\w+/\w+)/?"
)
FILE, UPLOAD, STREAM = "/gradio_api/file=", "/gradio_api/upload", "/gradio_api/queue/data"
ENDS = re.compile(r"/gradio_api/(cancel|reset)/?")
MAX_CALL = 1_000_000  # bytes of a call's JSON
MAX_REQUEST = MAX_BYTES // 2  # bytes of an upload
#: Bytes of a photo that is not uploaded first: of a program's request (in base64 a smaller one), of a camera's frame.
PHOTOS = {PREDICT: 28_000_000, LIVE: MAX_FRAME}
HELD = 100_000_000  # bytes of all of either at a time
UPLOADING = 64  # uploads at a time: a class that begins together, and some that are slow
CALLING = 64  # calls at a time, and as many photos of either kind, whose body has not come yet
SILENCE, SHORT_SILENCE = 20, 5  # seconds without a byte, after which an upload, or a shorter request, is given up ...
SLOWEST = 100_000  # bytes a second, that silence aside; ... or that has come more slowly so far
PIECE = 10_000_000  # bytes of an upload for which room is kept before they come
NO_ROOM = "There is no room for more pictures right now. Please try again in a few minutes."
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
}
# Gradio's page starts from scripts inside it, and makes functions of those that a listener runs in the browser
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)


class Gate:
    """An ASGI application that lets through to the page what is fit.

    Args:
        app: the page.
        page: its functions.
        uploads: its folder.
        hosts: what it may be called.
        full: whether nobody else can be let in now.
        root: the path below which a proxy serves it, "" or "/faces".
        frames: origins that may show the page within theirs.
    """

    def __init__(
        self,
        app: ASGIApp,
        page: Page,
        uploads: Uploads,
        hosts: Hosts,
        full: Callable[[], bool] = lambda: False,
        root: str = "",
        frames: tuple[str, ...] = (),
    ):
        self.app, self.page, self.uploads, self.hosts, self.full, self.root = app, page, uploads, hosts, full, root
        self.headers = HEADERS | {"Content-Security-Policy": " ".join((POLICY, *frames))}
        self.closing = False
        self.calling, self.uploading = Places(CALLING), Places(UPLOADING)
        self.sending, self.held = ({path: Places(number) for path in PHOTOS} for number in (CALLING, HELD))
        self.streams = AnswerStreams()
        self.unread = UnreadAnswers(page._queue, self.streams)
        page._queue.pending_messages_per_session = self.unread  # type: ignore[assignment]  # Gradio needs a mapping
        page.reads = lambda session: not self.unread.is_full(session)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        if self.root and path.startswith(f"{self.root}/"):  # a proxy that hands on the whole path
            path = path.removeprefix(self.root)
        headers = Headers(scope=scope)
        raw = [(name, value) for name, value in scope["headers"] if name != b"x-gradio-server"]
        scope = {**scope, "path": path, "raw_path": quote(path).encode(), "headers": raw}
        send = self._with_headers(send)
        try:
            own = self.hosts.require(headers)
            for name, value in parse_qsl(scope["query_string"].decode("latin-1")):
                if name in ("session_hash", "upload_id"):
                    check_id(value)
            await self._let_in(scope, headers, own, receive, send)
        except Refused as refusal:
            LOG.warning("%s %s: %d, %s", scope["method"], ascii(path[:100]), refusal.status, refusal)
            await said(path, refusal)(scope, receive, send)
        except asyncio.CancelledError:  # streams that are still open when the server ends
            if not self.closing:
                raise
        except Exception as error:  # Gradio breaks a stream of answers off with a 404, when it is too late for one
            if not isinstance(error.__cause__, HTTPException):
                raise
            LOG.warning("%s %s: %s", scope["method"], ascii(path[:100]), error.__cause__)
            await send({"type": "http.response.body", "body": b""})

    async def _let_in(self, scope: Scope, headers: Headers, own: bool, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if method == "HEAD" and (path == "/health" or path.startswith(f"{PREFIX}/")):
            scope = {**scope, "method": "GET"}  # they know no other; the server sends no body
        if method in ("GET", "HEAD") and path.startswith(FILE):
            response = await anyio.to_thread.run_sync(self._file, path.removeprefix(FILE))
            await response(scope, receive, send)
        elif method == "GET" and path.rstrip("/") == STREAM:
            await self.streams.answer(self.app, scope, receive, send)
        elif method in ("GET", "HEAD") and READABLE.fullmatch(path):
            await self.app(scope, receive, send)
        elif method == "POST" and path in PHOTOS:
            if path == LIVE and not own:
                raise Refused(403, "Only the page itself may ask for this.")
            await self._photo(scope, headers, path, receive, send)
        elif path.startswith(f"{PREFIX}/"):
            await self.app(scope, receive, send)
        elif method == "POST" and path.rstrip("/") == UPLOAD:
            await self._upload(scope, headers, receive, send)
        elif method == "POST" and (CALL.fullmatch(path) or ENDS.fullmatch(path)):
            await self._call(scope, own, receive, send)
        else:
            raise Refused(404, "There is nothing here.")

    async def _call(self, scope: Scope, own: bool, receive: Receive, send: Send) -> None:
        """Hand on a question, or the end of one, in the form that `checked` gives it."""
        path = scope["path"]
        async with self.calling.some():
            body = await _body(receive, MAX_CALL, SHORT_SILENCE)
        if not ENDS.fullmatch(path):
            path, passed = checked(self.page, path, body, own)
            session, body = str(passed["session_hash"]), json.dumps(passed).encode()
            if self.unread.is_full(session):
                raise Refused(429, "Fetch the answers to your earlier questions first.")
            send = self.streams.after(session, send)
        await self.app(_rewritten(scope, path, len(body)), _replayed(body, receive), send)

    def _file(self, path: str) -> Response:
        """A picture as it is; anything else to be saved, never to be opened by the browser."""
        try:
            file, kind = self.uploads.served(path)
        except ImageError as error:
            raise Refused(403, str(error)) from error
        place, name = "inline" if kind else "attachment", quote(path.rpartition("/")[2])
        headers = {
            "Content-Disposition": f"{place}; filename*=utf-8''{name}",
            "Content-Length": str(os.fstat(file.fileno()).st_size),
            "Cache-Control": "private, max-age=600",
        }
        return StreamingResponse(_pieces(file), media_type=kind or "application/octet-stream", headers=headers)

    async def _photo(self, scope: Scope, headers: Headers, path: str, receive: Receive, send: Send) -> None:
        """Let a photo's bytes in if there is a place for it and room in memory, before a byte of it comes."""
        size = self._size(headers, PHOTOS[path])
        async with self.held[path].some(size):
            async with self.sending[path].some():
                body = await _body(receive, size, SHORT_SILENCE if path == LIVE else SILENCE)
            await self.app(scope, _replayed(body, receive), send)

    def _size(self, headers: Headers, most: int) -> int:
        """The length that a request says it has; raises `Refused` if it may not come."""
        if not headers.get("content-length", "").isdecimal() or "transfer-encoding" in headers:  # which comes first
            raise Refused(411, "An upload says how long it is.")
        size = int(headers["content-length"])
        if size > most:
            raise Refused(413, f"At most {most // 10**6} MB can be sent at once.")
        if self.full():
            raise Refused(503, FULL)
        return size

    async def _upload(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """Let an upload in if there is a place for it and room, before a byte of it is kept."""
        size = self._size(headers, MAX_REQUEST)
        async with self.uploading.some():
            stream = UploadStream(headers.get("content-type", ""), Arriving(receive, SILENCE), size, send, self.uploads)
            if not await stream.has_room(files=1):
                raise Refused(503, NO_ROOM)
            try:
                await stream.through(self.app, scope)
            finally:
                self.uploads.ended(stream.room, stream.files)

    def _with_headers(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        return sending


class Places:
    """So many at a time, the others are refused."""

    def __init__(self, number: int):
        self.free = number

    @asynccontextmanager
    async def some(self, number: int = 1) -> AsyncIterator[None]:
        """Places while the `with` lasts."""
        if self.free < number:
            raise Refused(503, FULL)
        self.free -= number
        try:
            yield
        finally:
            self.free += number


class Arriving:
    """`receive` for a body that may not take for ever.

    Calling it raises `TimeoutError` when nothing comes for so many seconds, or all so far came slower than `SLOWEST`.

    Attributes:
        received: bytes that have come.

    Args:
        receive: what comes from the client.
        silence: those seconds.
    """

    def __init__(self, receive: Receive, silence: float):
        self.receive, self.silence, self.begun, self.received = receive, silence, time.monotonic(), 0

    async def __call__(self) -> Message:
        """The next part."""
        end = self.begun + self.silence + self.received / SLOWEST
        message = await asyncio.wait_for(self.receive(), min(self.silence, end - time.monotonic()))
        self.received += len(message.get("body", b""))
        return message


class UploadStream:
    """An upload on its way to the page, which ends if there is no room for its files or if it does not go on.

    Attributes:
        files, room: files and bytes for which there is room in `uploads`.

    Args:
        content_type: of the request; names the line between the parts.
        receive: what comes from the client, in time.
        size: of the request in bytes.
        send: what goes to it.
        uploads: where its files will lie.
    """

    def __init__(self, content_type: str, receive: Arriving, size: int, send: Send, uploads: Uploads):
        _, options = parse_options_header(content_type)
        self.line = b"--" + options[b"boundary"] if options.get(b"boundary") else None
        self.parts, self.end, self.more = 0, b"", True
        self.receive, self.size, self.send, self.uploads = receive, size, send, uploads
        self.files = self.room = 0
        self.refusal: Refused | None = None

    async def has_room(self, files: int) -> bool:
        """Keep room for so many files in all, and for what may come next; False where there is none."""
        files = max(files - self.files, 0)
        room = max(min(self.size, self.receive.received + PIECE) - self.room, 0)
        if not await anyio.to_thread.run_sync(self.uploads.admit, room, files):
            return False
        self.files, self.room = self.files + files, self.room + room
        return True

    async def through(self, app: ASGIApp, scope: Scope) -> None:
        """Have the application take it.

        Raises:
            Refused: it was ended, or the client left.
        """
        try:
            await app(scope, self._receive, self._send)
        except ClientDisconnect as error:
            raise self.refusal or Refused(400, "The client left during its upload.") from error
        except OSError:  # the disk is full, say
            raise
        except Exception as error:  # a form without files, in which Gradio stumbles
            raise self.refusal or Refused(400, "The upload could not be read.") from error
        if self.refusal:
            raise self.refusal

    async def _receive(self) -> Message:
        if not self.more:
            return await self.receive.receive()
        try:
            message = await self.receive()
        except TimeoutError:
            return self._over(Refused(408, "The upload fell silent or is too slow."))
        self.more = message.get("more_body", False)
        if self.line:
            new = self.end + message.get("body", b"")
            self.parts += new.count(self.line)
            self.end = new[max(0, len(new) - len(self.line) + 1) :]
        if self.parts > MOST_FILES + 1:  # the last line ends the last part
            return self._over(Refused(413, f"At most {MOST_FILES} pictures can be sent at once."))
        more_files, short = self.parts - 1 > self.files, self.room < min(self.size, self.receive.received + PIECE // 2)
        if (more_files or short) and not await self.has_room(self.parts - 1):
            return self._over(Refused(503, NO_ROOM))
        return message

    def _over(self, refusal: Refused) -> Message:
        self.refusal, self.more = refusal, False
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 500:
            self.refusal = self.refusal or Refused(400, "The upload could not be read.")
        if self.refusal is None:
            await self.send(message)


async def _body(receive: Receive, most: int, silence: float) -> bytes:
    """The whole body of a request, of at most so many bytes, if it comes in time."""
    receive = Arriving(receive, silence)
    body, more = bytearray(), True
    while more:
        try:
            message = await receive()
        except TimeoutError as error:
            raise Refused(408, "The request fell silent or is too slow.") from error
        if message["type"] == "http.disconnect":
            raise Refused(400, "The client left during its request.")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > most:
            raise Refused(413, f"A request has at most {most / 1e6:.1f} MB; pictures are sent to {UPLOAD} first.")
    return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """`receive` for whoever comes next: the body at once, then what else happens."""
    told = False

    async def receiving() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving


def _rewritten(scope: Scope, path: str, size: int) -> Scope:
    """The scope of a call whose path and body were rebuilt."""
    kept = [(name, value) for name, value in scope["headers"] if name not in (b"content-length", b"content-type")]
    told = [(b"content-type", b"application/json"), (b"content-length", b"%d" % size)]
    return {**scope, "path": path, "raw_path": quote(path).encode(), "headers": kept + told}


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(1 << 16):
            yield piece


def said(path: str, refusal: Refused) -> Response:
    """The answer that tells a refusal, in the form that the client asks in or that Gradio's clients show to people."""
    sentence, headers = str(refusal), waiting(refusal)
    if path.startswith(f"{PREFIX}/"):
        return problem(refusal)
    if path == LIVE or (path.startswith("/gradio_api/") and path.rstrip("/") != UPLOAD):
        return JSONResponse({"detail": sentence, "error": sentence}, refusal.status, headers)
    return PlainTextResponse(sentence, refusal.status, headers)
