"""The tab "Many photos": a row for every face, to sort and to download."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from ferlib.app.batch_table import COLUMNS, MOST_FILES, TYPES, as_csv, table_rows
from ferlib.app.service import NoAnswer
from ferlib.app.tabs.base import PRIVATE, RAW, Tab
from ferlib.results import ImagePrediction
from ferlib.utils.csv_safety import BOM

LEAD = (
    f"Up to {MOST_FILES} photos at once: a row for every face, to sort and to download. Bad files do not stop the rest."
)
DOWNLOAD = f"""text => {{
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\\u{ord(BOM):04x}", text], {{ type: "text/csv;charset=utf-8" }}));
  link.download = "faces.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}}"""
QUEUED = 30  # seconds that one of many photos waits for a place
NO_PIXELS = np.empty((0, 0, 3), np.uint8)
PROGRESS = gr.Progress()  # as a default argument, Gradio fills it in


class ManyTab(Tab):
    """Many photos, one after the other."""

    files: gr.File

    def build(self, examples: list[str]) -> None:
        """Lay the tab out and connect its listeners."""
        with gr.Tab("Many photos", elem_id="many") as self.tab:
            gr.Markdown(LEAD, elem_classes="lead")
            self.files = gr.File(file_count="multiple", label="Photos", height=180, elem_id="files")
            with gr.Row():
                model = gr.Dropdown(label="Model", interactive=True)
                start = gr.Button("Look at all of them", variant="primary")
            done = gr.Markdown(elem_id="done")
            table = gr.Dataframe(
                headers=list(COLUMNS), datatype=list(TYPES), interactive=False, label="Faces", elem_id="table"
            )
            csv = gr.Textbox(visible="hidden", label="CSV")
            save = gr.Button("Download as CSV", interactive=False, elem_id="save")
        self.filled = (model,)
        looked = start.click(
            self.look_at_many, [self.files, model], [table, csv, done], show_progress_on=table, **RAW, **PRIVATE
        )
        looked.then(lambda text: gr.Button(interactive=bool(text)), csv, save, **PRIVATE)
        save.click(None, csv, None, js=DOWNLOAD)

    def begin(self) -> list[Any]:
        """The models."""
        return [self.choice()]

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
