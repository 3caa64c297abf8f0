"""The tab "Many photos and videos": a row for every face, to sort, to open and to download; timelines of films."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from html import escape
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from ferlib.app.batch_table import MOST_FILES, as_csv, as_parquet
from ferlib.app.films import Film, is_film
from ferlib.app.films_html import film_html
from ferlib.app.many_table import SHOWN, face_rows, faces_table, totals, totals_chart
from ferlib.app.service import Busy, NoAnswer
from ferlib.app.tabs.base import PRIVATE, RAW, Tab, file_name
from ferlib.app.tabs.many_scripts import BEGUN, CHOSEN, DONE, RESTORE, SAVE_CSV, SAVE_PARQUET, TABLE
from ferlib.app.translations import LEAD, LEAD_WITH_FILMS, say
from ferlib.app.uploads import Uploads
from ferlib.errors import UserError
from ferlib.names import counted
from ferlib.results import FacePrediction, ImagePrediction
from ferlib.utils.packages import is_installed

TOLD = 0.5  # seconds between two words on the progress of a film
PHOTO_WAITS, FILM_WAITS = 30, 300  # seconds for a place; a film before it may take minutes
KEPT = 20.0  # seconds after which files that wait are said to be wanted still
PAUSE = 0.2  # seconds between two questions for a place
ANEW = 2.0  # seconds between two tables while photos are looked at, or a fifth of the time that it has taken so far
THUMBNAIL = 96  # side of a row's face in pixels
Stopped = Callable[[], bool]
Step = str | ImagePrediction | Film  # what is being done, or what was seen
NO_PIXELS = np.empty((0, 0, 3), np.uint8)


class ManyTab(Tab):
    """Many photos and films, one after the other."""

    files: gr.File
    looking: set[str]

    def build(self, examples: list[str]) -> None:
        """Lay the tab out and connect its listeners."""
        self.looking = set()
        with gr.Tab("Many photos and videos", elem_id="many") as self.tab:
            gr.Markdown(say(LEAD_WITH_FILMS if is_installed("av", "scipy") else LEAD), elem_classes="lead")
            self.files = gr.File(file_count="multiple", label=say("Photos and videos"), height=180, elem_id="files")
            with gr.Row():
                model = gr.Dropdown(label=say("Model"), interactive=True)
                start = gr.Button(say("Look at all of them"), variant="primary", interactive=False, elem_id="look")
                stop = gr.Button(say("Stop"), visible=False, elem_id="stop")
            done = gr.HTML(elem_id="done", apply_default_css=False, elem_classes="answer")
            with gr.Row(elem_id="saves"):
                save = gr.Button(say("Download as CSV"), interactive=False, size="sm")
                parquet = is_installed("pyarrow")
                save_parquet = gr.Button(say("Download as Parquet"), interactive=False, size="sm", visible=parquet)
            table = gr.HTML(elem_id="table", apply_default_css=False, elem_classes="answer", js_on_load=TABLE)
            csv, stored = (gr.Textbox(visible="hidden", label=label) for label in ("CSV", "Parquet"))
        self.filled = (model,)
        shown, files, saves = [done, table], [csv, stored], [save, save_parquet]
        self.files.change(None, self.files, [start, *saves, *shown, *files], js=CHOSEN, **PRIVATE)
        start.click(None, None, [start, stop, *saves, *shown, *files], js=BEGUN, **PRIVATE)
        looked = start.click(
            self.look_at_many, [self.files, model], [*shown, *files], show_progress="hidden", **RAW, **PRIVATE
        )
        for ended in (looked.success, looked.failure):  # `then` does not follow on a failure in the browser
            ended(None, [self.files, *shown, *files], [start, stop, *saves], js=DONE, **PRIVATE)
        stop.click(self.stop, None, None, show_progress="hidden", **RAW, **PRIVATE)
        save.click(None, csv, None, js=SAVE_CSV, **PRIVATE)
        save_parquet.click(None, stored, None, js=SAVE_PARQUET, **PRIVATE)
        gr.on(None, None, None, [*shown, *files, *saves], js=RESTORE, **PRIVATE)

    def begin(self) -> list[Any]:
        """The models."""
        return [self.choice()]

    def look_at_many(self, files: list[dict] | None, model: str | None, request: gr.Request) -> Iterator[tuple]:
        """Many files, one after the other -> what was done so far, the table, the CSV and the Parquet file."""
        if not files:
            yield "Choose some photos first.", "", "", ""
            return
        classes, visitor = self.service.predictor(model).classes, str(request.session_hash)
        self.looking.add(visitor)
        files = once(files)
        turns = Turns(self.uploads, files)
        work = Work(len(turns.left))
        try:
            shown = work.began
            for file in turns:
                for told in self.looked_at(file, model, work, lambda: visitor not in self.looking):
                    turns.keep()
                    now, table = time.monotonic(), gr.skip()
                    if len(work.results) == 1 or now - shown > max(ANEW, (now - work.began) / 5):
                        shown, table = now, faces_table(work.rows, work.number_of_rows)
                    yield told, table, gr.skip(), gr.skip()
                if visitor not in self.looking:
                    break
        finally:
            self.looking.discard(visitor)
        results = work.results
        files_of = (as_csv(results, classes), as_parquet(results, classes)) if results else ("", "")
        yield work.outcome(len(files)), faces_table(work.rows, work.number_of_rows), *files_of

    def looked_at(self, file: dict, model: str | None, work: "Work", stopped: Stopped) -> Iterator[str]:
        """Look at a photo or a film and put what it shows into `work`; the progress as HTML, now and then."""
        name, told = file_name(file), time.monotonic()
        film = is_film(name)
        look = partial(self._film, file, model, stopped) if film else partial(self._photo, file, model)
        try:
            for step in _patiently(look, name, FILM_WAITS if film else PHOTO_WAITS, stopped):
                if isinstance(step, Film):
                    work.films.append(step)
                elif isinstance(step, ImagePrediction):
                    work.add(step)
                elif time.monotonic() - told > TOLD:
                    told = time.monotonic()
                    yield work.progress(step)
        except (NoAnswer, UserError) as error:
            work.add(ImagePrediction(name, (), str(error)))
        yield work.progress(name)

    def stop(self, request: gr.Request) -> None:
        """Look at no further photos of this visitor's."""
        self.looking.discard(str(request.session_hash))

    def judged(self, files: list[dict], model: str | None) -> Iterator[ImagePrediction]:
        """The faces of one photo after the other, with small pictures of them; a full queue is waited for."""
        for file in Turns(self.uploads, files):
            name = file_name(file)
            steps = _patiently(partial(self._photo, file, model), name, PHOTO_WAITS)
            try:
                yield from (step for step in steps if isinstance(step, ImagePrediction))
            except NoAnswer as error:
                yield ImagePrediction(name, (), str(error))

    def _photo(self, file: dict, model: str | None) -> Iterator[Step]:
        with self.service.look(self.uploads.sent(file), model) as (result,):
            reduced = ImagePrediction(file_name(file), tuple(map(_reduced, result.faces)), result.error, None)
        yield reduced

    def _film(self, file: dict, model: str | None, stopped: Stopped) -> Iterator[Step]:
        name, upload = file_name(file), self.uploads.sent(file)
        if upload is None:
            raise NoAnswer(f"{name} was not sent.")
        for step in self.service.watch(upload, name, model, stopped):
            yield step if isinstance(step, Film) else f"{name}, {step:.0f} s of it"


