"""Do our own additions to Conv-cut earn their place? Each against the same recipe without it, three seeds, FERPlus.

    python benchmarks/members.py --trunk-weights tf_efficientnet_lite0.safetensors --work runs/members \
        --out results/members.json

Two groups, each with its own reference:

- frozen: `convcut_ferplus_frozen`, hard targets, and the same with the trunk's maps of two depths;
- fine-tuned: `convcut_ferplus` on a small budget (part of the training rows, smaller faces, few epochs), and the same
  with layer-wise learning-rate decay, or with flip consistency. A budget this small says whether an addition helps
  early on; it cannot say that it would not help later.

Judged on PublicTest at the last epoch; the test rows are not touched, so nothing here can be tuned on them. Every
(variant, seed) leaves a run folder and is not run again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ferlib.data.catalogue import load_dataset
from ferlib.evaluation.evaluate import commit
from ferlib.models.zoo import build_model
from ferlib.training.loop import fit
from ferlib.training.recipes import RECIPES

FROZEN = {"epochs": 10, "targets": "hard", "detail_layers": 1}
FINE_TUNED = {"epochs": 3, "input_size": 64, "source_size": 48, "detail_layers": 1}
VARIANTS = {  # name: (reference, recipe, settings)
    "frozen": ("frozen", "convcut_ferplus_frozen", FROZEN),
    "frozen, two depths": ("frozen", "convcut_ferplus_frozen", FROZEN | {"two_depths": True}),
    "fine-tuned": ("fine-tuned", "convcut_ferplus", FINE_TUNED),
    "fine-tuned, layer decay 0.7": ("fine-tuned", "convcut_ferplus", FINE_TUNED | {"layer_decay": 0.7}),
    "fine-tuned, flip consistency": ("fine-tuned", "convcut_ferplus", FINE_TUNED | {"flip_consistency": 1.0}),
}
METRICS = ("accuracy", "balanced_accuracy", "macro_f1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trunk-weights", required=True, help="tf_efficientnet_lite0.safetensors")
    parser.add_argument("--work", required=True, type=Path, help="folder of the runs")
    parser.add_argument("--out", required=True, type=Path, help="JSON of the table")
    parser.add_argument("--root", help="where FERPlus is")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--faces", type=int, default=8000, help="training rows of the fine-tuned group")
    options = parser.parse_args()

    data, rows = load_dataset("ferplus", options.root), []
    training = np.flatnonzero(data.frame["split"] == "train")
    part = np.random.default_rng(0).permutation(training)[: options.faces]
    kept = (data.frame["split"] != "train").to_numpy(copy=True)
    kept[part] = True
    small = data.subset(kept)
    for seed in options.seeds:
        for name in options.variants:
            reference, recipe_name, settings = VARIANTS[name]
            recipe = replace(RECIPES[recipe_name].override(settings), seed=seed)
            out = options.work / f"{name.replace(', ', '-').replace(' ', '_')}-{seed}"
            history = pd.read_csv(out / "history.csv") if (out / "history.csv").exists() else pd.DataFrame()
            if len(history) < recipe.epochs:
                torch.manual_seed(seed)
                model = build_model(recipe.config, options.trunk_weights)
                history = fit(model, small if reference == "fine-tuned" else data, recipe, out, resume=True)
            last = history.iloc[-1]
            rows.append(
                {"variant": name, "reference": reference, "seed": seed, "seconds": float(history["seconds"].sum())}
                | {key: float(last[key]) for key in METRICS}
            )
            result = {
                "command": f"python benchmarks/members.py --faces {options.faces}",
                "split": "PublicTest (validation), last epoch",
                "settings": {name: VARIANTS[name] for name in options.variants},
                "rows": rows,
                "commit": commit(),
            }
            options.out.write_text(json.dumps(result, indent=1) + "\n")
            figures = "  ".join(f"{key} {last[key]:.4f}" for key in METRICS)
            print(f"{name:<30} seed {seed}  {figures}", flush=True)


if __name__ == "__main__":
    main()
