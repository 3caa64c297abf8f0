"""A small page for chapter 5: a face in purer and purer batches, judged by the published network and by ours."""

from dataclasses import dataclass
from functools import lru_cache
from html import escape

import gradio as gr
import numpy as np
import plotly.graph_objects as go

from ferlib.app.batch_demo import COMPANY, published_predictor, synthetic_neighbours
from ferlib.app.blocks.faces import FIRST, SIDE, face_of, photo_input, photo_row, photos_to_click
from ferlib.errors import UserError
from ferlib.images import data_url
from ferlib.plots.purity import company_figure
from ferlib.predict import Predictor

#: Expressions of synthetic faces that the published network recognises; it has never seen a drawing.
EXPRESSIONS = ("happiness", "surprise", "neutral")
#: Who the other neighbours are: of one class, as where a sorted test set goes from class to class, or of several.
ORDERS = {"sorted": "sorted: one other class", "shuffled": "shuffled: both others"}


@dataclass(frozen=True, eq=False)
class PureBatches:
    """One face judged by two networks, among 0 to 15 neighbours of an expression.

    Attributes:
        expression: of those neighbours.
        classes: of the networks.
        published, honest: order of the test set -> probabilities (16, classes) of the face, in row k with k of them.
    """

    expression: str
    classes: tuple[str, ...]
    published: dict[str, np.ndarray]
    honest: dict[str, np.ndarray]

    def answer(self, network: str, order: str, own: int) -> tuple[str, float]:
        """First class and its probability, by "published" or "honest", with `own` neighbours of the expression."""
        scores = getattr(self, network)[order][own]
        return self.classes[int(scores.argmax())], float(scores.max())


def neighbours(expression: str, own: int, order: str) -> tuple[np.ndarray, ...]:
    """The 15 synthetic faces beside a face, (48, 48, 3) uint8 each: `own` of the expression, the others not.

    Args:
        expression: one of `EXPRESSIONS`.
        own: how many of them show it, 0 to 15.
        order: one of `ORDERS`.

    Raises:
        UserError: no such expression, number or order.
    """
    if expression not in EXPRESSIONS or order not in ORDERS or not 0 <= own <= COMPANY:
        raise UserError(f"no batch of {own} faces of {expression}, {order}")
    place = EXPRESSIONS.index(expression)
    following, last = (EXPRESSIONS[(place + step) % len(EXPRESSIONS)] for step in (1, 2))
    rest = [following if order == "sorted" or i % 2 else last for i in range(COMPANY - own)]
    return (
        *synthetic_neighbours(expression)[:own],
        *(synthetic_neighbours(name)[i] for i, name in enumerate(rest)),
    )


def pure_batches(face: np.ndarray, expression: str, honest: Predictor) -> PureBatches:
    """Have a face judged in all batches: 0 to 15 neighbours of an expression, in both orders.

    Args:
        face: (48, 48, 3) uint8, in the training set's framing.
        expression: one of `EXPRESSIONS`.
        honest: looks at one face at a time; has the published network's classes in its order.
    """
    found = {}
    for name, predictor in (("published", published_predictor()), ("honest", honest)):
        found[name] = {
            order: np.stack(
                [
                    predictor.classify([face, *neighbours(expression, own, order)], together=True)[0][0]
                    for own in range(COMPANY + 1)
                ]
            )
            for order in ORDERS
        }
    return PureBatches(expression, honest.classes, **found)


def batch_purity(honest: Predictor) -> gr.Blocks:
    """The page: a photo, an expression, how many neighbours show it, and the order; answers by `/judge`.

    Args:
        honest: as in `pure_batches`.
    """

    @lru_cache(maxsize=8)
    def judged(pixels: bytes, expression: str) -> PureBatches:
        return pure_batches(np.frombuffer(pixels, np.uint8).reshape(SIDE, SIDE, 3), expression, honest)

    def judge(photo: str | None, expression: str, own: int, order: str) -> tuple[str, go.Figure | None]:
        try:
            face = face_of(photo)
            found = judged(face.tobytes(), expression)
            batch = _batch(face, neighbours(expression, int(own), order))
        except UserError as error:
            return f"<p>{escape(str(error))}</p>", None
        figure = company_figure(found.published, found.honest, found.classes, expression, order, int(own))
        return sentence(found, order, int(own)) + batch, figure

    photos = photos_to_click()
    with gr.Blocks(analytics_enabled=False, fill_width=True) as page:
        with gr.Row():
            with gr.Column(scale=1, min_width=230):
                photo = photo_input(photos[FIRST])
                expression = gr.Dropdown(list(EXPRESSIONS), value=FIRST.split(", ")[1], label="Neighbours show")
                own = gr.Slider(0, COMPANY, 0, step=1, label=f"How many of the {COMPANY} do")
                order = gr.Radio([(text, name) for name, text in ORDERS.items()], value="shuffled", label="The others")
            with gr.Column(scale=3, min_width=500):
                answer, figure = gr.HTML(), gr.Plot(show_label=False)
        photo_row(photos.values(), photo)
        asked = [photo, expression, own, order]
        gr.on(
            [page.load, photo.change, expression.change, own.change, order.change], judge, asked, [answer, figure],
            api_name="judge", show_progress="minimal", trigger_mode="always_last",
        )  # fmt: skip
    return page


def sentence(found: PureBatches, order: str, own: int) -> str:
    """HTML of both networks' answers with `own` neighbours of the expression."""
    parts = [
        f"<b>{title}</b>: {label}, {probability:.0%}"
        for title, (label, probability) in (
            ("attention across the batch", found.answer("published", order, own)),
            ("one face at a time", found.answer("honest", order, own)),
        )
    ]
    return f'<p id="answer">{" · ".join(parts)}</p>'


def _batch(face: np.ndarray, company: tuple[np.ndarray, ...]) -> str:
    """HTML of the whole batch, the face first and framed."""
    style = "display:inline-block;width:5.6%;margin:1px;border:2px solid "
    pictures = "".join(
        f'<img alt="" src="{data_url(pixels)}" style="{style}{"#d55e00" if i == 0 else "transparent"}">'
        for i, pixels in enumerate((face, *company))
    )
    return f"<div>{pictures}</div>"
