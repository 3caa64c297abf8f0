"""The app under load: answers a second, waiting times, memory and files of a server of its own.

    env -u OMP_NUM_THREADS python benchmarks/app_load.py --out results/app_load.json

Starts `python app.py` at a free port of this machine and sends it real photos: those of facial_expressions, drawn at
random with a fixed seed, and two portraits in the public domain (matplotlib's Grace Hopper, scikit-image's Eileen
Collins). A request is what a visitor's browser does: send the photo, wait for the answer, fetch the boxed picture.

turns: the same photos asked for by one client and by --clients at once, in turns; every photo once a turn.
memory: the server's resident memory (/proc) before and after further requests by all clients.
files: what lies in the server's temporary folder after the last request, how long until it has deleted its files by
    itself, and what is left once it has been ended by Ctrl-C.

The clients run in one process and cost time on the same cores; it is told how much. They speak Gradio's HTTP API
directly: `gradio_client` takes twenty times as much.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx
import numpy as np
from machine import machine, typed_command
from photo_files import facial_expressions, portraits

ROOT = Path(__file__).parents[1]
PATIENCE = 120  # seconds to wait for an answer, for the start and for the end


@dataclass(frozen=True)
class Answer:
    """What a request came to.

    Attributes:
        photo: the file that was sent.
        seconds: from sending the photo to having the boxed picture.
        data: the endpoint's JSON; None after an error.
        error: None, or what went wrong.
    """

    photo: Path
    seconds: float
    data: dict | None = None
    error: str | None = None


@dataclass
class Server:
    """A running app.

    Attributes:
        process: its process.
        url: where it listens.
        folder: the only place for its temporary files.
    """

    process: subprocess.Popen
    url: str
    folder: Path = field(repr=False)

    def memory(self) -> dict[str, float]:
        """Resident now, and the most it ever was, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return {
            name: round(int(status.split(f"{key}:")[1].split()[0]) / 1024, 1)
            for name, key in (("resident, MB", "VmRSS"), ("peak, MB", "VmHWM"))
        }

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def folders(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_dir()]

    def end(self) -> int:
        """Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@contextmanager
def serve(arguments: Sequence[str] = ()) -> Iterator[Server]:
    """`python app.py` at a free port, with a temporary folder of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="app-load-") as place:
        folder, log = Path(place, "tmp"), Path(place, "log")
        folder.mkdir()
        command = [sys.executable, "app.py", "--port", str(port), *arguments]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, "TMPDIR": str(folder)}, stdout=output, stderr=output
            )
        try:
            yield Server(process, _address(process, log), folder)
        finally:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen, log: Path) -> str:
    """The address the server prints when it is open."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit and process.poll() is None:
        if found := re.search(r"^Open (\S+) in a browser", log.read_text(), re.MULTILINE):
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start: {log.read_text()}")


async def ask(client: httpx.AsyncClient, photo: Path) -> Answer:
    """One visitor's request."""
    began = time.perf_counter()
    try:
        data = await _ask(client, photo)
    except (httpx.HTTPError, RuntimeError, KeyError) as error:
        return Answer(photo, time.perf_counter() - began, error=repr(error))
    return Answer(photo, time.perf_counter() - began, data)


async def _ask(client: httpx.AsyncClient, photo: Path) -> dict:
    sent = await client.post("/gradio_api/upload", files={"files": (photo.name, photo.read_bytes())})
    (path,) = sent.raise_for_status().json()
    image = {"path": path, "meta": {"_type": "gradio.FileData"}}
    job = (await client.post("/gradio_api/call/v2/predict", json={"image": image})).raise_for_status().json()
    data, annotated, _ = await _result(client, job["event_id"])
    if annotated:
        (await client.get(annotated["url"])).raise_for_status()
    return data


async def _result(client: httpx.AsyncClient, event_id: str) -> list:
    """The endpoint's outputs, from the server's event stream."""
    async with client.stream("GET", f"/gradio_api/call/v2/predict/{event_id}") as stream:
        event = None
        async for line in stream.aiter_lines():
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: ") and event == "complete":
                return json.loads(line.removeprefix("data: "))
            elif line.startswith("data: ") and event == "error":
                raise RuntimeError(line)
    raise RuntimeError("the stream ended without an answer")


def ask_all(url: str, photos: Sequence[Path], clients: int) -> tuple[list[Answer], float]:
    """Every photo once, by so many clients at once; the answers in the order they came, and the seconds it took."""

    async def work() -> list[Answer]:
        waiting, answers = iter(photos), []

        async def visit(client: httpx.AsyncClient) -> None:
            for photo in waiting:
                answers.append(await ask(client, photo))

        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
            await asyncio.gather(*(visit(client) for _ in range(clients)))
        return answers

    began = time.perf_counter()
    answers = asyncio.run(work())
    return answers, time.perf_counter() - began


def in_turns(server: Server, photos: Sequence[Path], numbers: Sequence[int], rounds: int) -> dict:
    """The photos in `rounds` parts, each part asked for by every number of clients in turn."""
    answers: dict[int, list[Answer]] = {number: [] for number in numbers}
    rates: dict[int, list[float]] = {number: [] for number in numbers}
    spent = dict.fromkeys(numbers, np.zeros(3))  # seconds: the clock's, of the server's processor, of the clients'
    for turn in range(rounds):
        for number in numbers:
            before = np.array([0, server.cpu_seconds(), time.process_time()])
            given, taken = ask_all(server.url, photos[turn::rounds], number)
            spent[number] = spent[number] + [taken, server.cpu_seconds(), time.process_time()] - before
            answers[number] += given
            rates[number].append(len(given) / taken)
    few, *_, many = numbers
    return {
        "rounds": rounds,
        "photos in which answers differ": differing(answers[few], answers[many]),
        "clients": {str(number): summary(answers[number], rates[number], spent[number]) for number in numbers},
        "ratio of the rates": round(median(rates[many]) / median(rates[few]), 2),
    }


