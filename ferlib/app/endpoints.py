"""The endpoints for programs that use gradio_client; the docstrings of the public ones document them."""

from dataclasses import replace

import gradio as gr
from PIL import Image

from ferlib.app.batch_table import COLUMNS, MOST_FILES, as_csv, table_rows
from ferlib.app.drawing import annotate
from ferlib.app.messages import as_data, whole_sentence
from ferlib.app.service import NoAnswer
from ferlib.app.tabs.base import RAW, file_name
from ferlib.app.tabs.many import ManyTab, once, without_pixels
from ferlib.app.tabs.photo import PhotoTab
from ferlib.errors import UserError
from ferlib.results import ImagePrediction

BATCHES = 2  # lists of photos at a time: they go on when whoever sent them has left


class Endpoints:
    """The functions behind the endpoints.

    Args:
        photo, many: tabs of the page, which take the same files.
    """

    def __init__(self, photo: PhotoTab, many: ManyTab):
        self.service, self.uploads, self.photo, self.many = photo.service, photo.uploads, photo, many

    def build(self) -> None:
        """Connect them. They have no trigger on the page, and inputs and outputs that nobody sees."""
        image = self.photo.photo
        name, method, rival = (gr.Textbox("", label=label, visible=False) for label in ("model", "method", "other"))
        data = gr.JSON(label="Faces", visible=False)
        annotated = gr.Image(label="Annotated picture", format="jpeg", visible=False)
        overlays = gr.Gallery(label="Overlays", format="jpeg", visible=False)
        pairs, table, found, listed = (
            gr.JSON(label=label, visible=False) for label in ("Both results", "Table", "Companies", "Models")
        )
        text = gr.Textbox(label="CSV", visible=False)
        gr.on([], self.predict, [image, name, method], [data, annotated, overlays], api_name="predict", **RAW)
        gr.on([], self.compare, [image, name, rival], pairs, api_name="compare", **RAW)
        few = RAW | {"concurrency_limit": BATCHES}
        gr.on([], self.batch, [self.many.files, name], [table, text], api_name="batch", **few)
        gr.on([], self.neighbours, image, found, api_name="neighbours", **RAW)
        gr.on([], self.models, None, listed, api_name="models", concurrency_limit=None)

    def predict(
        self, image: dict | None, model: str | None, method: str | None
    ) -> tuple[dict, Image.Image | None, list[tuple]]:
        """Find every face in a picture and say which expression it shows.

            from gradio_client import Client, handle_file
            client = Client("http://127.0.0.1:7860")
            faces, annotated, overlays = client.predict(handle_file("photo.jpg"), api_name="/predict")

        Args:
            image: a picture file: JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF, of at most 52 megapixels.
            model: one of those that /models lists; the first of them if empty.
            method: the explanation, one of the model's; Grad-CAM if empty.

        Returns:
            faces: {"image": its name, "size": [width, height] of the upright picture, "error": null or one sentence,
                "faces": [...]}. Each face, in reading order, is {"number": 1, "box": [x0, y0, x1, y1] in pixels of
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
        name = file_name(image) or "image"
        try:
            with self.service.look(self.uploads.sent(image), model, explain=method or "gradcam") as (result,):
                overlays = [(face.overlay(), whole_sentence(i, face)) for i, face in enumerate(result.faces, start=1)]
                return as_data(replace(result, name=name)), annotate(result), overlays
        except (NoAnswer, UserError) as error:
            return ImagePrediction(name, (), str(error)).to_dict(), None, []

    def compare(self, image: dict | None, model: str, other: str) -> dict:
        """Two models on the same faces.

        Args:
            image: a picture file.
            model: one of those that /models lists.
            other: another one.

        Returns:
            {model: as /predict's faces, other: the same}, or {"error": one sentence}.
        """
        if not model or not other or model == other:
            return {"error": "Name two different models; /models lists them."}
        name = file_name(image) or "image"
        try:
            with self.service.look(self.uploads.sent(image), model, other) as results:
                named = (replace(result, name=name) for result in results)
                return dict(zip((model, other), map(as_data, named), strict=True))
        except (NoAnswer, UserError) as error:
            return {"error": str(error)}

    def batch(self, files: list[dict] | None, model: str | None) -> tuple[dict, str]:
        """Many pictures at once.

        Args:
            files: picture files, at most 500; of one that is named twice there is one row.
            model: one of those that /models lists; the first of them if empty.

        Returns:
            table: {"columns": [...], "rows": one a face, or one with the problem for a file without a face}.
            csv: the same with boxes and the probabilities of all classes.
        """
        files = once(files or [])
        if len(files) > MOST_FILES:
            raise UserError(f"At most {MOST_FILES} pictures are looked at, not {len(files)}.")
        results = [without_pixels(result) for result in self.many.judged(files, model)]
        rows = [row for result in results for row in table_rows(result)]
        text = as_csv(results, self.service.predictor(model).classes) if results else ""
        return {"columns": list(COLUMNS), "rows": rows}, text

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
