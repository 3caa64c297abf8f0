"""The layout of the page: a photo in, every face in it boxed, numbered and explained. Nothing leaves this machine."""

from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from ferlib.app.api.guide import GUIDE, WITH_ADDRESS
from ferlib.app.drawing import example_files
from ferlib.app.endpoints import Endpoints
from ferlib.app.notes import NOTES, model_notes
from ferlib.app.request_checks import Page
from ferlib.app.service import Service
from ferlib.app.tabs.about import AboutTab
from ferlib.app.tabs.base import EVERY, PRIVATE, RAW
from ferlib.app.tabs.many import ManyTab
from ferlib.app.tabs.neighbours import NeighboursTab
from ferlib.app.tabs.photo import PhotoTab
from ferlib.app.tabs.webcam import WebcamTab
from ferlib.app.translations import TITLE, say
from ferlib.app.uploads import Uploads

THEME = gr.themes.Default(
    primary_hue="blue",
    neutral_hue="slate",
    radius_size="lg",
    font=("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"),
    font_mono=("ui-monospace", "Consolas", "monospace"),
).set(
    body_background_fill="*neutral_50",
    button_primary_background_fill="*primary_600",  # white on it has a contrast of 4.5 and more, as all writing here
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover_dark="*primary_700",
    link_text_color_dark="*primary_400",
)
CSS, SCRIPT = Path(__file__).with_name("style.css"), Path(__file__).with_name("page.js")


def build_app(service: Service) -> Page:
    """The page and its endpoints, not yet served; uploads will lie in $GRADIO_TEMP_DIR."""
    uploads = Uploads(Path(get_upload_folder()))
    examples = example_files(Path(get_upload_folder()) / "examples")
    photo, many = PhotoTab(service, uploads), ManyTab(service, uploads)
    others = NeighboursTab(service, uploads), AboutTab(service, uploads)
    tabs = [photo, WebcamTab(service, uploads), many, *others]
    with Page(uploads, title="Facial expressions", analytics_enabled=False) as app:
        gr.Markdown(say(TITLE), elem_id="title")
        with gr.Tabs(overflow_behavior="wrap"):
            for tab in tabs:
                tab.build(examples)
                tab.tab.label = say(str(tab.tab.label))
        with gr.Column(elem_id="notes"):
            gr.Markdown(say(NOTES))
            foot = gr.Markdown(elem_id="model-notes")
        photo.model.input(
            lambda model: model_notes(service, model), photo.model, foot, show_progress="hidden",
            **EVERY, **RAW, **PRIVATE,
        )  # fmt: skip
        with gr.Accordion("For programs", open=False, elem_id="programs"):
            guide = gr.Markdown(GUIDE)
        app.load(None, guide, guide, js=WITH_ADDRESS, **PRIVATE)

        def begin() -> list:
            """Fill what depends on the models, once they are loaded."""
            return [model_notes(service), *(value for tab in tabs for value in tab.begin())]

        filled = [foot, *(component for tab in tabs for component in tab.filled)]
        app.load(begin, None, filled, show_progress="hidden", concurrency_limit=None, **PRIVATE)
        Endpoints(photo, many).build()
    return app
