"""The tab "Batch attention": a face among different neighbours, judged by the published Conv-cut and by ours."""

import gradio as gr

from ferlib.app.html import companies_table, problem
from ferlib.app.service import NoAnswer
from ferlib.app.tabs.base import AGAIN, PRIVATE, RAW, Tab
from ferlib.errors import UserError

LEAD = """
The paper behind our model lets every face of a batch attend to the *others* in it. Test sets are stored class by class,
so the neighbours give the answer away, and the paper reports 96 %. Here your face stands first in batches of sixteen,
beside synthetic faces of one expression. A model trained by that formula may change its mind with the company; ours
cannot.
"""


class NeighboursTab(Tab):
    """One face in several batches."""

    def build(self, examples: list[str]) -> None:
        """Lay the tab out and connect its listeners."""
        with gr.Tab("Batch attention", elem_id="batch") as self.tab:
            gr.Markdown(LEAD, elem_classes="lead")
            with gr.Row(equal_height=False):
                with gr.Column(scale=2, min_width=280):
                    face = gr.Image(label="A photo", type="filepath", height=260, buttons=[], elem_id="face")
                    gr.Examples(examples[:5], face, label="Or click an example", **PRIVATE)
                with gr.Column(scale=4, min_width=300):
                    companies = gr.HTML(self.show_neighbours(None), apply_default_css=False, elem_classes="answer")
        face.change(self.show_neighbours, face, companies, **RAW, **PRIVATE)

    def show_neighbours(self, image: dict | None) -> str:
        """A photo -> the table of its largest face among different neighbours."""
        if image is None:
            return '<div class="note">Choose a photo with a face.</div>'
        try:
            found = self.service.among_neighbours(self.uploads.sent(image))
        except (NoAnswer, UserError) as error:
            return problem(str(error), AGAIN)
        return companies_table(found)
