"""Energy of heat maps on the parts of real and synthetic faces, and how much of the answer rests on each part.

Each model explains the class that it predicts. A fraction alone says little: beside it stand the part's area and the
controls. Intervals: 95 %, bootstrap over faces.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.detection.faces import detect_faces
from ferlib.detection.landmarks import SURE, find_landmarks
from ferlib.detection.regions import (
    EYES,
    MOUTH,
    REGIONS,
    above_the_eyes,
    areas,
    energies,
    landmark_regions,
    mask_regions,
    pointing,
)
from ferlib.evaluation.means import difference_estimate, fraction_estimate, mean_estimate, mean_intervals
from ferlib.explain.faithfulness import fill_in, target_probabilities
from ferlib.explain.heat_maps import SIDE, heat_maps, predicted_classes
from ferlib.labels import SYNTHETIC
from ferlib.models.base import FaceModel
from ferlib.synthetic.render import MOVED_PARTS, Identity, Scene, render, sample_units


def faces_with_landmarks(data: FaceDataset, per_class: int) -> dict[str, np.ndarray]:
    """Faces of a data set whose landmarks are found, up to `per_class` of every class, drawn at random.

    Returns:
        `rows`, positions in the data (N,); `labels` (N,); `regions`, the part of every pixel (N, 48, 48); `tried`, the
        faces of every class that were looked at (classes,).

    Raises:
        DataError: there is no such face.
    """
    rng = np.random.default_rng(0)
    labels = data.frame["label"].to_numpy()
    rows: list[int] = []
    parts: list[np.ndarray] = []
    tried = np.zeros(len(data.classes), np.int64)
    for label in range(len(data.classes)):
        found = 0
        for row in rng.permutation(np.flatnonzero(labels == label)):
            if found == per_class:
                break
            tried[label] += 1
            picture = data.pixels[int(row)].expand(3, -1, -1).permute(1, 2, 0).numpy().copy()  # grey three times
            hits = detect_faces(picture)
            if hits:
                landmarks = find_landmarks(picture, max(hits, key=lambda hit: hit.score))
                if landmarks.score >= SURE:
                    rows.append(row)
                    parts.append(landmark_regions(landmarks.points[:, :2] * (SIDE / len(picture)), SIDE))
                    found += 1
    if not rows:
        raise DataError(f"in none of {tried.sum():,} faces of {data.name} were landmarks found")
    return {"rows": np.array(rows), "labels": labels[rows], "regions": np.stack(parts), "tried": tried}


def synthetic_regions(per_class: int) -> dict[str, np.ndarray]:
    """Synthetic faces (N, 48, 48, 3) with labels, parts (N, 48, 48), and which parts moved (N, 6), neutral left out."""
    rng = np.random.default_rng(0)
    out: dict[str, list] = {"pixels": [], "labels": [], "regions": [], "moved": []}
    for label, name in enumerate(SYNTHETIC):
        for _ in range(per_class if name != "neutral" else 0):
            face = render(sample_units(name, rng), Identity.sample(rng), Scene.sample(rng), SIDE, name)
            moved = {part for unit in face.action_units for part in MOVED_PARTS[unit]}
            out["pixels"].append(face.pixels)
            out["labels"].append(label)
            out["regions"].append(mask_regions(face.masks))
            out["moved"].append([part in moved for part in REGIONS])
    return {name: np.stack(values) for name, values in out.items()}


def regions_table(
    model: FaceModel,
    classes: Sequence[str],
    truth: np.ndarray,
    regions: np.ndarray,
    maps: Mapping[str, np.ndarray],
    predicted: np.ndarray,
) -> dict:
    """Energy of one model's maps on every part: overall, per class, right against wrong, and the papers' claims.

    Args:
        model: that was explained.
        classes: of the data.
        truth: labels (N,), among the data's classes.
        regions: the part of every pixel (N, S, S).
        maps: method -> maps (N, S, S).
        predicted: classes (N,), among the model's.
    """
    area, above = areas(regions), above_the_eyes(regions)
    names = np.array(classes)[truth]
    right = names == np.array(model.config.classes)[predicted]
    table: dict[str, Any] = {"accuracy": float(right.mean()), "methods": {}}
    for method, own in maps.items():
        energy, points = energies(own, regions), pointing(own, regions)
        table["methods"][method] = {
            "empty_maps": int((points < 0).sum()),
            "energy": _energy_record(energy, area),
            "pointing": {
                name: fraction_estimate(np.where(points < 0, np.nan, points == i))
                for i, name in enumerate(REGIONS)
                if (points >= 0).any()
            },
            "per_class": {
                name: {"faces": int((names == name).sum())} | _energy_record(energy[names == name], area[names == name])
                for name in classes
                if (names == name).sum() > 1
            },
            "right": _energy_record(energy[right], area[right]),
            "wrong": _energy_record(energy[~right], area[~right]),
            "claims": _claims(own, energy, above, names),
        }
    return table


def removal_table(model: FaceModel, faces: Tensor, regions: np.ndarray, targets: Tensor, names: np.ndarray) -> dict:
    """Fall of the answer's probability when a part of the face is filled in from around it: what it owes to the part.

    Args:
        model: any model.
        faces: (N, C, S, S) in 0..1, see `Preprocess.scale`.
        regions: the part of every pixel (N, s, s), scaled to the faces' side.
        targets: classes (N,) whose probability is watched.
        names: the true classes' names (N,).
    """
    places = np.arange(side := faces.shape[-1]) * regions.shape[-1] // side
    regions = regions[:, places[:, None], places]
    whole, drops = target_probabilities(model, faces, targets), {}
    for place, part in enumerate(REGIONS):
        filled = [fill_in(face, own == place) for face, own in zip(faces.numpy(), regions, strict=True)]
        drops[part] = (whole - target_probabilities(model, torch.from_numpy(np.stack(filled)), targets)).numpy()
    table = {part: mean_estimate(values) for part, values in drops.items()}
    per_class = {
        str(name): {part: mean_estimate(values[names == name]) for part, values in drops.items()}
        for name in np.unique(names)
    }
    return {"probability": mean_estimate(whole.numpy()), "drops": table, "per_class": per_class}


def synthetic_table(model: FaceModel, drawn: Mapping[str, np.ndarray], methods: Sequence[str]) -> dict:
    """Energy on the parts whose action units moved, and on the parts that did not.

    Args:
        model: any model.
        drawn: from `synthetic_regions`.
        methods: see `table_methods`.
    """
    photos = torch.from_numpy(drawn["pixels"]).permute(0, 3, 1, 2)
    chosen = predicted_classes(model, photos)
    area, names = areas(drawn["regions"]), np.array(SYNTHETIC)[drawn["labels"]]
    still = ~drawn["moved"].astype(bool)
    still[:, 4:] = False
    share = {"moved": (area * drawn["moved"]).sum(axis=1), "still": (area * still).sum(axis=1)}
    table: dict[str, Any] = {
        "area": {kind: round(float(values.mean()), 5) for kind, values in share.items()},
        "methods": {},
    }
    for method in methods:
        own = heat_maps(model, photos, method, chosen).numpy()
        energy, points = energies(own, drawn["regions"]), pointing(own, drawn["regions"])
        on = {"moved": (energy * drawn["moved"]).sum(axis=1), "still": (energy * still).sum(axis=1)}
        there = points >= 0  # the map is not empty
        for values in on.values():
            values[~there] = np.nan
        hit = np.where(there, drawn["moved"][np.arange(len(points)), points], np.nan)
        table["methods"][method] = {
            **{kind: mean_estimate(values) for kind, values in on.items()},
            "relative": {kind: round(float(on[kind][there].mean() / share[kind][there].mean()), 4) for kind in on},
            "pointing": fraction_estimate(hit),
            "per_class": {str(name): mean_estimate(on["moved"][names == name]) for name in np.unique(names[there])},
        }
    return table


def _energy_record(energy: np.ndarray, area: np.ndarray) -> dict:
    """Energy (N, 6) and areas (N, 6) of the parts -> per part {share, low, high, relative to the area}.

    Faces whose map is empty are left out; {} where there is no other.
    """
    there = ~np.isnan(energy).any(axis=1)
    if not there.any():
        return {}
    found = mean_intervals(energy).T  # (6, 3)
    relative = found[:, 0] / area[there].mean(axis=0)
    return {
        name: dict(zip(("share", "low", "high"), own.round(5).tolist(), strict=True)) | {"relative": round(float(r), 4)}
        for name, own, r in zip(REGIONS, found, relative, strict=True)
    }


def _claims(maps: np.ndarray, energy: np.ndarray, above: np.ndarray, names: np.ndarray) -> dict[str, dict]:
    """Energies that the papers' texts speak of; without faces of the classes they speak of, the last one alone.

    Faces whose map is empty are left out; {} where there is no other.
    """
    there = ~np.isnan(energy).any(axis=1)
    if not there.any():
        return {}
    maps, energy, above, names = maps[there], energy[there], above[there], names[there]
    hair = np.where(above, maps, 0).sum(axis=(1, 2)) / maps.sum(axis=(1, 2))
    neutral, sad = names == "neutral", names == "sadness"
    claims: dict[str, dict] = {}
    if neutral.any() and sad.any():
        claims = {
            "eyes, neutral minus the others": {**difference_estimate(energy[neutral, EYES], energy[~neutral, EYES])},
            "mouth, sadness minus the others": {**difference_estimate(energy[sad, MOUTH], energy[~sad, MOUTH])},
            "eyes minus mouth, neutral": {**mean_estimate(energy[neutral, EYES] - energy[neutral, MOUTH])},
            "mouth minus eyes, sadness": {**mean_estimate(energy[sad, MOUTH] - energy[sad, EYES])},
        }
    relative = round(float(hair.mean() / above.mean()), 4)
    return claims | {"above the eyes, outside the face": {**mean_estimate(hair), "relative": relative}}
