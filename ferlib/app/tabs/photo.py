"""The tab "A photo": every face in it boxed, numbered and explained."""

from typing import Any

import gradio as gr

from ferlib.app.films import is_film
from ferlib.app.html import WELCOME, boxed, problem, report
from ferlib.app.messages import METHOD_TITLES
from ferlib.app.model_choices import model_choices, model_title
from ferlib.app.service import NoAnswer
from ferlib.app.tabs.base import AGAIN, EVERY, PRIVATE, RAW, Tab
from ferlib.app.translations import say
from ferlib.errors import UserError

Shown = tuple[str, str]  # the HTML of a photo with its faces boxed, and that of the cards below it
# On a phone the result lies below what the visitor sees: go there once that of a new photo is complete.
FRESH = """() => { document.querySelector("#result").dataset.fresh = "yes"; }"""
SCROLL = """() => {
  const result = document.querySelector("#result");
  if (!result.dataset.fresh) return;
  delete result.dataset.fresh;
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
  if (innerWidth < 768 && result.querySelector(".face, .problem")) result.scrollIntoView({ behavior });
}"""
NO_OTHER = "no other model", ""
FILM = "Films are looked at in the tab “Many photos and videos”."


class PhotoTab(Tab):
    """One photo, one model or two side by side, one explanation."""

    photo: gr.Image
    model: gr.Dropdown

    def build(self, examples: list[str]) -> None:
        """Lay the tab out and connect its listeners."""
        methods = [(METHOD_TITLES["gradcam"], "gradcam")]
        with gr.Tab("A photo") as self.tab, gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300, elem_id="choose"):
                photo = gr.Image(label=say("Your photo"), type="filepath", height=330, buttons=[], elem_id="photo")
                gr.Examples(
                    examples, photo, label=say("Or click an example"), elem_id="examples",
                    examples_per_page=len(examples), **PRIVATE
                )  # fmt: skip
                with gr.Accordion(say("Model and explanation"), open=False, elem_id="options"):
                    model = gr.Dropdown(label=say("Model"), interactive=True)
                    method = gr.Dropdown(methods, value="gradcam", label=say("Explanation"), interactive=True)
                    other = gr.Dropdown([NO_OTHER], value="", label=say("Compare with"), interactive=True)
            with gr.Column(scale=3, min_width=300, elem_id="result"):
                seen = gr.HTML(apply_default_css=False, elem_id="boxed")
                gr.HTML(say(WELCOME), apply_default_css=False, elem_id="welcome", elem_classes="answer")
                answer = gr.HTML(apply_default_css=False, elem_id="report", elem_classes="answer")
        self.photo, self.model, self.filled = photo, model, (model, method, other)
        asked = [photo, model, method, other]
        photo.change(None, js=FRESH, **PRIVATE)
        shown = gr.on(  # one listener: the answer that comes last is that to what was asked last
            [photo.change, method.change, other.change, model.input], self.show, asked, [seen, answer],
            show_progress_on=answer, trigger_mode="always_last", **RAW, **PRIVATE,
        )  # fmt: skip
        shown.then(None, js=SCROLL, **PRIVATE)
        model.input(self.fitting, asked[1:], [method, other], **EVERY, **RAW, **PRIVATE)

    def begin(self) -> list[Any]:
        """The models, and the explanations of the first."""
        return [self.choice(), *self.fitting(None, None, None)]

    def show(self, image: dict | None, model: str | None, method: str | None, other: str | None) -> Shown:
        """A photo -> the boxed picture and the cards of its faces."""
        if image is None:
            return "", ""
        names = [model or next(iter(self.service.models))]
        names += [other] if other and other not in names else []
        if method in METHOD_TITLES and not any(method in self.service.predictor(name).methods for name in names):
            method = "gradcam"  # it was the model's before; `fitting` is about to say so
        try:
            with self.service.look(self.uploads.sent(image), *names, explain=method) as results:
                if results[0].image is None and is_film(str(image.get("path"))):
                    return "", problem(results[0].error or "", FILM, unreadable=True)
                return boxed(results[0]), report(results, [model_title(name) for name in names], method)
        except (NoAnswer, UserError) as error:
            return "", problem(str(error), AGAIN)

    def fitting(self, model: str | None, method: str | None, other: str | None) -> tuple[gr.Dropdown, gr.Dropdown]:
        """The explanations that a model allows, and the models to compare it with; what was chosen stays if it can."""
        name = model or next(iter(self.service.models))
        methods = self.service.predictor(name).methods
        allowed = [(METHOD_TITLES[one], one) for one in methods]
        others = [NO_OTHER, *(choice for choice in model_choices(self.service) if choice[1] != name)]
        kept = other if other in [value for _, value in others] else ""
        chosen = method if method in methods else "gradcam"
        return gr.Dropdown(choices=allowed, value=chosen), gr.Dropdown(choices=others, value=kept)
