"""Everything worth having from a machine with a GPU that is lent for minutes and has no network, by one command.

    python benchmarks/gpu_session.py --data ROOT --minutes 9 [--out DIR] [--work runs/gpu_session] [--parts ...]

In order of importance: IVSA as in the paper (full width, 100 epochs) with its Salient Attention Block; teachers,
networks fine-tuned whole on FERPlus's votes with averaged weights; a tiny study, which shows that they run on the
card; the rivals' methods on one host, as many as there is time for, from where results/methods_runs.zip stops; students
of three sizes, three seeds each, which learn from all teachers' answers; the recipe of `ferlib-l` with two more seeds;
IVSA with CBAM and without attention; and, alone on the card, `benchmarks/training.py --parts gpu`. IVSA without its
block is judged here; what comes back whole is judged where the exact test split is.

ROOT is a data root with weights/, where the backbones and two released models, the first teachers, are, and fer2013/
with fer2013new.csv and fer2013.csv, .csv.gz or fer2013_compact.npz, whose faces may be JPEGs: train on them, but report
figures of the exact file only.

Every command is a process of its own, some at a time. A training whose time is up is interrupted and its best epoch
kept. What is done is kept in --work, where the same command goes on. After every command, --out has session.json
(commands, seconds, exit codes, reports, histories) and zips below 16 MB: logs, models that are of use afterwards, with
their weights rounded to half precision, and the methods' runs without weights (see `finished_runs.py`).

On one H200 with 16 cores nine minutes were enough for IVSA's 100 epochs, three teachers, six students and 24 of the
methods' 51 runs, eight commands at a time and with `nvidia-cuda-mps-control -d` started before, so that the small
kernels of all processes share the card.

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


@dataclass(frozen=True)
class Part:
    """A piece of the session.

    Attributes:
        command: what comes after `python -m ferlib`, or a script with its options; without --out.
        trains: it trains a model.
        judged: the data set on which the model is judged here, or None.
        kept: whether the model comes back.
        after: parts that must have ended before.
        alone: nothing else may run beside it.
        until: fraction of the session after which its training or study is interrupted.
    """

    command: str
    trains: bool = True
    judged: str | None = None
    kept: bool = False
    after: tuple[str, ...] = ()
    alone: bool = False
    until: float = 0.92


FACE = (  # name, weights, mean and std of a backbone pretrained on faces
    "mobilenetv1_100",
    "mobilenetv1_100_vggface2",
    "[0.485,0.458,0.408]",
    str([1 / 255] * 3).replace(" ", ""),
)


def fine_tuning(size: int, epochs: int, seed: int, more: str = "") -> str:
    """A recipe for the backbone that knows faces: pooled, with one linear layer, trained whole on the votes."""
    name, weights, mean, std = FACE
    return (
        f"train linear_probe_ferplus --data ferplus --backbone-weights {{weights}}/{weights}.safetensors --set "
        f"freeze_backbone=false keep_stages=4 input_size={size} epochs={epochs} seed={seed} optimizer=adamw lr=1e-3 "
        f"weight_decay=0.02 max_grad_norm=5.0 ema_decay=0.998 augment=flip_affine_erase backbone={name} mean={mean} "
        f"std={std} {more}"
    ).strip()


HEAD = "architecture=convcut attention=token detail_layers=1 dropout=0.1"
TEACHERS = {
    "teacher_face_160": Part(fine_tuning(160, 10, 1), kept=True),
    "teacher_face_112_mixup": Part(fine_tuning(112, 10, 2, "method=mixup"), kept=True),
    "teacher_face_head_128": Part(fine_tuning(128, 10, 3, f"keep_stages=3 {HEAD}"), kept=True),
}
FIRST_TEACHERS = ("mobilenetv1_face_112", "convcut_ferplus_mirror")  # folders beside the backbones' weights
ANSWERS = ",".join([*(f"{{work}}/{name}/best" for name in TEACHERS), *(f"{{weights}}/{n}" for n in FIRST_TEACHERS)])
SIZES = {  # of students: all stages; three and Conv-cut's head; two and the head
    "l": "keep_stages=4",
    "m": f"keep_stages=3 {HEAD}",
    "s": f"keep_stages=2 {HEAD} lr=2e-3",
}
STUDENTS = {
    f"student_{size}_{seed}": Part(
        fine_tuning(112, 18, seed, f"teacher={ANSWERS} teacher_fraction=0.7 {settings}"),
        kept=True,
        after=tuple(TEACHERS),
    )
    for seed in range(3)
    for size, settings in SIZES.items()
}
GRAPHS = "--set compile=reduce-overhead"  # four times as fast as without
PROTOCOLS = "reproduce protocols --quick"
METHODS = (  # the rivals' methods, also whole
    f"reproduce methods --data ferplus --backbone {FACE[0]} --backbone-weights {{weights}}/{FACE[1]}.safetensors "
    f"--keep-stages 4 --input-size 112 --processes 4 --set mean={FACE[2]} std={FACE[3]}"
)
METHODS_KEPT = ROOT / "results" / "methods_runs.zip"
PARTS = {
    "ivsa_sab": Part(f"train ivsa --data fer2013 {GRAPHS} block=sab", kept=True),
    **TEACHERS,
    "protocols": Part(PROTOCOLS, trains=False),
    "methods": Part(METHODS, trains=False),
    **STUDENTS,
    **{f"ferlib_l_{seed}": Part(fine_tuning(160, 10, seed), kept=True) for seed in (2, 3)},
    **{
        name: Part(f"train ivsa --data fer2013 {GRAPHS} {settings}", judged="fer2013", until=0.8)
        for name, settings in (
            ("ivsa_cbam", "block=cbam architecture=ivsa_cbam"),
            ("ivsa_none", "block=none architecture=ivsa_plain"),
        )
    },
    "speed": Part("benchmarks/training.py --parts gpu", trains=False, alone=True, until=1.0),
}
TESTS = {"public": "--split validation", "private": "--split test", "private_clean": "--split test --clean"}


def shrink(model: Path) -> None:
    """Round a model's weights, not its statistics, to half precision."""
    path = model / "model.safetensors"
    halves = {key: value.half() if value.ndim > 1 else value for key, value in load_file(path).items()}
    save_file(halves, path, metadata={"format": "pt"})


