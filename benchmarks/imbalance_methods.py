"""The table of methods against class imbalance, see `ferlib.experiments.imbalance`: two sets, three seeds.

    python benchmarks/imbalance_methods.py --backbone-weights tf_efficientnet_lite0.safetensors --work runs/imbalance \
        --out results/imbalance

Every (data, method, seed) leaves a run in the work folder and is not run again; a stopped one goes on at its last
epoch. At the end, `--out`.json and .csv are made from what is there.
"""

import argparse
import time
from pathlib import Path

from ferlib.data.registry import load_dataset
from ferlib.experiments import imbalance
from ferlib.utils.atomic import write_json
from ferlib.utils.commit import commit

METHODS = [imbalance.PLAIN, *imbalance.imbalance_names()]  # as the table calls them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone-weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of runs and rows")
    parser.add_argument("--out", type=Path, required=True, help="results, without ending")
    parser.add_argument("--data", nargs="+", default=["ferplus", "facial_expressions"])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    sets = {name: imbalance.without_tiny_classes(load_dataset(name)) for name in options.data}
    print(*(f"{data}: {', '.join(data.classes)}" for data in sets.values()), sep="\n", flush=True)
    plans = [
        (data, method, seed)
        for seed in options.seeds  # a stopped comparison has whole seeds
        for data in sets
        for method in options.methods
        if method in imbalance.methods_for(sets[data])
    ]
    if lacking := sorted(sets.keys() - {data for data, _, _ in plans}):
        parser.error(f"none of these methods can be had on {', '.join(lacking)}")
    runs: dict[str, dict[str, dict[int, Path]]] = {name: {} for name in sets}
    for number, (data, method, seed) in enumerate(plans, start=1):
        began = time.perf_counter()
        recipe = imbalance.method_recipe(sets[data], method, seed, options.epochs)
        run = imbalance.run_method(sets[data], recipe, options.backbone_weights, options.work)
        runs[data].setdefault(method, {})[seed] = run
        print(f"{number}/{len(plans)} {data} {method} seed {seed} ({time.perf_counter() - began:.0f} s)", flush=True)
    reports = {name: imbalance.compare_methods(data, runs[name]) for name, data in sets.items()}
    write_json(
        options.out.with_suffix(".json"),
        {
            "name": "methods against class imbalance, Conv-cut's head on a frozen backbone",
            "protocol": (imbalance.__doc__ or "").split("\n\n", 1)[1].strip(),
            "commit": commit(),
            "backbone_weights": options.backbone_weights.name,
            "seeds": options.seeds,
            "epochs": options.epochs,
            "select_by": imbalance.SELECT_BY,
            "sets": reports,
        },
    )
    table = imbalance.imbalance_table(reports)
    table.to_csv(options.out.with_suffix(".csv"), index=False, float_format="%.5f")


if __name__ == "__main__":
    main()
