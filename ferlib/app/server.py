"""The page on a port of this machine."""

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
import gradio.routes
import uvicorn
from fastapi import FastAPI
from gradio.routes import App
from starlette.responses import JSONResponse
from starlette.routing import Mount
from uvicorn.protocols.http.h11_impl import H11Protocol

from ferlib.app.api.routes import PREFIX, build_api
from ferlib.app.hosts import Hosts
from ferlib.app.live import LIVE, LiveCamera
from ferlib.app.middleware import Gate
from ferlib.app.page import CSS, SCRIPT, THEME
from ferlib.app.request_checks import Page
from ferlib.app.service import Service
from ferlib.app.translations import TRANSLATIONS
from ferlib.app.upload_progress import LatestUploads
from ferlib.app.uploads import MAX_FILE

UNASKED = 10  # seconds that a connection may stay without the whole head of a request
CONNECTIONS = 500
SESSIONS = 100  # pages that Gradio remembers, 0.1 MB each; ours keeps nothing between two requests
START = 30  # seconds


@dataclass
class Served:
    """A page that is being served.

    Attributes:
        url: its address.
    """

    url: str
    page: Page
    _gate: Gate
    _server: uvicorn.Server
    _thread: threading.Thread

    def close(self) -> None:
        """End it, and what is still being sent."""
        self.page.close(verbose=False)
        self._gate.closing = True
        self._server.should_exit = True
        self._thread.join(10)


class NoNames(set[str]):
    """For Gradio's lists of all files that ever came, of its `delete_cache`: here they are deleted by their age."""

    def add(self, name: str) -> None:
        """Forget it."""

    def update(self, *names: Iterable[str]) -> None:
        """Forget them."""


class Protocol(H11Protocol):
    """HTTP that drops a connection on which no whole head of a request comes; see `Arriving` for its body."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait, and let no part of an answer wait for the client's word on the one before: that is 40 ms."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Go on waiting, from the first byte of a request, or stop it when the request's head is whole."""
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._stop()

    def _wait(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._timer is None:
            self._timer = self.loop.call_later(UNASKED, self._drop)

    def _drop(self) -> None:
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def launch(
    page: Page,
    service: Service,
    host: str = "127.0.0.1",
    port: int = 7860,
    root: str = "",
    allowed: Sequence[str] = (),
    frames: Sequence[str] = (),
) -> Served:
    """Serve the page from threads, and `/health` beside it.

    Args:
        page: see `ferlib.app.page.build_app`.
        service: which it shows.
        host: an address or a name of this machine, IPv6 too.
        port: 0 takes one that is free.
        root: the path, or the whole address, at which a proxy serves the page.
        allowed: further names the page may be asked for by, see `ferlib.app.hosts`.
        frames: origins of pages that may hold this one.

    Raises:
        OSError: no server can listen there; one sentence says why.
    """
    listening = listen(host.strip("[]"), port)
    root = root.rstrip("/")
    where = urlsplit(root)
    limit = service.queue_size + 16  # those who wait for the model hold a thread, others must get through
    page.queue(max_size=4 * service.queue_size)
    page.max_threads = page._queue.max_thread_count = limit
    page.state_session_capacity = SESSIONS
    gradio.routes.file_upload_statuses = LatestUploads()
    page.upload_file_set = NoNames()
    for block in page.blocks.values():
        block.temp_files = NoNames()
    served = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @served.get("/health")
    def health() -> JSONResponse:
        state = service.health()
        return JSONResponse(state, 200 if state["status"] == "ok" else 503)

    served.add_route(LIVE, LiveCamera(service).answer, methods=["POST"])
    served.mount(PREFIX, build_api(service, where.path))
    off: dict[str, Any] = {
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "mcp_server": False,
        "pwa": False,
    }
    look: dict[str, Any] = {
        "theme": THEME,
        "css_paths": CSS,
        "js": SCRIPT.read_text(),
        "i18n": TRANSLATIONS,
        "footer_links": ["api"],
    }
    gr.mount_gradio_app(
        served, page, "/", root_path=root or None, show_error=False, max_file_size=MAX_FILE, **off, **look
    )
    mounted = served.routes[-1]
    assert isinstance(mounted, Mount) and isinstance(mounted.app, App)
    page.app = mounted.app  # the one that answers, which `page.close` tells to end its streams
    page.has_launched = True  # Gradio's own check of what it copies is off otherwise
    hosts = Hosts(host, [*allowed, *([where.netloc] if where.netloc else [])])
    gate = Gate(served, page, page.uploads, hosts, service.full, where.path, tuple(frames))
    config = uvicorn.Config(
        gate, http=Protocol, ws="none", lifespan="on", log_level="warning", timeout_keep_alive=5,
        timeout_graceful_shutdown=2, limit_concurrency=CONNECTIONS, server_header=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    page.uploads.keep()  # before the first upload may come
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    end = time.monotonic() + START
    while not server.started:
        if not thread.is_alive() or time.monotonic() > end:
            raise OSError("the server did not start")
        time.sleep(0.01)
    name = "localhost" if host in ("0.0.0.0", "::") else f"[{host.strip('[]')}]" if ":" in host else host
    return Served(f"http://{name}:{listening.getsockname()[1]}/", page, gate, server, thread)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        OSError: that cannot be; one sentence says why.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        taken = isinstance(error, OverflowError) or error.errno in (errno.EADDRINUSE, errno.EACCES)
        hint = f"try another {'--port' if taken else '--host'}"
        raise OSError(f"cannot serve at {host}, port {port}: {reason.split(' (')[0]}; {hint}") from error
