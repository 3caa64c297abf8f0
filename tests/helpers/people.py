"""Made-up results, for tests of what is said and drawn."""

import numpy as np

from ferlib.labels import FERPLUS
from ferlib.results import FacePrediction, ImagePrediction, Parts

SOMEBODY = np.full((224, 224, 3), 120, np.uint8)


def face(
    box: tuple[int, int, int, int] = (10, 20, 110, 120), parts: Parts | None = None, **scores: float
) -> FacePrediction:
    """A made-up face; the classes that are not given share the rest."""
    others = [name for name in FERPLUS if name not in scores]
    rest = (1 - sum(scores.values())) / len(others)
    return FacePrediction(box, scores | dict.fromkeys(others, rest), SOMEBODY, np.eye(112, dtype=np.float32),
                          find_parts=lambda: parts)  # fmt: skip


def result_of(*faces: FacePrediction, size: tuple[int, int] = (300, 400), name: str = "image") -> ImagePrediction:
    return ImagePrediction(name, faces, None, np.full((*size, 3), 200, np.uint8))
