"""Event handlers of the page and its API endpoints; the docstrings of the public ones document the API."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import escape
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image

from ferlib.app.batch_table import COLUMNS, MOST_FILES, as_csv, table_rows
from ferlib.app.drawing import annotate, data_url
from ferlib.app.html import WELCOME, classes_table, companies_table, problem, report
from ferlib.app.messages import METHOD_TITLES, as_data, sentence
from ferlib.app.service import NoAnswer, Service
from ferlib.app.uploads import Uploads
from ferlib.errors import UserError
from ferlib.results import MOST_NAMED, ImagePrediction

Boxed = Image.Image | None  # a photo with its faces boxed
Shown = tuple[Boxed, str]  # and the HTML below it
AGAIN = "Please try again."
QUEUED = 30  # seconds that one of many photos waits for a place
NO_PIXELS = np.empty((0, 0, 3), np.uint8)
PROGRESS = gr.Progress()  # as a default argument, Gradio fills it in
NOTES = """
**An expression in a picture is not a feeling.** The model names what a face looks like to it, not what somebody feels,
thinks or is like; people show the same feeling differently, and the model errs, more for some people than for others.
Do not use it to judge anybody.

**The model** (`{name}`) sees one face at a time, {side} × {side} pixels, and shares 100 % among its classes: {classes}.
It cannot answer "none of these".{sets}

**Your photo** stays on the machine this page runs on: it is looked at in memory, kept for about ten minutes so that the
page can show it, then deleted. Nothing is sent anywhere else, nothing about a face is stored.
"""


SETS = f"""

