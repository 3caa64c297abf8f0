"""Demonstrate batch attention: one face among different neighbours, judged by the published model and by ours.

The published Conv-cut mixes the faces of a batch (`ferlib.models.layers.BatchAttention`). Here a visitor's face stands
first in batches of 16 whose other faces are synthetic ones, all of one expression. A model that looks at one face at a
time must answer alike in all of them.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ferlib.predict import Predictor
from ferlib.runtime.classifier import OnnxClassifier
from ferlib.synthetic.render import sample_face

PUBLISHED = Path(__file__).with_name("batch_attention")  # a model folder; its card says how it was trained
COMPANY = 15  # neighbours; the published code chooses its epoch in batches of 16
EXPRESSIONS = ("happiness", "surprise", "sadness", "anger", "neutral")
SIDE = 48  # of every face, in pixels: those of a batch have one size
SHOWN = 5  # neighbours that a visitor is shown


@dataclass(frozen=True, eq=False)
class Company:
    """One face among neighbours, and what two models make of it.

    Attributes:
        expression: of the neighbours; None where the face is alone.
        pictures: some of the neighbours, (SIDE, SIDE, 3) uint8 each.
        published, honest: probabilities of the face's classes.
    """

    expression: str | None
    pictures: tuple[np.ndarray, ...]
    published: dict[str, float]
    honest: dict[str, float]


@dataclass(frozen=True, eq=False)
class Companies:
    """The same face alone and in every company.

    Attributes:
        face: (SIDE, SIDE, 3) uint8, as the models saw it.
        rows: alone first.
    """

    face: np.ndarray
    rows: tuple[Company, ...]

    def answers(self, model: str) -> list[str]:
        """The first class of "published" or "honest", row by row."""
        scores = [getattr(row, model) for row in self.rows]
        return [max(one, key=one.__getitem__) for one in scores]


@cache
def synthetic_neighbours(expression: str) -> tuple[np.ndarray, ...]:
    """`COMPANY` synthetic faces of an expression, (SIDE, SIDE, 3) uint8 each, the same at every call."""
    rng = np.random.default_rng(16)
    return tuple(sample_face(expression, rng, SIDE, clean=True).pixels for _ in range(COMPANY))


@cache
def published_predictor() -> Predictor:
    """The published reading. Its answers depend on the batch, so it is used here and nowhere else."""
    return Predictor(OnnxClassifier(PUBLISHED / "model.onnx"))


def among_neighbours(face: np.ndarray, honest: Predictor) -> Companies:
    """Have a face judged alone and in every company.

    Args:
        face: (SIDE, SIDE, 3) uint8, in the training set's framing.
        honest: looks at one face at a time.
    """
    rows = []
    for expression in (None, *EXPRESSIONS):
        company = synthetic_neighbours(expression) if expression else ()
        scores = {}
        for name, predictor in (("published", published_predictor()), ("honest", honest)):
            probabilities, _ = predictor.classify([face, *company], together=True)
            scores[name] = dict(zip(predictor.classes, probabilities[0].tolist(), strict=True))
        rows.append(Company(expression, company[:SHOWN], **scores))
    return Companies(face, tuple(rows))
