"""The browser demo: a photo in, every face in it boxed, numbered and explained.

    python app.py                 then open http://127.0.0.1:7860
    python app.py --model runs/mine/best --port 8000

Layout only: `ferlib.predict.Predictor` reads the picture, finds the faces and judges them. From top to bottom: what a
visitor is told, what a visitor is shown, the page, the command. Nothing here talks to another machine.
"""

import argparse
import base64
import io
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import cache
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps

from ferlib.labels import COLOURS

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr

if TYPE_CHECKING:  # brings torch along, which takes seconds: `main` imports it when the page is open
    from ferlib.predict import FacePrediction, ImagePrediction, Predictor

UNDECIDED, AHEAD, WELL_AHEAD = 0.1, 0.3, 0.5  # margins between the first and the second class
MANY_FACES = 6  # more than these are listed folded
SIDES = 800, 1600  # the long side of the boxed picture, in pixels: small ones are enlarged, large ones reduced
KEEP_FILES = 600  # seconds after which uploaded and boxed pictures are deleted; the notes on the page name it


# --- what a visitor is told -------------------------------------------------------------------------------------------


def percent(probability: float) -> str:
    """0.914 -> "91 %"; what is not quite nothing or everything does not become it by rounding."""
    if 0 < probability < 0.005:
        return "under 1 %"
    if 0.995 < probability < 1:
        return "over 99 %"
    return f"{probability * 100:.0f} %"


def sentence(number: int, face: "FacePrediction") -> str:
    """One plain sentence: "Face 1: happiness, 91 %, well ahead of neutral (5 %)." """
    (first, score), (second, runner_up) = ranked(face)[:2]
    if face.margin < UNDECIDED:
        return f"Face {number}: undecided between {first} ({percent(score)}) and {second} ({percent(runner_up)})."
    distance = "well ahead" if face.margin >= WELL_AHEAD else "ahead" if face.margin >= AHEAD else "somewhat ahead"
    return f"Face {number}: {first}, {percent(score)}, {distance} of {second} ({percent(runner_up)})."


def ranked(face: "FacePrediction") -> list[tuple[str, float]]:
    """The classes of a face with their probabilities, the most probable first."""
    return sorted(face.scores.items(), key=lambda item: -item[1])


def as_data(result: "ImagePrediction") -> dict:
    """A result for programs, ready for JSON; the form is described at the endpoint `predict`."""
    faces = [
        {
            "number": number,
            "box": list(face.box),
            "label": face.label,
            "margin": face.margin,
            "scores": dict(ranked(face)),
            "sentence": sentence(number, face),
        }
        for number, face in enumerate(result.faces, start=1)
    ]
    size = None if result.image is None else [result.image.shape[1], result.image.shape[0]]
    return {"faces": faces, "error": result.error, "size": size}


# --- what a visitor is shown ------------------------------------------------------------------------------------------


def annotate(result: "ImagePrediction") -> Image.Image | None:
    """The photo with every face boxed and numbered in the colour of its expression; None without a face."""
    if not result.faces:
        return None
    height, width = result.image.shape[:2]
    scale = min(max(max(width, height), SIDES[0]), SIDES[1]) / max(width, height)
    picture = Image.fromarray(result.image).resize((max(1, round(width * scale)), max(1, round(height * scale))))
    draw = ImageDraw.Draw(picture)
    line = max(3, round(max(picture.size) / 220))
    boxes = [np.multiply(face.box, scale).clip(line, np.tile(picture.size, 2) - line - 1) for face in result.faces]
    for face, box in zip(result.faces, boxes, strict=True):
        draw.rectangle([*(box[:2] - 1), *(box[2:] + 1)], outline="white", width=line + 2)
        draw.rectangle(list(box), outline=colour(face.label), width=line)
    for number, (face, box) in enumerate(zip(result.faces, boxes, strict=True), start=1):
        _draw_tag(draw, number, face.label, box, room=1.7 if len(boxes) <= MANY_FACES else 1)
    return picture


