"""One job in a process of its own, whose largest resident memory in MB is printed last (Linux).

training_memory.py ivsa COUNT      trains IVSA at full width for ten steps with all of FER2013 in memory; COUNT of its
                                   validation faces are judged, 0 for all
training_memory.py cache COUNT     builds the feature cache of COUNT faces, 125 KB each
"""

import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from ferlib.data.dataset import FaceDataset
from ferlib.data.registry import load_dataset
from ferlib.data.synthetic import load_synthetic
from ferlib.models.registry import build_model, create_model
from ferlib.training.features import FeatureCache
from ferlib.training.loop import fit
from ferlib.training.recipes import RECIPES


def train_ivsa(judged: int) -> None:
    data = load_dataset("fer2013")
    split, place = data.frame["split"], data.frame.groupby("split").cumcount()
    few = split.ne("train") | (place < 640)
    if judged:
        few &= split.ne("validation") | (place < judged)
    with tempfile.TemporaryDirectory() as folder:
        recipe = RECIPES["ivsa"].override({"epochs": 1})
        fit(build_model(recipe.config), data.subset(few.to_numpy()), recipe, Path(folder) / "run")
    assert len(data) > 35_000  # all of it is in memory, and is still there


def build_cache(count: int) -> None:
    few = load_synthetic(2)
    rows = np.arange(count) % len(few)
    faces = FaceDataset(f"{count} faces", few.classes, few.frame.iloc[rows], few.pixels[torch.from_numpy(rows)])
    FeatureCache.build(
        create_model("convcut_none", backbone="tf_efficientnet_lite0", keep_stages=2), faces, batch_size=16
    )


if __name__ == "__main__":
    job, count = sys.argv[1:]
    (train_ivsa if job == "ivsa" else build_cache)(int(count))
    # not getrusage's ru_maxrss, which a process inherits from the one that started it
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(int(peak) / 1000)
