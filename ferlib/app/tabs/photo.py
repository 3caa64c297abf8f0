"""The tab "A photo": every face in it boxed, numbered and explained."""

from typing import Any

import gradio as gr
from PIL import Image

from ferlib.app.drawing import annotate
from ferlib.app.html import WELCOME, problem, report
from ferlib.app.messages import METHOD_TITLES
from ferlib.app.service import NoAnswer
from ferlib.app.tabs.base import AGAIN, PRIVATE, RAW, Tab
from ferlib.errors import UserError

Shown = tuple[Image.Image | None, str]  # a photo with its faces boxed, and the HTML below it
# On a phone the result lies below what the visitor sees: go there once it is complete.
SCROLL = """() => {
  const result = document.querySelector("#result");
  if (innerWidth < 768 && result.querySelector(".face, .problem")) result.scrollIntoView({ behavior: "smooth" });
}"""
SET_OPACITY = "value => { document.documentElement.style.setProperty('--opacity', value); }"


class PhotoTab(Tab):
    """One photo, one model or two side by side, one explanation."""

    photo: gr.Image

    def build(self, examples: list[str]) -> None:
        """Lay the tab out and connect its listeners."""
        methods = [(METHOD_TITLES["gradcam"], "gradcam")]
        with gr.Tab("A photo") as self.tab, gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300, elem_id="choose"):
                photo = gr.Image(label="Your photo", type="filepath", height=330, buttons=[], elem_id="photo")
                gr.Examples(examples, photo, label="Or click an example", elem_id="examples", **PRIVATE)
                with gr.Accordion("Model and explanation", open=False, elem_id="options"):
                    model = gr.Dropdown(label="Model", interactive=True)
                    method = gr.Dropdown(methods, value="gradcam", label="Explanation", interactive=True)
                    other = gr.Dropdown([("no other model", "")], value="", label="Compare with", interactive=True)
                    opacity = gr.Slider(0, 1, 0.5, step=0.05, label="Opacity of the heat map", buttons=[])
            with gr.Column(scale=3, min_width=300, elem_id="result"):
                boxed = gr.Image(show_label=False, format="jpeg", buttons=["fullscreen", "download"], elem_id="boxed")
                answer = gr.HTML(WELCOME, apply_default_css=False, elem_id="report", elem_classes="answer")
        self.photo, self.filled = photo, (model, method, other)
        asked = [photo, model, method, other]
        for changed in (photo, method, other):
            shown = changed.change(self.show, asked, [boxed, answer], show_progress_on=answer, **RAW, **PRIVATE)
            if changed is photo:
                shown.then(None, js=SCROLL)
        other_model = model.input(self.methods, model, method, **RAW, **PRIVATE)
        other_model.then(self.show, asked, [boxed, answer], show_progress_on=answer, **RAW, **PRIVATE)
        opacity.change(None, opacity, None, js=SET_OPACITY)

    def begin(self) -> list[Any]:
        """The models, and the explanations of the first."""
        names = list(self.service.models)
        other = gr.Dropdown(choices=[("no other model", ""), *((name, name) for name in names)], value="")
        return [self.choice(), self.methods(names[0]), other]

    def show(self, image: dict | None, model: str | None, method: str | None, other: str | None) -> Shown:
        """A photo -> the boxed picture and the cards of its faces."""
        if image is None:
            return None, WELCOME
        names = [model or next(iter(self.service.models))]
        names += [other] if other and other not in names else []
        try:
            with self.service.look(self.uploads.sent(image), *names, explain=method) as results:
                return annotate(results[0]), report(results, names, method)
        except (NoAnswer, UserError) as error:
            return None, problem(str(error), AGAIN)

    def methods(self, model: str | None) -> gr.Dropdown:
        """The explanations that a model allows."""
        allowed = self.service.predictor(model).methods
        return gr.Dropdown(choices=[(METHOD_TITLES[name], name) for name in allowed], value="gradcam")
