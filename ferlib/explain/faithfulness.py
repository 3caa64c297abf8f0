"""Is a map faithful: does the answer change when the pixels it points at are taken away?

    deletion    pixels go, the most relevant first; the area under the target's probability, low is good
    insertion   pixels come, the most relevant first; the same area, high is good  (both Petsiuk et al. 2018)
    ROAD        pixels go and are filled in from their neighbours; how much more the answer suffers when the most
                relevant ones go than when the least relevant go, high is good  (Rong et al. 2022)

and does it depend on the model at all (`randomised`, Adebayo et al. 2018)? A map means something only when it beats
`control_maps`, which know neither model nor picture: smooth noise, and a blob in the middle.

All pixels are those of the faces as the model gets them, before they are enlarged for it (48 x 48 for FER2013), so
that models with different inputs are measured by the same changes. Faces, maps and targets are on the CPU, where they
are changed; the model is asked wherever it is.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import spsolve
from scipy.stats import rankdata
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from ferlib.errors import UserError
from ferlib.explain.map_tools import to_unit_range
from ferlib.models.base import FaceModel
from ferlib.models.inference import faces_at_once, run_model
from ferlib.models.preprocess import Preprocess, resize
from ferlib.utils.devices import device_of

STEPS = 10
SHARES = (0.3, 0.6)  # of the pixels taken away in ROAD
BATCH = 128  # faces
SEED = 0  # of noise, ties and new weights
CONTROLS = ("random", "centre")


def control_maps(kind: str, count: int, size: int) -> Tensor:
    """Maps (count, size, size) in 0..1 that know nothing.

    Args:
        kind: "random" (7 x 7 noise enlarged, as smooth as a CAM) or "centre" (one Gaussian blob in the middle, σ a
            quarter of the side).
        count: how many.
        size: side in pixels.

    Raises:
        ValueError: unknown kind.
    """
    if kind == "random":
        noise = torch.randn(count, 1, 7, 7, generator=torch.Generator().manual_seed(SEED))
        return to_unit_range(F.interpolate(noise, (size, size), mode="bicubic", align_corners=False)[:, 0])
    if kind == "centre":
        place = (torch.arange(size) + 0.5) / size - 0.5
        blob = torch.exp(-(place[:, None].square() + place.square()) / (2 * 0.25**2))
        return to_unit_range(blob[None]).repeat(count, 1, 1)
    raise UserError(f"unknown control {kind!r}, expected one of {', '.join(CONTROLS)}")


def target_probabilities(model: FaceModel, faces: Tensor, targets: Tensor) -> Tensor:
    """Probability (B,) of the targets (B,) for faces (B, C, S, S) in 0..1, as `Preprocess.scale` gives them.

    At temperature 1, so that calibrating a model changes no score.
    """
    preprocess = Preprocess.of(model.config)

    def probabilities(x: Tensor) -> Tensor:
        return model(preprocess.normalise(x)).softmax(dim=1)

    found = torch.cat(list(run_model(model, probabilities, faces, faces_at_once(model, BATCH)))).cpu()
    return found.gather(1, targets[:, None])[:, 0]


def ranks(maps: Tensor) -> Tensor:
    """Place of every pixel when sorted by relevance, 0 the most relevant, (B, S, S) int64; ties in random order."""
    flat = maps.flatten(1)
    shuffle = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(SEED))
    order = shuffle[flat[:, shuffle].argsort(dim=1, descending=True, stable=True)]
    return torch.empty_like(order).scatter_(1, order, torch.arange(flat.shape[1]).expand_as(order)).view(maps.shape)


def deletion_curve(model: FaceModel, faces: Tensor, maps: Tensor, targets: Tensor, steps: int = STEPS) -> Tensor:
    """The target's probability (B, steps + 1) as ever more pixels become the face's mean grey.

    Args:
        model: any model.
        faces: (B, C, S, S) in 0..1.
        maps: (B, s, s), higher is more relevant; scaled to the faces' side.
        targets: classes (B,).
        steps: into which the pixels are divided.
    """
    return _curve(model, faces, faces.mean(dim=(2, 3), keepdim=True).expand_as(faces), maps, targets, steps)


def insertion_curve(model: FaceModel, faces: Tensor, maps: Tensor, targets: Tensor, steps: int = STEPS) -> Tensor:
    """The target's probability (B, steps + 1) as ever more pixels of a blurred face become sharp.

    σ of the blur is an eighth of the face's side; arguments as in `deletion_curve`.
    """
    sigma = faces.shape[-1] / 8
    blurred = gaussian_blur(faces, [2 * (faces.shape[-1] // 2) - 1] * 2, [sigma, sigma])
    return _curve(model, blurred, faces, maps, targets, steps)


def _curve(model: FaceModel, start: Tensor, end: Tensor, maps: Tensor, targets: Tensor, steps: int) -> Tensor:
    place = ranks(_of_side(maps, faces=start))[:, None]
    pixels = place[0].numel()
    pictures = [torch.where(place < round(step / steps * pixels), end, start) for step in range(steps + 1)]
    scores = target_probabilities(model, torch.cat(pictures), targets.repeat(steps + 1))
    return scores.view(steps + 1, -1).T


def _of_side(maps: Tensor, faces: Tensor) -> Tensor:
    """Maps (B, s, s) at the side of the faces (B, C, S, S), -> (B, S, S)."""
    return resize(maps[:, None], faces.shape[-1])[:, 0]


def area_under(curve: Tensor) -> Tensor:
    """Mean height (B,) of curves (B, steps + 1) over 0..1, by the trapezoid rule."""
    return (curve[:, 1:] + curve[:, :-1]).mean(dim=1) / 2


def fill_in(face: np.ndarray, gone: np.ndarray, noise: float = 0.01) -> np.ndarray:
    """Noisy linear imputation (Rong et al. 2022, section 4.2): every missing pixel is the mean of its neighbours.

    Direct neighbours weigh twice what diagonal ones do; the linear system over all missing pixels is solved exactly.

    Args:
        face: (C, S, S).
        gone: (S, S) bool, the missing pixels.
        noise: standard deviation of noise on what is filled in, so that it is not told by its smoothness.

    Returns:
        (C, S, S), equal to the face where nothing is missing.
    """
    height, width = gone.shape
    rows, columns = np.nonzero(gone)
    number = np.full(gone.shape, -1)
    number[rows, columns] = np.arange(len(rows))
    total, right = np.zeros(len(rows)), np.zeros((len(rows), len(face)))
    entries: list[tuple[np.ndarray, np.ndarray, float | None]] = [(np.arange(len(rows)), np.arange(len(rows)), None)]
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            weight = (0, 2, 1)[abs(down) + abs(across)]
            y, x = rows + down, columns + across
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width) & (weight > 0)
            here, y, x = np.flatnonzero(inside), y[inside], x[inside]
            total[here] += weight
            known = ~gone[y, x]
            right[here[known]] += weight * face[:, y[known], x[known]].T
            entries.append((here[~known], number[y[~known], x[~known]], -float(weight)))
    values = np.concatenate([total if v is None else np.full(len(i), v) for i, _, v in entries])
    places = tuple(np.concatenate([entry[axis] for entry in entries]) for axis in (0, 1))
    filled = face.copy()
    if len(rows):
        solved = spsolve(csc_matrix((values, places), shape=(len(rows),) * 2), right).reshape(len(rows), -1)
        filled[:, rows, columns] = (solved + noise * np.random.default_rng(SEED).standard_normal(solved.shape)).T
    return filled


def road(model: FaceModel, faces: Tensor, maps: Tensor, targets: Tensor) -> Tensor:
    """ROAD (B,): half the target's probability without the least relevant pixels minus without the most relevant.

    The mean over `SHARES` of the pixels taken away; arguments as in `deletion_curve`.
    """
    place = ranks(_of_side(maps, faces)).numpy()
    pixels = place[0].size
    pictures = [
        fill_in(face.numpy(), own < share * pixels if most else own >= (1 - share) * pixels)
        for most in (True, False)
        for share in SHARES
        for face, own in zip(faces, place, strict=True)
    ]
    changed = torch.from_numpy(np.stack(pictures)).float()
    scores = target_probabilities(model, changed, targets.repeat(2 * len(SHARES))).view(2, len(SHARES), -1)
    return (scores[1] - scores[0]).mean(dim=0) / 2


def randomised(model: FaceModel, part: str, faces: Tensor) -> FaceModel:
    """A copy of the model, on the same device, with new random weights in a part of it; the same on every device.

    Args:
        model: any model, left as it is.
        part: "classifier" (the last layer), or "all" (every layer that knows how to draw its weights anew).
        faces: (B, C, S, S) in 0..1, to which the batch norms of an "all" copy are fitted: else its maps would be flat.

    Raises:
        UserError: there is no such layer.
    """
    # what is copied in inference mode could not be explained by gradients
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]), torch.no_grad():
        copied = copy.deepcopy(model).cpu().eval()
        layers: list[nn.Module] = {"classifier": list(copied.classifier.modules()), "all": list(copied.modules())}[part]
        torch.manual_seed(SEED)
        resets = [reset for layer in layers if callable(reset := getattr(layer, "reset_parameters", None))]
        if not resets:
            raise UserError(f"no layer of this model's {part} can draw its weights anew")
        for reset in resets:
            reset()
        if part == "all":
            norms = [layer for layer in layers if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
            for norm in norms:
                norm.train().momentum = None  # the average of what it sees
            copied(Preprocess.of(model.config).normalise(faces))
        return copied.eval().to(device_of(model))


def rank_correlations(first: Tensor, second: Tensor) -> np.ndarray:
    """Spearman's correlation of pairs of maps (B, S, S), -> (B,); 0 where one is flat."""
    a, b = (rankdata(maps.flatten(1).numpy(), axis=1) for maps in (first, second))
    a, b = (ranked - ranked.mean(axis=1, keepdims=True) for ranked in (a, b))
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), size, out=np.zeros(len(a)), where=size > 0)
