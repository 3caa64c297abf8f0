"""Bring the finished runs of a study from one machine to another without their networks' weights.

    python benchmarks/finished_runs.py pack runs/methods runs.zip
    python benchmarks/finished_runs.py unpack runs.zip runs/methods

`pack` takes of every finished run its recipe, its history, what was predicted after every epoch, and the test
probabilities of the network that was kept. Then `ferlib reproduce methods --work runs/methods` makes the table from
them anywhere. It also times every row's network; times do not depend on weights, so `unpack` builds each network with
random ones.
"""

import argparse
import json
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path

from ferlib.data.dataset import FaceDataset
from ferlib.data.label_noise import flipped_fraction
from ferlib.data.registry import load_dataset
from ferlib.experiments.runner import recorded_name, test_probabilities, untrained
from ferlib.release.release import without_places
from ferlib.training.recipes import read_recipe

CARRIED = ("*.json", "*.csv", "seen/*.npz", "test_probabilities.npy")


@lru_cache
def test_faces(name: str) -> FaceDataset:
    """The test split of a data set; of one with flipped labels that is the original's."""
    return load_dataset(flipped_fraction(name)[0]).split("test")


def pack(work: Path, target: Path) -> None:
    """Write the zip; a run that has not ended is left out."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for run in sorted(path.parent for path in work.glob("*/metrics.json")):  # written when a run has ended
            test_probabilities(run, test_faces(run.name.split("-")[0]))
            for path in (path for pattern in CARRIED for path in run.glob(pattern)):
                file.writestr(str(path.relative_to(work)), carried(path))


def carried(path: Path) -> bytes:
    """A file's content; of a run's environment without where things were on this machine."""
    if path.name != "environment.json":
        return path.read_bytes()
    starts = json.loads(path.read_text())
    for start in starts:
        start["arguments"] = [without_places(word) for word in start["arguments"]]
    return json.dumps(starts, indent=2).encode()


def unpack(source: Path, work: Path) -> None:
    """Lay the runs into a work folder, under the names that `reproduce` looks for, with networks of random weights."""
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as folder, zipfile.ZipFile(source) as file:
        file.extractall(folder)
        for run in Path(folder).iterdir():
            if not (target := work / name_from(run)).exists():
                untrained(read_recipe(run / "recipe.json"), None).save_pretrained(run / "best")
                run.rename(target)


def name_from(run: Path) -> str:
    """The name of a finished run's folder, from what the run recorded."""
    (first, *_), metrics = (json.loads((run / f"{name}.json").read_text()) for name in ("environment", "metrics"))
    recipe = read_recipe(run / "recipe.json")
    return recorded_name(recipe, first["data"], first["backbone_weights"], metrics["select_by"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    {"pack": pack, "unpack": unpack}[options.what](options.source, options.target)
