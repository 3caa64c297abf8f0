"""Does our own addition to Conv-cut, the backbone's maps of two depths, earn its place? Three seeds, FERPlus.

    python benchmarks/members.py --backbone-weights tf_efficientnet_lite0.safetensors --work runs/members \
        --out results/members.json

The recipe is `convcut_ferplus_frozen` with hard targets, once with the backbone's last map and once with two. Judged on
PublicTest at the last epoch; the test rows are not touched. Every (variant, seed) leaves a run folder and is not run
again.

`results/members_removed.json` holds two additions that were built, measured in the same way on a fine-tuned backbone
(8,000 training faces of 64 px, 3 epochs), and removed: layer-wise learning-rate decay and the flip consistency of EAC.
Their code and the benchmark that measured them are in the commit that the file names.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from machine import typed_command

from ferlib.data.registry import load_dataset
from ferlib.evaluation.metrics import METRICS
from ferlib.experiments.runner import untrained
from ferlib.training.loop import fit
from ferlib.training.recipes import RECIPES
from ferlib.utils.commit import commit

FROZEN = {"epochs": 10, "targets": "hard", "detail_layers": 1}
VARIANTS = {"frozen": FROZEN, "frozen, two depths": FROZEN | {"two_depths": True}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone-weights", required=True, help="tf_efficientnet_lite0.safetensors")
    parser.add_argument("--work", required=True, type=Path, help="folder of the runs")
    parser.add_argument("--out", required=True, type=Path, help="JSON of the table")
    parser.add_argument("--root", help="where FERPlus is")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    options = parser.parse_args()

    data, rows = load_dataset("ferplus", options.root), []
    for seed in options.seeds:
        for name in options.variants:
            recipe = replace(RECIPES["convcut_ferplus_frozen"].override(VARIANTS[name]), seed=seed)
            out = options.work / f"{name.replace(', ', '-').replace(' ', '_')}-{seed}"
            history = fit(untrained(recipe, options.backbone_weights), data, recipe, out, resume=True)
            last = history.iloc[-1]
            rows.append(
                {"variant": name, "seed": seed, "seconds": float(history["seconds"].sum())}
                | {key: float(last[key]) for key in METRICS}
            )
            result = {
                "command": typed_command(),
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
