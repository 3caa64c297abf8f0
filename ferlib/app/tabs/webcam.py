"""The tab "Webcam": boxes, names and bars over the live picture. `webcam.js` does it, and asks `ferlib.app.live`."""

import json
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from ferlib.app.messages import UNDECIDED
from ferlib.app.tabs.base import PRIVATE, Tab
from ferlib.app.translations import say, webcam_words
from ferlib.labels import COLOURS
from ferlib.runtime.boxes import colour, ink

SCRIPT = Path(__file__).parents[1] / "webcam.js"
SETTINGS = {
    "colours": {name: (colour(name), ink(name)) for name in ("", *COLOURS)},
    "undecided": UNDECIDED,
    "words": webcam_words(),
}
LIVE_HTML = f"""<div class="live" data-settings="{escape(json.dumps(SETTINGS))}">
<div class="note"><button type="button" class="live-start">Start the camera</button>
<p class="live-lead">The faces in front of it are boxed and named while you move. No picture is kept.</p>
<p class="live-problem" role="alert"></p></div>
<div class="live-running" hidden>
<div class="screen"><video class="live-video" muted playsinline aria-label="What the camera sees"></video>
<div class="live-boxes" aria-hidden="true" lang="en"></div></div>
<p class="under"><button type="button" class="live-stop">Stop</button>
<label><input type="checkbox" class="live-heat"> <span>Show where the model looks</span></label>
<span class="live-rate"></span></p>
<p class="live-said" role="status" lang="en"></p></div></div>"""
#: Tells the script which model was chosen.
CHOOSE = "model => { document.querySelector('#live .live').dataset.model = model; }"


class WebcamTab(Tab):
    """A live camera. No file is written of its pictures, and it ends when the tab is left."""

    def build(self, examples: list[str]) -> None:
        """Lay the tab out and connect its listeners."""
        with gr.Tab("Webcam", elem_id="live") as self.tab:
            gr.HTML(
                LIVE_HTML, js_on_load=SCRIPT.read_text(encoding="utf-8"), apply_default_css=False, elem_classes="answer"
            )
            model = gr.Dropdown(label=say("Model"), interactive=True)
        self.filled = (model,)
        model.change(None, model, None, js=CHOOSE, **PRIVATE)

    def begin(self) -> list[Any]:
        """The models."""
        return [self.choice()]