def _draw_tag(draw: ImageDraw.ImageDraw, number: int, label: str, box: np.ndarray, room: float) -> None:
    """Write a face's number above its box, or inside where the picture ends, and its label if it fits `room` boxes."""
    x0, y0, x1, _ = box
    long_side = max(draw.im.size)
    font = ImageFont.load_default(float(np.clip((x1 - x0) / 7, long_side / 42, long_side / 28)))
    pad, height = font.size * 0.35, font.size * 1.35
    text = f"{number}  {label}"
    if draw.textlength(text, font) + 2 * pad > room * (x1 - x0):
        text = str(number)
    width = draw.textlength(text, font) + 2 * pad
    left = max(0, min(x0, draw.im.size[0] - width))
    top = y0 - height if y0 >= height else y0
    draw.rectangle([left, top, left + width, top + height], fill=colour(label))
    draw.text((left + pad, top + height / 2), text, ink(label), font, anchor="lm", stroke_width=font.size / 40)


def colour(label: str) -> str:
    """The colour of an expression; grey for one that is not in ferlib.labels."""
    return COLOURS.get(label, "#7f7f7f")


def ink(label: str) -> str:
    """Black or white, whichever can be read on the colour of an expression."""
    return "black" if np.dot(ImageColor.getrgb(colour(label)), (0.299, 0.587, 0.114)) > 140 else "white"


def report(result: "ImagePrediction") -> str:
    """The HTML below the photo: a card for each face, or the sentence that says why there is none."""
    if result.error:
        readable = result.image is not None
        hint = "Faces that look roughly into the camera are found best." if readable else "Please try another picture."
        kind = "note problem" if readable else "note problem unreadable"
        return f'<div class="{kind}" role="alert"><b>{escape(result.error)}</b><br>{hint}</div>'
    count = len(result.faces)
    heading = "One face found." if count == 1 else f"{count} faces found, numbered from left to right."
    if count > MANY_FACES:
        heading += " Click one for its details."
    cards = "".join(card(number, face, count <= MANY_FACES) for number, face in enumerate(result.faces, start=1))
    return f'<h2 role="status">{heading}</h2>{cards}'


def card(number: int, face: "FacePrediction", unfolded: bool) -> str:
    """One face: the sentence, the crop, what the model looked at, and the probability of every class."""
    rows = "".join(
        f'<tr><th scope="row">{escape(label)}</th><td><i style="width:{score:.2%};background:{colour(label)}"></i></td>'
        f"<td>{percent(score)}</td></tr>"
        for label, score in ranked(face)
    )
    pictures = (
        (face.face, f"Face {number}", "what the model saw"),
        (face.overlay(), f"Heat map over face {number}", "where it looked"),
    )
    figures = "".join(
        f'<figure><img src="{data_url(pixels)}" alt="{alt}"><figcaption>{caption}</figcaption></figure>'
        for pixels, alt, caption in pictures
    )
    second = escape(ranked(face)[1][0])
    return (
        f'<details class="face" style="--colour:{colour(face.label)};--ink:{ink(face.label)}"{" open" * unfolded}>'
        f"<summary><b>{number}</b>{escape(sentence(number, face))}</summary>"
        f'<div class="judgement"><div class="pictures">{figures}</div><table>{rows}</table></div>'
        f'<p>Margin to the second class, {second}: <b>{face.margin * 100:.0f} percentage points</b>. '
        "Red is where the picture speaks most for the answer, blue where it hardly counts (Grad-CAM).</p></details>"
    )  # fmt: skip


def data_url(pixels: np.ndarray) -> str:
    """(H, W, 3) uint8 as an address that holds the picture itself: no file is written."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


# --- the page ---------------------------------------------------------------------------------------------------------

TITLE = """
# Facial expressions
Choose a photo. Every face in it is found, and a neural network says which expression it takes it for, how sure it is,
and where it looked.
"""
WELCOME = """<div class="note"><b>The result appears here.</b><br>
Drop a photo, paste one, take one, or click an example: every face is boxed, numbered and explained.</div>"""
NOTES = """
**An expression in a picture is not a feeling.** The model names what a face looks like to it, not what somebody feels,
thinks or is like; people show the same feeling differently, and the model errs, more for some people than for others.
Do not use it to judge anybody.