**At 90 % coverage** the model names as many expressions as it takes to have the right one among them for nine faces in
ten. Where that takes more than {MOST_NAMED}, it cannot say. This was fitted on small grey web photos that the model was
not trained on; on pictures of another kind it can fall short."""


class Listeners:
    """The functions behind the page and its endpoints, for one service and one folder of uploads."""

    def __init__(self, service: Service, uploads: Uploads):
        self.service, self.uploads = service, uploads

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

    def predict(self, image: dict | None, model: str | None, method: str | None) -> tuple[dict, Boxed, list[tuple]]:
        """Find every face in a picture and say which expression it shows.

            from gradio_client import Client, handle_file
            client = Client("http://127.0.0.1:7860")
            faces, annotated, overlays = client.predict(handle_file("photo.jpg"), api_name="/predict")

        Args:
            image: a picture file: JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF, of at most 52 megapixels.
            model: one of those that /models lists; the first of them if empty.
            method: the explanation, one of the model's; Grad-CAM if empty.

        Returns:
            faces: {"image": its name, "size": [width, height] of the upright picture, "error": null or one sentence,
                "faces": [...]}. Each face, from left to right, is {"number": 1, "box": [x0, y0, x1, y1] in pixels of
                the upright picture, perhaps reaching beyond its edge, "label": "happiness", "margin": how far the first
                class is ahead of the second (0 to 1), "scores": {class: probability}, the most probable first,
                "warnings": what makes the answer doubtful, "sentence": "Face 1: …", "looked_at": {part of the face: its
                fraction of the heat map}, or null}. A model with prediction sets also gives "coverage": 0.9,
                "prediction_set": the classes that hold the true one that often, and "answer": the set in words,
                "happiness", "sadness or neutral", or "cannot say" where it has more than two classes or none.
                Without a face the list is empty and the error says why: a bad picture is an answer, not a failure.
            annotated: the picture with the faces boxed and numbered, or null without a face.
            overlays: for each face, in the same order, 224 x 224 pixels: what the model looked at.
        """
        try:
            with self.service.look(self.uploads.sent(image), model or None, explain=method or "gradcam") as (result,):
                overlays = [(face.overlay(), sentence(i, face)) for i, face in enumerate(result.faces, start=1)]
                return as_data(result), annotate(result), overlays
        except (NoAnswer, UserError) as error:
            return ImagePrediction("image", (), str(error)).to_dict(), None, []

    def compare(self, image: dict | None, model: str, other: str) -> dict:
        """Two models on the same faces.

        Args:
            image: a picture file.
            model: one of those that /models lists.
            other: another one.

        Returns:
            {model: as /predict's faces, other: the same}, or {"error": one sentence}.
        """
        try:
            with self.service.look(self.uploads.sent(image), model, other) as results:
                return dict(zip((model, other), map(as_data, results), strict=True))
        except (NoAnswer, UserError) as error:
            return {"error": str(error)}

    def look_at_many(
        self, files: list[dict] | None, model: str | None, progress: Callable = PROGRESS
    ) -> Iterator[tuple]:
        """Many photos, one after the other -> rows of the table, the CSV, what was done so far."""
        if not files:
            yield [], "", "Choose some photos first."
            return
        results, rows = [], []
        for i, file in enumerate(files[:MOST_FILES]):
            progress((i, len(files)), desc=file.get("orig_name") or "", unit="photos")
            results.append(self._patiently(file, model))
            rows += table_rows(results[-1])
            if i % 5 == 4:
                yield rows, "", f"{i + 1} of {len(files)} photos"
        bad = sum(result.error is not None for result in results)
        said = f"{len(results)} photos, {sum(len(result.faces) for result in results)} faces"
        said += f", {bad} without a result" if bad else ""
        said += f". Only the first {MOST_FILES} photos were looked at" if len(files) > MOST_FILES else ""
        yield rows, as_csv(results, self.service.predictor(model).classes), f"{said}."

    def batch(self, files: list[dict] | None, model: str | None) -> tuple[dict, str]:
        """Many pictures at once.

        Args:
            files: picture files.
            model: one of those that /models lists; the first of them if empty.

        Returns:
            table: {"columns": [...], "rows": one a face, or one with the problem for a file without a face}.
            csv: the same with boxes and the probabilities of all classes.
        """
        *_, (rows, text, _) = self.look_at_many(files, model or None, progress=lambda *_, **__: None)
        return {"columns": list(COLUMNS), "rows": rows}, text

    def _patiently(self, file: dict, model: str | None) -> ImagePrediction:
        """One photo of many: a full queue is waited for."""
        name = Path(file.get("orig_name") or file.get("path") or "").name
        for _ in range(QUEUED):
            try:
                with self.service.look(self.uploads.sent(file), model) as (result,):
                    faces = tuple(replace(face, crop=NO_PIXELS) for face in result.faces)  # of 500 photos: gigabytes
                    return ImagePrediction(name, faces, result.error, None)
            except NoAnswer as error:
                said = str(error)
                time.sleep(1)
        return ImagePrediction(name, (), said)

    def look_live(self, image: dict | None, model: str | None) -> tuple[str, str]:
        """A picture of a live webcam -> the HTML of the boxed picture, and a sentence for every face.

        The picture travels inside the HTML, so that no file is written.
        """
        if image is None:
            return "", ""
        try:
            with self.service.look(self.uploads.sent(image), model) as (result,):
                seen = annotate(result)
                pixels = result.image if seen is None else np.asarray(seen)
                shown = "" if pixels is None else f'<img src="{data_url(pixels)}" alt="What the camera sees">'
                said = [result.error] if result.error else [sentence(i, one) for i, one in enumerate(result.faces, 1)]
                return shown, "".join(f"<p>{escape(line)}</p>" for line in said)
        except NoAnswer:
            return gr.skip(), gr.skip()  # the next picture comes soon

    def show_neighbours(self, image: dict | None) -> str:
        """A photo -> the table of its largest face among different neighbours."""
        if image is None:
            return '<div class="note">Choose a photo with a face.</div>'
        try:
            found = self.service.among_neighbours(self.uploads.sent(image))
        except (NoAnswer, UserError) as error:
            return problem(str(error), AGAIN)
        return companies_table(found)

    def neighbours(self, image: dict | None) -> dict:
        """One face among different neighbours, judged by the published Conv-cut and by ours.

        Args:
            image: a picture file; its largest face is taken.

        Returns:
            {"companies": [{"neighbours": null or their expression, "published": {class: probability}, "honest": the
            same}]}, or {"error": one sentence}.
        """
        try:
            found = self.service.among_neighbours(self.uploads.sent(image))
        except (NoAnswer, UserError) as error:
            return {"error": str(error)}
        rows = [{"neighbours": row.expression, "published": row.published, "honest": row.honest} for row in found.rows]
        return {"companies": rows}

    def models(self) -> list[dict]:
        """The models to choose from, the default first: [{"name", "classes", "methods", "test": metrics or null}]."""
        reports = {name: self.service.card(name)[1] for name in self.service.models}
        return [
            {
                "name": name,
                "classes": list(one.classes),
                "methods": list(one.methods),
                "test": report["metrics"] if (report := reports[name]) else None,
            }
            for name, one in self.service.models.items()
        ]

    def about(self, model: str | None) -> tuple[str, str]:
        """A model's card, and how often it recognises each expression."""
        card, figures = self.service.card(model)
        return card, classes_table(figures) if figures else ""

    def begin(self) -> list:
        """Fill what depends on the models, once they are loaded."""
        names = list(self.service.models)
        first = self.service.predictor()
        notes = NOTES.format(
            name=names[0],
            side=first.classifier.side,
            classes=", ".join(first.classes),
            sets=SETS if first.sets else "",
        )
        choice = gr.Dropdown(choices=names, value=names[0])
        other = gr.Dropdown(choices=[("no other model", ""), *((name, name) for name in names)], value="")
        return [choice, self.methods(names[0]), other, choice, choice, choice, notes, *self.about(names[0])]

    def methods(self, model: str | None) -> gr.Dropdown:
        """The explanations that a model allows."""
        allowed = self.service.predictor(model).methods
        return gr.Dropdown(choices=[(METHOD_TITLES[name], name) for name in allowed], value="gradcam")
