"""Tables of very many photos: photos a second, kills, and a long run in pieces. Into results/bulk.json.

    python benchmarks/bulk.py rates --out results/bulk.json
    python benchmarks/bulk.py kills --out results/bulk.json
    python benchmarks/bulk.py long --photos 1000000 --work runs/bulk --seconds 1500 --out results/bulk.json   # again, until done

The photos are those of facial_expressions, or of --from FOLDER, by hard links, over and over where more are asked for.

`rates`: a plain loop, one process, two; each from its start to its last row, all in turns, medians of --runs. Processor
time is that of all processes, which other work on the machine hardly changes.
`kills`: the same table by one process, by two, by two whose parent is killed again and again, by two whose workers
are, and by Ray where it is installed: the files are to be the same, byte for byte.
`long`: two processes. A call is a piece: it goes on where the last one stopped, kills a worker at a random moment, and,
if there is still work after --seconds, kills the parent and ends. The wall time of every piece, from start to last
process, is in the work folder, lost work included. Twice a second the memory of all processes, shared pages counted
once (PSS, Linux), is looked at. The last piece compares every row with those of the same photo in a table that one
process made, and writes into --out.
"""

import argparse
import importlib.util
import json
import os
import random
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bulk_runs import ONE_THREAD, Photos, alive, compare, link, memory, run
from machine import machine
from photo_files import facial_expressions

from ferlib.utils.atomic import write_json
from ferlib.utils.files import find_pictures

WORKERS = 2
PARTS = ("rates", "kills", "long")
EVERY = 30.0  # seconds between two samples of memory that are kept


