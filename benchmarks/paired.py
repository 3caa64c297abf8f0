"""Two models on the same test faces: the difference of their metrics with intervals, and McNemar's test.

    python benchmarks/paired.py convcut_ferplus ferlib-l --data ferplus --out results/paired.json

What is resampled is the faces (or people, where they are known), for both models alike.
"""

import argparse
from pathlib import Path

from machine import machine, typed_command

from ferlib.data.registry import load_dataset
from ferlib.evaluation.bootstrap import RESAMPLES, Resampling, intervals
from ferlib.evaluation.compare import disagreements, mcnemar
from ferlib.evaluation.evaluate import predict_dataset
from ferlib.models.registry import load_model
from ferlib.utils.atomic import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs=2, metavar="MODEL", help="released models or model folders; second less first")
    parser.add_argument("--data", required=True, metavar="SET")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    options = parser.parse_args()
    test = load_dataset(options.data).split("test")
    first, second = (predict_dataset(load_model(name), test).argmax(axis=1) for name in options.models)
    draws = Resampling(test, 1, RESAMPLES)
    (before, before_drawn), (after, after_drawn) = draws.measure([first]), draws.measure([second])
    write_json(
        options.out,
        {"command": typed_command(), **machine(), "models": options.models, "data": options.data, "faces": len(test)}
        | {"second_minus_first": intervals((after - before).mean(axis=0), after_drawn - before_drawn)}
        | {"mcnemar": mcnemar(*disagreements(test.labels().numpy(), first, second))},
    )


if __name__ == "__main__":
    main()
