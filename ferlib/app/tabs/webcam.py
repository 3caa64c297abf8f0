"""The tab "Webcam": the faces in front of a camera, a few times a second."""

from html import escape
from typing import Any

import gradio as gr
import numpy as np

from ferlib.app.drawing import annotate, data_url
from ferlib.app.messages import sentence
from ferlib.app.service import NoAnswer
from ferlib.app.tabs.base import PRIVATE, RAW, Tab

CAMERAS = 16  # at a time: each holds one of Gradio's workers as long as it runs
LIVE_EVERY = 0.4  # seconds between two pictures of a live webcam
LEAD = "Start the camera: the faces in front of it are boxed and named a few times a second. No picture is kept."
SHOW_CAMERA, STOP_CAMERA = (f"() => ({{ __type__: 'update', visible: {shown} }})" for shown in ("true", "false"))


class WebcamTab(Tab):
    """A live camera. No file is written of its pictures."""

    camera: gr.Image

    def build(self, examples: list[str]) -> None:
        """Lay the tab out and connect its listeners."""
        with gr.Tab("Webcam", elem_id="live") as self.tab:
            gr.Markdown(LEAD, elem_classes="lead")
            with gr.Row(equal_height=False):
                with gr.Column(min_width=300):
                    self.camera = gr.Image(label="Camera", sources=["webcam"], streaming=True, elem_id="camera")
                    model = gr.Dropdown(label="Model", interactive=True)
                with gr.Column(min_width=300):
                    seen = gr.HTML(elem_id="seen")
                    said = gr.HTML(elem_id="said")
        self.filled = (model,)
        self.camera.stream(
            self.look_live, [self.camera, model], [seen, said], stream_every=LIVE_EVERY, show_progress="hidden",
            **RAW | {"concurrency_limit": CAMERAS}, **PRIVATE
        )  # fmt: skip
        self.tab.select(None, None, self.camera, js=SHOW_CAMERA)

    def stop_when_left_for(self, other: gr.Tab) -> None:
        """Switch the camera off when another tab is chosen: it is off without its component."""
        other.select(None, None, self.camera, js=STOP_CAMERA)

    def begin(self) -> list[Any]:
        """The models."""
        return [self.choice()]

    def look_live(self, image: dict | None, model: str | None) -> tuple[str, str]:
        """A picture of a live webcam -> the HTML of the boxed picture, and a sentence for every face.

        The picture travels inside the HTML, so that no file is written.
        """
        if image is None:
            return "", ""
        try:
            with self.service.look(self.uploads.sent(image), model) as (result,):
                seen = annotate(result)
                pixels = result.image if seen is None else np.asarray(seen)
                shown = "" if pixels is None else f'<img src="{data_url(pixels)}" alt="What the camera sees">'
                said = [result.error] if result.error else [sentence(i, one) for i, one in enumerate(result.faces, 1)]
                return shown, "".join(f"<p>{escape(line)}</p>" for line in said)
        except NoAnswer:
            return gr.skip(), gr.skip()  # the next picture comes soon
