"""Chapter 7's small page: label some faces, train the chapter's head on them, try it on people it has not seen."""

import io
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image

from ferlib.annotation.proposals import folder_of
from ferlib.annotation.queue import LabelQueue
from ferlib.data.dataset import FaceDataset
from ferlib.data.folder import UNSORTED
from ferlib.evaluation.bootstrap import bootstrap_intervals, people_in
from ferlib.evaluation.evaluate import predict_dataset
from ferlib.experiments.learning_curve import longer
from ferlib.experiments.runner import untrained
from ferlib.images import read_image
from ferlib.models.base import FaceModel
from ferlib.plots import trainings
from ferlib.predict import Predictor
from ferlib.training.loop import fit
from ferlib.training.recipes import Recipe

SIDE = 224  # pixels, of a face on the page
WHO = "page"  # whose labels these are: they stand in labels-page.csv


class Lesson:
    """One person's labels of training people's faces, and the networks trained on them.

    Validation and test people keep the labels of their folders; nobody is asked about them.

    Args:
        faces: the data set of `root`, split by person.
        root: folder of `ferlib.annotation.proposals.propose_labels`.
        recipe: how to train.
        backbone_weights: of the recipe's backbone.

    Attributes:
        queue: the faces to label.
        done: one row a training: `faces`, and the accuracy on the test people with its 95 % interval: `value`, `low`,
            `high`.
        model: the last network trained; None before.
    """

    def __init__(self, faces: FaceDataset, root: Path, recipe: Recipe, backbone_weights: str | Path | None = None):
        self.faces, self.recipe, self.backbone_weights = faces, recipe, backbone_weights
        self.names = faces.frame["file"].map(lambda file: PurePath(file).name)
        self.train_rows = (faces.frame["split"] == "train").to_numpy()
        self.queue = LabelQueue(root, WHO, set(self.names[self.train_rows]))
        self.test = faces.split("test")
        self.done = pd.DataFrame(columns=["faces", "value", "low", "high"], dtype=float)
        self.model: FaceModel | None = None

    def labelled(self) -> pd.Series:
        """Class of every training face that has one so far, by its position in `faces`."""
        said = self.queue.labels.read()
        rows = self.names[self.train_rows].map(said).dropna()
        return rows[rows.isin(self.faces.classes)]

    def label_by_folder(self, count: int) -> None:
        """Take the folders' word for so many faces of each class; those that were labelled already count."""
        have = self.labelled()
        rows = self.faces.frame[self.train_rows].sample(frac=1, random_state=0)
        for label, part in rows[~rows.index.isin(have.index)].groupby("label"):
            name = self.faces.classes[int(label)]
            for file in self.names[part.index[: max(count - (have == name).sum(), 0)]]:
                self.queue.labels.add(file, name)
        self.queue.skip_labelled()

    def train(self) -> str:
        """Train on what is labelled; returns what came of it, or what is missing, in a sentence."""
        said = self.labelled()
        if said.nunique() < 2:
            return "Label faces of at least two classes first."
        kept = ~self.train_rows | self.faces.frame.index.isin(said.index)
        frame = self.faces.frame.copy()
        frame.loc[said.index, "label"] = said.map(self.faces.classes.index).astype(int)
        data = FaceDataset("labelled", self.faces.classes, frame, self.faces.pixels).subset(kept)
        model = untrained(self.recipe, self.backbone_weights)
        recipe = replace(self.recipe, epochs=longer(self.recipe.epochs, int(self.train_rows.sum()), len(said)))
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):  # a line an epoch
            fit(model, data, recipe, Path(folder) / "run")
        labels, predicted = self.test.labels().numpy(), predict_dataset(model, self.test).argmax(axis=1)
        low, high = bootstrap_intervals(labels, predicted, len(data.classes), people=people_in(self.test))["accuracy"]
        right = float((labels == predicted).mean())
        self.model = model
        self.done.loc[len(self.done)] = [len(said), right, low, high]
        wrong = int((said != self.faces.frame.loc[said.index, "label"].map(self.faces.classes.__getitem__)).sum())
        return (
            f"Training {len(self.done)}: {len(said)} faces, {wrong} of them not labelled as their folder says; right "
            f"on {right:.1%} of {len(self.test)} faces of new people ({low:.0%} to {high:.0%})."
        )


