"""Tables of very many photos: photos a second, kills, a long run in pieces, and sizes. Into results/bulk.json.

    python benchmarks/bulk.py rates
    python benchmarks/bulk.py kills
    python benchmarks/bulk.py long --photos 1000000 --work runs/bulk --seconds 800   # again, until it is done
    python benchmarks/bulk.py sizes --photos 1000000

The photos are those of facial_expressions, or of --photos-from FOLDER, by hard links, over and over where more are
asked for.

`rates`: a plain loop, one process, two, and, with --fer PYTHON (an interpreter whose environment has it), a plain loop
of the `fer` package with its default detector, on one thread like the others; each from its start to its last row, all
in turns, medians of --runs. Processor time is that of all processes, which other work on the machine hardly changes.
`kills`: the same table by one process, by two, by two whose parent is killed again and again, by two whose workers
are, and by Ray where it is installed: the files are to be the same, byte for byte.
`long`: two processes. A call is a piece: it goes on where the last one stopped, kills a worker at a random moment, and
kills the parent after --seconds, if there is work left. Wall time, from the start to the end of the last process, and
photos stand in the work folder, one file a piece, written every second; so does the memory of all processes, shared
pages counted once (PSS, Linux). Work that a kill undid costs time like any other. Photos that were done while nobody
looked at the clock (this program itself was killed) are not counted in the rate. The last piece compares every row with
those of the same photo in a table that one process made, and writes into --out.
`sizes`: bytes a photo of a table of one shard, plain and with all that can be added, and of its list of photos;
processor time to list all the photos, from their folder and from a .txt list.
"""

import argparse
import importlib.util
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from bulk_runs import ONE_THREAD, Photos, alive, compare, link, memory, run
from machine import machine, typed_command
from photo_files import facial_expressions

from ferlib.bulk.photos import LIST, Listing, write_list
from ferlib.utils.atomic import write_json
from ferlib.utils.files import find_pictures

WORKERS = 2
PARTS = ("rates", "kills", "long", "sizes")
EVERY = 120.0  # seconds between two samples of memory that are kept


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


def rates(options: argparse.Namespace, work: Path) -> dict:
    photos = linked(options, work)
    loop = "a loop over `Predictor.predict`"
    ways = {loop: [sys.executable, str(Path(__file__).with_name("bulk_loop.py")), str(photos.folder)]}
    ways |= {f"`predict --recursive`, processes: {workers}": photos.command(workers) for workers in (1, WORKERS)}
    if options.fer:
        ways["a loop of `fer`, Haar"] = [
            options.fer,
            str(Path(__file__).with_name("fer_photos.py")),
            str(photos.folder),
        ]
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
    run(one.command(1))
    ways["one process"] = compare(one, options.photos, one)
    began = time.monotonic()
    run(two.command(WORKERS))
    whole = time.monotonic() - began
    compared("two processes", two)

    def parent_killed(part: float) -> int:
        killed = 0
        while run(parent.command(WORKERS), part * draw.uniform(0.2, 1) if killed < options.kills else None)[0]:
            killed += 1
        return killed

    def workers_killed(part: float) -> int:
        moments = [options.kills * part * draw.uniform(0.2, 0.9) for _ in range(options.kills)]
        return run(workers.command(WORKERS), kill_workers_at=moments, seed=options.seed)[1]

    parent, workers, part = table("parent"), table("workers"), whole / options.kills
    compared("two processes, the parent killed", parent, killed=until_killed(parent, parent_killed, part))
    compared("two processes, workers killed", workers, killed=until_killed(workers, workers_killed, part))
    if options.ray and importlib.util.find_spec("ray"):
        cluster, moments = table("ray"), [whole * draw.uniform(0.5, 0.9)]
        _, killed = run(cluster.command(WORKERS, "ray"), kill_workers_at=moments, seed=options.seed)
        compared("a Ray cluster of this machine, a worker killed", cluster, killed=killed)
    return {"photos": options.photos, "shard_size": photos.shard_size, "ways": ways}


def until_killed(photos: Photos, disturb: Callable[[float], int], part: float) -> int:
    """Make a table by a run that is killed; how often it was.

    Where the machine has become so fast that the run ended before the first kill, it is made again, and killed sooner.

    Args:
        photos: the table.
        disturb: makes it, kills after parts of so many seconds, and counts the kills.
        part: seconds at first.
    """
    killed = 0
    while not killed:
        shutil.rmtree(photos.table, ignore_errors=True)
        killed, part = disturb(part), part / 2
    return killed


