"""A small page for chapter 3: a training run watched while it goes on, stopped, and gone on with."""

import contextlib
import io
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import gradio as gr
import pandas as pd
import plotly.graph_objects as go
import torch

from ferlib.data.dataset import FaceDataset
from ferlib.errors import RunError
from ferlib.models.base import FaceModel
from ferlib.models.registry import build_model
from ferlib.names import display_name
from ferlib.plots.training import curves
from ferlib.training.loop import fit
from ferlib.training.recipes import Recipe

RATES = (3e-4, 3e-3, 3e-2, 0.3)
SCHEDULES = ("constant", "onecycle")
POLL = 0.2  # seconds between two looks at the run's folder


class _Stopped(Exception):
    """Somebody stopped the run."""


class LiveRun:
    """Training runs in a folder of their own, one at a time, each followed epoch by epoch.

    Args:
        faces: to train on.
        recipe: of every run, but for its learning rate and schedule.
    """

    def __init__(self, faces: FaceDataset, recipe: Recipe):
        self.faces, self.recipe = faces, recipe
        self._stop = threading.Event()  # of the run that was started last
        self._alone = threading.Lock()  # two runs at a time would take each other's processor

    def stop(self) -> None:
        """End the run that was started last, at the end of its epoch, or before its first."""
        self._stop.set()

    def start(self, rate: float, schedule: str) -> Iterator[pd.DataFrame]:
        """A new run's history, as `fit` returns it, after every epoch; a run that is going on is stopped first.

        Args:
            rate: its learning rate.
            schedule: one of `SCHEDULES`.
        """
        self.stop()
        stop = self._stop = threading.Event()
        return self._followed(self.recipe.override({"lr": rate, "schedule": schedule}), stop)

    def _followed(self, recipe: Recipe, stop: threading.Event) -> Iterator[pd.DataFrame]:
        with self._alone, tempfile.TemporaryDirectory() as folder:
            if stop.is_set():
                return
            failed: list[Exception] = []
            given = recipe, Path(folder) / "run", stop, failed
            thread = threading.Thread(target=self._train, args=given, daemon=True)
            thread.start()
            try:
                seen = 0
                while True:
                    ended = not thread.is_alive()
                    history = _history(Path(folder) / "run")
                    for count in range(seen + 1, len(history) + 1):
                        yield history[:count]
                    seen = len(history)
                    if ended:
                        break
                    time.sleep(POLL)
            finally:
                stop.set()
                thread.join()
            if failed:
                raise failed[0]

    def _train(self, recipe: Recipe, folder: Path, stop: threading.Event, failed: list[Exception]) -> None:
        """Run `fit` to its end, or until it is stopped; what else ends it goes into `failed`."""

        def observe(model: FaceModel) -> Mapping[str, float]:
            if stop.is_set():
                raise _Stopped
            return {}

        torch.manual_seed(recipe.seed)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(_Stopped):
                fit(build_model(recipe.config), self.faces, recipe, folder, observe=observe)
        except Exception as error:  # handed on to whoever watches
            failed.append(error)


def _history(folder: Path) -> pd.DataFrame:
    """A run's history so far; empty before the first epoch has ended."""
    file = folder / "history.csv"
    return pd.read_csv(file) if file.exists() else pd.DataFrame()


def training_run(
    faces: FaceDataset,
    recipe: Recipe,
    chance: tuple[float, float],
    before: Mapping[str, pd.DataFrame] | None = None,
    rates: Sequence[float] = RATES,
) -> gr.Blocks:
    """The page: a learning rate and a schedule, a run that starts by itself, stop and start; answers by `/start`.

    Args:
        faces: to train on.
        recipe: of every run, but for its learning rate and schedule.
        chance: loss and accuracy of guessing.
        before: runs to compare with, name -> history.
        rates: learning rates to choose from; the recipe's own, or else the first, at the start.
    """
    watched, last = LiveRun(faces, recipe), 0

    def start(rate: float, schedule: str) -> Iterator[tuple]:
        """The words and figures of a run; nothing more once another is started, whose words stand there then."""
        nonlocal last
        last = mine = last + 1
        for said, figure in told(rate, schedule):
            yield (said, figure) if mine == last else (gr.skip(), gr.skip())

    def told(rate: float, schedule: str) -> Iterator[tuple[str, go.Figure | None]]:
        run, history = watched.start(float(rate), schedule), pd.DataFrame()
        yield "<p>The first epoch …</p>", None
        try:
            for history in run:
                yield f"<p>{_said(history, recipe)}</p>", _figure(history, before, chance, recipe.epochs)
        except RunError as error:
            yield f"<p id='ended'>Ended: {error}.</p>", None
            return
        ended = "Ended" if len(history) == recipe.epochs else "Stopped"
        if len(history):
            yield (
                f"<p id='ended'>{ended}: {_said(history, recipe)}</p>",
                _figure(history, before, chance, recipe.epochs),
            )
        else:
            yield "<p id='ended'>Stopped before the first epoch had ended.</p>", None

    with gr.Blocks(analytics_enabled=False, fill_width=True) as page:
        with gr.Row(equal_height=True):
            rate = gr.Radio(
                [(f"{value:g}", value) for value in rates], value=recipe.lr if recipe.lr in rates else rates[0],
                label="Learning rate", scale=3,
            )  # fmt: skip
            courses = [(display_name(name), name) for name in SCHEDULES]
            schedule = gr.Radio(courses, value=recipe.schedule, label="Its course", scale=2)
            with gr.Column(scale=1, min_width=120):
                again, stop = gr.Button("Start", variant="primary"), gr.Button("Stop")
        said, figure = gr.HTML(), gr.Plot(show_label=False)
        gr.on(
            [page.load, again.click], start, [rate, schedule], [said, figure],
            api_name="start", show_progress="hidden", concurrency_limit=None,
            trigger_mode="multiple",  # a run that is going on is stopped by the next
        )  # fmt: skip
        stop.click(watched.stop, api_name="stop", concurrency_limit=None)
    return page


def _figure(
    history: pd.DataFrame, before: Mapping[str, pd.DataFrame] | None, chance: tuple[float, float], epochs: int
) -> go.Figure:
    """The run so far beside earlier ones, on axes that hold the whole run."""
    figure = curves({"this run": history, **(before or {})}, chance=chance)
    figure.update_xaxes(range=[0, epochs + 0.3])
    figure.update_yaxes(range=[0, 1.03], row=1, col=2)
    return figure.update_layout(title_text="", margin_t=40, height=360)


def _said(history: pd.DataFrame, recipe: Recipe) -> str:
    last = history.iloc[-1]
    return (
        f"epoch {len(history)} of {recipe.epochs}, loss {last['train_loss']:.2f}, "
        f"right <b>{last['accuracy']:.0%}</b> of the validation faces"
    )
