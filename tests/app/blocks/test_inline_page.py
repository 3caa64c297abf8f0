"""A small page shown from a notebook: running, or as a picture taken in a real Chromium."""

import io
import shutil

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from ferlib.app.blocks import inline
from ferlib.errors import UserError
from ferlib.utils.packages import chromium

gradio_client = pytest.importorskip("gradio_client")


@pytest.fixture
def doubling() -> gr.Blocks:
    """A page that doubles a number, on loading and by its API."""
    with gr.Blocks(analytics_enabled=False) as page:
        number, answer = gr.Number(21), gr.HTML()
        page.load(lambda x: f"<b id='done'>{2 * x}</b>", number, answer, api_name="double")
    return page


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What a notebook would show below the cell."""
    found: list[object] = []
    monkeypatch.setattr(inline, "display", found.append)
    return found


def test_a_page_answers_until_it_is_closed(doubling, monkeypatch):
    monkeypatch.delenv(inline.PICTURES, raising=False)
    page = inline.show(doubling)
    try:
        assert page.local_url.startswith("http://127.0.0.1:")
        client = gradio_client.Client(page.local_url, verbose=False)
        assert client.predict(4, api_name="/double") == "<b id='done'>8</b>"
    finally:
        page.close(verbose=False)
    assert not page.is_running


@pytest.mark.browser
def test_a_picture_takes_the_place_of_the_page(doubling, shown, monkeypatch):
    if chromium() is None:
        pytest.skip("no Chromium")
    monkeypatch.setenv(inline.PICTURES, "1")
    page = inline.show(doubling, ready="#done")
    assert not page.is_running
    (picture,) = shown
    pixels = np.asarray(Image.open(io.BytesIO(picture.data)).convert("L"))
    assert pixels.shape[1] == inline.WIDTH and pixels.std() > 5


def test_a_picture_needs_chromium(doubling, shown, monkeypatch):
    monkeypatch.setenv(inline.PICTURES, "1")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="Chromium"):
        inline.show(doubling)
    assert not shown and not doubling.is_running
