"""Chapter 1's small page: look through a data set, by class and disagreement, for copies and faces that look alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go
import torch

from ferlib import plots
from ferlib.data.dataset import FaceDataset
from ferlib.data.duplicates import find_duplicates
from ferlib.evaluation.calibration import temperature_scaled
from ferlib.explain.embed import extract_features
from ferlib.models.base import FaceModel

ALL = "all classes"
VOTES, MODEL, STORED = "people disagree most", "the model is least sure", "as stored"
SHOWN = 12  # faces at a time
COPIES = 4  # of a face, at most, that are shown


@dataclass(frozen=True, eq=False)
class Album:
    """A data set with what is to be known of its faces; made by `Album.of`.

    Attributes:
        data: all faces.
        rows: positions (M,) in it of the faces that can be looked at.
        group: (N,) of `find_duplicates`: faces of one number are the same picture.
        vectors: (M, D), of length 1, before the model's classifier.
        scores: the model's probabilities (M, classes of the model).
        model_classes: names of those classes.
    """

    data: FaceDataset
    rows: np.ndarray
    group: np.ndarray
    vectors: torch.Tensor
    scores: np.ndarray
    model_classes: tuple[str, ...]

    @classmethod
    def of(cls, data: FaceDataset, model: FaceModel, most: int = 2000, seed: int = 0) -> "Album":
        """The album of a data set.

        Args:
            data: its faces.
            model: says which faces look alike, and which it is unsure about.
            most: of a larger set so many faces, drawn at random, can be looked at; copies are searched in all of it.
            seed: of that draw.
        """
        count = len(data)
        rows = np.sort(np.random.default_rng(seed).permutation(count)[:most])
        features, probabilities = extract_features(model, data.subset(rows).pixels)
        vectors = torch.nn.functional.normalize(torch.from_numpy(features), dim=1)
        scores = temperature_scaled(probabilities, model.config.temperature)
        return cls(data, rows, find_duplicates(data), vectors, scores, tuple(model.config.classes))

    @property
    def orders(self) -> list[str]:
        """The orders that this set can be looked through in."""
        return [*[VOTES] * self.data.has_votes, MODEL, STORED]

    def said(self, positions: np.ndarray, order: str) -> np.ndarray:
        """Fractions of the votes, or by other orders the model's probabilities, (M, classes), of faces of `rows`."""
        if order == VOTES:
            return self.data.subset(self.rows[positions]).soft_labels().numpy()
        return self.scores[positions]

    def find(self, name: str, order: str, repeated: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Positions in `rows` of the faces of a class in some order, and their entropy in bits.

        Args:
            name: of a class, or `ALL`.
            order: one of `orders`.
            repeated: only faces whose picture stands in the set more than once.
        """
        labels = self.data.frame["label"].to_numpy()[self.rows]
        kept = np.full(len(labels), name == ALL) | (labels == np.array([*self.data.classes, ALL].index(name)))
        if repeated:
            kept &= np.bincount(self.group)[self.group[self.rows]] > 1
        positions = np.flatnonzero(kept)
        bits = entropy(self.said(positions, order))
        turn = np.arange(len(bits)) if order == STORED else np.argsort(-bits, kind="stable")
        return positions[turn], bits[turn]

    def copies(self, position: int) -> np.ndarray:
        """The other places, in the whole set, of the picture of a face."""
        row = self.rows[position]
        same = np.flatnonzero(self.group == self.group[row])
        return same[same != row]

    def nearest_other(self, position: int) -> tuple[int, float] | None:
        """The most alike face of another class, a position in `rows`, and its cosine; None: there is no other class."""
        labels = self.data.frame["label"].to_numpy()[self.rows]
        cosines = (self.vectors @ self.vectors[position]).numpy()
        cosines[labels == labels[position]] = -np.inf
        best = int(cosines.argmax())
        return (best, float(cosines[best])) if np.isfinite(cosines[best]) else None

    def picture(self, row: int) -> np.ndarray:
        """A face of the set, (H, W, C) uint8."""
        return self.data.pixels[row].permute(1, 2, 0).numpy()

    def caption(self, row: int) -> str:
        """Class and split of a face of the set."""
        face = self.data.frame.iloc[row]
        return f"{self.data.classes[face['label']]}, {face['split']}"


def entropy(shares: np.ndarray) -> np.ndarray:
    """Entropy in bits (M,) of shares (M, classes) that sum to 1."""
    bits = -shares * np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.maximum(bits.sum(axis=1), 0)


def counted(album: Album, positions: np.ndarray) -> str:
    """A sentence on some faces: how many they are, and how many of them stand in the set more than once."""
    rows = album.rows[positions]
    repeated = rows[np.bincount(album.group)[album.group[rows]] > 1]
    splits = album.data.frame.groupby(album.group)["split"].nunique()
    labels = album.data.frame.groupby(album.group)["label"].nunique()
    groups = album.group[repeated]
    drawn = "" if len(album.rows) == len(album.data) else f" (of {len(album.rows):,} drawn from {len(album.data):,})"
    return (
        f"**{len(rows):,} faces**{drawn}; {len(repeated)} of them stand in the set more than once, "
        f"{int((splits.loc[groups] > 1).sum())} in another split too, "
        f"{int((labels.loc[groups] > 1).sum())} with another label."
    )


def relatives(album: Album, position: int) -> go.Figure:
    """A face, the nearest face of another class, and its copies, side by side."""
    row = int(album.rows[position])
    faces = [(album.picture(row), f"<b>this face</b><br>{album.caption(row)}")]
    other = album.nearest_other(position)
    if other:
        near = int(album.rows[other[0]])
        faces.append((album.picture(near), f"<b>alike, cosine {other[1]:.3f}</b><br>{album.caption(near)}"))
    for copy in album.copies(position)[:COPIES]:
        faces.append((album.picture(copy), f"<b>the same picture</b><br>{album.caption(copy)}"))
    return plots.face_grid([faces], "The face, the nearest of another class, and its copies", side=150)


def dataset_page(albums: Mapping[str, Album]) -> gr.Blocks:
    """The page: choose a set, a class and an order; click a face to see what is known of it.

    Args:
        albums: by the name to choose them by; the first is shown at the start.
    """
    first, *_ = albums

    def choices(name: str) -> tuple[gr.Dropdown, gr.Radio]:
        album = albums[name]
        orders = album.orders
        return (
            gr.Dropdown(choices=[ALL, *album.data.classes], value=ALL),
            gr.Radio(choices=orders, value=orders[0]),
        )

    def faces(name: str, chosen: str, order: str, repeated: bool, start: float) -> tuple[list, str, gr.Slider]:
        album = albums[name]
        positions, bits = album.find(chosen, order, repeated)
        last = max(len(positions) - SHOWN + 1, 1)
        begin = min(int(start), last) - 1
        part = slice(begin, begin + SHOWN)
        pictures = [
            (album.picture(row).squeeze(), f"{album.caption(row).partition(',')[0]} {size:.2f}")
            for row, size in zip(album.rows[positions[part]], bits[part], strict=True)
        ]
        return pictures, counted(album, positions), gr.Slider(maximum=max(last, 2), value=begin + 1)

    def details(
        name: str, chosen: str, order: str, repeated: bool, start: float, number: float
    ) -> tuple[go.Figure | None, dict[str, float], str]:
        album = albums[name]
        found, _ = album.find(chosen, order, repeated)
        if not len(found):
            return None, {}, "No such faces."
        position = int(found[min(int(start) + int(number), len(found) + 1) - 2])
        classes = album.data.classes if order == VOTES else album.model_classes
        shares = album.said(np.array([position]), order)[0]
        who = "ten people's votes, single ones dropped" if order == VOTES else "the model's probabilities"
        text = f"{album.caption(album.rows[position])}. Right: {who}, {entropy(shares[None])[0]:.2f} bits."
        other = album.nearest_other(position)
        if other:
            text += f" Nearest of another class: {album.caption(album.rows[other[0]])}, cosine {other[1]:.3f}."
        text += f" Other places of this picture: {len(album.copies(position))}."
        return relatives(album, position), dict(zip(classes, map(float, shares), strict=True)), text

    def clicked(event: gr.SelectData) -> int:
        return int(event.index) + 1

    with gr.Blocks(analytics_enabled=False, fill_width=True, title="Data browser") as page:
        with gr.Row():
            name = gr.Dropdown(list(albums), value=first, label="set", scale=1)
            chosen = gr.Dropdown([ALL, *albums[first].data.classes], value=ALL, label="class", scale=1)
            order = gr.Radio(albums[first].orders, value=albums[first].orders[0], label="order", scale=3)
            repeated = gr.Checkbox(label="only pictures that stand in the set more than once", scale=1)
        count = gr.Markdown()
        gallery = gr.Gallery(
            columns=6, rows=2, height=330, object_fit="contain", allow_preview=False, show_label=False, buttons=[],
            format="png", elem_id="faces",
        )  # fmt: skip
        with gr.Row():
            start = gr.Slider(1, 2, value=1, step=1, label="first face shown")
            number = gr.Slider(1, SHOWN, value=1, step=1, label="look at face (or click one)")
        with gr.Row(equal_height=False):
            shown = gr.Plot(show_label=False, scale=3, min_width=560, elem_id="relatives")
            said = gr.Label(num_top_classes=5, show_label=False, scale=1, min_width=220)
        text = gr.Markdown(elem_id="said")

        listing = [name, chosen, order, repeated, start]
        look: dict[str, Any] = {"fn": faces, "inputs": listing, "outputs": [gallery, count, start]}
        explain: dict[str, Any] = {"fn": details, "inputs": [*listing, number], "outputs": [shown, said, text]}
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        page.load(**look, api_name="faces").then(**explain, api_name="details")
        other = name.input(choices, name, [chosen, order], show_progress="hidden", api_name="choices")
        other.then(**look, **quiet).then(**explain, **quiet)
        for component in (chosen, order, repeated, start):
            component.input(**look, **quiet).then(**explain, **quiet)
        number.input(**explain, **quiet)
        gallery.select(clicked, None, number, **quiet).then(**explain, **quiet)
    return page
