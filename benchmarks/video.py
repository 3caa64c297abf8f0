"""Films: frames a second, memory over a long film, people who cross, and what smoothing does. Into results/video.json.

    python benchmarks/video.py --out results/video.json                     # all; an hour of film takes most of it
    python benchmarks/video.py --out results/video.json --only speed        # the other parts stay as they are

`speed`: a film of 1280x720 pixels with one and with four drawn faces, as a process of its own that follows them and
makes the table (no film is drawn again); beside it the same with every frame searched for faces, and, with --fer PYTHON
(an interpreter whose environment has it), the video mode of the `fer` package with its default detector. All in turns,
medians of --runs; cores as OMP_NUM_THREADS and the process's affinity say.
`memory`: the same film over and over, for --minutes of film, read as one; resident memory along the way.
`crossing`: films, 640x360, of two people who walk past each other, faster and slower, with four expressions, by the
drawn truth: how often somebody's track number changes, label changes a minute and accuracy, for single frames, smoothed
as they come (by time constant) and with the whole film known.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ferlib.synthetic.films import Actor, Shown, draw_film, line, owners, switches
from ferlib.synthetic.parameters import Identity
from ferlib.utils.atomic import write_json
from ferlib.utils.commit import commit
from ferlib.video.predictor import VideoPredictor
from ferlib.video.reading import Frame, VideoReader
from ferlib.video.smoothing import ExponentialSmoother, label_changes
from ferlib.video.table import VideoTable
from ferlib.video.writing import VideoWriter

SIZE, SMALL, RATE = (1280, 720), (640, 360), 25
EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness")  # those that the default model reads off drawn faces
ACTED = 3.0  # seconds of an expression
CONSTANTS = (0.1, 0.2, 0.3, 0.5, 1.0)  # seconds
PARTS = ("speed", "memory", "crossing")
KNOWN, SEARCHED, FER = "known faces between searches", "every frame searched", "fer, Haar"


def script(start: int, seconds: float) -> list[tuple[float, str]]:
    """Expressions in turn, each for `ACTED` seconds."""
    count = int(np.ceil(seconds / ACTED))
    return [((n + 1) * ACTED, EXPRESSIONS[(3 * n + start) % len(EXPRESSIONS)]) for n in range(count)]


def walking_film(path: Path, faces: int, seconds: float) -> None:
    """Write a film in which some people move from side to side, without crossing."""
    rng = np.random.default_rng(faces)
    width, height = SIZE
    actors = []
    for number in range(faces):
        x, reach = width * (number + 0.5) / faces, min(120, width / faces / 6)

        def way(time: float, x: float = x, reach: float = reach, phase: float = float(number)) -> tuple[float, float]:
            return x + reach * np.sin(time + phase), height / 2 + 40 * np.cos(1.3 * time + phase)

        actors.append(Actor(Identity.sample(rng), 240, way, script(number, seconds)))
    times = np.arange(0, seconds, 1 / RATE)
    with VideoWriter(path, RATE) as writer:
        for (pixels, _), moment in zip(draw_film(actors, times, SIZE), times, strict=True):
            writer.write(pixels, moment)


def looked_through(path: Path, search_every: float) -> None:
    """The measured process: reads a film, and prints frames, rows, seconds and processor seconds."""
    predictor = VideoPredictor(search_every=search_every)
    predictor.predict(path, until=0.5)  # loads the models
    began, worked = time.perf_counter(), time.process_time()
    table = predictor.predict(path)
    passed = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - worked}
    print(json.dumps({"frames": table.frames, "rows": len(table)} | passed))


def in_a_process(*command: str | Path) -> dict:
    """What a program prints last."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def speed(folder: Path, runs: int, fer: Path | None) -> dict:
    def ours(search_every: str) -> Callable[[Path], dict]:
        return lambda film: in_a_process(sys.executable, __file__, "--film", film, "--search-every", search_every)

    ways = {KNOWN: ours("0.2"), SEARCHED: ours("0")}
    if fer:
        ways[FER] = lambda film: in_a_process(fer, Path(__file__).with_name("fer_film.py"), film)
    films = {faces: folder / f"{faces}.mp4" for faces in (1, 4)}
    for faces, film in films.items():
        walking_film(film, faces, 8)
    values: dict[tuple[int, str], list[dict]] = {}
    for _ in range(runs):
        for faces, film in films.items():
            for way, measured in ways.items():
                values.setdefault((faces, way), []).append(measured(film))
    found: dict = {}
    for (faces, way), each in values.items():
        per_second = [one["frames"] / one["seconds"] for one in each]
        found.setdefault(f"faces: {faces}", {})[way] = {
            "frames_a_second": round(statistics.median(per_second), 1),
            "all": [round(value, 1) for value in per_second],
            "cpu_milliseconds_a_frame": round(
                statistics.median(1000 * one["cpu_seconds"] / one["frames"] for one in each), 2
            ),
            "faces_a_frame": round(each[0]["rows"] / each[0]["frames"], 3),
        }
    for rates in found.values():
        for way in list(rates)[1:]:
            ratios = (a / b for a, b in zip(rates[KNOWN]["all"], rates[way]["all"], strict=True))
            rates[way]["ratio"] = round(statistics.median(ratios), 2)
    return {"film": f"{SIZE[0]}x{SIZE[1]}, {RATE} frames a second, 8 s", "runs": runs, **found}


