"""Show a small Gradio page below the cell of a notebook, or a picture of it where nobody can click."""

import os
from concurrent.futures import ThreadPoolExecutor

import gradio as gr
from IPython.display import Image, display

from ferlib.errors import UserError
from ferlib.utils.packages import chromium

PICTURES = "FERLIB_PICTURES"  # environment variable; where it is set, a picture is shown and nothing keeps running
WIDTH = 1000  # pixels of a picture
TIMEOUT = 120_000  # ms that a page may take to load
FLAGS = "--no-sandbox", "--disable-gpu", "--disable-background-networking"


def show(page: gr.Blocks, height: int = 500, ready: str = ".gradio-container") -> gr.Blocks:
    """The page itself, running, after it was shown below the cell; `page.close()` ends it.

    With `FERLIB_PICTURES` set, as in `make notebooks`, a picture taken in Chromium is shown instead and the page is
    closed again: readers of the stored notebook see the page as it is, and no address at which nobody answers.

    Args:
        page: listens on this machine alone, at a free port.
        height: of the frame, in pixels; a picture is as high as the page.
        ready: CSS selector of something that is there once the page has answered; the picture waits for it.

    Raises:
        UserError: a picture is wanted and there is no Chromium.
    """
    for name in ("no_proxy", "NO_PROXY"):  # Gradio asks its own page whether it is up
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))
    pictures = bool(os.environ.get(PICTURES))
    _, address, _ = page.launch(
        inline=not pictures, height=height, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", share=False,
        footer_links=[],
    )  # fmt: skip
    if pictures:
        try:
            with ThreadPoolExecutor(1) as thread:  # Playwright cannot run beside a notebook's own event loop
                display(Image(thread.submit(picture, address, ready).result(), width=WIDTH))
        finally:
            page.close(verbose=False)
    return page


def picture(address: str, ready: str) -> bytes:
    """A picture of the whole page at an address, as PNG.

    Raises:
        UserError: there is no Chromium.
    """
    from playwright.sync_api import sync_playwright

    path = chromium()
    if path is None:
        raise UserError(f"{PICTURES} is set, which needs Chromium, and none is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            opened = browser.new_page(viewport={"width": WIDTH, "height": 300})
            opened.set_default_timeout(TIMEOUT)
            opened.goto(address)
            opened.locator(ready).first.wait_for()
            opened.wait_for_timeout(1000)  # pictures and charts are drawn after their data has come
            return opened.screenshot(full_page=True)
        finally:
            browser.close()
