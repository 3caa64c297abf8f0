"""How often a 95 % bootstrap interval holds the truth: `python benchmarks/intervals.py` -> results/intervals.json.

Test sets are drawn from known confusion matrices: a made-up one of three classes, and that of the released model on
FERPlus (results/convcut_ferplus.json), whose rarest class has a handful of faces. Of each, 500 tests of several sizes.
"""

import json
from pathlib import Path

import numpy as np

from ferlib.evaluation.bootstrap import RESAMPLES, bootstrap_intervals
from ferlib.evaluation.metrics import METRICS, from_confusion
from ferlib.utils.commit import commit

ROOT = Path(__file__).parents[1]
TESTS = 500
LEVEL = 0.95


def covered(shares: np.ndarray, faces: int, seed: int = 0) -> dict[str, float]:
    """Fraction of simulated tests whose intervals hold the truth, for every metric.

    Args:
        shares: of every cell of the true confusion matrix (K, K), summing to 1.
        faces: of one test.
        seed: of the tests.
    """
    classes, rng = len(shares), np.random.default_rng(seed)
    truth = dict(zip(METRICS, from_confusion(shares[None])[0], strict=True))
    hits = dict.fromkeys(METRICS, 0)
    for test in range(TESTS):
        cells = rng.choice(classes**2, faces, p=shares.ravel())
        intervals = bootstrap_intervals(*np.divmod(cells, classes), classes, LEVEL, RESAMPLES, seed=test)
        for name, (low, high) in intervals.items():
            hits[name] += bool(low <= truth[name] <= high)
    return {name: count / TESTS for name, count in hits.items()}


def main() -> None:
    report = json.loads((ROOT / "results" / "convcut_ferplus.json").read_text())
    ferplus = np.array(report["confusion"]["counts"], float)
    sources = {
        "three classes, the smallest 12 %": (np.array([[60.0, 10, 5], [8, 30, 2], [4, 3, 8]]), (400, 3153)),
        "the released model on FERPlus": (ferplus, (400, report["faces"])),
    }
    rows = []
    for name, (counts, sizes) in sources.items():
        shares = counts / counts.sum()
        for faces in sizes:
            rarest = float(shares.sum(axis=1).min() * faces)
            rows.append({"source": name, "faces": faces, "expected_in_rarest_class": round(rarest, 1)}
                        | covered(shares, faces))  # fmt: skip
            print(rows[-1])
    result = {
        "command": "python benchmarks/intervals.py",
        "what": "fraction of simulated tests whose 95 % percentile bootstrap interval holds the truth",
        "tests": TESTS,
        "resamples": RESAMPLES,
        "rows": rows,
        "commit": commit(),
    }
    (ROOT / "results" / "intervals.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