**The model** (`{name}`) sees one face at a time, {side} × {side} pixels, and shares 100 % among its classes: {classes}.
It cannot answer "none of these". Faces are found by dlib, whose landmark file is for non-commercial research only.

**Your photo** stays on the machine this page runs on: it is looked at in memory, kept for about ten minutes so that the
page can show it, then deleted. Nothing is sent anywhere else, nothing about a face is stored.
"""
THEME = gr.themes.Default(
    primary_hue="blue",
    neutral_hue="slate",
    radius_size="lg",
    font=("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"),
    font_mono=("ui-monospace", "Consolas", "monospace"),
).set(body_background_fill="*neutral_50")
CSS = """
.gradio-container { max-width: 1180px !important; margin: auto;
  --quiet: color-mix(in srgb, var(--body-text-color) 72%, transparent); }
#title h1 { font-size: 1.9rem; margin: 0.6rem 0 0.1rem; }
#title p, #notes p { color: var(--quiet); }
#title p { font-size: 1rem; }
#notes { border-top: 1px solid var(--border-color-primary); margin-top: 0.6rem; padding-top: 1rem; }
#notes p { font-size: 0.85rem; max-width: 64rem; }
#boxed:not(:has(img)) { display: none; }
#boxed img { max-height: 480px; object-fit: contain; }
#examples > .gallery { display: grid; grid-template-columns: repeat(3, 1fr); gap: 0.5rem; }
#examples .gallery .container { width: 100%; max-width: none; }
#examples .gallery img { height: 104px; object-position: 50% 25%; }
#report > div { padding: 0; }
#report h2 { font-size: 1.15rem; font-weight: 600; margin: 0.2rem 0 0.7rem; }
.note { border: 2px dashed var(--border-color-accent); border-radius: var(--radius-lg); padding: 2rem 1.5rem;
  text-align: center; color: var(--quiet); line-height: 1.7; }
@media (min-width: 768px) { .note { min-height: 330px; align-content: center; } }
.note b { color: var(--body-text-color); font-size: 1.1rem; overflow-wrap: anywhere; }
.gradio-container:has(.unreadable) #photo img { visibility: hidden; } /* the browser cannot show it either */
.problem { border: 2px solid #d55e00; background: color-mix(in srgb, #d55e00 8%, var(--block-background-fill)); }
.face { background: var(--block-background-fill); border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-lg); padding: 0.8rem 1rem; margin-bottom: 0.7rem; }
.face summary { cursor: pointer; font-weight: 600; line-height: 1.5; }
.face summary::marker { color: var(--quiet); }
.face summary b { background: var(--colour); color: var(--ink); border-radius: 0.4rem; padding: 0.05rem 0.5rem;
  margin: 0 0.4rem 0 0.2rem; }
