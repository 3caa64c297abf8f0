"""Memory and time of training on more faces than fit it: 300,000 JPEG files of 112 px, AffectNet's number.

    python benchmarks/large_dataset.py --work runs/large --out results/large_dataset.json

Some hundred synthetic faces are drawn; hard links to them make the files, in folders <split>/<class>. Read as tensors,
their pixels would take 11 GB, and twice that while they are made. Here `load_folder` decodes them once into a file of
the cache, and training reads its batches from there. A small network, one epoch: what is measured is the memory and the
speed of the reading, not a model. Resident memory is the process's peak (`ru_maxrss`), libraries included; the system's
file cache is not part of it.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from machine import typed_command
from PIL import Image

from ferlib.utils.atomic import write_json
from ferlib.utils.commit import commit

DRAWN = 40  # of each expression


def make_files(root: Path, faces: int, size: int) -> None:
    """Links to drawn faces, nine tenths of them for training."""
    from ferlib.synthetic.render import EXPRESSIONS, sample_face

    rng, per_class = np.random.default_rng(0), -(-faces // len(EXPRESSIONS))
    made = 0
    for name in EXPRESSIONS:
        drawn = []
        for number in range(DRAWN):
            drawn.append(root / "drawn" / f"{name}{number}.jpg")
            drawn[-1].parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sample_face(name, rng, size).pixels).save(drawn[-1], quality=90)
        for split in ("train", "validation"):
            (root / "photos" / split / name).mkdir(parents=True)
        for number in range(min(per_class, faces - made)):
            split = "validation" if number % 10 == 0 else "train"
            os.link(drawn[number % DRAWN], root / "photos" / split / name / f"{number:06d}.jpg")
        made += min(per_class, faces - made)


def resident() -> float:
    """Peak of this process's resident memory so far, GB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3)


def train(photos: Path, size: int, out: Path) -> dict:
    """Load the folder twice and train one epoch."""
    import torch

    from ferlib.data.folder import load_folder
    from ferlib.models.registry import create_model
    from ferlib.training.loop import fit
    from ferlib.training.recipes import Recipe

    measured: dict = {"resident_GB": {"libraries": resident()}, "seconds": {}}
    for name in ("decoding", "opening_again"):
        began = time.perf_counter()
        data = load_folder(photos, size)
        measured["seconds"][name] = round(time.perf_counter() - began, 1)
    measured["resident_GB"]["loaded"] = resident()
    torch.manual_seed(0)
    model = create_model("ivsa", widths=(4, 8, 8, 8), hidden=16, classes=data.classes)
    began = time.perf_counter()
    history = fit(model, data, Recipe(model.config, epochs=1, batch_size=64, lr=1e-3, augment="flip"), out)
    measured["seconds"]["training"] = round(time.perf_counter() - began, 1)
    measured["resident_GB"]["trained"] = resident()
    counts = data.frame["split"].value_counts()
    return measured | {
        "faces": {split: int(counts[split]) for split in ("train", "validation")},
        "pixels_GB": round(float(np.prod(data.pixels.shape, dtype=np.int64)) / 1e9, 2),
        "pixels": type(data.pixels).__name__,
        "epochs": len(history),
        "faces_per_second": round(int(counts["train"]) / float(history["train_seconds"].iloc[0])),
        "validation_accuracy": round(float(history["accuracy"].iloc[0]), 4),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, type=Path, help="folder for files, cache (11 GB) and run; is emptied")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--faces", type=int, default=300_000)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(train(options.work / "photos", options.size, options.work / "run")))
        return
    shutil.rmtree(options.work, ignore_errors=True)
    began = time.perf_counter()
    make_files(options.work, options.faces, options.size)
    print(f"{options.faces:,} files in {time.perf_counter() - began:.0f} s", flush=True)
    environment = os.environ | {"FERLIB_CACHE": str(options.work / "cache")}
    answer = subprocess.run(
        [sys.executable, *sys.argv, "--measure"], env=environment, capture_output=True, text=True, check=True
    )
    result = {
        "command": typed_command(),
        "files": f"{options.faces:,} JPEG files of {options.size} px, hard links to {7 * DRAWN} synthetic faces",
        "model": "ivsa, widths 4 8 8 8, 40 of 48 px grey; one epoch, batches of 64",
        **json.loads(answer.stdout.splitlines()[-1]),
        "runs": 1,
        "commit": commit(),
    }
    write_json(options.out, result)
    print(json.dumps(result["resident_GB"]), json.dumps(result["seconds"]))
    shutil.rmtree(options.work)


if __name__ == "__main__":
    main()
