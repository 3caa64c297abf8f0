"""Tables of very many photos: photos a second beside a plain loop, and memory along a long run. Into results/bulk.json.

    python benchmarks/bulk.py --out results/bulk.json
    python benchmarks/bulk.py --out results/bulk.json --only memory --long 100000   # the other part stays as it is

The photos are those of facial_expressions, by links in a temporary folder, over and over where more are asked for.

`rates`: every way is a process of its own, from its start to the last row; all in turns, medians of --runs. A thread a
process. Processor time is that of all its processes, which other work on the machine hardly changes.
`memory`: one run of two processes; each second the memory of all of them, shared pages counted once (PSS, Linux).
"""

import argparse
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from photo_files import facial_expressions

from ferlib.utils.atomic import write_json

ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
FERLIB = (sys.executable, "-m", "ferlib", "predict", "--recursive")
PARTS = ("rates", "memory")
SAMPLES = 40  # of memory that are kept


def linked(folder: Path, count: int, different: int) -> Path:
    """A folder of `count` links to photos, 1,000 in each folder below it; `different` photos, over and over."""
    files = facial_expressions(different)
    for number in range(count):
        below = folder / f"{number // 1000:04}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{number:07}.jpg").symlink_to(files[number % different].resolve())
    return folder


def looped(folder: Path) -> None:
    """The plain loop: a photo after the other, a line of JSON each."""
    from ferlib.predict import Predictor
    from ferlib.utils.files import find_pictures

    predictor = Predictor.load()
    with tempfile.TemporaryFile("w") as file:
        for path in find_pictures(folder):
            file.write(json.dumps(predictor.predict(path).to_dict()) + "\n")


def rates(folder: Path, count: int, different: int, runs: int) -> dict:
    photos, out = linked(folder / "photos", count, different), folder / "faces.parquet"
    ways: dict[str, tuple[str, ...]] = {
        "a loop over `Predictor.predict`": (sys.executable, __file__, "--loop", str(photos))
    }
    for workers in (1, 2):
        ways[f"`predict --recursive`, processes: {workers}"] = (
            *FERLIB, str(photos), "--out", str(out), "--workers", str(workers),
        )  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, command in ways.items():
            shutil.rmtree(out, ignore_errors=True)
            began, worked = time.perf_counter(), _children()
            subprocess.run(command, check=True, env=ONE_THREAD, capture_output=True)
            seconds[name].append(time.perf_counter() - began)
            processor[name].append(_children() - worked)
            print(name, round(count / seconds[name][-1], 1), "photos/s", flush=True)
    loop = next(iter(ways))
    found = {
        name: {
            "photos_a_second": round(count / median(seconds[name]), 1),
            "all": [round(count / one, 1) for one in seconds[name]],
            "beside_the_loop": round(median(a / b for a, b in zip(seconds[loop], seconds[name], strict=True)), 2),
            "processor_ms_a_photo": round(1000 * median(processor[name]) / count, 2),
        }
        for name in ways
    }
    return {"photos": count, "different": different, "runs": runs, "ways": found}


def _children() -> float:
    """Seconds of processor time of all processes that were started here and have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory(folder: Path, count: int, different: int) -> dict:
    photos, out = linked(folder / "photos", count, different), folder / "faces.parquet"
    began = time.monotonic()
    process = subprocess.Popen(
        [*FERLIB, str(photos), "--out", str(out), "--workers", "2"], env=ONE_THREAD, stdout=subprocess.PIPE, text=True
    )
    samples: list[tuple[float, int, float, int]] = []  # seconds, parts that are written, MB, processes

    def look() -> None:
        sizes = [size for one in _with_descendants(process.pid) if (size := _share(one))]
        parts = len(list(out.glob("part-*.parquet")))
        samples.append((round(time.monotonic() - began, 1), parts, round(sum(sizes), 1), len(sizes)))

    _every_second(look, process)
    said = (process.stdout.read() if process.stdout else "").splitlines()
    if process.returncode:
        raise SystemExit(f"the run ended with {process.returncode}")
    warm = [one for one in samples if one[1] >= 2]  # every process has made a part
    quarters = [median(one[2] for one in warm[len(warm) * i // 4 : len(warm) * (i + 1) // 4]) for i in range(4)]
    return {
        "photos": count, "different": different, "said": said[-1], "processes": max(one[3] for one in samples),
        "largest_MB": max(one[2] for one in samples), "quarters_MB": [round(one, 1) for one in quarters],
        "seconds_parts_MB": [one[:3] for one in samples[:: max(1, len(samples) // SAMPLES)]],
    }  # fmt: skip


def _every_second(look: Callable[[], None], process: subprocess.Popen) -> None:
    while True:
        try:
            process.wait(1)
            return
        except subprocess.TimeoutExpired:
            look()


def _with_descendants(pid: int) -> Sequence[int]:
    """A process and all that it started and they started, now."""
    found = [pid]
    for one in found:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended
            continue
    return found


def _share(pid: int) -> float:
    """A process's part of the memory in MB; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:")), 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--photos", type=int, default=3000, help="of the rates (default: 3000)")
    parser.add_argument("--long", type=int, default=30_000, help="photos of the long run (default: 30000)")
    parser.add_argument("--different", type=int, default=3000, help="photos among them (default: 3000)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--loop", type=Path, help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    if options.loop:
        return looped(options.loop)
    if not options.out:
        parser.error("--out FILE is needed")
    from machine import machine

    report = json.loads(options.out.read_text()) if options.out.exists() else {}
    for part in options.only:
        with tempfile.TemporaryDirectory() as folder:
            if part == "rates":
                found = rates(Path(folder), options.photos, options.different, options.runs)
            else:
                found = memory(Path(folder), options.long, options.different)
        command = shlex.join(["python", "benchmarks/bulk.py", *sys.argv[1:]])
        report[part] = {"command": command, "machine": machine(), **found}
        report = {name: report[name] for name in PARTS if name in report}
        write_json(options.out, report)


if __name__ == "__main__":
    main()