@dataclass
class Session:
    """What is being done, and what is known so far.

    Attributes:
        options: the command line.
        began: seconds.
        done: name of a part -> its steps by name, each with command, seconds, exit code.
        ended: names of the parts that have ended, or were not asked for.
    """

    options: argparse.Namespace
    began: float = field(default_factory=time.monotonic)
    done: dict[str, dict[str, dict]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    lock: Lock = field(default_factory=Lock)

    def left(self, share: float = 1.0) -> float:
        """Seconds until this fraction of the session is over."""
        return share * 60 * self.options.minutes - (time.monotonic() - self.began)

    def step(self, part: str, name: str, words: list[str], seconds: float) -> bool:
        """Run a command unless it is done; whether it was run. When its time is up it is interrupted, then killed."""
        with self.lock:
            steps = self.done.setdefault(part, {})
        if steps.get(name, {}).get("code") == 0 or seconds <= 0:
            return False
        run, log = self.options.work / part, self.options.work / f"{part}-{name}.log"
        run.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, *(words if words[0].endswith(".py") else ["-m", "ferlib", *words])]
        began, stopped, grace = time.monotonic(), False, self.options.grace
        with log.open("a") as file:
            streams = {"stdout": file, "stderr": subprocess.STDOUT, "cwd": ROOT}
            process = subprocess.Popen(command, env=os.environ | self.environment(PARTS[part].alone), **streams)
            for wait, stop in ((seconds, signal.SIGINT), (grace, signal.SIGINT), (grace, signal.SIGKILL)):
                try:
                    process.wait(wait)
                    break
                except subprocess.TimeoutExpired:
                    process.send_signal(stop)
                    stopped = True
        done = {
            "command": " ".join(["python", *command[1:]]).replace(f"{self.options.work}/", ""),
            "seconds": round(time.monotonic() - began, 1),
            "code": process.wait(),
            "stopped": stopped,
            "last words": log.read_text().splitlines()[-3:],
        }
        with self.lock:
            steps[name] = done
        print(f"{part} {name}: {json.dumps(done)}", flush=True)
        self.tell()
        return True

    def environment(self, alone: bool) -> dict[str, str]:
        """For a command: the data, a cache of its own, its fraction of the cores, no network."""
        cores = (os.cpu_count() or 1) // (1 if alone else self.options.jobs)
        places = {"FERLIB_DATA": str(self.options.work / "data"), "FERLIB_CACHE": str(self.options.work / "cache")}
        quiet = {
            "HF_HUB_OFFLINE": "1",
            "TQDM_DISABLE": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
        }
        return places | quiet | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, cores))}

    def run(self, name: str) -> None:
        """One part: its command, then, of a training, all that its model is judged by."""
        part, run = PARTS[name], self.options.work / name
        places = {"{weights}": self.options.data / "weights", "{work}": self.options.work}
        command = part.command
        for place, path in places.items():
            command = command.replace(place, os.path.relpath(path, ROOT))
        words = [self.there(word) for word in command.split()]
        if not part.trains:
            self.study(name, words)
            return
        short = ["epochs=2"] if self.options.batches else []
        if self.step(name, "train", [*words, *short, "--out", str(run), "--resume"], self.left(part.until)):
            with self.lock:
                self.done[name] = {"train": self.done[name]["train"]}  # the model is another one
            if part.kept and (run / "best" / "model.safetensors").exists():
                shrink(run / "best")
        if part.kept:
            self.send([*run.glob("best/*"), *run.glob("*.json"), *run.glob("*.csv")])
        if not part.judged or not (run / "best" / "model.safetensors").exists():
            return
        crops = {f"{test}_ten_crop": f"{how} --ten-crop" for test, how in TESTS.items()}
        for test, how in (TESTS | crops).items():
            judge = ["evaluate", str(run / "best"), "--data", part.judged, *how.split()]
            self.step(name, test, [*judge, "--out", str(run / f"{test}.json")], self.left())

    def study(self, name: str, words: list[str]) -> None:
        """A part that is no single training; the methods' runs come back."""
        part, run = PARTS[name], self.options.work / name
        work = [] if part.alone else ["--work", str(run / "runs")]
        if name == "methods":
            kept = ["benchmarks/finished_runs.py", "unpack", str(METHODS_KEPT), str(run / "runs")]
            self.step(name, "unpack", kept, self.left())
        new = self.step(name, "run", [*words, "--out", str(run / "result.json"), *work], self.left(part.until))
        if name == "methods":
            if new:
                with self.lock:
                    self.done[name].pop("pack", None)  # there are more runs now
            pack = ["benchmarks/finished_runs.py", "pack", str(run / "runs"), str(run / "runs.zip")]
            self.step(name, "pack", pack, self.left())
            self.send([path for path in [run / "runs.zip"] if path.exists()])

    @staticmethod
    def there(word: str) -> str:
        """The word; where it lists teachers, those of them that were trained."""
        setting, equals, folders = word.partition("=")
        if setting != "teacher":
            return word
        return setting + equals + ",".join(f for f in folders.split(",") if (ROOT / f / "model.safetensors").exists())

    def work_on(self, waiting: list[str]) -> None:
        """Take parts that wait for nothing, the first of them first, until there are none."""
        while waiting:
            with self.lock:
                free = next((name for name in waiting if self.ended.issuperset(PARTS[name].after)), None)
                if free:
                    waiting.remove(free)
            if free:
                try:
                    self.run(free)
                finally:
                    self.ended.add(free)  # others wait for it, in vain if it failed
            else:
                time.sleep(0.5)

    def send(self, files: list[Path]) -> None:
        """Add files to the first zip in --out that has room for them."""
        with self.lock:
            size = sum(path.stat().st_size for path in files)
            for number in range(len(files) and 9):
                target = self.options.out / f"models_{number}.zip"
                if not target.exists() or target.stat().st_size + size < LARGEST:
                    with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as file:
                        for path in files:
                            file.write(path, path.relative_to(self.options.work))
                    return

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
    grace = "seconds from the interrupt of a training to the next, which a lost one needs, and to its end, default 45"
    parser.add_argument("--grace", type=float, default=45, help=grace)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "runs/gpu_session_out")), metavar="DIR")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu_session"), metavar="DIR")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--jobs", type=int, default=8, help="commands at a time, default 8")
    parser.add_argument("--batches", type=int, metavar="N", help="faces of so many batches a split, two epochs")
    options = parser.parse_args()
    for name in ("data", "work", "out"):
        setattr(options, name, getattr(options, name).resolve())
    options.out.mkdir(parents=True, exist_ok=True)
    for sent_before in options.out.glob("models_*.zip"):
        sent_before.unlink()  # what these parts have done is sent again
    source, data = options.data / "fer2013", options.work / "data" / "fer2013"
    options.faces = "compact copy" if (source / "fer2013_compact.npz").exists() else "exact"
    session = Session(options)
    if not (data / "fer2013new.csv").exists():
        write_part(source, data, options.batches and BATCH * options.batches)
    if (known := options.work / "done.json").exists():
        session.done = json.loads(known.read_text())
    session.ended = set(PARTS) - set(options.parts)
    together = [name for name in options.parts if not PARTS[name].alone]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(session.work_on, [together] * options.jobs))
    for name in options.parts:
        if PARTS[name].alone:
            session.run(name)
    steps = [step for name in options.parts for step in session.done.get(name, {}).values()]
    return int(any(step["code"] and not step["stopped"] for step in steps))


if __name__ == "__main__":
    sys.exit(main())
