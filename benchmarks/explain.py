"""Chapter 6's tables: where the maps lie on real and on drawn faces, whether they are faithful, and controls.

    python benchmarks/explain.py regions removal faithfulness sanity drawn --work runs/explain --out results \\
        --models convcut_ferplus ivsa_fer2013

Real faces are those of FERPlus PrivateTest (the test rows of FER2013 too, so no model here was trained on them) in
which the landmarks of a face are found, up to --per-class of every class, drawn at random. Each model explains the
class that it predicts. All maps are compared at the faces' own 48 x 48 pixels; where a model crops, it sees nothing of
the border and its maps are zero there. Intervals: 95 %, bootstrap over faces. Maps and scores are kept in --work, so an
interrupted run goes on where it stopped.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from ferlib.data.registry import load_dataset
from ferlib.detection.regions import REGIONS, areas
from ferlib.evaluation.means import mean_estimate
from ferlib.explain import METHODS
from ferlib.explain.faithfulness import SHARES, STEPS, target_probabilities
from ferlib.explain.heat_maps import heat_maps, predicted_classes, table_methods
from ferlib.explain.regions import (
    faces_with_landmarks,
    regions_table,
    removal_table,
    synthetic_regions,
    synthetic_table,
)
from ferlib.explain.report import faithfulness_scores, faithfulness_table, sanity_table
from ferlib.models.base import FaceModel
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import load_model
from ferlib.release.onnx_export import export_onnx
from ferlib.runtime.session import open_session
from ferlib.training.features import content_key
from ferlib.utils.atomic import atomic_write, write_json
from ferlib.utils.commit import commit


def kept(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `make` gives, computed once and kept in a file."""
    if not path.exists():
        start = time.perf_counter()
        made = {name: np.ascontiguousarray(value) for name, value in make().items()}
        with atomic_write(path) as partial:
            save_file(made, partial)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s", flush=True)
    return load_file(path)


class Exported(FaceModel):
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
            return {"maps": heat_maps(self.model, self.pixels, method, self.targets).numpy()}

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
                return faithfulness_scores(quick, faces, torch.from_numpy(maps), self.targets)

            curves[method] = kept(self.folder / f"scores_{method}.safetensors", make)
        whole = target_probabilities(quick, faces, self.targets)
        return {"probability": mean_estimate(whole.numpy()), "methods": faithfulness_table(curves, names)}


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
    landmarks = options.work / f"faces_{options.per_class}.safetensors"
    found = kept(landmarks, lambda: faces_with_landmarks(data, options.per_class))
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
    drawn = synthetic_regions(options.drawn_per_class)
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
        key = content_key(model, data, model, options.per_class)  # of its weights and these faces
        study = Study(model, pixels, predicted_classes(model, pixels), options.work / f"{name}_{key}", methods)
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
                values = synthetic_table(model, drawn, methods)
            tables[table][name] = values
            command = f"python benchmarks/explain.py {table} --work runs/explain --out results --models "
            command += " ".join(models) + (f" --methods {' '.join(options.methods)}" if options.methods else "")
            result = {"command": command} | head | notes[table] | {"models": tables[table]}
            write_json(options.out / f"explain_{table}.json", result)
            print(f"{name}: {table} done", flush=True)


if __name__ == "__main__":
    main()
