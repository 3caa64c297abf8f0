"""The layout of the page: a photo in, every face in it boxed, numbered and explained. Nothing leaves this machine."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from ferlib.app.batch_table import COLUMNS, MOST_FILES, TYPES
from ferlib.app.drawing import example_files
from ferlib.app.handlers import Listeners
from ferlib.app.html import WELCOME
from ferlib.app.messages import METHOD_TITLES
from ferlib.app.request_checks import Page
from ferlib.app.service import Service
from ferlib.app.uploads import Uploads
from ferlib.utils.csv_safety import BOM

CAMERAS = 16  # at a time: each holds one of Gradio's workers as long as it runs
LIVE_EVERY = 0.4  # seconds between two pictures of a live webcam

TITLE = """
# Facial expressions
Choose a photo. Every face in it is found, and a neural network says which expression it takes it for, how sure it is,
and where it looked.
"""
MANY = (
    f"Up to {MOST_FILES} photos at once: a row for every face, to sort and to download. Bad files do not stop the rest."
)
LIVE = "Start the camera: the faces in front of it are boxed and named a few times a second. No picture is kept."
NEIGHBOURS = """
The paper behind our model lets every face of a batch attend to the *others* in it. Test sets are stored class by class,
so the neighbours give the answer away, and the paper reports 96 %. Here your face stands first in batches of sixteen,
beside synthetic faces of one expression. A model trained by that formula may change its mind with the company; ours
cannot.
"""
THEME = gr.themes.Default(
    primary_hue="blue",
    neutral_hue="slate",
    radius_size="lg",
    font=("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"),
    font_mono=("ui-monospace", "Consolas", "monospace"),
).set(body_background_fill="*neutral_50")
CSS = Path(__file__).with_name("style.css")
# On a phone the result lies below what the visitor sees: go there once it is complete.
SCROLL = """() => {
  const result = document.querySelector("#result");
  if (innerWidth < 768 && result.querySelector(".face, .problem")) result.scrollIntoView({ behavior: "smooth" });
}"""
SET_OPACITY = "value => { document.documentElement.style.setProperty('--opacity', value); }"
SHOW_CAMERA, STOP_CAMERA = (f"() => ({{ __type__: 'update', visible: {shown} }})" for shown in ("true", "false"))
DOWNLOAD = f"""text => {{
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\\u{ord(BOM):04x}", text], {{ type: "text/csv;charset=utf-8" }}));
  link.download = "faces.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}}"""
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
# Gradio's own image reader fails on a broken file and knows no limit, so the listeners are told where an upload lies;
# what is wrong with it, ferlib.images says in a sentence. How many may ask at a time is the service's business.
RAW: dict[str, Any] = {"preprocess": False, "concurrency_limit": None}


def build_app(service: Service) -> Page:
    """The page and its endpoints, not yet served; uploads will lie in $GRADIO_TEMP_DIR."""
    do = Listeners(service, Uploads(Path(get_upload_folder())))
    examples = example_files(Path(get_upload_folder()) / "examples")
    methods = [(METHOD_TITLES["gradcam"], "gradcam")]
    with Page(do.uploads, title="Facial expressions", analytics_enabled=False) as app:
        gr.Markdown(TITLE, elem_id="title")
        with gr.Tabs(overflow_behavior="wrap"):
            with gr.Tab("A photo") as photo_tab, gr.Row(equal_height=False):
                with gr.Column(scale=2, min_width=300, elem_id="choose"):
                    photo = gr.Image(label="Your photo", type="filepath", height=330, buttons=[], elem_id="photo")
                    gr.Examples(examples, photo, label="Or click an example", elem_id="examples", **PRIVATE)
                    with gr.Accordion("Model and explanation", open=False, elem_id="options"):
                        model = gr.Dropdown(label="Model", interactive=True)
                        method = gr.Dropdown(methods, value="gradcam", label="Explanation", interactive=True)
                        other = gr.Dropdown([("no other model", "")], value="", label="Compare with", interactive=True)
                        opacity = gr.Slider(0, 1, 0.5, step=0.05, label="Opacity of the heat map", buttons=[])
                with gr.Column(scale=3, min_width=300, elem_id="result"):
                    boxed = gr.Image(
                        show_label=False, format="jpeg", buttons=["fullscreen", "download"], elem_id="boxed"
                    )
                    answer = gr.HTML(WELCOME, apply_default_css=False, elem_id="report", elem_classes="answer")
            with gr.Tab("Webcam", elem_id="live") as live_tab:
                gr.Markdown(LIVE, elem_classes="lead")
                with gr.Row(equal_height=False):
                    with gr.Column(min_width=300):
                        camera = gr.Image(label="Camera", sources=["webcam"], streaming=True, elem_id="camera")
                        live_model = gr.Dropdown(label="Model", interactive=True)
                    with gr.Column(min_width=300):
                        seen = gr.HTML(elem_id="seen")
                        said = gr.HTML(elem_id="said")
            with gr.Tab("Many photos", elem_id="many") as many_tab:
                gr.Markdown(MANY, elem_classes="lead")
                files = gr.File(file_count="multiple", label="Photos", height=180, elem_id="files")
                with gr.Row():
                    many_model = gr.Dropdown(label="Model", interactive=True)
                    start = gr.Button("Look at all of them", variant="primary")
                done = gr.Markdown(elem_id="done")
                table = gr.Dataframe(
                    headers=list(COLUMNS), datatype=list(TYPES), interactive=False, label="Faces", elem_id="table"
                )
                csv = gr.Textbox(visible="hidden", label="CSV")
                save = gr.Button("Download as CSV", interactive=False, elem_id="save")
            with gr.Tab("Batch attention", elem_id="batch") as batch_tab:
                gr.Markdown(NEIGHBOURS, elem_classes="lead")
                with gr.Row(equal_height=False):
                    with gr.Column(scale=2, min_width=280):
                        face = gr.Image(label="A photo", type="filepath", height=260, buttons=[], elem_id="face")
                        gr.Examples(examples[:5], face, label="Or click an example", **PRIVATE)
                    with gr.Column(scale=4, min_width=300):
                        companies = gr.HTML(do.show_neighbours(None), apply_default_css=False, elem_classes="answer")
            with gr.Tab("About", elem_id="about") as about_tab:
                about_model = gr.Dropdown(label="Model", interactive=True)
                classes = gr.HTML(apply_default_css=False, elem_classes="answer")
                card = gr.Markdown(elem_id="card")
        notes = gr.Markdown(elem_id="notes")

        filled = [model, method, other, live_model, many_model, about_model, notes, card, classes]
        app.load(do.begin, None, filled, show_progress="hidden", concurrency_limit=None, **PRIVATE)
        asked = [photo, model, method, other]
        for changed in (photo, method, other):
            shown = changed.change(do.show, asked, [boxed, answer], show_progress_on=answer, **RAW, **PRIVATE)
            if changed is photo:
                shown.then(None, js=SCROLL)
        other_model = model.input(do.methods, model, method, **RAW, **PRIVATE)
        other_model.then(do.show, asked, [boxed, answer], show_progress_on=answer, **RAW, **PRIVATE)
        opacity.change(None, opacity, None, js=SET_OPACITY)
        camera.stream(
            do.look_live, [camera, live_model], [seen, said], stream_every=LIVE_EVERY, show_progress="hidden",
            **RAW | {"concurrency_limit": CAMERAS}, **PRIVATE
        )  # fmt: skip
        live_tab.select(None, None, camera, js=SHOW_CAMERA)
        for other_tab in (photo_tab, many_tab, batch_tab, about_tab):  # without its component the camera is off
            other_tab.select(None, None, camera, js=STOP_CAMERA)
        looked = start.click(
            do.look_at_many, [files, many_model], [table, csv, done], show_progress_on=table, **RAW, **PRIVATE
        )
        looked.then(lambda text: gr.Button(interactive=bool(text)), csv, save, **PRIVATE)
        save.click(None, csv, None, js=DOWNLOAD)
        face.change(do.show_neighbours, face, companies, **RAW, **PRIVATE)
        about_model.change(do.about, about_model, [card, classes], **RAW, **PRIVATE)
        build_endpoints(do, photo, files)
    return app


def build_endpoints(do: Listeners, image: gr.Image, files: gr.File) -> None:
    """The endpoints for programs have no trigger on the page, and inputs and outputs that nobody sees."""
    name, method, rival = (gr.Textbox("", label=label, visible=False) for label in ("model", "method", "other"))
    data = gr.JSON(label="Faces", visible=False)
    annotated = gr.Image(label="Annotated picture", format="jpeg", visible=False)
    overlays = gr.Gallery(label="Overlays", format="jpeg", visible=False)
    pairs, table, found, listed = (
        gr.JSON(label=label, visible=False) for label in ("Both results", "Table", "Companies", "Models")
    )
    text = gr.Textbox(label="CSV", visible=False)
    gr.on([], do.predict, [image, name, method], [data, annotated, overlays], api_name="predict", **RAW)
    gr.on([], do.compare, [image, name, rival], pairs, api_name="compare", **RAW)
    gr.on([], do.batch, [files, name], [table, text], api_name="batch", **RAW)
    gr.on([], do.neighbours, image, found, api_name="neighbours", **RAW)
    gr.on([], do.models, None, listed, api_name="models", concurrency_limit=None)
