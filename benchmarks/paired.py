"""Two models on the same test faces: the difference of their metrics with intervals, and McNemar's test.

    python benchmarks/paired.py convcut_ferplus ferlib-l --data ferplus --out results/paired.json

What is resampled is the faces (or people, where they are known), for both models alike.
"""

import argparse
from pathlib import Path

from machine import machine, typed_command

from ferlib.data.registry import load_dataset
from ferlib.evaluation.bootstrap import people_in
from ferlib.evaluation.compare import compare
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
    answers = (predict_dataset(load_model(name), test, classes=test.classes) for name in options.models)
    first, second = (probabilities.argmax(axis=1) for probabilities in answers)
    found = compare(test.labels().numpy(), first, second, len(test.classes), people_in(test))
    gains = found.differences.rename(columns={"difference": "value"})[["value", "low", "high"]]
    write_json(
        options.out,
        {"command": typed_command(), **machine(), "models": options.models, "data": options.data, "faces": len(test)}
        | {"second_minus_first": gains.to_dict("index"), "mcnemar": found.p_value},
    )


if __name__ == "__main__":
    main()
