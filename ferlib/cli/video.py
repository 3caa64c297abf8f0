"""`python -m ferlib video`: the faces of a film, camera or stream over time, and their expressions, smoothed."""

import argparse
import json
import math
import os
import sys
import time
from contextlib import ExitStack, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ferlib.cli.wanted_faces import add_wanted_faces
from ferlib.errors import MissingPackage, UserError
from ferlib.names import counted
from ferlib.utils.atomic import atomic_write, require_writable

if TYPE_CHECKING:
    from ferlib.video.predictor import VideoPredictor
    from ferlib.video.reading import VideoReader
    from ferlib.video.table import VideoTable

FORMATS = ("table", "json")
_EVERY = 0.5  # seconds between two lines of progress


def add_video(commands: argparse._SubParsersAction) -> None:
    """Put the command into the parser of `ferlib.cli`."""
    video = commands.add_parser("video", help="follow the faces in a film, camera or stream, and their expressions")
    video.add_argument("source", metavar="FILE|CAMERA", help="a film; 0 for the first camera; an address, rtsp://...")
    video.add_argument("--out", type=Path, metavar="TABLE", help="a row a face and frame, .csv or .parquet")
    video.add_argument("--every", type=int, default=1, metavar="N", help="look at every Nth frame only (default: 1)")
    video.add_argument("--seconds", type=float, metavar="S", help="stop after so many seconds of the film")
    video.add_argument("--annotated", type=Path, metavar="OUT.mp4", help="the film with its faces boxed, without sound")
    video.add_argument("--timeline", type=Path, metavar="OUT.html", help="a figure of the expressions over time")
    video.add_argument("--telling", type=Path, metavar="DIR", help="for the best picture of each face and expression")
    video.add_argument(
        "--time-constant", type=float, metavar="S", help="of smoothing a camera or stream (default: 0.2)"
    )
    add_wanted_faces(video)
    video.add_argument("--model", metavar="NAME_OR_DIR", help="a released model's name or a model folder")
    video.add_argument("--device", default="cpu", help="cpu (default), auto for a GPU if there is one, cuda …")
    video.add_argument("--format", choices=FORMATS, default="table", help="of the summary (default: table)")
    video.set_defaults(run=run_video)


def run_video(options: argparse.Namespace) -> int:
    """`ferlib video`; 1 when the film is damaged, or no face is in it."""
    from ferlib.predict import DEFAULT_MODEL, Predictor
    from ferlib.video.predictor import VideoPredictor
    from ferlib.video.reading import VideoReader
    from ferlib.video.smoothing import TIME_CONSTANT

    _check(options)
    with VideoReader(options.source) as reader:
        if reader.live and options.telling:
            raise UserError("--telling goes through a film twice, and a camera or stream is there once")
        if not reader.live and options.time_constant is not None:
            raise UserError("--time-constant is for a camera or stream; a film is smoothed with the whole of it known")
        constant = TIME_CONSTANT if options.time_constant is None else options.time_constant
        predictor = VideoPredictor(
            Predictor.load(options.model or DEFAULT_MODEL, options.device),
            time_constant=constant,
            faces=options.faces,
            min_face=options.min_face,
        )
        table = (_stream if reader.live else _film)(predictor, reader, options)
    if options.timeline:
        from ferlib.plots.video import timeline

        with atomic_write(options.timeline) as partial_file:
            timeline(table, reader.name).write_html(partial_file, include_plotlyjs=True)
    _print_summary(table, reader, options.format)
    if reader.trouble:
        print(f"ferlib: {reader.trouble}", file=sys.stderr)
    elif not len(table):
        print(f"ferlib: no face was found in {reader.name}", file=sys.stderr)
    return int(bool(reader.trouble) or not len(table))


def _check(options: argparse.Namespace) -> None:
    """Assert before the first frame that the results can be written.

    Raises:
        UserError: a file has the wrong ending, a folder is a file or in use, or a number means nothing.
        MissingPackage: a package for one is not installed.
    """
    from ferlib.detection.faces import require_min_face
    from ferlib.video.table_files import table_kind

    require_min_face(options.min_face)
    film = Path(os.path.expanduser(options.source))
    _check_places([path for path in (options.out, options.annotated, options.timeline) if path], film)
    if options.telling:
        _check_telling(options.telling)
    if options.out:
        table_kind(options.out)
    if options.annotated and options.annotated.suffix.lower() != ".mp4":
        raise UserError(f"--annotated writes .mp4, not {options.annotated.name}")
    if options.timeline:
        _check_timeline(options.timeline)
    if options.every < 1:
        raise UserError(f"--every takes a number from 1 on, not {options.every}")
    if options.seconds is not None and not options.seconds > 0:
        raise UserError(f"--seconds takes more than 0, not {options.seconds:g}")
    if options.time_constant is not None and not 0 <= options.time_constant < math.inf:
        raise UserError(f"--time-constant takes 0 or more, not {options.time_constant:g}")


def _check_places(places: list[Path], film: Path) -> None:
    for path in places:
        if path.exists() and film.exists() and path.samefile(film):
            raise UserError(f"{path} is the film itself, and would be overwritten")
        require_writable(path)


