"""The browser demo: a photo in, every face in it boxed, numbered and explained.

    python app.py                 then open http://127.0.0.1:7860
    python app.py --model runs/mine/best --port 8000

Layout only: what stands behind the page is in `ferlib/app/`. Nothing here talks to another machine.
"""

import argparse
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from ferlib import app as behind
from ferlib.app.cards import WELCOME
from ferlib.app.drawing import example_pictures
from ferlib.app.many import COLUMNS, MOST_FILES, TYPES
from ferlib.app.service import Service
from ferlib.app.upkeep import delete_regularly, keep_memory_compact
from ferlib.app.words import METHOD_TITLES

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr
from starlette.responses import JSONResponse
from starlette.routing import Route

from ferlib.app.listeners import Listeners

KEEP_FILES = 600  # seconds after which uploaded and boxed pictures are deleted; the notes on the page name it
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
beside drawn faces of one expression. A model trained by that formula may change its mind with the company; ours cannot.
"""
THEME = gr.themes.Default(
    primary_hue="blue",
    neutral_hue="slate",
    radius_size="lg",
    font=("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"),
    font_mono=("ui-monospace", "Consolas", "monospace"),
).set(body_background_fill="*neutral_50")
CSS = Path(behind.__file__).with_name("style.css")
# On a phone the result lies below what the visitor sees: go there once it is complete.
SCROLL = """() => {
  const result = document.querySelector("#result");
  if (innerWidth < 768 && result.querySelector(".face, .problem")) result.scrollIntoView({ behavior: "smooth" });
}"""
SET_OPACITY = "value => { document.documentElement.style.setProperty('--opacity', value); }"
DOWNLOAD = """text => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "faces.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}"""
PRIVATE = {"api_visibility": "private"}
# Gradio's own image reader fails on a broken file and knows no limit, so the listeners hand on where an upload lies;
# what is wrong with it, ferlib.images says in a sentence. How many may ask at a time is the service's business.
RAW = {"preprocess": False, "concurrency_limit": None}


# --- the page ---------------------------------------------------------------------------------------------------------


def build_app(service: Service) -> gr.Blocks:
    """The page and its endpoints, not yet served."""
    do = Listeners(service)
    methods = [(METHOD_TITLES["gradcam"], "gradcam")]
    with gr.Blocks(title="Facial expressions", analytics_enabled=False) as app:
        gr.Markdown(TITLE, elem_id="title")
        with gr.Tabs(overflow_behavior="wrap"):
            with gr.Tab("A photo"), gr.Row(equal_height=False):
                with gr.Column(scale=2, min_width=300, elem_id="choose"):
                    photo = gr.Image(label="Your photo", type="filepath", height=330, buttons=[], elem_id="photo")
                    gr.Examples(example_pictures(), photo, label="Or click an example", elem_id="examples", **PRIVATE)
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
            with gr.Tab("Webcam", elem_id="live"):
                gr.Markdown(LIVE, elem_classes="lead")
                with gr.Row(equal_height=False):
                    with gr.Column(min_width=300):
                        camera = gr.Image(label="Camera", sources=["webcam"], streaming=True, elem_id="camera")
                        live_model = gr.Dropdown(label="Model", interactive=True)
                    with gr.Column(min_width=300):
                        seen = gr.Image(label="What the model sees", format="jpeg", buttons=[], elem_id="seen")
                        said = gr.HTML(elem_id="said")
            with gr.Tab("Many photos", elem_id="many"):
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
            with gr.Tab("Batch attention", elem_id="batch"):
                gr.Markdown(NEIGHBOURS, elem_classes="lead")
                with gr.Row(equal_height=False):
                    with gr.Column(scale=2, min_width=280):
                        face = gr.Image(label="A photo", type="filepath", height=260, buttons=[], elem_id="face")
                        gr.Examples(example_pictures()[:5], face, label="Or click an example", **PRIVATE)
                    with gr.Column(scale=4, min_width=300):
                        companies = gr.HTML(do.show_neighbours(None), apply_default_css=False, elem_classes="answer")
            with gr.Tab("About", elem_id="about"):
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
            **RAW, **PRIVATE
        )  # fmt: skip
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


# --- the command ------------------------------------------------------------------------------------------------------


def launch(app: gr.Blocks, service: Service, host: str = "127.0.0.1", port: int = 7860) -> str:
    """Serve the page from threads, and `/health` beside it; returns its address."""

    def health(_) -> JSONResponse:
        state = service.health()
        return JSONResponse(state, 200 if state["status"] == "ok" else 503)

    where = {"server_name": host, "server_port": port, "prevent_thread_lock": True, "quiet": True}
    off = {"share": False, "run_history": False, "enable_monitoring": False, "ssr_mode": False, "mcp_server": False}
    look = {"theme": THEME, "css_paths": CSS, "footer_links": ["api"]}
    threads = service.queue_size + 16  # those who wait for the model hold a thread, others must get through
    routes = {"routes": [Route("/health", health)]}
    # Gradio remembers the page of every visitor, 0.1 MB each; ours keeps nothing between two requests
    bounds = {"max_file_size": "100mb", "max_threads": threads, "state_session_capacity": 100}
    _, url, _ = app.launch(app_kwargs=routes, **bounds, **where, **off, **look)
    return url


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C; returns the exit code."""
    keep_memory_compact()
    parser = argparse.ArgumentParser(description="Facial expression recognition in the browser.")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve at; 0.0.0.0 serves the whole network")
    parser.add_argument("--port", type=int, default=7860, help="default: 7860")
    parser.add_argument("--model", metavar="NAME_OR_DIR", help="a released model's name or a model folder")
    parser.add_argument("--queue-size", type=int, default=32, metavar="N", help="requests inside at a time, default 32")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for ending in (signal.SIGINT, signal.SIGTERM):  # not an exception: an import in progress might swallow it
        signal.signal(ending, lambda *_: stop.set())
    try:
        require_port(options.host, options.port)
        with tempfile.TemporaryDirectory(prefix="ferlib-app-") as folder:
            os.environ["GRADIO_TEMP_DIR"] = folder  # every upload lies here, and goes with it
            service = Service(options.model, options.queue_size, failed=stop.set)
            app = build_app(service)
            try:
                print(
                    f"Open {launch(app, service, options.host, options.port)} in a browser. Ctrl-C ends it.", flush=True
                )
                threading.Thread(target=service.load, daemon=True).start()
                cleaning = (Path(folder), KEEP_FILES, 60, stop)
                threading.Thread(target=delete_regularly, args=cleaning, daemon=True).start()
                stop.wait()
                service.close()
            finally:
                app.close(verbose=False)
        if service.error:
            raise service.error
    except (ValueError, OSError, ImportError) as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 1
    print("\nStopped.")
    return 0


def require_port(host: str, port: int) -> None:
    """Raises an `OSError` with one sentence if no server can listen there."""
    try:
        socket.create_server((host, port)).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(f"cannot serve at {host}, port {port}: {reason.split(' (')[0]}; try another --port") from error


if __name__ == "__main__":
    sys.exit(main())
