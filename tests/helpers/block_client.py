"""A small page of a notebook, asked by its API. No test."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
import gradio_client
import pytest

from ferlib.app.blocks import inline


@contextmanager
def asking(page: gr.Blocks) -> Iterator[gradio_client.Client]:
    """A client of the page while it runs, shown as from a notebook whose pictures nobody wants."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(inline.PICTURES, raising=False)
        shown = inline.show(page)
    try:
        yield gradio_client.Client(shown.local_url, verbose=False)
    finally:
        shown.close(verbose=False)


def figure_of(answer: dict) -> dict:
    """A `gr.Plot`'s figure as plotly's JSON."""
    return json.loads(answer["plot"])