.face p { font-size: 0.8rem; color: var(--quiet); margin: 0.7rem 0 0; }
.judgement { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; align-items: center; margin-top: 0.8rem; }
.pictures { display: flex; gap: 0.7rem; }
.pictures figure { margin: 0; }
.pictures img { width: 148px; aspect-ratio: 1; border-radius: var(--radius-md); display: block; }
.pictures figcaption { font-size: 0.75rem; text-align: center; color: var(--quiet); margin-top: 0.25rem; }
.judgement table { flex: 1 1 15rem; border-collapse: collapse; font-size: 0.85rem; line-height: 1.55; }
#report th, #report td { border: 0; padding: 0; }
#report th { text-align: left; font-weight: 400; }
#report td:nth-child(2) { width: 100%; padding: 0 0.8rem; }
#report td:last-child { white-space: nowrap; text-align: right; font-variant-numeric: tabular-nums; }
#report td i { display: block; height: 0.7rem; min-width: 2px; border-radius: 4px; }
footer .divider { display: none !important; }
@media (min-width: 768px) { #choose { position: sticky; top: 1rem; } }
"""
# On a phone the result lies below what the visitor sees: go there once it is complete.
SCROLL = """() => {
  const result = document.querySelector("#result");
  if (innerWidth < 768 && result.querySelector(".face, .problem")) result.scrollIntoView({ behavior: "smooth" });
}"""


def build_app(predictor: "Predictor") -> gr.Blocks:
    """The page and its endpoint, not yet served."""

    def look_at(image: dict | None) -> "ImagePrediction":
        # Gradio's own image reader fails on a broken file and knows no limit, so the listeners say `preprocess=False`
        # and hand on where the upload lies; what is wrong with it, ferlib.images says in a sentence.
        return predictor.predict(image["path"] if image and image.get("path") else None, explain="gradcam")

    def show(image: dict | None) -> tuple[Image.Image | None, str]:
        if image is None:
            return None, WELCOME
        result = look_at(image)
        return annotate(result), report(result)

    def predict(image: dict | None) -> tuple[dict, Image.Image | None, list[tuple[np.ndarray, str]]]:
        """Find every face in a picture and say which expression it shows.

            from gradio_client import Client, handle_file
            client = Client("http://127.0.0.1:7860")
            faces, annotated, overlays = client.predict(handle_file("photo.jpg"), api_name="/predict")

        Args:
            image: a picture file: JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF, of at most 52 megapixels.

        Returns:
            faces: {"faces": [...], "error": null or one sentence, "size": [width, height] of the upright picture}. Each
                face, from left to right, is {"number": 1, "box": [x0, y0, x1, y1] in pixels of the upright picture,
                perhaps reaching beyond its edge, "label": "happiness", "margin": how far the first class is ahead of
                the second (0 to 1), "scores": {class: probability}, the most probable first, "sentence": "Face 1: …"}.
                Without a face the list is empty and the error says why: a bad picture is an answer, not a failure.
            annotated: the picture with the faces boxed and numbered, or null without a face.
            overlays: for each face, in the same order, 224 x 224 pixels: what the model looked at (Grad-CAM).
        """
        result = look_at(image)
        overlays = [(face.overlay(), sentence(i, face)) for i, face in enumerate(result.faces, start=1)]
        return as_data(result), annotate(result), overlays

    def about() -> str:
        model = predictor.model.config
        side, classes = model.source_size or model.input_size, ", ".join(model.classes)
        return NOTES.format(name=model.architecture, side=side, classes=classes)

    with gr.Blocks(title="Facial expressions", analytics_enabled=False, delete_cache=(60, KEEP_FILES)) as app:
        gr.Markdown(TITLE, elem_id="title")
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300, elem_id="choose"):
                photo = gr.Image(label="Your photo", type="filepath", height=330, buttons=[], elem_id="photo")
                examples = {"label": "Or click an example", "elem_id": "examples", "api_visibility": "private"}
                gr.Examples(example_pictures(), photo, **examples)
            with gr.Column(scale=3, min_width=300, elem_id="result"):
                boxed = gr.Image(show_label=False, buttons=["fullscreen", "download"], elem_id="boxed")
                answer = gr.HTML(WELCOME, apply_default_css=False, elem_id="report")
        notes = gr.Markdown(elem_id="notes")
        app.load(about, None, notes, show_progress="hidden", api_visibility="private")

        # One picture at a time, whoever asks: memory stays bounded, and the processor is busy with one anyway.
        turn = {"concurrency_id": "predictor", "concurrency_limit": 1, "preprocess": False}
        shown = photo.change(show, photo, [boxed, answer], show_progress_on=answer, api_visibility="private", **turn)
        shown.then(None, js=SCROLL)
        # The endpoint for programs has no trigger on the page, and outputs that nobody sees.
        faces = gr.JSON(label="Faces", visible=False)
        annotated = gr.Image(label="Annotated picture", visible=False)
        overlays = gr.Gallery(label="Overlays", format="png", visible=False)
        gr.on([], predict, photo, [faces, annotated, overlays], api_name="predict", **turn)
    return app


@cache
def example_pictures() -> list[np.ndarray]:
    """Pictures to click, (H, W, 3) uint8: drawn ones, and photos in the public domain (US Navy, NASA)."""
    from ferlib.data.synthetic import sample_face

    people = {"happiness": 101, "surprise": 102, "anger": 100}
    drawn = [sample_face(name, np.random.default_rng(seed), 400, clean=True).pixels for name, seed in people.items()]
    try:  # the photos come with installed packages; without those there are fewer examples
        from matplotlib.cbook import get_sample_data
        from skimage.data import astronaut

        hopper, collins = Image.open(get_sample_data("grace_hopper.jpg")), Image.fromarray(astronaut())
    except (ImportError, OSError):
        return drawn
    both = Image.new("RGB", (2 * collins.width, collins.height))
    both.paste(ImageOps.fit(hopper, collins.size))
    both.paste(collins, (collins.width, 0))
    return [*drawn, np.asarray(hopper), np.asarray(collins), np.asarray(both)]


# --- the command ------------------------------------------------------------------------------------------------------


class LoadingPredictor:
    """Stands for a `Predictor` that is still to be loaded: torch takes longer to import than the page takes to open.

    The page is served at once; whoever asks something of the predictor waits until it is there.

    Args:
        model: a released model's name or a model folder; None is the default model.
        failed: called when it cannot be loaded; `error` says why.
    """

    def __init__(self, model: str | None, failed: Callable[[], None]):
        self.model_name, self.failed = model, failed
        self.error: Exception | None = None
        self._loaded: Future = Future()

    def load(self) -> None:
        """Load it, and have it find one face, so that the first visitor does not wait for the face detector."""
        try:
            from ferlib.predict import DEFAULT_MODEL, Predictor

            self._loaded.set_result(Predictor.load(self.model_name or DEFAULT_MODEL))
            self.predict(example_pictures()[0], explain="gradcam")
        except Exception as error:
            self.error = error
            if not self._loaded.done():
                self._loaded.set_exception(error)
            self.failed()

    def __getattr__(self, name: str):
        return getattr(self._loaded.result(), name)


def launch(app: gr.Blocks, host: str = "127.0.0.1", port: int = 7860) -> str:
    """Serve the page from a thread; returns its address."""
    where = {"server_name": host, "server_port": port, "prevent_thread_lock": True, "quiet": True}
    off = {"share": False, "run_history": False, "enable_monitoring": False, "ssr_mode": False, "mcp_server": False}
    look = {"theme": THEME, "css": CSS, "footer_links": ["api"]}
    _, url, _ = app.launch(max_file_size="100mb", **where, **off, **look)
    return url


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C; returns the exit code."""
    parser = argparse.ArgumentParser(description="Facial expression recognition in the browser.")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve at; 0.0.0.0 serves the whole network")
    parser.add_argument("--port", type=int, default=7860, help="default: 7860")
    parser.add_argument("--model", metavar="NAME_OR_DIR", help="a released model's name or a model folder")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for ending in (signal.SIGINT, signal.SIGTERM):  # not an exception: an import in progress might swallow it
        signal.signal(ending, lambda *_: stop.set())
    try:
        require_port(options.host, options.port)
        with tempfile.TemporaryDirectory(prefix="ferlib-app-") as folder:
            os.environ["GRADIO_TEMP_DIR"] = folder  # every upload lies here, and goes with it
            predictor = LoadingPredictor(options.model, failed=stop.set)
            app = build_app(predictor)
            try:
                print(f"Open {launch(app, options.host, options.port)} in a browser. Ctrl-C ends it.", flush=True)
                threading.Thread(target=predictor.load, daemon=True).start()
                stop.wait()
            finally:
                app.close(verbose=False)
        if predictor.error:
            raise predictor.error
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
