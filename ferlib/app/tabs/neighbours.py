"""The tab "Neighbours": a face in different companies, judged by the published Conv-cut and by ours."""

import gradio as gr

from ferlib.app.companies_html import companies_report
from ferlib.app.drawing import examples as example_pictures
from ferlib.app.html import problem
from ferlib.app.service import NoAnswer
from ferlib.app.tabs.base import AGAIN, PRIVATE, RAW, Tab
from ferlib.app.translations import NEIGHBOURS, say
from ferlib.errors import UserError

WAIT = '<div class="note">One moment …</div>'
FIRST = "a drawn face, fear"  # the published model calls it fear alone, and by its company's name in two others


class NeighboursTab(Tab):
    """One face in several batches."""

    _first: str | None = None

    def build(self, examples: list[str]) -> None:
        """Lay the tab out and connect its listeners."""
        with gr.Tab("Neighbours", elem_id="batch") as self.tab:
            gr.Markdown(say(NEIGHBOURS), elem_classes="lead")
            with gr.Row(equal_height=False):
                with gr.Column(scale=4, min_width=300):
                    companies = gr.HTML(WAIT, apply_default_css=False, elem_classes="answer")
                with gr.Column(scale=2, min_width=280):
                    face = gr.Image(
                        label=say("Try another face"), type="filepath", height=260, buttons=[], elem_id="face"
                    )
                    gr.Examples(
                        examples, face, label=say("Or click an example"), examples_per_page=len(examples), **PRIVATE
                    )
        gr.on(
            [self.tab.select, face.change], self.show_neighbours, face, companies,
            show_progress="minimal", trigger_mode="always_last", **RAW, **PRIVATE,
        )  # fmt: skip

    def show_neighbours(self, image: dict | None) -> str:
        """A photo -> its largest face among different neighbours; without a photo, an example's."""
        try:
            if image is not None:
                return companies_report(self.service.among_neighbours(self.uploads.sent(image)))
            if self._first is None:
                self._first = companies_report(self.service.among_neighbours(example_pictures()[FIRST]))
            return self._first
        except (NoAnswer, UserError) as error:
            return problem(str(error), AGAIN)
