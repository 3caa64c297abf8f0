"""A small page for chapter 6: a map of a face, and the answer's probability while the hottest pixels are taken away."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path

import gradio as gr
import numpy as np
import plotly.graph_objects as go
import torch

from ferlib.app.blocks.faces import SIDE, face_of, photo_input, photo_row, photos_to_click
from ferlib.app.messages import METHOD_TITLES
from ferlib.errors import UserError
from ferlib.explain.faithfulness import CONTROLS, area_under, deletion_curve, ranks
from ferlib.explain.heat_maps import heat_maps, predicted_classes
from ferlib.explain.methods import methods_of
from ferlib.models.base import FaceModel
from ferlib.models.preprocess import Preprocess
from ferlib.plots.deletion import deletion_figure

STEPS = 20  # into which the pixels are divided
PREDICTED = "the predicted one"


@dataclass(frozen=True, eq=False)
class Deletion:
    """A map of one face, and what is left of a class's probability as its hottest pixels go.

    Attributes:
        face: (48, 48, 3) uint8.
        predicted: class that the network gives the whole face.
        explained: class whose probability is watched.
        heatmap: (48, 48) in 0..1.
        place: of every pixel when sorted by the map, 0 the hottest, (48, 48).
        curves: "map" and the controls "centre" and "random" -> probabilities (STEPS + 1,).
    """

    face: np.ndarray
    predicted: str
    explained: str
    heatmap: np.ndarray
    place: np.ndarray
    curves: dict[str, np.ndarray]

    def without(self, share: float) -> np.ndarray:
        """The face with a fraction 0..1 of its pixels, the hottest ones, in its mean grey; (48, 48, 3) uint8."""
        gone = self.place < round(share * self.place.size)
        return np.where(gone[..., None], self.face.mean(axis=(0, 1)).round().astype(np.uint8), self.face)

    def area(self, curve: str) -> float:
        """Area under one of the curves: the smaller, the more the answer hung on what was taken first."""
        return float(area_under(torch.from_numpy(self.curves[curve])[None]))


def deletion(model: FaceModel, face: np.ndarray, method: str, explained: str | None = None) -> Deletion:
    """Explain a face, then take its pixels away in the map's order, and in the controls'.

    Args:
        model: any model.
        face: (48, 48, 3) uint8, in the training set's framing.
        method: one of `methods_of(model)`.
        explained: class to explain; None for the predicted one.

    Raises:
        UserError: the model has no such class or method.
    """
    classes = model.config.classes
    if explained is not None and explained not in classes:
        raise UserError(f"the model has no class {explained!r}, only {', '.join(classes)}")
    pixels = torch.tensor(face).permute(2, 0, 1)[None]
    predicted = predicted_classes(model, pixels)
    targets = predicted if explained is None else torch.tensor([classes.index(explained)])
    maps = {name: heat_maps(model, pixels, name, targets) for name in (method, *CONTROLS)}
    scaled = Preprocess.of(model.config).scale(pixels)
    curves = {name: deletion_curve(model, scaled, own, targets, STEPS)[0].numpy() for name, own in maps.items()}
    return Deletion(
        face,
        classes[int(predicted)],
        classes[int(targets)],
        maps[method][0].numpy(),
        ranks(maps[method])[0].numpy(),
        {"map": curves.pop(method), **curves},
    )


def explanations(model: FaceModel, photos: Mapping[str, Path | np.ndarray] | None = None) -> gr.Blocks:
    """The page: a photo, a class, a method and the fraction of pixels to take away; answers by `/explain`.

    Args:
        model: that is explained.
        photos: to click, by what they show, the first at the start; None takes drawn faces and two portraits.
    """
    shown: Mapping[str, Path | np.ndarray] = photos or photos_to_click()

    @lru_cache(maxsize=16)
    def explained(pixels: bytes, method: str, wanted: str | None) -> Deletion:
        return deletion(model, np.frombuffer(pixels, np.uint8).reshape(SIDE, SIDE, 3), method, wanted)

    def explain(photo: str | None, wanted: str, method: str, percent: float) -> tuple[str, go.Figure | None]:
        try:
            found = explained(face_of(photo).tobytes(), method, None if wanted == PREDICTED else wanted)
        except UserError as error:
            return f"<p>{escape(str(error))}</p>", None
        share = percent / 100
        figure = deletion_figure(found.face, found.heatmap, found.without(share), found.curves, share, found.explained)
        return sentence(found, share), figure

    with gr.Blocks(analytics_enabled=False, fill_width=True) as page:
        with gr.Row():
            with gr.Column(scale=1, min_width=200):
                photo = photo_input(next(iter(shown.values())))
                wanted = gr.Dropdown([PREDICTED, *model.config.classes], value=PREDICTED, label="Class to explain")
                named = [(METHOD_TITLES[name], name) for name in methods_of(model)]
                method = gr.Dropdown(named, value="gradcam", label="Method")
                percent = gr.Slider(0, 100, 20, step=100 // STEPS, label="Hottest pixels gone (%)")
            with gr.Column(scale=4, min_width=500):
                answer, figure = gr.HTML(), gr.Plot(show_label=False)
        photo_row(shown.values(), photo)
        asked = [photo, wanted, method, percent]
        gr.on(
            [page.load, photo.change, wanted.change, method.change, percent.change], explain, asked, [answer, figure],
            api_name="explain", show_progress="minimal", trigger_mode="always_last",
        )  # fmt: skip
    return page


def sentence(found: Deletion, share: float) -> str:
    """HTML of the answer, of what is left of it, and of the areas under the curves."""
    left = found.curves["map"][round(share * STEPS)]
    return (
        f'<p id="answer">The network says <b>{found.predicted}</b>. "{found.explained}" has '
        f"{found.curves['map'][0]:.0%}; without the hottest {share:.0%} of the pixels, {left:.0%}. "
        f"Area under the curve: this map <b>{found.area('map'):.2f}</b>, "
        f"blob in the middle {found.area('centre'):.2f}, noise {found.area('random'):.2f}; low is good.</p>"
    )
