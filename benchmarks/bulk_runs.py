"""Runs of `ferlib predict --recursive` that are watched, killed and compared, for `bulk.py`. Needs Linux."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryFile

import peer_process
import pyarrow.parquet

ONE_THREAD = os.environ | peer_process.ONE_THREAD


@dataclass(frozen=True)
class Photos:
    """A folder of photos and the table that is made of it.

    Attributes:
        folder: with the photos.
        table: folder of the parts.
        shard_size: photos a part.
    """

    folder: Path
    table: Path
    shard_size: int

    def command(self, workers: int, engine: str = "local") -> list[str]:
        """The command line that makes the table, or goes on with it."""
        words = ["--out", str(self.table), "--shard-size", str(self.shard_size)]
        words += ["--workers", str(workers), "--engine", engine]
        return [sys.executable, "-m", "ferlib", "predict", "--recursive", str(self.folder), *words]

    def parts(self) -> list[Path]:
        """The finished parts, in order."""
        return sorted(self.table.glob("part-*.parquet"))

    def done(self, count: int) -> int:
        """Photos in finished parts, of so many."""
        numbers = (int(path.stem.removeprefix("part-")) for path in self.parts())
        return sum(min(self.shard_size, count - number * self.shard_size) for number in numbers)


def link(files: Sequence[Path], folder: Path, count: int) -> None:
    """Make a folder of hard links to the files, over and over, 1,000 in each folder below it; or go on with it."""
    for number in range(count):
        file = files[number % len(files)]
        path = folder / f"{number // 1000:06}" / f"{number:09}{file.suffix}"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.link(file, path)


def run(
    command: list[str],
    kill_after: float | None = None,
    kill_workers_at: Sequence[float] = (),
    look: Callable[[int], None] = lambda _: None,
    seed: int = 0,
) -> tuple[int, int]:
    """Run a command, disturbed by `kill -9`; the exit code, negative where it was killed, and the workers killed.

    Args:
        command: to run.
        kill_after: seconds after which it is killed, if it has not ended; its workers have ended, too, on return.
        kill_workers_at: seconds after which one of its workers, drawn at random, is killed.
        look: called with its process number once a second.
        seed: of the draws.

    Raises:
        SystemExit: the command failed by itself.
    """
    draw, moments, killed = random.Random(seed), sorted(kill_workers_at), 0
    began, looks = time.monotonic(), 0
    with TemporaryFile() as said:
        process = subprocess.Popen(command, env=ONE_THREAD, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            running, seconds = descendants(process.pid), time.monotonic() - began
            if kill_after is not None and seconds >= kill_after:
                process.kill()
                wait_for(running)
            elif moments and seconds >= moments[0] and (workers := [one for one in running if is_worker(one)]):
                with suppress(ProcessLookupError):
                    os.kill(draw.choice(workers), signal.SIGKILL)
                    killed += 1
                moments = moments[1:]
            if seconds >= looks:
                looks += 1
                look(process.pid)
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        if process.returncode > 0:
            said.seek(0)
            raise SystemExit(f"the run ended with {process.returncode}: {said.read().decode(errors='replace')}")
    return process.returncode, killed


def is_worker(pid: int) -> bool:
    """Whether a process does shards: one of ferlib's own, or of Ray's."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return False
    return b"ferlib.runtime.worker" in command or b"ray::_do" in command


def wait_for(processes: Sequence[int], seconds: float = 60) -> None:
    """Return when the processes have ended, or after so many seconds."""
    until = time.monotonic() + seconds
    while any(alive(one) for one in processes) and time.monotonic() < until:
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether there is such a process, and not only its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    """A process and all that it started and they started, now."""
    found = [pid]
    for one in found:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended
            continue
    return found


def memory(pid: int) -> float:
    """Memory of a process and its descendants in MB, shared pages counted once (PSS)."""
    total = 0
    for one in descendants(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total / 1e6


def compare(photos: Photos, count: int, reference: Photos) -> dict[str, int]:
    """Numbers of a table's rows, and of photos without a row, there twice, or with other rows than in the reference.

    Args:
        photos: a table of links to the reference's photos, over and over.
        count: photos that it should have.
        reference: a table of every photo once.
    """
    answers = [answer for _, answer in answers_of(reference)]
    total, unlike, times = 0, 0, [0] * count
    for photo, answer in answers_of(photos):
        times[photo] += 1
        total += len(answer)
        unlike += answer != answers[photo % len(answers)]
    return {
        "rows": total, "photos_without_a_row": times.count(0), "photos_twice": sum(n > 1 for n in times),
        "photos_with_other_rows": unlike,
    }  # fmt: skip


def answers_of(photos: Photos) -> Iterator[tuple[int, list[dict]]]:
    """Every photo's number and its rows without its name, part by part."""
    for path in photos.parts():
        rows = pyarrow.parquet.read_table(path).to_pylist()
        for photo, group in groupby(rows, itemgetter("photo")):
            yield photo, [without_name(row) for row in group]


def without_name(row: dict) -> dict:
    """A row without the photo's number and name; errors name it, too."""
    error = row["error"] and row["error"].replace(Path(row["image"]).name, "")
    return {name: value for name, value in row.items() if name not in ("photo", "image")} | {"error": error}