def long(options: argparse.Namespace, work: Path) -> dict | None:
    """One piece of the long run; all pieces together when it was the last."""
    photos, notes = linked(options, work), sorted(work.glob("piece-*.json"))
    pieces = [json.loads(note.read_text()) for note in notes]
    if pieces and alive(pieces[-1]["process"]):
        raise SystemExit(f"process {pieces[-1]['process']} of the last piece is still at work")
    pieces.append(piece(options, photos, work / f"piece-{len(pieces):03}.json"))
    seconds = sum(one["seconds"] for one in pieces)
    counted = sum(one["photos"] - one["photos_before"] for one in pieces)
    done = pieces[-1]["photos"]
    print(f"{done:,} of {options.photos:,} photos in {len(pieces)} pieces, {seconds:,.0f} s", flush=True)
    if done < options.photos:
        return None
    reference = Photos(work / "originals", work / "reference", photos.shard_size)
    run(reference.command(1))
    return {
        "photos": options.photos,
        "different": len(find_pictures(reference.folder)),
        "seconds": round(seconds, 1),
        "photos_counted": counted,
        "photos_a_second": round(counted / seconds, 1),
        "largest_MB": max(one["largest_MB"] for one in pieces),
        "killed": {who: sum(one[f"{who}_killed"] for one in pieces) for who in ("parent", "worker")},
        **compare(photos, options.photos, reference),
        "pieces": pieces,
    }


def piece(options: argparse.Namespace, photos: Photos, note: Path) -> dict:
    """Work on the table for some time; what was measured, which is in the note all the while."""
    began, before = time.monotonic(), photos.done(options.photos)
    found: dict[str, Any] = {"machine": machine(), "photos_before": before, "largest_MB": 0.0, "samples": []}
    found |= {"worker_killed": 0, "parent_killed": 0}

    def look(process: int) -> None:
        seconds, done, used = time.monotonic() - began, photos.done(options.photos), round(memory(process), 1)
        found.update(process=process, seconds=round(seconds, 1), photos=done)
        found["largest_MB"] = max(found["largest_MB"], used)
        if seconds >= EVERY * len(found["samples"]):
            found["samples"].append((round(seconds), done, used))
        write_json(note, found)

    moment = random.uniform(0, options.seconds)
    code, killed = run(photos.command(WORKERS), options.seconds, [moment], look)
    found.update(seconds=round(time.monotonic() - began, 1), photos=photos.done(options.photos))
    found.update(worker_killed=killed, parent_killed=int(code < 0))
    write_json(note, found)
    return found


def sizes(options: argparse.Namespace, work: Path) -> dict:
    photos, count = linked(options, work), options.shard_size
    shard = Photos(work / "shard", work / "table", count)
    link(sorted((work / "originals").iterdir()), shard.folder, count)
    table: dict[str, float] = {}
    for name, words in (("plain", ()), ("with landmarks and sets", ("--landmarks", "--coverage", "0.9"))):
        shutil.rmtree(shard.table, ignore_errors=True)
        run([*shard.command(1), *words])
        (part,) = shard.parts()
        table[name] = round(part.stat().st_size / count, 1)
    names = work / "list.txt"
    names.write_text("".join(f"{path}\n" for path in find_pictures(photos.folder)))
    return {
        "photos": count,
        "bytes_a_photo": table,
        "bytes_of_the_list_a_photo": round((shard.table / LIST).stat().st_size / count, 1),
        "photos_listed": options.photos,
        "seconds_to_list": {"folder": listed(photos.folder, count), "txt": listed(names, count)},
    }


def listed(source: Path, shard_size: int) -> float:
    """Seconds of processor time that it takes to list a source's photos."""
    began = time.process_time()
    with tempfile.TemporaryFile() as file:
        write_list(Listing([str(source)]), file, shard_size)
    return round(time.process_time() - began, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, metavar="FILE", default=Path("results/bulk.json"))
    parser.add_argument("--work", type=Path, metavar="FOLDER", default=Path("runs/bulk"), help="of the long run")
    parser.add_argument("--photos", type=int, default=3000, metavar="N", help="in all (default: 3000)")
    parser.add_argument("--photos-from", type=Path, metavar="FOLDER", help="in place of facial_expressions")
    parser.add_argument("--different", type=int, default=3000, metavar="N", help="of the photos (default: 3000)")
    parser.add_argument("--shard-size", type=int, default=500, metavar="N", help="photos a part (default: 500)")
    parser.add_argument("--runs", type=int, default=5, help="of rates")
    parser.add_argument("--fer", metavar="PYTHON", help="of rates: interpreter that has fer installed")
    parser.add_argument("--kills", type=int, default=5, help="of kills: of the parent, and of workers")
    parser.add_argument("--ray", action=argparse.BooleanOptionalAction, default=True, help="of kills: by Ray, too")
    parser.add_argument("--seconds", type=float, default=1500, help="of a piece of the long run")
    parser.add_argument("--seed", type=int, default=0, help="of kills")
    options = parser.parse_args()
    if options.kills < 1:
        parser.error("--kills: at least 1")
    if options.part == "long":
        options.work.mkdir(parents=True, exist_ok=True)
        found = long(options, options.work)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = {"rates": rates, "kills": kills, "sizes": sizes}[options.part](options, Path(folder))
    if found:
        report = json.loads(options.out.read_text()) if options.out.exists() else {}
        report[options.part] = {"command": typed_command(), "machine": machine(), **found}
        write_json(options.out, {name: report[name] for name in PARTS if name in report})


if __name__ == "__main__":
    main()