def originals(options: argparse.Namespace, folder: Path) -> Path:
    """A folder with copies of the different photos, which links can be made to."""
    if not folder.exists():
        files = find_pictures(options.photos_from) if options.photos_from else facial_expressions(options.different)
        partial = folder.with_name("partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for number, file in enumerate(files[: options.different]):
            shutil.copyfile(file, partial / f"{number:06}{file.suffix}")
        partial.rename(folder)
    return folder


def linked(options: argparse.Namespace, work: Path) -> Photos:
    """A folder of links in the work folder, and the place of its table."""
    link(sorted(originals(options, work / "originals").iterdir()), work / "photos", options.photos)
    return Photos(work / "photos", work / "table", options.shard_size)


def looped(folder: Path) -> None:
    """The plain loop: a photo after the other, a line of JSON each."""
    from ferlib.predict import Predictor

    predictor = Predictor.load()
    with tempfile.TemporaryFile("w") as file:
        for path in find_pictures(folder):
            file.write(json.dumps(predictor.predict(path).to_dict()) + "\n")


def rates(options: argparse.Namespace, work: Path) -> dict:
    photos = linked(options, work)
    loop = "a loop over `Predictor.predict`"
    ways = {loop: [sys.executable, __file__, "loop", "--photos-from", str(photos.folder)]}
    ways |= {f"`predict --recursive`, processes: {workers}": photos.command(workers) for workers in (1, WORKERS)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.runs):
        for name, command in ways.items():
            shutil.rmtree(photos.table, ignore_errors=True)
            began, worked = time.perf_counter(), processor_time()
            subprocess.run(command, check=True, env=ONE_THREAD, capture_output=True)
            seconds[name].append(time.perf_counter() - began)
            processor[name].append(processor_time() - worked)
            print(name, round(options.photos / seconds[name][-1], 1), "photos/s", flush=True)
    return {
        "photos": options.photos,
        "runs": options.runs,
        "ways": {
            name: {
                "photos_a_second": round(options.photos / median(seconds[name]), 1),
                "all": [round(options.photos / one, 1) for one in seconds[name]],
                "beside_the_loop": round(median(a / b for a, b in zip(seconds[loop], seconds[name], strict=True)), 2),
                "processor_ms_a_photo": round(1000 * median(processor[name]) / options.photos, 2),
            }
            for name in ways
        },
    }


def processor_time() -> float:
    """Seconds of processor time of all processes that were started here and have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def kills(options: argparse.Namespace, work: Path) -> dict:
    photos, draw = linked(options, work), random.Random(options.seed)
    ways: dict[str, dict] = {}

    def table(name: str) -> Photos:
        return Photos(photos.folder, work / name, photos.shard_size)

    def compared(name: str, made: Photos, **numbers: int) -> None:
        same = [path.read_bytes() for path in made.parts()] == [path.read_bytes() for path in one.parts()]
        ways[name] = numbers | {"same_files": same} | compare(made, options.photos, one)
        print(name, ways[name], flush=True)

    one, two = table("one"), table("two")
    subprocess.run(one.command(1), check=True, env=ONE_THREAD, capture_output=True)
    compared("one process", one)
    began = time.monotonic()
    subprocess.run(two.command(WORKERS), check=True, env=ONE_THREAD, capture_output=True)
    whole = time.monotonic() - began
    compared("two processes", two)
    parent, killed = table("parent"), 0
    while code := run(parent.command(WORKERS), whole * draw.uniform(0.2, 0.8) if killed < options.kills else None)[0]:
        if code > 0:
            raise SystemExit(f"the run ended with {code}")
        killed += 1
    compared("two processes, the parent killed", parent, killed=killed)
    workers = table("workers")
    moments = [whole * draw.uniform(0.2, 0.9) for _ in range(options.kills)]
    code, killed = run(workers.command(WORKERS), kill_workers_at=moments, seed=options.seed)
    compared("two processes, workers killed", workers, killed=killed, exit_code=code)
    if importlib.util.find_spec("ray"):
        cluster = table("ray")
        code, killed = run(cluster.command(WORKERS, "ray"))
        compared("a Ray cluster of this machine", cluster, exit_code=code)
    return {"photos": options.photos, "shard_size": photos.shard_size, "ways": ways}


def long(options: argparse.Namespace, work: Path) -> dict | None:
    """One piece of the long run; all pieces together when it was the last."""
    photos, draw = linked(options, work), random.Random()
    notes = sorted(work.glob("piece-*.json"))
    pieces = [json.loads(note.read_text()) for note in notes]
    if pieces and alive(pieces[-1]["process"]):
        raise SystemExit(f"process {pieces[-1]['process']} of the last piece is still at work")
    note, samples = work / f"piece-{len(notes):03}.json", []
    piece = {"machine": machine(), "photos_before": photos.done(options.photos), "worker_killed": 0, "parent_killed": 0}
    began, last = time.monotonic(), [-EVERY]

    def look(process: int) -> None:
        seconds, done, used = time.monotonic() - began, photos.done(options.photos), memory(process)
        piece["largest_MB"] = max(piece.get("largest_MB", 0), round(used, 1))
        if seconds - last[0] >= EVERY:
            last[0] = seconds
            samples.append((round(seconds), done, round(used, 1)))
        write_json(note, piece | {"process": process, "seconds": round(seconds, 1), "photos": done, "samples": samples})

    moments = [draw.uniform(0, options.seconds)]
    code, killed = run(photos.command(WORKERS), options.seconds, moments, look)
    if code > 0:
        raise SystemExit(f"the run ended with {code}")
    piece = json.loads(note.read_text()) | {"worker_killed": killed, "parent_killed": int(code < 0)}
    piece |= {"seconds": round(time.monotonic() - began, 1), "photos": photos.done(options.photos)}
    write_json(note, piece)
    pieces.append(piece)
    total = sum(one["seconds"] for one in pieces)
    print(f"{piece['photos']:,} of {options.photos:,} photos in {len(pieces)} pieces, {total:,.0f} s", flush=True)
    if code < 0:
        return None
    reference = Photos(work / "originals", work / "reference", photos.shard_size)
    subprocess.run(reference.command(1), check=True, env=ONE_THREAD, capture_output=True)
    return {
        "photos": options.photos,
        "seconds": round(total, 1),
        "photos_a_second": round(options.photos / total, 1),
        "largest_MB": max(one["largest_MB"] for one in pieces),
        "killed": {who: sum(one[f"{who}_killed"] for one in pieces) for who in ("parent", "worker")},
        **compare(photos, options.photos, reference),
        "pieces": pieces,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=(*PARTS, "loop"), metavar="PART", help="rates, kills or long")
    parser.add_argument("--out", type=Path, metavar="FILE", default=Path("results/bulk.json"))
    parser.add_argument(
        "--work", type=Path, metavar="FOLDER", help="of a long run (default: runs/bulk)", default=Path("runs/bulk")
    )
    parser.add_argument("--photos", type=int, default=3000, metavar="N", help="in all (default: 3000)")
    parser.add_argument("--photos-from", type=Path, metavar="FOLDER", help="in place of facial_expressions")
    parser.add_argument("--different", type=int, default=3000, metavar="N", help="of the photos (default: 3000)")
    parser.add_argument("--shard-size", type=int, default=500, metavar="N", help="photos a part (default: 500)")
    parser.add_argument("--runs", type=int, default=5, help="of rates")
    parser.add_argument("--kills", type=int, default=5, help="of kills: of the parent, and of workers")
    parser.add_argument("--seconds", type=float, default=1500, help="of a piece of the long run")
    parser.add_argument("--seed", type=int, default=0, help="of kills")
    options = parser.parse_args()
    if options.part == "loop":  # in a process of its own
        return looped(options.photos_from)
    if options.part == "long":
        options.work.mkdir(parents=True, exist_ok=True)
        found = long(options, options.work)
    else:
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            found = {"rates": rates, "kills": kills}[options.part](options, Path(folder))
    if found:
        report = json.loads(options.out.read_text()) if options.out.exists() else {}
        command = shlex.join(["python", "benchmarks/bulk.py", *sys.argv[1:]])
        report[options.part] = {"command": command, "machine": machine(), **found}
        write_json(options.out, {name: report[name] for name in PARTS if name in report})


if __name__ == "__main__":
    main()
