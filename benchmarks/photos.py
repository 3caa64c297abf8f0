"""The whole way on real photos: `ferlib predict` on photos of facial_expressions, its label against the given one.

    python benchmarks/photos.py --count 100 --out results/photos.json

The photos are drawn at random with a fixed seed. The set was in no way used for training.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

from ferlib import labels
from ferlib.data.facial_expressions import read_legend
from ferlib.data.registry import dataset_folder
from ferlib.utils.commit import commit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    folder = dataset_folder("facial_expressions")
    chosen = read_legend(folder).sample(options.count, random_state=options.seed)
    files = [str(folder / "images" / name) for name in chosen["file"]]
    command = [sys.executable, "-m", "ferlib", "predict", *files, "--format", "json"]
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.splitlines()

    # of several faces in a photo, the one with the largest box is the one that was labelled
    faces = [max(json.loads(line)["faces"], key=lambda f: f["box"][2] - f["box"][0], default=None) for line in lines]
    found = ["no face" if face is None else face["label"] for face in faces]
    given = [labels.FACIAL_EXPRESSIONS[label] for label in chosen["label"]]
    table = pd.crosstab(pd.Series(given, name="given"), pd.Series(found, name="predicted"))
    order = [name for name in (*labels.FACIAL_EXPRESSIONS, "no face") if name in table.columns]
    table = table.loc[[name for name in labels.FACIAL_EXPRESSIONS if name in table.index], order]
    detected = sum(name != "no face" for name in found)
    agreeing = sum(a == b for a, b in zip(given, found, strict=True))
    print(table.to_string())
    print(f"a face in {detected} of {len(found)} photos; the given label in {agreeing} of them")
    if options.out:
        result = {"photos": len(found), "seed": options.seed, "with_face": detected, "agreeing": agreeing}
        result |= {"table": table.to_dict(orient="index"), "commit": commit()}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
