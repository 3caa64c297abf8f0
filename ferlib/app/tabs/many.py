"""The tab "Many photos": a row for every face, to sort, to open and to download."""

import time
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from ferlib.app.batch_table import MOST_FILES, as_csv, as_parquet
from ferlib.app.many_table import face_rows, faces_table, totals, totals_chart
from ferlib.app.service import NoAnswer
from ferlib.app.tabs.base import PRIVATE, RAW, Tab
from ferlib.app.tabs.many_scripts import BEGUN, CHOSEN, DONE, RESTORE, SAVE_CSV, SAVE_PARQUET, TABLE
from ferlib.results import FacePrediction, ImagePrediction
from ferlib.utils.packages import is_installed

LEAD = (
    f"Up to {MOST_FILES} photos at once: a row for every face. Click a header to sort, a row for its details. "
    "Bad files do not stop the rest."
)
QUEUED = 30  # seconds that one of many photos waits for a place
ANEW = 2.0  # seconds between two tables while photos are looked at, or a fifth of the time that it has taken so far
THUMBNAIL = 96  # side of a row's face in pixels
NO_PIXELS = np.empty((0, 0, 3), np.uint8)


class ManyTab(Tab):
    """Many photos, one after the other."""

    files: gr.File
    looking: set[str]

    def build(self, examples: list[str]) -> None:
        """Lay the tab out and connect its listeners."""
        self.looking = set()
        with gr.Tab("Many photos", elem_id="many") as self.tab:
            gr.Markdown(LEAD, elem_classes="lead")
            self.files = gr.File(file_count="multiple", label="Photos", height=180, elem_id="files")
            with gr.Row():
                model = gr.Dropdown(label="Model", interactive=True)
                start = gr.Button("Look at all of them", variant="primary", interactive=False)
                stop = gr.Button("Stop", visible=False)
            done = gr.HTML(elem_id="done", apply_default_css=False, elem_classes="answer")
            with gr.Row(elem_id="saves"):
                save = gr.Button("Download as CSV", interactive=False, size="sm")
                parquet = is_installed("pyarrow")
                save_parquet = gr.Button("Download as Parquet", interactive=False, size="sm", visible=parquet)
            table = gr.HTML(elem_id="table", apply_default_css=False, elem_classes="answer", js_on_load=TABLE)
            csv, stored = (gr.Textbox(visible="hidden", label=label) for label in ("CSV", "Parquet"))
        self.filled = (model,)
        shown, files, buttons = [done, table], [csv, stored], [start, stop, save, save_parquet]
        self.files.change(None, self.files, start, js=CHOSEN, **PRIVATE)
        start.click(None, None, buttons, js=BEGUN, **PRIVATE)
        looked = start.click(
            self.look_at_many, [self.files, model], [*shown, *files], show_progress="hidden", **RAW, **PRIVATE
        )
        looked.then(None, [*shown, *files], buttons, js=DONE, **PRIVATE)
        stop.click(self.stop, None, None, show_progress="hidden", **RAW, **PRIVATE)
        save.click(None, csv, None, js=SAVE_CSV, **PRIVATE)
        save_parquet.click(None, stored, None, js=SAVE_PARQUET, **PRIVATE)
        gr.on(None, None, None, [*shown, *files, save, save_parquet], js=RESTORE, **PRIVATE)

    def begin(self) -> list[Any]:
        """The models."""
        return [self.choice()]

    def look_at_many(self, files: list[dict] | None, model: str | None, request: gr.Request) -> Iterator[tuple]:
        """Many photos, one after the other -> what was done so far, the table, the CSV and the Parquet file."""
        if not files:
            yield "Choose some photos first.", "", "", ""
            return
        classes, visitor = self.service.predictor(model).classes, str(request.session_hash)
        self.looking.add(visitor)
        try:
            results: list[ImagePrediction] = []
            rows: list[str] = []
            began = shown = time.monotonic()
            for result in self.judged(files, model):
                rows += face_rows(result)
                results.append(without_pixels(result))
                stopped = visitor not in self.looking
                now, table = time.monotonic(), gr.skip()
                if len(results) == 1 or now - shown > max(ANEW, (now - began) / 5):
                    shown, table = now, faces_table(rows)
                yield progress(results, min(len(files), MOST_FILES)), table, gr.skip(), gr.skip()
                if stopped:
                    break
        finally:
            self.looking.discard(visitor)
        yield told(results, len(files)), faces_table(rows), as_csv(results, classes), as_parquet(results, classes)

    def stop(self, request: gr.Request) -> None:
        """Look at no further photos of this visitor's."""
        self.looking.discard(str(request.session_hash))

    def judged(self, files: list[dict], model: str | None) -> Iterator[ImagePrediction]:
        """The faces of one photo after the other, with small pictures of them; a full queue is waited for."""
        for file in files[:MOST_FILES]:
            yield self._patiently(file, model)

    def _patiently(self, file: dict, model: str | None) -> ImagePrediction:
        name = Path(file.get("orig_name") or file.get("path") or "").name
        for _ in range(QUEUED):
            try:
                with self.service.look(self.uploads.sent(file), model) as (result,):
                    return ImagePrediction(name, tuple(map(_reduced, result.faces)), result.error, None)
            except NoAnswer as error:
                said = str(error)
                time.sleep(1)
        return ImagePrediction(name, (), said)


def _reduced(face: FacePrediction) -> FacePrediction:
    """A face that holds nothing but a small picture of itself."""
    picture = Image.fromarray(face.crop).resize((THUMBNAIL, THUMBNAIL), reducing_gap=2.0)
    return replace(face, crop=np.asarray(picture))


def without_pixels(result: ImagePrediction) -> ImagePrediction:
    """A result without pictures: of 500 photos they take gigabytes."""
    return replace(result, faces=tuple(replace(face, crop=NO_PIXELS) for face in result.faces))


def progress(results: list[ImagePrediction], number: int) -> str:
    """The progress of the work as HTML."""
    faces = sum(len(result.faces) for result in results)
    said = f"{len(results)} of {number} photos, {faces} faces"
    return (
        f'<p><progress max="{number}" value="{len(results)}" aria-label="Photos looked at"></progress> '
        f"{said}: {escape(results[-1].name)}</p>"
    )


def told(results: list[ImagePrediction], sent: int) -> str:
    """The outcome of the work, and how many faces show which expression, as HTML."""
    counts = totals(results)
    bad = sum(result.error is not None for result in results)
    said = f"{len(results)} photos, {counts.total()} faces"
    said += f", {bad} without a result" if bad else ""
    left = min(sent, MOST_FILES) - len(results)
    said += f". Stopped: {left} were not looked at" if left else ""
    said += f". Only the first {MOST_FILES} photos were looked at" if sent > MOST_FILES else ""
    return f'<p role="status">{said}.</p>{totals_chart(counts)}'