class Answers:
    """The answers of the page; arguments as those of `labelling_page`."""

    def __init__(
        self, lesson: Lesson, before: FaceModel, curve: pd.DataFrame | None, references: Mapping[str, float] | None
    ):
        self.lesson, self.before, self.curve, self.references = lesson, before, curve, references

    def face(self) -> tuple[np.ndarray | None, str, str | None]:
        """The face to label, how far one is, and the name of the face's file."""
        queue, counts = self.lesson.queue, self.lesson.labelled().value_counts()
        have = "So far: " + ", ".join(f"{name} {counts.get(name, 0)}" for name in self.lesson.faces.classes)
        if queue.file is None:
            return None, f"All {len(queue.files)} faces have a label. {have}", None
        proposed = queue.proposed[queue.file]
        hint = f", the released model says {proposed}" if proposed else ""
        picture = enlarged(read_image(queue.path(queue.file)))
        return picture, f"Face {queue.place + 1} of {len(queue.files)}{hint}. {have}", queue.file

    def label(self, label: str, seen: str | None) -> tuple[np.ndarray | None, str, str | None]:
        """Note down what the face of that file, which this page shows, says; the next one."""
        self.lesson.queue.choose(folder_of(label), seen)
        return self.face()

    def back(self) -> tuple[np.ndarray | None, str, str | None]:
        """The face before."""
        self.lesson.queue.go_to(self.lesson.queue.place - 1)
        return self.face()

    def by_folder(self, count: float) -> tuple[np.ndarray | None, str, str | None]:
        """Labels of so many faces a class from the folders; the first face without a label."""
        self.lesson.label_by_folder(int(count))
        return self.face()

    def figure(self) -> go.Figure:
        """All trainings so far."""
        return trainings(self.lesson.done, self.curve, self.references)

    def train(self) -> tuple[str, go.Figure]:
        """One more training, in a sentence and in the figure."""
        return self.lesson.train(), self.figure()

    def try_face(self, number: float) -> tuple[Any, ...]:
        """A test face by its number, from 1: the picture, its label, and what the two networks say."""
        pixels, label = self.lesson.test[int(number) - 1]
        picture = pixels.permute(1, 2, 0).numpy()
        truth = f"Somebody nobody trained on; the folder says **{self.lesson.faces.classes[label]}**."
        return enlarged(picture), truth, *self._asked(picture)

    def try_photo(self, photo: np.ndarray | None) -> tuple[Any, ...]:
        """The same for the first face of a photo."""
        if photo is None:
            return None, "", None, None
        found = Predictor(self.before).predict(photo).faces
        if not found:
            return photo, "No face was found in the picture.", None, None
        face = found[0].face
        return enlarged(face), f"The first of {len(found)} faces found in your photo.", *self._asked(face)

    def _asked(self, picture: np.ndarray) -> list[dict[str, float] | None]:
        """Class -> probability by the visitor's network, if there is one, and by the chapter's."""
        return [None if model is None else probabilities(model, picture) for model in (self.lesson.model, self.before)]


def enlarged(picture: np.ndarray) -> np.ndarray:
    """A face (S, S, 3) at the size it is shown in; the networks see it as it was."""
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def probabilities(model: FaceModel, picture: np.ndarray) -> dict[str, float]:
    """Class -> probability, for one face (S, S, 3) uint8."""
    scores, _ = Predictor(model).classify([picture])
    return dict(zip(model.config.classes, scores[0].astype(float).tolist(), strict=True))


def labelling_page(
    lesson: Lesson,
    before: FaceModel,
    curve: pd.DataFrame | None = None,
    references: Mapping[str, float] | None = None,
) -> gr.Blocks:
    """The page: a face with a button a class, a button to train, and a face of somebody new to try the network on.

    Args:
        lesson: whose labels and networks they are.
        before: the chapter's own network, which is asked beside the visitor's.
        curve: the chapter's learning curve, see `ferlib.plots.labelling.trainings`.
        references: see there.
    """
    answers = Answers(lesson, before, curve, references)
    with gr.Blocks(analytics_enabled=False, fill_width=True, title="Label, train, try") as page:
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=330):
                gr.Markdown("### 1 · Label")
                shown = gr.Image(height=230, show_label=False, buttons=[], interactive=False, elem_id="face")
                status, seen = gr.Markdown(), gr.State(None)  # of two open pages each shows a face of its own
                with gr.Row():
                    buttons = [gr.Button(name, size="sm", min_width=80) for name in (*lesson.faces.classes, UNSORTED)]
                    step_back = gr.Button("← one back", size="sm", min_width=80)
                with gr.Row():
                    count = gr.Slider(1, 40, value=10, step=1, label="or by folder: faces of each class", scale=2)
                    fill = gr.Button("take", size="sm", min_width=80, scale=1)
            with gr.Column(scale=3, min_width=560):
                gr.Markdown("### 2 · Train")
                go_on = gr.Button("Train on what is labelled", variant="primary")
                result = gr.Markdown()
                plot = gr.Plot(show_label=False, elem_id="trainings")
        gr.Markdown("### 3 · Try")
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=250):
                number = gr.Slider(1, len(lesson.test), value=1, step=1, label="face of a test person")
                photo = gr.Image(label="or a photo of your own", height=150, sources=["upload"], buttons=[])
            with gr.Column(scale=2, min_width=200):
                tried = gr.Image(height=220, show_label=False, buttons=[], interactive=False, elem_id="tried")
                truth = gr.Markdown()
            mine = gr.Label(label="your last network", num_top_classes=4, scale=2, min_width=180)
            theirs = gr.Label(label="the chapter's", num_top_classes=4, scale=2, min_width=180, elem_id="theirs")

        view, tries = [shown, status, seen], [tried, truth, mine, theirs]
        hidden: dict[str, Any] = {"show_progress": "hidden"}
        private: dict[str, Any] = hidden | {"api_visibility": "private"}
        page.load(answers.face, None, view, api_name="face").then(answers.figure, None, plot, **private)
        page.load(answers.try_face, number, tries, api_name="try_face")
        for place, button in enumerate(buttons):  # each sends its text: one in the API does for all
            button.click(answers.label, [button, seen], view, **(private if place else hidden | {"api_name": "label"}))
        step_back.click(answers.back, None, view, api_name="back", **hidden)
        fill.click(answers.by_folder, count, view, api_name="by_folder", **hidden)
        trained = go_on.click(answers.train, None, [result, plot], api_name="train", concurrency_limit=1)
        trained.then(answers.try_face, number, tries, **private)
        number.input(answers.try_face, number, tries, **private)
        photo.input(answers.try_photo, photo, tries, api_name="try_photo")
    return page