class LoopedFilm:
    """A film over and over, as if it were one: enough of a `VideoReader` for `VideoPredictor.frames`.

    Each round is opened and decoded anew, as a long film's parts are.
    """

    live = False

    def __init__(self, path: Path, seconds: float):
        self.path, self.seconds = path, seconds

    def frames(self, every: int = 1) -> Iterator[Frame]:
        number, start = 0, 0.0
        while start < self.seconds:
            with VideoReader(self.path) as reader:
                for frame in reader.frames(every):
                    yield Frame(number, start + frame.time, frame.pixels)
                    number, last = number + 1, start + frame.time
            start = last + 1 / RATE


def resident() -> float:
    """Resident memory of this process, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def remembered(path: Path, minutes: float) -> None:
    """The measured process: follows the faces of a looped film, and prints its memory along the way."""
    predictor = VideoPredictor()
    table, seen = VideoTable(predictor.predictor.classes), []
    for frame in predictor.frames(LoopedFilm(path, 60 * minutes)):  # type: ignore[arg-type]  # see LoopedFilm
        table.add(frame)
        if frame.number % 250 == 0:
            seen.append((round(frame.time, 1), round(resident(), 1)))
    table.end()
    table.smooth()
    summary = table.summary()
    seen.append((round(table.seconds, 1), round(resident(), 1)))
    print(json.dumps({"rows": len(table), "tracks": len(summary), "MB": seen}))


def memory(folder: Path, minutes: float) -> dict:
    film = folder / "two.mp4"
    walking_film(film, 2, 20)
    found = in_a_process(sys.executable, __file__, "--film", film, "--minutes", str(minutes))
    warm = [megabytes for seconds, megabytes in found["MB"] if seconds >= 20]
    found["MB"] = found["MB"][:: max(1, len(found["MB"]) // 40)] + found["MB"][-1:]
    return {"minutes": minutes, "growth_after_20_s_MB": round(max(warm) - warm[0], 1), **found}


class DrawnFilm:
    """A film that is drawn as it is asked for, with its truth."""

    live = False

    def __init__(self, seed: int, seconds: float):
        rng = np.random.default_rng(seed)
        heights = rng.uniform(165, 195, 4)
        ways = ((85, heights[0]), (555, heights[1])), ((555, heights[2]), (85, heights[3]))
        self.times = np.arange(0, seconds, 1 / RATE)
        self.actors = [
            Actor(Identity.sample(rng), int(rng.integers(105, 145)), line(*way, seconds), script(number, seconds))
            for number, way in enumerate(ways)
        ]
        self.seed, self.truth = seed, list[list[Shown]]()

    def frames(self, every: int = 1) -> Iterator[Frame]:
        for number, (pixels, shown) in enumerate(draw_film(self.actors, self.times, SMALL, self.seed)):
            self.truth.append(shown)
            yield Frame(number, float(self.times[number]), pixels)


def as_they_come(rows: np.ndarray, constant: float) -> np.ndarray:
    """Labels (N,) of single frames' probabilities smoothed with another time constant."""
    smoothers: dict[int, ExponentialSmoother] = {}
    labels = np.empty(len(rows), int)
    for place, row in enumerate(rows):
        smoother = smoothers.setdefault(int(row["track"]), ExponentialSmoother(constant))
        labels[place] = smoother(row["raw"].astype(float), float(row["time"])).argmax()
    return labels


