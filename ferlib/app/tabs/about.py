"""The tab "About": a model in five lines, how often it recognises each expression, and its whole card."""

from typing import Any

import gradio as gr

from ferlib.app.html import classes_table, unbroken
from ferlib.app.messages import in_brief
from ferlib.app.model_choices import model_title
from ferlib.app.tabs.base import PRIVATE, RAW, Tab
from ferlib.app.translations import say


class AboutTab(Tab):
    """One model's figures and card."""

    def build(self, examples: list[str]) -> None:
        """Lay the tab out and connect its listeners."""
        with gr.Tab("About", elem_id="about") as self.tab:
            model = gr.Dropdown(label=say("Model"), interactive=True)
            brief = gr.Markdown(elem_id="brief")
            classes = gr.HTML(apply_default_css=False, elem_classes="answer")
            with gr.Accordion(say("The whole card: data and rights, test figures, training, limits"), open=False):
                card = gr.Markdown(elem_id="card")
        self.filled = (model, brief, classes, card)
        model.change(self.about, model, [brief, classes, card], **RAW, **PRIVATE)

    def begin(self) -> list[Any]:
        """The models, and what there is to say of the first."""
        return [self.choice(), *self.about(None)]

    def about(self, model: str | None) -> tuple[str, str, str]:
        """A model in brief, how often it recognises each expression, and its card."""
        name = model or next(iter(self.service.models))
        card, report = self.service.card(name)
        if report is None:
            return f"**{model_title(name)}**: there are no test figures of this model.", "", card
        lines = in_brief(f"{model_title(name)} (`{name}`)", report)
        return unbroken("\n".join(f"- {line}" for line in lines)), classes_table(report), card