def _patiently(
    look: Callable[[], Iterator[Step]], name: str, patience: float, stopped: Stopped = lambda: False
) -> Iterator[Step]:
    """The steps of `look` as soon as it has a place; until then, that `name` waits, and for what.

    Raises:
        Busy: there was no place for `patience` seconds.
    """
    end = time.monotonic() + patience
    while not stopped():
        try:
            return (yield from look())
        except Busy as busy:
            if time.monotonic() > end:
                raise
            yield f"{name} waits: {busy.reason}"
            time.sleep(PAUSE)


def _reduced(face: FacePrediction) -> FacePrediction:
    """A face that holds nothing but a small picture of itself."""
    picture = Image.fromarray(face.crop).resize((THUMBNAIL, THUMBNAIL), reducing_gap=2.0)
    return replace(face, crop=np.asarray(picture))


def without_pixels(result: ImagePrediction) -> ImagePrediction:
    """A result without pictures: of 500 photos they take gigabytes."""
    return replace(result, faces=tuple(replace(face, crop=NO_PIXELS) for face in result.faces))


def once(files: list[dict]) -> list[dict]:
    """Files as clients send them, each once: a request of a few letters must not ask for hours of work."""
    return list({file.get("path") or file.get("url"): file for file in files}.values())


class Turns:
    """The first `MOST_FILES` of some files, one after the other; those to come are not deleted for their age.

    Args:
        uploads: where they lie.
        files: as clients send them.
    """

    def __init__(self, uploads: Uploads, files: list[dict]):
        self.uploads, self.left, self._kept = uploads, files[:MOST_FILES], -math.inf

    def __iter__(self) -> Iterator[dict]:
        while self.left:
            self.keep()
            yield self.left[0]
            self.left = self.left[1:]

    def keep(self) -> None:
        """Have the files that are left stay; to be called while one of them takes long."""
        if time.monotonic() - self._kept > KEPT:
            self._kept = time.monotonic()
            self.uploads.stay(self.left)