def summary(answers: Sequence[Answer], rates: Sequence[float], spent: np.ndarray) -> dict:
    """Figures of the answers to one number of clients."""
    errors = [answer.error for answer in answers if answer.error]
    p50, p95 = np.percentile([answer.seconds for answer in answers], [50, 95])
    clock, server, client = spent
    return {
        "requests": len(answers),
        "errors": len(errors),
        "first errors": errors[:3],
        "with a face": sum(bool(answer.data and answer.data["faces"]) for answer in answers),
        "p50, s": round(float(p50), 4),
        "p95, s": round(float(p95), 4),
        "requests a second": round(median(rates), 2),
        "server's processor time a request, s": round(server / len(answers), 4),
        "cores the server used": round(server / clock, 2),
        "cores the clients used": round(client / clock, 2),
    }


def differing(ours: Sequence[Answer], theirs: Sequence[Answer]) -> int:
    """Photos that were answered differently in two runs: other boxes, or probabilities more than 0.001 apart."""
    known = {answer.photo: answer.data for answer in ours}
    return sum(not _alike(known[answer.photo], answer.data) for answer in theirs)


def _alike(one: dict | None, other: dict | None) -> bool:
    if one is None or other is None or len(one["faces"]) != len(other["faces"]):
        return False
    return all(
        a["box"] == b["box"] and all(abs(score - b["scores"][name]) < 1e-3 for name, score in a["scores"].items())
        for a, b in zip(one["faces"], other["faces"], strict=True)
    )


def memory_growth(server: Server, photos: Sequence[Path], clients: int) -> dict:
    """Memory before and after all the photos, and after each tenth of them."""
    before, steps, errors = server.memory(), [], 0
    for part in np.array_split(np.arange(len(photos)), 10):
        answers, _ = ask_all(server.url, [photos[i] for i in part], clients)
        errors += sum(bool(answer.error) for answer in answers)
        steps.append(server.memory()["resident, MB"])
    after = server.memory()
    return {
        "requests": len(photos),
        "errors": errors,
        "before": before,
        "after": after,
        "growth, MB": round(after["resident, MB"] - before["resident, MB"], 1),
        "resident after each tenth, MB": steps,
    }


def files_left(server: Server, own: Sequence[Path], wait: float) -> dict:
    """Watch the server's folder until it has no files but the page's `own`, or `wait` seconds are over; then end it."""

    def files() -> list[Path]:
        return [path for path in server.files() if path not in own]

    began = time.monotonic()
    found = files()
    report: dict = {
        "of the page itself, from the start": len(own),
        "after the last request": len(found),
        "of these, MB": round(sum(path.stat().st_size for path in found) / 1e6, 1),
    }
    while (left := files()) and time.monotonic() - began < wait:
        time.sleep(5)
    report["left by the server"] = len(left)
    report["watched, s"] = round(time.monotonic() - began)
    report["kinds left by the server"] = dict(Counter(path.suffix for path in left))
    report["empty folders left by the server"] = sum(not any(path.iterdir()) for path in server.folders())
    report["exit code after Ctrl-C"] = server.end()
    report["left after the end"] = len(server.files())
    report["folders left after the end"] = sorted(str(path.relative_to(server.folder)) for path in server.folders())
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--clients", type=int, nargs="+", default=[8, 30], metavar="N", help="at once, beside one alone"
    )
    parser.add_argument("--requests", type=int, default=400, help="photos for one client, and the same for all clients")
    parser.add_argument("--rounds", type=int, default=5, help="turns in which they are sent")
    parser.add_argument("--more", type=int, default=1000, help="further requests, for the memory")
    parser.add_argument(
        "--wait", type=float, default=900, help="longest wait for the server to delete its files, in seconds"
    )
    parser.add_argument("--app", nargs="*", default=[], metavar="ARGUMENT", help="further arguments of app.py")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    report: dict = {"command": typed_command()} | machine()
    with tempfile.TemporaryDirectory() as folder:
        known = portraits(Path(folder))
        photos = [*known, *facial_expressions(options.requests + options.more - len(known))]
        report["photos"] = f"facial_expressions at random, seed 0; {', '.join(path.name for path in known)}"
        began = time.perf_counter()
        with serve(options.app) as server:
            report["seconds until the page is open"] = round(time.perf_counter() - began, 1)
            own, most = server.files(), max(options.clients)
            ask_all(server.url, photos[:1], 1)
            report["seconds until the first answer"] = round(time.perf_counter() - began, 1)
            ask_all(server.url, photos[: 5 * most], most)  # warms up
            report["turns"] = in_turns(server, photos[: options.requests], (1, *options.clients), options.rounds)
            print(json.dumps(report, indent=1), flush=True)
            report["memory"] = memory_growth(server, photos[options.requests :], most)
            print(json.dumps(report["memory"], indent=1), flush=True)
            report["files"] = files_left(server, own, options.wait)
            print(json.dumps(report["files"], indent=1), flush=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