def crossing(films: int) -> dict:
    predictor = VideoPredictor()
    classes = predictor.predictor.classes
    totals: dict[str, list[tuple[int, float, int, int]]] = {}
    switched, strangers, shown, found_rows, acted, rates = 0, 0, 0, 0, 0, []
    for seed in range(films):
        seconds = (6.0, 9.0, 12.0, 18.0)[seed % 4]
        film, table = DrawnFilm(seed, seconds), VideoTable(classes)
        for frame in predictor.frames(film):  # type: ignore[arg-type]  # as LoopedFilm
            table.add(frame)
        table.end()
        table.smooth()
        rows = np.array(table.rows)
        actors = owners(rows, film.truth)
        switched += switches(rows["track"], actors)
        strangers += int((actors < 0).sum())
        shown, found_rows = shown + sum(map(len, film.truth)), found_rows + len(rows)
        acted += 2 * (int(np.ceil(seconds / ACTED)) - 1)
        rates.append(table.changes_a_second)
        answers = {"single frames": rows["raw"].argmax(axis=1), "whole film": rows["smoothed"].argmax(axis=1)}
        answers |= {f"as they come, {constant} s": as_they_come(rows, constant) for constant in CONSTANTS}
        true = np.array(
            [classes.index(film.truth[row["frame"]][one].expression) for row, one in zip(rows, actors, strict=True)]
        )
        for name, labels in answers.items():
            changes = sum(label_changes(labels[rows["track"] == one]) for one in np.unique(rows["track"]))
            minutes = float(rows["seconds"].sum()) / 60
            known = actors >= 0
            totals.setdefault(name, []).append((changes, minutes, int((labels == true)[known].sum()), int(known.sum())))
        print(seed, seconds, switched, {name: each[-1] for name, each in totals.items()}, flush=True)
    result = {}
    for name, each in totals.items():
        changes, minutes, right, counted = (sum(column) for column in zip(*each, strict=True))
        result[name] = {"label_changes_a_minute": round(changes / minutes, 1), "accuracy": round(right / counted, 4)}
    before = result["single frames"]["label_changes_a_minute"]
    for one in result.values():
        one["fewer_changes"] = round(1 - one["label_changes_a_minute"] / before, 3)
    return {
        "films": films, "identity_switches": switched, "rows_of_nobody": strangers,
        "found": round(found_rows / shown, 4), "acted_changes_a_minute": round(acted / minutes, 1),
        "fitted_changes_a_second": [round(rate, 3) for rate in rates if rate], "answers": result,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--fer", type=Path, metavar="PYTHON", help="interpreter that has fer installed, of speed")
    parser.add_argument("--minutes", type=float, help="of film (default: 60)")
    parser.add_argument("--films", type=int, default=16, help="in which people cross (default: 16)")
    parser.add_argument("--film", type=Path, help=argparse.SUPPRESS)  # in a process of its own
    parser.add_argument("--search-every", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.film:
        if options.minutes:
            return remembered(options.film, options.minutes)
        return looked_through(options.film, options.search_every)
    if not options.out:
        parser.error("--out FILE is needed")
    from machine import machine, typed_command

    report = json.loads(options.out.read_text()) if options.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for part in options.only:
            if part == "speed":
                found = speed(Path(folder), options.runs, options.fer)
            elif part == "memory":
                found = memory(Path(folder), options.minutes or 60)
            else:
                found = crossing(options.films)
            report[part] = {"command": typed_command(), "commit": commit(), "machine": machine(), **found}
            report = {name: report[name] for name in PARTS if name in report}
            write_json(options.out, report)
            print(json.dumps(report[part], indent=1))


if __name__ == "__main__":
    main()