@dataclass
class Work:
    """Many photos and films, and what has been seen in them so far.

    Attributes:
        number: of files.
        results: of photos, and of files that cannot be read.
        rows: of the table, no more than are shown.
        number_of_rows: all of them.
        films: that could be read.
        began: when.
    """

    number: int
    results: list[ImagePrediction] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    number_of_rows: int = 0
    films: list[Film] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def add(self, result: ImagePrediction) -> None:
        """Take a photo's result in."""
        self.rows += face_rows(result, SHOWN - len(self.rows))
        self.number_of_rows += max(len(result.faces), 1)
        self.results.append(without_pixels(result))

    def progress(self, now: str) -> str:
        """The progress of the work as HTML; `now` is what was looked at last."""
        done = len(self.results) + len(self.films)
        return (
            f'<p><progress max="{self.number}" value="{done}" aria-label="Files looked at"></progress> '
            f"{done} of {self.number}: {escape(now)}</p>"
        )

    def outcome(self, sent: int) -> str:
        """The outcome of the work as HTML: how many faces show which expression, and the films' timelines."""
        left = self.number - len(self.results) - len(self.films)
        said = [
            self._seen(),
            f"Stopped: {counted(left, 'file')} {'was' if left == 1 else 'were'} not looked at" if left else "",
            f"Only the first {MOST_FILES} files were looked at" if sent > MOST_FILES else "",
        ]
        text, chart = ". ".join(filter(None, said)), totals_chart(totals(self.results))
        return f'<p role="status">{text}.</p>{chart}{"".join(map(film_html, self.films))}'

    def _seen(self) -> str:
        """ "9 photos, 10 faces, 3 films; 2 files without a result"; "" where nothing was looked at."""
        photos = sum(result.error is None for result in self.results)
        faces, films, bad = totals(self.results).total(), len(self.films), len(self.results) - photos
        seen = [counted(photos, "photo"), counted(faces, "face")] if photos else []
        seen += [counted(films, "film")] if films else []
        return "; ".join(filter(None, [", ".join(seen), f"{counted(bad, 'file')} without a result" if bad else ""]))
