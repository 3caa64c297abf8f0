"""IVSA's contradictions, each reading under the same short schedule: which one validates best on FER2013?

    python benchmarks/ivsa_readings.py --work runs/ivsa_readings --out results/ivsa_readings.json

Every run changes one thing of the reference (`IVSAConfig()`), trains on the training rows and is judged on PublicTest
at its last epoch, centre crop; the test rows are not touched. The schedule is a one-cycle over a few epochs where the
paper has 100 with a plateau, and by default all stages have half their widths, so the figures say which reading learns
better early on, not how good IVSA gets. Every (reading, seed) leaves a run folder and is not run again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import typed_command

from ferlib.data.registry import load_dataset
from ferlib.experiments.runner import untrained
from ferlib.training.loop import fit
from ferlib.training.recipes import RECIPES
from ferlib.utils.commit import commit

READINGS: dict[str, dict[str, Any]] = {
    "reference": {},
    "kernel 3": {"kernel": 3},
    "sum": {"combine": "sum"},
    "literal": {"rescale": "literal"},
    "no rescaling": {"rescale": "none"},
    "rms pooling": {"l2": "rms"},
    "sum after MLP": {"sum_pools": "after"},
    "own norm": {"gamma": "own"},
    "before pool": {"block_place": "before"},
    "cbam": {"block": "cbam"},
    "plain": {"block": "none"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, type=Path, help="folder of the runs")
    parser.add_argument("--out", required=True, type=Path, help="JSON of the table")
    parser.add_argument("--root", help="where FER2013 is")
    parser.add_argument("--readings", nargs="*", default=list(READINGS), choices=list(READINGS), metavar="READING")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--widths", nargs="*", type=int, default=[32, 64, 128, 256])
    options = parser.parse_args()

    data, rows = load_dataset("fer2013", options.root), []
    settings = {"epochs": options.epochs, "schedule": "onecycle", "lr": 0.05, "widths": tuple(options.widths)}
    base = RECIPES["ivsa"].override(settings)
    for seed in options.seeds:
        for name in options.readings:
            recipe = replace(base.override(READINGS[name]), seed=seed)
            out = options.work / f"{name.replace(' ', '_')}-{seed}"
            last = fit(untrained(recipe, None), data, recipe, out, resume=True).iloc[-1]
            rows.append(
                {"reading": name, "changes": READINGS[name], "seed": seed}
                | {key: float(last[key]) for key in ("accuracy", "balanced_accuracy", "macro_f1", "train_loss")}
            )
            result = {
                "command": typed_command(),
                "split": "PublicTest (validation), last epoch, centre crop",
                "recipe": base.to_json(),
                "faces": {"train": len(data.split("train")), "validation": len(data.split("validation"))},
                "rows": rows,
                "commit": commit(),
            }
            options.out.write_text(json.dumps(result, indent=1) + "\n")
            print(f"{name:<16} seed {seed}  accuracy {last['accuracy']:.4f}  loss {last['train_loss']:.4f}", flush=True)


if __name__ == "__main__":
    main()
