"""Everything worth having from a machine with a GPU that is lent for minutes and has no network, by one command.

    python benchmarks/gpu_session.py --data ROOT --minutes 9 [--out DIR] [--work runs/gpu_session] [--parts ...]

In order of importance: IVSA as in the paper (full width, 100 epochs) with its Salient Attention Block; two teachers,
MobileNetV1 pretrained on faces and EfficientNet-Lite0, fine-tuned whole on FERPlus's votes with averaged weights; a
tiny ladder, which shows that studies run on the card; IVSA with CBAM and without attention; the rivals' methods on one
host, as many as there is time for; and, alone on the card, `benchmarks/training.py --parts gpu`. Trained models are
judged on PublicTest and PrivateTest, there without duplicates too, and IVSA on ten crops as well.

ROOT is a data root with weights/, where the backbones are, and fer2013/ with fer2013new.csv and fer2013.csv, .csv.gz or
fer2013_compact.npz, whose faces are JPEGs: train on them, but report figures of the exact file only.

Every command is a process of its own, some at a time. A training whose time is up is interrupted and its best epoch is
judged. What is done is kept in --work, where the same command goes on. After every command, --out has session.json
(commands, seconds, exit codes, reports, histories), logs.zip, and a zip of every model that is of use afterwards: its
weights are rounded to half precision *before* it is judged where their file is above `LARGEST`.

`--batches N` takes the faces of N batches a split, and two epochs: to try it all on a CPU.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from fer2013_part import write_part
from machine import machine
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parents[1]
LARGEST = 15 << 20  # bytes of a file that comes back
BATCH = 64  # faces
GRACE = 45  # seconds from the interrupt of a training to the next, lest it was lost in foreign code, and to its end

WHOLE = (  # a backbone with pooling and one linear layer, as in the recipe, trained whole
    "train linear_probe_ferplus --data ferplus --backbone-weights {weights}/%s.safetensors --set freeze_backbone=false "
    "keep_stages=4 epochs=12 optimizer=adamw lr=1e-3 weight_decay=0.02 max_grad_norm=5.0 ema_decay=0.998 "
    "augment=flip_affine_erase backbone=%s mean=%s std=%s"  # the last two as in the backbone's pretraining
)
MOBILENET = ("mobilenetv1_100_vggface2", "mobilenetv1_100", "[0.485,0.458,0.408]", str([1 / 255] * 3).replace(" ", ""))
LITE0 = ("tf_efficientnet_lite0", "tf_efficientnet_lite0", "[0.5,0.5,0.5]", "[0.5,0.5,0.5]")
LADDER = "reproduce ladder --quick"
METHODS = (  # the rivals' methods on the first of them, also whole
    "reproduce methods --data ferplus --backbone %s --backbone-weights {weights}/%s.safetensors --keep-stages 4 "
    "--input-size 112 --set mean=%s std=%s"
)


@dataclass(frozen=True)
class Part:
    """A piece of the session.

    Attributes:
        command: what comes after `python -m ferlib`, or a script with its options; without --out.
        judged: the data set on which the model that it trains is judged, or None.
        kept: whether the model is of use afterwards, or only its figures.
        alone: nothing else may run beside it.
    """

    command: str
    judged: str | None = None
    kept: bool = False
    alone: bool = False


PARTS = {
    "ivsa_sab": Part("train ivsa --data fer2013 --set block=sab", "fer2013", kept=True),
    "teacher_mobilenet": Part(WHOLE % MOBILENET, "ferplus", kept=True),
    "teacher_lite0": Part(WHOLE % LITE0, "ferplus", kept=True),
    "ladder": Part(LADDER),
    "ivsa_cbam": Part("train ivsa --data fer2013 --set block=cbam architecture=ivsa_cbam", "fer2013"),
    "ivsa_none": Part("train ivsa --data fer2013 --set block=none architecture=ivsa_plain", "fer2013"),
    "methods": Part(METHODS % (MOBILENET[1], MOBILENET[0], *MOBILENET[2:])),
    "speed": Part("benchmarks/training.py --parts gpu", alone=True),
}
TESTS = {"public": "--split validation", "private": "--split test", "private_clean": "--split test --clean"}


def shrink(model: Path) -> None:
    """Round a model's weights, not its statistics, to half precision where its file is above `LARGEST`."""
    if (path := model / "model.safetensors").stat().st_size > LARGEST:
        state = load_file(path)
        halves = {key: value.half() if value.ndim > 1 else value for key, value in state.items()}
        save_file(halves, path, metadata={"format": "pt"})


