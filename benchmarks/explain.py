"""Chapter 5's tables: where the maps lie on real and on synthetic faces, whether they are faithful, and beside
controls.

    python benchmarks/explain.py regions removal faithfulness sanity drawn --work runs/explain --out results \\
        --models convcut_ferplus ivsa_fer2013

Real faces are those of FERPlus PrivateTest (the test rows of FER2013 too, so no model here was trained on them) in
which the detector finds a face, up to --per-class of every class, drawn at random. Each model explains the
class that it predicts. All maps are compared at the faces' own 48 x 48 pixels; where a model crops, it sees nothing of
the border and its maps are zero there. Intervals: 95 %, bootstrap over faces. Maps and scores are kept in --work, so an
interrupted run goes on where it stopped. Landmarks: iBUG 300-W, for non-commercial research only.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from ferlib.data.dataset import FaceDataset
from ferlib.data.registry import load_dataset
from ferlib.detection.faces import detect_faces
from ferlib.detection.landmarks import find_landmarks
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
from ferlib.explain import METHODS
from ferlib.explain.faithfulness import (
    CONTROLS,
    SHARES,
    STEPS,
    area_under,
    control_maps,
    deletion_curve,
    fill_in,
    insertion_curve,
    randomised,
    rank_correlations,
    road,
    target_probabilities,
)
from ferlib.explain.intervals import as_record, difference, mean_intervals
from ferlib.explain.methods import explain, methods_of
from ferlib.labels import SYNTHETIC
from ferlib.models.base import FaceModel
from ferlib.models.preprocess import Preprocess, resize
from ferlib.models.registry import load_model
from ferlib.release.onnx_export import export_onnx
from ferlib.runtime.session import open_session
from ferlib.synthetic.render import MOVED_PARTS, Identity, Scene, render, sample_units
from ferlib.utils.commit import commit

SIDE = 48
BATCH = 32
SCORE_CAM = "scorecam"  # a prediction a channel: for synthetic faces and the app, not for these tables


def kept(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `make` gives, computed once and kept in a file."""
    if not path.exists():
        start = time.perf_counter()
        made = {name: np.ascontiguousarray(value) for name, value in make().items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(made, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").rename(path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s", flush=True)
    return load_file(path)


def find_parts(data: FaceDataset, per_class: int) -> dict[str, np.ndarray]:
    """Faces (row in the data, label) whose landmarks are found and their parts (N, 48, 48); and how many were tried."""
    rng = np.random.default_rng(0)
    labels = data.frame["label"].to_numpy()
    rows, parts, tried = [], [], np.zeros(len(data.classes), np.int64)
    for label in range(len(data.classes)):
        found = 0
        for row in rng.permutation(np.flatnonzero(labels == label)):
            if found == per_class:
                break
            tried[label] += 1
            face = data.pixels[int(row), 0].numpy()
            picture = np.repeat(face[..., None], 3, axis=2)
            hits = detect_faces(picture)
            if hits:
                best = max(hits, key=lambda hit: hit.score)
                rows.append(row)
                parts.append(landmark_regions(find_landmarks(picture, best), SIDE))
                found += 1
    return {"rows": np.array(rows), "labels": labels[rows], "regions": np.stack(parts), "tried": tried}


def maps_of(model: FaceModel, pixels: Tensor, method: str, targets: Tensor) -> Tensor:
    """Maps (N, 48, 48) of faces (N, C, S, S) uint8, or a control."""
    if method in CONTROLS:
        return control_maps(method, len(pixels), SIDE)
    preprocess = Preprocess.of(model.config)
    batches = zip(pixels.split(BATCH), targets.split(BATCH), strict=True)
    maps = [preprocess.whole_face(explain(model, preprocess(x), method, t)[1]) for x, t in batches]
    return resize(torch.cat(maps)[:, None], SIDE)[:, 0].clamp_min(0)


def predictions(model: FaceModel, pixels: Tensor) -> Tensor:
    preprocess = Preprocess.of(model.config)
    with torch.inference_mode():
        return torch.cat([model(preprocess(x)).argmax(dim=1) for x in pixels.split(BATCH)])


def table_methods(model: FaceModel, wanted: Sequence[str] | None = None) -> list[str]:
    """Those of the wanted methods that the model has, all but Score-CAM by default, then the controls."""
    own = [name for name in methods_of(model) if (name in wanted if wanted else name != SCORE_CAM)]
    return [*CONTROLS, *own]


class Exported(nn.Module):
    """A model run by onnxruntime: the same logits, and on one core a few times faster."""

    def __init__(self, model: FaceModel, path: Path, faces: Tensor):
        super().__init__()
        if not path.exists():
            export_onnx(model, path)
        self.config, self.session = model.config, open_session(path)
        x = Preprocess.of(model.config).normalise(faces)
        with torch.inference_mode():
            assert torch.allclose(self(x), model(x), atol=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.session.run(None, {"image": x.numpy()})[0])


@dataclass(frozen=True)
class Study:
    """One model on the real faces; `folder` keeps what it has computed."""

    model: FaceModel
    pixels: Tensor
    targets: Tensor
    folder: Path
    methods: list[str]

    def map(self, method: str) -> np.ndarray:
        def make() -> dict[str, np.ndarray]:
            return {"maps": maps_of(self.model, self.pixels, method, self.targets).numpy()}

        return kept(self.folder / f"maps_{method}.safetensors", make)["maps"]

    def maps(self) -> dict[str, np.ndarray]:
        return {method: self.map(method) for method in self.methods}

    def exported(self, faces: Tensor) -> Exported:
        return Exported(self.model, self.folder / "model.onnx", faces[:16])

    def removal(self, regions: np.ndarray, names: np.ndarray) -> dict:
        faces = Preprocess.of(self.model.config).scale(self.pixels)
        return removal_table(self.exported(faces), faces, regions, self.targets, names)

    def faithfulness(self, names: np.ndarray) -> dict:
        faces, curves = Preprocess.of(self.model.config).scale(self.pixels), {}
        quick = self.exported(faces)
        for method, maps in self.maps().items():

            def make(maps: np.ndarray = maps) -> dict[str, np.ndarray]:
                return scores_of(quick, faces, torch.from_numpy(maps), self.targets)

            curves[method] = kept(self.folder / f"scores_{method}.safetensors", make)
        whole = target_probabilities(quick, faces, self.targets)
        return {"probability": as_record(whole.numpy()), "methods": faithfulness_table(curves, names)}


def shares_record(energy: np.ndarray, area: np.ndarray) -> dict:
    """Energy (N, 6) and areas (N, 6) of the parts -> per part {share, low, high, relative}."""
    found = mean_intervals(energy).T  # (6, 3)
    relative = found[:, 0] / area[~np.isnan(energy).any(axis=1)].mean(axis=0)
    return {
        name: dict(zip(("share", "low", "high"), own.round(5).tolist(), strict=True)) | {"relative": round(float(r), 4)}
        for name, own, r in zip(REGIONS, found, relative, strict=True)
    }


def regions_table(model: FaceModel, classes: tuple[str, ...], truth: np.ndarray, regions: np.ndarray, maps: dict,
                  predicted: np.ndarray) -> dict:  # fmt: skip
    """Where the maps of one model lie: overall, per class, right against wrong, and the papers' claims."""
    area, above = areas(regions), above_the_eyes(regions)
    names = np.array(classes)[truth]
    right = names == np.array(model.config.classes)[predicted]
    table = {"accuracy": float(right.mean()), "methods": {}}
    for method, own in maps.items():
        energy, points = energies(own, regions), pointing(own, regions)
        hair = np.where(above, own, 0).sum(axis=(1, 2)) / np.maximum(own.sum(axis=(1, 2)), 1e-12)
        hair[np.isnan(energy).any(axis=1)] = np.nan
        neutral, sad = names == "neutral", names == "sadness"
        table["methods"][method] = {
            "empty_maps": int((points < 0).sum()),
            "energy": shares_record(energy, area),
            "pointing": {
                name: as_record(np.where(points < 0, np.nan, points == i)) for i, name in enumerate(REGIONS)
            },
            "per_class": {
                name: {"faces": int((names == name).sum())} | shares_record(energy[names == name], area[names == name])
                for name in classes
                if (names == name).sum() > 1
            },
            "right": shares_record(energy[right], area[right]),
            "wrong": shares_record(energy[~right], area[~right]),
            "claims": {
                "eyes, neutral minus the others": difference(energy[neutral, EYES], energy[~neutral, EYES]),
                "mouth, sadness minus the others": difference(energy[sad, MOUTH], energy[~sad, MOUTH]),
                "eyes minus mouth, neutral": as_record(energy[neutral, EYES] - energy[neutral, MOUTH]),
                "mouth minus eyes, sadness": as_record(energy[sad, MOUTH] - energy[sad, EYES]),
                "above the eyes, outside the face": as_record(hair) | {
                    "relative": round(float(np.nanmean(hair) / above.mean()), 4)
                },
            },
        }  # fmt: skip
    return table


def faithfulness_table(curves: dict[str, dict[str, np.ndarray]], names: np.ndarray) -> dict:
    """Scores of every map with intervals, what it gains on the centre blob face by face, and scores per class."""
    table = {}
    for method, own in curves.items():
        scores = {name: own[name] for name in ("deletion", "insertion", "road")}
        gains = {name: scores[name] - curves["centre"][name] for name in scores}
        table[method] = {
            **{name: as_record(values) for name, values in scores.items()},
            "minus_centre": {name: as_record(values) for name, values in gains.items()},
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


def removal_table(model: nn.Module, faces: Tensor, regions: np.ndarray, targets: Tensor, names: np.ndarray) -> dict:
    """What the answer owes to a part: how far its probability falls when the part is filled in from around it."""
    whole, drops = target_probabilities(model, faces, targets), {}
    for place, part in enumerate(REGIONS):
        filled = [fill_in(face, own == place) for face, own in zip(faces.numpy(), regions, strict=True)]
        drops[part] = (whole - target_probabilities(model, torch.from_numpy(np.stack(filled)), targets)).numpy()
    table = {part: as_record(values) for part, values in drops.items()}
    per_class = {
        str(name): {part: as_record(values[names == name]) for part, values in drops.items()}
        for name in np.unique(names)
    }
    return {"probability": as_record(whole.numpy()), "drops": table, "per_class": per_class}


def scores_of(model: nn.Module, faces: Tensor, maps: Tensor, targets: Tensor) -> dict[str, np.ndarray]:
    deletion = deletion_curve(model, faces, maps, targets)
    insertion = insertion_curve(model, faces, maps, targets)
    return {
        "deletion": area_under(deletion).numpy(),
        "insertion": area_under(insertion).numpy(),
        "road": road(model, faces, maps, targets).numpy(),
        "deletion_curve": deletion.numpy(),
        "insertion_curve": insertion.numpy(),
    }


def draw_faces(per_class: int) -> dict[str, np.ndarray]:
    """Synthetic faces (N, 48, 48, 3) with labels, parts (N, 48, 48), and which parts moved (N, 6), neutral left out."""
    rng, out = np.random.default_rng(0), {"pixels": [], "labels": [], "regions": [], "moved": []}
    for label, name in enumerate(SYNTHETIC):
        for _ in range(per_class if name != "neutral" else 0):
            face = render(sample_units(name, rng), Identity.sample(rng), Scene.sample(rng), SIDE, name)
            moved = {part for unit in face.action_units for part in MOVED_PARTS[unit]}
            out["pixels"].append(face.pixels)
            out["labels"].append(label)
            out["regions"].append(mask_regions(face.masks))
            out["moved"].append([part in moved for part in REGIONS])
    return {name: np.stack(values) for name, values in out.items()}


def drawn_table(model: FaceModel, drawn: dict[str, np.ndarray], methods: list[str]) -> dict:
    """How much energy falls on the parts whose action units moved, and on the parts that did not."""
    photos = torch.from_numpy(drawn["pixels"]).permute(0, 3, 1, 2)
    chosen = predictions(model, photos)
    area, names = areas(drawn["regions"]), np.array(SYNTHETIC)[drawn["labels"]]
    still = ~drawn["moved"].astype(bool)
    still[:, 4:] = False
    share = {"moved": (area * drawn["moved"]).sum(axis=1), "still": (area * still).sum(axis=1)}
    table = {"area": {kind: round(float(values.mean()), 5) for kind, values in share.items()}, "methods": {}}
    for method in methods:
        own = maps_of(model, photos, method, chosen).numpy()
        energy, points = energies(own, drawn["regions"]), pointing(own, drawn["regions"])
        on = {"moved": (energy * drawn["moved"]).sum(axis=1), "still": (energy * still).sum(axis=1)}
        for values in on.values():
            values[points < 0] = np.nan
        hit = np.where(points < 0, np.nan, drawn["moved"][np.arange(len(points)), points])
        table["methods"][method] = {
            **{kind: as_record(values) for kind, values in on.items()},
            "relative": {kind: round(float(np.nanmean(on[kind]) / share[kind].mean()), 4) for kind in on},
            "pointing": as_record(hit),
            "per_class": {str(name): as_record(on["moved"][names == name]) for name in np.unique(names)},
        }
    return table


def sanity_table(model: FaceModel, pixels: Tensor, methods: list[str]) -> dict:
    """Rank correlation of a model's maps with those of its randomised copies, same faces and classes."""
    faces, targets = Preprocess.of(model.config).scale(pixels), predictions(model, pixels)
    copies = {part: randomised(model, part, faces) for part in ("classifier", "all")}
    config, table = model.config, {}
    edge = (config.downscale_to - config.input_size) // 2 if config.centre_crop else 0  # never seen: zero in all maps
    seen = slice(edge, SIDE - edge)
    for method in methods:
        first = maps_of(model, pixels, method, targets)
        table[method] = {
            part: as_record(
                rank_correlations(*(maps[:, seen, seen] for maps in (first, maps_of(other, pixels, method, targets))))
            )
            for part, other in copies.items()
        }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", choices=["regions", "removal", "faithfulness", "sanity", "drawn"])
    parser.add_argument("--work", required=True, type=Path, help="folder for what is kept between runs")
    parser.add_argument("--out", required=True, type=Path, help="folder of the JSON files")
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME[=FOLDER]")
    parser.add_argument("--methods", nargs="+", choices=METHODS, metavar="METHOD", help="default: all but scorecam")
    parser.add_argument("--root", help="where FERPlus is")
    parser.add_argument("--per-class", type=int, default=90)
    parser.add_argument("--drawn-per-class", type=int, default=50)
    parser.add_argument("--sanity-faces", type=int, default=64)
    options = parser.parse_args()

    models = dict(name.partition("=")[::2] for name in options.models)
    models = {name: load_model(folder or name) for name, folder in models.items()}
    data = load_dataset("ferplus", options.root).split("test")
    found = kept(options.work / "faces.safetensors", lambda: find_parts(data, options.per_class))
    pixels = data.pixels[torch.from_numpy(found["rows"])]
    truth, regions = found["labels"], found["regions"]
    rates = {
        name: {"found": int((truth == i).sum()), "tried": int(found["tried"][i])} for i, name in enumerate(data.classes)
    }
    head = {
        "data": "FERPlus PrivateTest",
        "faces": len(truth),
        "landmarks": rates,
        "landmark_rate": round(len(truth) / int(found["tried"].sum()), 4),
        "area": dict(zip(REGIONS, areas(regions).mean(axis=0).round(5).tolist(), strict=True)),
        "runs": 1,
        "commit": commit(),
    }
    drawn = draw_faces(options.synthetic_per_class)
    notes = {
        "regions": {},
        "removal": {},
        "faithfulness": {"steps": STEPS, "road_shares": SHARES},
        "sanity": {"faces": min(options.sanity_faces, len(pixels)), "measure": "Spearman's rank correlation"},
        "drawn": {"data": "synthetic faces, neutral left out", "faces": len(drawn["labels"])},
    }
    tables: dict[str, dict] = {name: {} for name in options.tables}
    for name, model in models.items():
        methods = table_methods(model, options.methods)
        study = Study(model, pixels, predictions(model, pixels), options.work / name, methods)
        for table in tables:
            if table == "regions":
                values = regions_table(model, data.classes, truth, regions, study.maps(), study.targets.numpy())
            elif table == "faithfulness":
                values = study.faithfulness(np.array(data.classes)[truth])
            elif table == "removal":
                values = study.removal(regions, np.array(data.classes)[truth])
            elif table == "sanity":
                values = sanity_table(model, pixels[:: max(len(pixels) // options.sanity_faces, 1)], methods)
            else:
                values = drawn_table(model, drawn, methods)
            tables[table][name] = values
            command = f"python benchmarks/explain.py {table} --work runs/explain --out results --models "
            command += " ".join(models) + (f" --methods {' '.join(options.methods)}" if options.methods else "")
            result = {"command": command} | head | notes[table] | {"models": tables[table]}
            (options.out / f"explain_{table}.json").write_text(json.dumps(result, indent=1) + "\n")
            print(f"{name}: {table} done", flush=True)


if __name__ == "__main__":
    main()
