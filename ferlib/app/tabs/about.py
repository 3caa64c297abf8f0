"""The tab "About": a model's card, and how often it recognises each expression."""

from typing import Any

import gradio as gr

from ferlib.app.html import classes_table
from ferlib.app.tabs.base import PRIVATE, RAW, Tab


class AboutTab(Tab):
    """One model's card and figures."""

    def build(self, examples: list[str]) -> None:
        """Lay the tab out and connect its listeners."""
        with gr.Tab("About", elem_id="about") as self.tab:
            model = gr.Dropdown(label="Model", interactive=True)
            classes = gr.HTML(apply_default_css=False, elem_classes="answer")
            card = gr.Markdown(elem_id="card")
        self.filled = (model, card, classes)
        model.change(self.about, model, [card, classes], **RAW, **PRIVATE)

    def begin(self) -> list[Any]:
        """The models, and the card of the first."""
        return [self.choice(), *self.about(None)]

    def about(self, model: str | None) -> tuple[str, str]:
        """A model's card, and how often it recognises each expression."""
        card, figures = self.service.card(model)
        return card, classes_table(figures) if figures else ""
