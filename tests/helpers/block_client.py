"""A small page of a notebook, asked by its API. No test."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
import gradio_client
import numpy as np
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


def values(numbers: list | dict) -> list:
    """A trace's numbers, which plotly sends as they are or in base64."""
    if isinstance(numbers, dict):
        return np.frombuffer(base64.b64decode(numbers["bdata"]), numbers["dtype"]).tolist()
    return numbers
