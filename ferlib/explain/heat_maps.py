"""Heat maps of many faces by one method, all at the faces' own 48 x 48 pixels, and the controls they must beat."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ferlib.explain.faithfulness import CONTROLS, control_maps
from ferlib.explain.methods import explain, methods_of
from ferlib.models.base import FaceModel
from ferlib.models.inference import faces_at_once, run_model
from ferlib.models.preprocess import Preprocess, resize

SIDE = 48
BATCH = 32
SCORE_CAM = "scorecam"  # a prediction a channel: too slow for tables


def heat_maps(model: FaceModel, pixels: Tensor, method: str, targets: Tensor) -> Tensor:
    """Maps (N, 48, 48) of faces, not below 0; where a model crops they are zero at the border, which it does not see.

    Args:
        model: any model.
        pixels: faces (N, C, S, S) uint8.
        method: one of `table_methods(model)`, controls too.
        targets: classes to explain, (N,).
    """
    if method in CONTROLS:
        return control_maps(method, len(pixels), SIDE)
    preprocess = Preprocess.of(model.config)
    at_once = faces_at_once(model, BATCH)
    batches = zip(pixels.split(at_once), targets.split(at_once), strict=True)
    maps = [preprocess.whole_face(explain(model, preprocess(x), method, t)[1]).cpu() for x, t in batches]
    return resize(torch.cat(maps)[:, None], SIDE)[:, 0].clamp_min(0)


def predicted_classes(model: FaceModel, pixels: Tensor) -> Tensor:
    """Classes (N,) that a model predicts for faces (N, C, S, S) uint8."""
    preprocess = Preprocess.of(model.config)
    at_once = faces_at_once(model, BATCH)
    return torch.cat(list(run_model(model, lambda x: model(preprocess(x)).argmax(dim=1), pixels, at_once))).cpu()


def table_methods(model: FaceModel, wanted: Sequence[str] | None = None) -> list[str]:
    """The controls, then those of the wanted methods that the model has; all but Score-CAM by default."""
    own = [name for name in methods_of(model) if (name in wanted if wanted else name != SCORE_CAM)]
    return [*CONTROLS, *own]