def _check_telling(folder: Path) -> None:
    from ferlib.video.pictures import require_no_pictures

    if folder.exists() and not folder.is_dir():
        raise UserError(f"--telling takes a folder for the pictures, and {folder} is a file")
    require_no_pictures(folder)
    require_writable(folder / "track.jpg")


def _check_timeline(path: Path) -> None:
    if path.suffix.lower() != ".html":
        raise UserError(f"--timeline writes .html, not {path.name}")
    try:
        import_module("ferlib.plots.video")
    except ModuleNotFoundError as error:
        how = "pip install 'ferlib[notebooks]'"
        raise MissingPackage(f"--timeline needs {error.name}, not installed: {how}") from error


def _film(predictor: "VideoPredictor", reader: "VideoReader", options: argparse.Namespace) -> "VideoTable":
    """The table of a film, smoothed with the whole of it known, and all the files that were asked for."""
    from ferlib.video.pictures import show_again
    from ferlib.video.table import VideoTable

    table = VideoTable(predictor.predictor.classes)
    show = _Progress(reader, options.seconds)
    for frame in predictor.frames(reader, options.every, options.seconds):
        table.add(frame)
        show("looked at", frame.number + 1, frame.time)
    table.end()
    table.smooth()
    if options.out:
        table.write(options.out)
    if options.annotated or options.telling:
        show = _Progress(reader, options.seconds)
        seen = partial(show, "drawn")
        show_again(
            options.source, table, options.every, options.seconds, options.annotated, options.telling, report=seen
        )
    show.end()
    return table


def _stream(predictor: "VideoPredictor", reader: "VideoReader", options: argparse.Namespace) -> "VideoTable":
    """The table of a camera or stream until it ends or Ctrl-C; rows are written, and changes told, as they come."""
    from ferlib.video.pictures import boxed
    from ferlib.video.table import VideoTable
    from ferlib.video.table_files import open_table
    from ferlib.video.writing import VideoWriter

    table = VideoTable(predictor.predictor.classes)
    told: dict[int, str] = {}
    with ExitStack() as stack:
        file = stack.enter_context(open_table(options.out, table, growing=True)) if options.out else None
        writer = stack.enter_context(VideoWriter(options.annotated, reader.rate)) if options.annotated else None
        with suppress(KeyboardInterrupt):
            for frame in predictor.frames(reader, options.every, options.seconds):
                done = table.add(frame)
                if file:
                    file.write(done)
                if writer:
                    writer.write(boxed(frame), frame.time)
                for face in frame.faces:
                    if told.get(face.track) != face.label and options.format == "table":
                        told[face.track] = face.label
                        print(f"{frame.time:8.2f} s  face {face.track}: {face.label}", flush=True)
        done = table.end()
        if file:
            file.write(done)
    return table


class _Progress:
    """A line in the terminal that says how far a film is; nothing where nobody looks."""

    def __init__(self, reader: "VideoReader", until: float | None):
        self.reader, self.seen = reader, sys.stderr.isatty()
        ends = [one for one in (reader.seconds, until) if one is not None]
        self.end_time = min(ends) if ends else None
        self.began = self.last = time.perf_counter()

    def __call__(self, what: str, frames: int, seconds: float) -> None:
        now = time.perf_counter()
        if not self.seen or now - self.last < _EVERY:
            return
        self.last, passed = now, now - self.began
        of = left = ""
        if self.end_time:
            of = f" of {self.end_time:.0f}"
            left = f", {passed * max(0.0, self.end_time / max(seconds, 0.01) - 1):.0f} s left"
        print(f"\r{what}: {seconds:.0f}{of} s, {frames / passed:.0f} frames/s{left}\x1b[K", end="", file=sys.stderr)

    def end(self) -> None:
        if self.seen:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _print_summary(table: "VideoTable", reader: "VideoReader", form: str) -> None:
    """The whole in a line or two, then a row a track: when it was seen, seconds of its expressions, warnings."""
    tracks = table.summary()
    whole = {
        "source": reader.name,
        "seconds": round(table.seconds, 3),
        "frames": {"read": reader.read, "looked_at": table.frames, "dropped": reader.dropped},
        "changes_a_second": table.changes_a_second,
        "tracks": tracks,
    }
    if form == "json":
        print(json.dumps(whole))
        return
    dropped = f", {reader.dropped} dropped" if reader.live else ""
    print(f"{reader.name}: {table.seconds:.1f} s, {counted(reader.read, 'frame')}, {table.frames:,} looked at{dropped}")
    row = "{:>5} {:>8} {:>8} {:>8}  {}".format
    if tracks:
        print(row("face", "from", "to", "seconds", "seconds of every expression; warnings"))
    for track in tracks:
        most = max(track["expressions"].values(), default=0)
        shown = [
            f"{name} {seconds:.1f}"
            for name, seconds in track["expressions"].items()
            if seconds >= 0.05 or seconds == most
        ]
        doubts = [f"{name} {seconds:.1f}" for name, seconds in track["warnings"].items() if seconds >= 0.05]
        text = ", ".join(shown) + ("; " + ", ".join(doubts) if doubts else "")
        print(row(track["track"], *(f"{track[key]:.2f}" for key in ("first", "last", "seconds")), text))
