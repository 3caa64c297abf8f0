"""Tables of faithfulness (deletion, insertion, ROAD) and of the sanity check: do maps depend on the model?"""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from ferlib.evaluation.means import mean_estimate
from ferlib.evaluation.report_format import Estimate
from ferlib.explain.faithfulness import area_under, deletion_curve, insertion_curve, randomised, rank_correlations, road
from ferlib.explain.heat_maps import SIDE, heat_maps, predicted_classes
from ferlib.models.base import FaceModel
from ferlib.models.preprocess import Preprocess


def faithfulness_scores(model: FaceModel, faces: Tensor, maps: Tensor, targets: Tensor) -> dict[str, np.ndarray]:
    """Faithfulness of maps, face by face: deletion, insertion, ROAD (N,), and the two curves (N, steps + 1).

    Args:
        model: any model.
        faces: (N, C, S, S) in 0..1, see `Preprocess.scale`.
        maps: (N, S, S).
        targets: classes (N,) whose probability is watched.
    """
    deletion = deletion_curve(model, faces, maps, targets)
    insertion = insertion_curve(model, faces, maps, targets)
    return {
        "deletion": area_under(deletion).numpy(),
        "insertion": area_under(insertion).numpy(),
        "road": road(model, faces, maps, targets).numpy(),
        "deletion_curve": deletion.numpy(),
        "insertion_curve": insertion.numpy(),
    }


def faithfulness_table(curves: Mapping[str, Mapping[str, np.ndarray]], names: np.ndarray) -> dict:
    """Scores of every method with intervals, its gain on the centre blob face by face, and scores per class.

    Args:
        curves: method -> `faithfulness_scores`; "centre", the control, is among them.
        names: the true classes' names (N,).
    """
    table = {}
    for method, own in curves.items():
        scores = {name: own[name] for name in ("deletion", "insertion", "road")}
        gains = {name: scores[name] - curves["centre"][name] for name in scores}
        table[method] = {
            **{name: mean_estimate(values) for name, values in scores.items()},
            "minus_centre": {name: mean_estimate(values) for name, values in gains.items()},
            "curves": {
                name: [round(float(v), 4) for v in own[f"{name}_curve"].mean(axis=0)]
                for name in ("deletion", "insertion")
            },
            "per_class": {
                str(name): {"faces": int((names == name).sum())}
                | {score: round(float(values[names == name].mean()), 4) for score, values in scores.items()}
                for name in np.unique(names)
            },
        }
    return table


def _looked_at(preprocess: Preprocess) -> slice:
    """The rows, and the columns, of maps of side `SIDE` over the whole face that the model sees."""
    seen, side = preprocess.looked_at, preprocess.downscale_to
    if side is None or seen == slice(None):
        return seen
    return slice(round(seen.start * SIDE / side), round(seen.stop * SIDE / side))


def sanity_table(model: FaceModel, pixels: Tensor, methods: Sequence[str]) -> dict:
    """Rank correlation of a model's maps with those of its randomised copies, same faces and classes.

    Args:
        model: any model.
        pixels: faces (N, C, S, S) uint8.
        methods: see `table_methods`.
    """
    preprocess = Preprocess.of(model.config)
    faces, targets, seen = preprocess.scale(pixels), predicted_classes(model, pixels), _looked_at(preprocess)
    copies = {part: randomised(model, part, faces) for part in ("classifier", "all")}
    table: dict[str, dict[str, Estimate]] = {}
    for method in methods:
        first = heat_maps(model, pixels, method, targets)
        table[method] = {
            part: mean_estimate(
                rank_correlations(*(maps[:, seen, seen] for maps in (first, heat_maps(other, pixels, method, targets))))
            )
            for part, other in copies.items()
        }
    return table
