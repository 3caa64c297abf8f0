"""`ferlib app`: the page in the browser."""

import argparse
import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ferlib.errors import MissingPackage

if TYPE_CHECKING:
    from ferlib.app.request_checks import Page
    from ferlib.app.server import Served
    from ferlib.app.service import Service


def add_app(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    app = commands.add_parser("app", help="serve the page: photos, webcam, many photos, in your browser")
    app.add_argument("--host", default="127.0.0.1", help="address to serve at; 0.0.0.0 serves the whole network")
    app.add_argument("--port", type=int, default=7860, help="default: 7860")
    app.add_argument("--model", metavar="NAME_OR_DIR", help="a released model's name or a model folder")
    app.add_argument("--queue-size", type=int, default=32, metavar="N", help="requests inside at a time, default 32")
    app.add_argument(
        "--allowed-host", action="append", default=[], metavar="NAME",
        help="a name the page may be asked for by, beside this machine's own; may be repeated; '*' is any",
    )  # fmt: skip
    app.add_argument("--root-path", default="", metavar="PATH", help="where a proxy serves the page: /faces, or a URL")
    app.add_argument(
        "--frame", action="append", default=[], metavar="ORIGIN",
        help="a site that may show the page inside its own, as https://huggingface.co; may be repeated",
    )  # fmt: skip
    app.set_defaults(run=run_app)


def run_app(options: argparse.Namespace) -> int:
    """`ferlib app`: serve the page until Ctrl-C."""
    from ferlib.app.cleanup import KEEP_FILES, delete_regularly, keep_memory_compact, upload_folder
    from ferlib.app.service import Service
    from ferlib.runtime.released import model_folder

    keep_memory_compact()
    stop = threading.Event()
    endings = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # which `nohup` sets
        endings.append(signal.SIGHUP)  # the terminal was closed
    for ending in endings:  # not an exception: an import in progress might swallow it
        signal.signal(ending, lambda *_: stop.set())
    if options.model:
        model_folder(options.model)  # a name that does not exist is told before the page opens
    with upload_folder(KEEP_FILES) as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(folder)  # every upload lies here, and goes with it
        build_app, launch = _page()
        service = Service(options.model, options.queue_size, failed=stop.set)
        place = (options.host, options.port, options.root_path, options.allowed_host, options.frame)
        served = launch(build_app(service), service, *place)
        try:
            print(f"Open {served.url} in a browser. Ctrl-C ends it.", flush=True)
            threading.Thread(target=service.load, daemon=True).start()
            cleaning = (folder, served.page.uploads.kept, KEEP_FILES, 60, stop)
            threading.Thread(target=delete_regularly, args=cleaning, daemon=True).start()
            stop.wait()
            service.close()
        finally:
            served.close()
    if service.error:
        raise service.error
    print("\nStopped.")
    return 0


def _page() -> "tuple[Callable[[Service], Page], Callable[..., Served]]":
    """The functions that build and serve the page; Gradio makes files in `GRADIO_TEMP_DIR` as it is imported."""
    try:
        from ferlib.app.page import build_app
        from ferlib.app.server import launch
    except ModuleNotFoundError as error:
        raise MissingPackage(f"the page needs {error.name}: pip install 'ferlib[app]'") from error
    return build_app, launch
