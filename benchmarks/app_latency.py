"""How long one face takes from the photo's file to the answer, step by step, beside the `fer` package.

    python -m venv runs/fer && runs/fer/bin/pip install fer==25.10.3
    env -u OMP_NUM_THREADS python benchmarks/app_latency.py --fer runs/fer/bin/python --out results/app_latency.json

`fer` runs in a process of its own with its own packages (`benchmarks/fer_worker.py`): `detect_emotions` of the photo's
path with its default Haar cascade, and with MTCNN. Both come with their packages and need no network. Ours is
`Predictor.predict` of the same path, without and with Grad-CAM. All four take all photos in turns, and only one works
at a time, each with as many threads as it takes by itself.

The photos: of facial_expressions, drawn at random with a fixed seed, mostly 176 x 176 pixels; two portraits in the
public domain as they are, and enlarged to the size of a telephone's photo. Times are medians over the photos in which
every detector finds exactly one face, of a photo's median over the rounds. Shares of photos with a face are of all.
How accurate the two are is in results/peers.json.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from machine import machine, typed_command
from photo_files import facial_expressions, portraits
from PIL import Image

from ferlib import predict
from ferlib.detection.crop import FaceCrop
from ferlib.predict import DEFAULT_MODEL, Predictor

TELEPHONE = 2000  # long side of an enlarged portrait, in pixels
OURS, EXPLAINED, HAAR, MTCNN = "ours", "ours with explanation", "fer, Haar", "fer, MTCNN"
STEPS = (  # what `predict` calls, one after the other, where no explanation is asked for
    ("reading", predict, "read_image"),
    ("detection", predict, "detect_faces"),
    ("cropping", FaceCrop, "of"),
    ("classification", Predictor, "classify"),
)


class Steps:
    """Seconds spent in each of `STEPS` while `watch` is on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def watch(self) -> Iterator[None]:
        with ExitStack() as stack:
            for step, owner, name in STEPS:
                stack.enter_context(patch.object(owner, name, self._timed(step, getattr(owner, name))))
            yield

    def _timed(self, step: str, call: Callable) -> Callable:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds[step] += time.perf_counter() - began

        return timed


def ours(predictor: Predictor, photo: Path, explain: str | None) -> dict:
    """One photo: seconds together, seconds of each step, and the number of faces."""
    steps = Steps()
    with steps.watch():
        began = time.perf_counter()
        result = predictor.predict(photo, explain)
        taken = time.perf_counter() - began
    return {"seconds": taken, "faces": len(result.faces), "steps": dict(steps.seconds)}


class Fer:
    """The `fer` package in its own process.

    Args:
        python: the interpreter of an environment in which it is installed.
    """

    def __init__(self, python: Path):
        self.python = python
        command = [str(python), str(Path(__file__).with_name("fer_worker.py"))]
        self.process = subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self.process.stdin and self.process.stdout
        self.questions, self.answers = self.process.stdin, self.process.stdout
        self.versions: dict[str, str] = self._answer()

    def ask(self, detector: str, photo: Path) -> dict:
        """One photo: seconds and the number of faces."""
        print(detector, photo, file=self.questions, flush=True)
        return self._answer()

    def close(self) -> None:
        self.questions.close()
        self.process.wait(60)

    def _answer(self) -> dict:
        line = self.answers.readline()
        if not line:
            raise RuntimeError(f"{self.python} ended with {self.process.wait()}: is fer installed there?")
        return json.loads(line)


def in_turns(
    ways: dict[str, Callable[[Path], dict]], photos: Sequence[Path], rounds: int
) -> dict[str, dict[Path, list[dict]]]:
    """Every way on all photos, again and again; the first round warms up and is not told."""
    told: dict[str, dict[Path, list[dict]]] = {name: defaultdict(list) for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            for photo in photos:
                run = way(photo)
                if turn:
                    told[name][photo].append(run)
    return told


def compare(told: dict[str, dict[Path, list[dict]]], photos: Sequence[Path]) -> dict:
    """Figures for one kind of photo."""
    found = {name: {photo: runs[photo][0]["faces"] for photo in photos} for name, runs in told.items()}
    one = [photo for photo in photos if all(counts[photo] == 1 for counts in found.values())]
    report = {
        "photos": len(photos),
        "with a face": {name: sum(map(bool, counts.values())) for name, counts in found.items()},
        "with one face, found by all": len(one),
    }
    if not one:
        return report

    def middle(name: str, step: str | None = None) -> float:
        """Seconds of a way, or of one of its steps."""
        return median(
            median(run["seconds"] if step is None else run["steps"].get(step, 0.0) for run in told[name][photo])
            for photo in one
        )

    whole = {name: middle(name) for name in told}
    steps = {step: middle(OURS, step) for step, *_ in STEPS}
    steps["explanation"] = whole[EXPLAINED] - whole[OURS]
    report["ms"] = {name: round(1000 * value, 2) for name, value in whole.items()}
    report["ms of ours"] = {step: round(1000 * value, 2) for step, value in steps.items()}
    report["ours to fer"] = {name: round(whole[OURS] / whole[name], 2) for name in (HAAR, MTCNN)}
    return report


def enlarged(photo: Path) -> Path:
    """The photo beside itself, its long side `TELEPHONE` pixels."""
    picture = Image.open(photo)
    scale = TELEPHONE / max(picture.size)
    target = photo.with_name(f"{photo.stem}_large.jpg")
    picture.resize((round(picture.width * scale), round(picture.height * scale))).save(target, quality=90)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fer", type=Path, required=True, metavar="PYTHON", help="interpreter that has fer installed")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--photos", type=int, default=60, help="how many of facial_expressions")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    predictor, fer = Predictor.load(options.model), Fer(options.fer)
    ways = {
        OURS: lambda photo: ours(predictor, photo, None),
        EXPLAINED: lambda photo: ours(predictor, photo, "gradcam"),
        HAAR: lambda photo: fer.ask("haar", photo),
        MTCNN: lambda photo: fer.ask("mtcnn", photo),
    }
    report = {
        "command": typed_command(),
        "model": options.model,
        "fer": fer.versions,
        "rounds": options.rounds,
        "kinds": {},
    } | machine()
    with tempfile.TemporaryDirectory() as folder:
        small = portraits(Path(folder))
        kinds = {
            "facial_expressions, 176 px": facial_expressions(options.photos),
            "portraits, 512 and 606 px": small,
            f"portraits enlarged, {TELEPHONE:,} px": [enlarged(photo) for photo in small],
        }
        for kind, photos in kinds.items():
            report["kinds"][kind] = compare(in_turns(ways, photos, options.rounds), photos)
            print(kind, json.dumps(report["kinds"][kind], indent=1), flush=True)
    fer.close()
    options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