@dataclass
class Session:
    """What is being done, and what is known so far.

    Attributes:
        options: the command line.
        began: seconds.
        done: name of a part -> its steps by name, each with command, seconds, exit code.
    """

    options: argparse.Namespace
    began: float = field(default_factory=time.monotonic)
    done: dict[str, dict[str, dict]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def left(self, share: float = 1.0) -> float:
        """Seconds until this fraction of the session is over."""
        return share * 60 * self.options.minutes - (time.monotonic() - self.began)

    def step(self, part: str, name: str, words: list[str], seconds: float) -> bool:
        """Run a command unless it is done; whether it was run. When its time is up it is interrupted, then killed."""
        steps = self.done.setdefault(part, {})
        if steps.get(name, {}).get("code") == 0 or seconds <= 0:
            return False
        run, log = self.options.work / part, self.options.work / f"{part}-{name}.log"
        run.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, *(words if words[0].endswith(".py") else ["-m", "ferlib", *words])]
        began, stopped = time.monotonic(), False
        with log.open("a") as file:
            streams = {"stdout": file, "stderr": subprocess.STDOUT, "cwd": ROOT}
            process = subprocess.Popen(command, env=os.environ | self.environment(PARTS[part].alone), **streams)
            for wait, stop in ((seconds, signal.SIGINT), (GRACE, signal.SIGINT), (GRACE, signal.SIGKILL)):
                try:
                    process.wait(wait)
                    break
                except subprocess.TimeoutExpired:
                    process.send_signal(stop)
                    stopped = True
        steps[name] = {
            "command": " ".join(["python", *command[1:]]).replace(f"{self.options.work}/", ""),
            "seconds": round(time.monotonic() - began, 1),
            "code": process.wait(),
            "stopped": stopped,
            "last words": log.read_text().splitlines()[-3:],
        }
        print(f"{part} {name}: {json.dumps(steps[name])}", flush=True)
        self.tell()
        return True

    def environment(self, alone: bool) -> dict[str, str]:
        """For a command: the data, a cache of its own, its fraction of the cores, no network."""
        cores = (os.cpu_count() or 1) // (1 if alone else self.options.jobs)
        places = {"FERLIB_DATA": str(self.options.work / "data"), "FERLIB_CACHE": str(self.options.work / "cache")}
        quiet = {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "PYTHONPATH": str(ROOT)}
        return places | quiet | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, cores))}

    def run(self, name: str) -> None:
        """One part: its command, then, of a training, all that its model is judged by."""
        part, run = PARTS[name], self.options.work / name
        words = part.command.replace("{weights}", str(self.options.data / "weights")).split()
        if not part.judged:
            work = [] if part.alone else ["--work", str(run / "runs")]
            self.step(name, "run", [*words, "--out", str(run / "result.json"), *work], self.left())
            return
        short = ["epochs=2"] if self.options.batches else []
        if self.step(name, "train", [*words, *short, "--out", str(run), "--resume"], self.left(0.65)):
            self.done[name] = {"train": self.done[name]["train"]}  # the model is another one
        if not (run / "best" / "model.safetensors").exists():
            return
        shrink(run / "best")
        crops = {f"{test}_ten_crop": f"{how} --ten-crop" for test, how in TESTS.items() if part.judged == "fer2013"}
        for test, how in (TESTS | crops).items():
            judge = ["evaluate", str(run / "best"), "--data", part.judged, *how.split()]
            self.step(name, test, [*judge, "--out", str(run / f"{test}.json")], self.left())

    def tell(self) -> None:
        """Everything so far, into --out."""
        work, out = self.options.work, self.options.out
        with self.lock:
            parts = {}
            for name, steps in self.done.items():
                run = work / name
                files = {path.stem: json.loads(path.read_text()) for path in run.glob("*.json")}
                history = (run / "history.csv").read_text().splitlines() if (run / "history.csv").exists() else []
                parts[name] = {"steps": steps, "files": files, "history": history}
                if PARTS[name].kept and (run / "best" / "model.safetensors").exists():
                    with zipfile.ZipFile(out / f"{name}.zip", "w") as file:
                        for path in (*run.glob("best/*"), *run.glob("*.json"), *run.glob("*.csv")):
                            file.write(path, path.relative_to(run))
            with zipfile.ZipFile(out / "logs.zip", "w", zipfile.ZIP_DEFLATED) as file:
                for path in work.glob("*.log"):
                    file.write(path, path.name)
            told = {"faces": self.options.faces, "batches": self.options.batches, **machine(), "parts": parts}
            (out / "session.json").write_text(json.dumps(told, indent=1) + "\n")
            (work / "done.json").write_text(json.dumps(self.done))


def main() -> int:
    """Run the parts; returns 1 if one of their commands failed (one whose time was up did not)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT")
    parser.add_argument("--minutes", type=float, default=9, help="for all together, default 9")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "runs/gpu_session_out")), metavar="DIR")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu_session"), metavar="DIR")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--jobs", type=int, default=3, help="commands at a time, default 3")
    parser.add_argument("--batches", type=int, metavar="N", help="faces of so many batches a split, two epochs")
    options = parser.parse_args()
    for name in ("data", "work", "out"):
        setattr(options, name, getattr(options, name).resolve())
    options.out.mkdir(parents=True, exist_ok=True)
    source, data = options.data / "fer2013", options.work / "data" / "fer2013"
    options.faces = "compact copy" if (source / "fer2013_compact.npz").exists() else "exact"
    session = Session(options)
    if not (data / "fer2013new.csv").exists():
        write_part(source, data, options.batches and BATCH * options.batches)
    if (known := options.work / "done.json").exists():
        session.done = json.loads(known.read_text())
    together = [name for name in options.parts if not PARTS[name].alone]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(session.run, together))
    for name in options.parts:
        if PARTS[name].alone:
            session.run(name)
    steps = [step for name in options.parts for step in session.done.get(name, {}).values()]
    return int(any(step["code"] and not step["stopped"] for step in steps))


if __name__ == "__main__":
    sys.exit(main())
