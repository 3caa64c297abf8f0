"""Two models on the same test faces: the difference of their metrics with intervals, and McNemar's test.

    python benchmarks/paired.py convcut_ferplus ferlib-l --data ferplus --out results/paired.json
    python benchmarks/paired.py convcut_ferplus ferlib-l SEED_2 SEED_3 --data ferplus \\
        --out results/ferlib-l_seeds.json --answers results/ferlib-l_seeds.npz

The second may be one model or several of the same recipe, each with a seed of its own. What is resampled is the faces
(or people, where they are known), for both models alike, and the seeds; McNemar's test looks at one seed at a time.
"""

import argparse
from pathlib import Path

import numpy as np
from machine import machine, typed_command

from ferlib.data.dataset import FaceDataset
from ferlib.data.registry import load_dataset
from ferlib.evaluation.bootstrap import Resampling, difference, intervals, people_in
from ferlib.evaluation.compare import p_value_between
from ferlib.evaluation.evaluate import predict_dataset
from ferlib.models.registry import load_model
from ferlib.utils.atomic import atomic_write, write_json


def paired(test: FaceDataset, first: np.ndarray, seconds: np.ndarray) -> dict:
    """Metrics of both models, means over the second's seeds, and the second's less the first's.

    Args:
        test: the faces.
        first: predicted classes, (N,).
        seconds: predicted classes of every seed, (S, N).
    """
    draws, labels = Resampling(test, len(seconds)), test.labels().numpy()
    one, other = draws.measure([first] * len(seconds)), draws.measure(list(seconds))
    return {
        "faces": len(test),
        "first": intervals(one[0].mean(axis=0), one[1]),
        "second": intervals(other[0].mean(axis=0), other[1]),
        "second_by_seed": other[0].tolist(),
        "second_minus_first": difference(other, one),
        "mcnemar": [p_value_between(labels, first, second, people_in(test)) for second in seconds],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", help="a released model or a model's folder")
    parser.add_argument("second", nargs="+", help="another, or several of one recipe")
    parser.add_argument("--data", required=True, metavar="SET")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    parser.add_argument("--answers", type=Path, metavar="FILE.npz", help="keep the classes that each predicts")
    options = parser.parse_args()
    test, names = load_dataset(options.data).split("test"), [options.first, *options.second]
    found = (predict_dataset(load_model(name), test, classes=test.classes) for name in names)
    answers = np.stack([probabilities.argmax(axis=1) for probabilities in found]).astype(np.uint8)
    if options.answers:
        with atomic_write(options.answers) as partial, partial.open("wb") as file:
            np.savez_compressed(file, models=names, answers=answers)
    write_json(
        options.out,
        {"command": typed_command(), **machine(), "models": names, "data": options.data}
        | paired(test, answers[0], answers[1:]),
    )


if __name__ == "__main__":
    main()
