"""Read the frames of a film, a camera or a stream with PyAV (FFmpeg's libraries): upright, in order, with their times.

Frames are decoded in a thread of their own, at most a few ahead, so that memory does not grow with the film. A film
waits for whoever takes its frames. A camera or stream does not: only its newest frame is kept, and the ones that nobody
was in time for are counted as dropped.
"""

import os
import queue
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ferlib.errors import UserError
from ferlib.images import MAX_PIXELS
from ferlib.utils.packages import require
from ferlib.video.damage import LEAP, Damage

if TYPE_CHECKING:
    import av

_AHEAD = 4  # decoded frames of a film that wait to be taken
_PATIENCE = 10.0  # seconds that a stream may be silent
_CUT_SHORT = 1.0  # seconds that may be missing at a film's end
_BACK = 0.2  # seconds that time stamps may step back and are still of one clock
_RESTARTS = 0x0200  # FFmpeg's flag of formats whose time stamps may begin anew (AVFMT_TS_DISCONT)
_WIDEST = 4.0  # how many times as wide as high a pixel may be, or the other way round
_LIMIT = {"max_pixels": str(MAX_PIXELS)}  # of a frame: FFmpeg refuses to decode larger ones
_LARGEST = f"at most {MAX_PIXELS // 10**6} megapixels can be read"


class VideoError(UserError):
    """A film, camera or stream that cannot be read; the message is one sentence for whoever named it."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture of a film.

    Attributes:
        number: from 0, among all frames of the source.
        time: seconds since its first frame, by the source's own time stamps.
        pixels: (H, W, 3) uint8, upright, as wide as the film is shown.
        lasts: seconds until the next frame that is asked for, or the film's end, as far as is known before it comes.
    """

    number: int
    time: float
    pixels: np.ndarray = field(repr=False)
    lasts: float = 0.0


class _Clock:
    """The time of frame after frame, from 0: where time stamps begin anew or leap, it goes on by one frame.

    Attributes:
        time: of the last frame, in seconds.
        leapt: true after stamps that began anew or leapt.

    Args:
        step: seconds that a frame lasts, about.
        believed: seconds up to which a leap ahead is a pause of the film.
    """

    def __init__(self, step: float, believed: float):
        self.time, self.leapt = -step, False
        self._step, self._believed = step, believed
        self._first: float | None = None  # the stamp of time 0

    def __call__(self, stamp: float | None) -> float:
        """The time of the next frame, from its stamp; None: it has none."""
        going_on = self.time + self._step
        if stamp is None:
            self.time = going_on
            return going_on
        self._first = stamp - going_on if self._first is None else self._first
        passed = stamp - self._first - self.time
        if passed < -_BACK or (passed > LEAP and stamp - self._first > self._believed):
            self._first, self.leapt = stamp - going_on, True
        self.time = max(self.time, stamp - self._first)
        return self.time


class VideoReader:
    """A film, camera or stream, opened. Use it in a `with` block, or close it.

    Attributes:
        name: the source as it was given.
        live: true for a camera or stream, which does not wait.
        seconds: how long a film is, by what it says of itself; None for a stream, or where that is unknown.
        rate: frames a second, about; the frames' own times count.
        read: frames decoded so far.
        dropped: frames of a camera or stream that nobody was in time for, so far.
        trouble: one sentence if what was read up to the last frame is damaged, or the stream broke off; else None.

    Args:
        source: a film's file; a camera's number or device, `0` or `/dev/video0`; or a stream's address, `rtsp://…`.
        live: true where it waits for nobody: by default a camera, and an address that does not say how long it is.
        demuxer: FFmpeg's name of the one format that a film may have; None: of any, lists of other files among them.

    Raises:
        VideoError: there is no such file or camera, no pictures are in it, or larger ones than a photo may be.
        MissingPackage: PyAV is not installed.
    """

    def __init__(self, source: str | Path | int, live: bool | None = None, demuxer: str | None = None):
        require("a film", "av")
        import av

        self.name = str(source)
        camera, stream = _is_camera(self.name), "://" in self.name
        try:
            if camera:
                self._container = _open_camera(self.name)
            elif stream:
                self._container = av.open(self.name, timeout=_PATIENCE, metadata_errors="ignore", options=_LIMIT)
            else:
                file = f"file:{_film(self.name)}"
                self._container = av.open(file, format=demuxer, metadata_errors="ignore", options=_LIMIT)
        except (av.FFmpegError, OSError) as error:
            what = "camera" if camera else "stream" if stream else "film"
            raise VideoError(f"{self.name} is not a {what} that can be read ({_reason(error)})") from error
        try:
            self._stream = _stream_of_pictures(self._container, self.name)
        except VideoError:
            self._container.close()
            raise
        self.live = (camera or (stream and not self._container.duration)) if live is None else live
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.options = _LIMIT
        self.rate = float(self._stream.average_rate or self._stream.guessed_rate or 25)
        self.seconds = None if self.live else _length(self._container, self._stream)
        self._may_restart = bool(self._container.format.flags & _RESTARTS)
        self._clock = _Clock(1 / self.rate, 0.0 if self.live or self._may_restart else self.seconds or 0.0)
        self._stretch = _stretch(self._stream)
        self.read = self.dropped = 0
        self.trouble: str | None = None
        self._damage = Damage(self._may_restart, 1 / self.rate)  # by the thread, which is ahead of who takes the frames
        self._end: str | None = None  # what was wrong with the source's end, by the thread as well
        self._queue: queue.Queue[tuple[Frame | BaseException | None, str | None]]  # and the trouble up to it
        self._queue = queue.Queue(1 if self.live else _AHEAD)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread and close the source; again is no harm."""
        self._stop.set()
        if self._thread:
            self._thread.join(_PATIENCE)
            if self._thread.is_alive():  # a camera that gives nothing: it goes with the process
                return
        self._container.close()

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """The frames in order, once; of a camera or stream those that are newest when they are asked for.

        Args:
            every: of every so many frames only the first; the others are decoded and passed over.

        Raises:
            VideoError: not one frame can be read.
        """
        if every < 1:
            raise UserError(f"every takes a number of frames from 1 on, not {every}")
        self._thread = threading.Thread(target=self._decode, args=(every,), daemon=True)
        self._thread.start()
        while True:
            item, self.trouble = self._queue.get()
            if item is None:
                break
            if isinstance(item, BaseException):
                raise item
            yield item
        if not self.read:
            nothing = f"{self.name} is damaged or too large ({_LARGEST}): not one picture of it can be read"
            raise VideoError(self._end or nothing)

    def _decode(self, every: int) -> None:
        """The thread: decoded frames into the queue, then None, or the error that ended it."""
        end: BaseException | None = None
        try:
            for picture in self._pictures():
                if self._stop.is_set():
                    return
                time = self._clock(picture.time)
                number, self.read = self.read, self.read + 1
                if number % every == 0:
                    lasts = self._lasts(picture, time, every)
                    self._give(Frame(number, time, _upright(picture, self._stretch), lasts), wait=not self.live)
            if self.read and not self._trouble() and not self._clock.leapt:
                self._check_end(time + self._lasts(picture, time))
        except BaseException as error:  # whatever it is belongs to whoever takes the frames
            end = error
        finally:
            self._give(end, wait=True)

    def _lasts(self, picture: "av.VideoFrame", time: float, every: int = 1) -> float:
        """Seconds of a picture, or of it and those after it that are passed over, at most to the film's end."""
        own = _seconds(picture.duration, picture) or 1 / self.rate
        end = own if self.seconds is None else self.seconds - time
        return max(own, min(own + (every - 1) / self.rate, end))

    def _check_end(self, end: float) -> None:
        """Note it where a film's pictures end before their time."""
        if self.seconds and end < self.seconds - _CUT_SHORT:
            self._end = f"{self.name} is cut short: its pictures end after {end:.1f} of {self.seconds:.1f} s"

    def _trouble(self) -> str | None:
        """The sentence on what was read so far; None where nothing is wrong with it."""
        if self._end or not self._damage.places:
            return self._end
        return f"{self.name} is damaged: {self._damage.places} of its parts cannot be read"

    def _pictures(self) -> "Iterator[av.VideoFrame]":
        """Every picture that can be decoded; noted where some cannot."""
        import av

        try:
            for packet in self._container.demux(self._stream):
                self._damage.look_at(packet)
                try:
                    for picture in packet.decode():
                        if picture.is_corrupt:
                            self._damage.found()
                        yield picture
                except (av.error.InvalidDataError, av.error.ArgumentError):  # the latter of a picture that is too large
                    self._damage.found()
        except av.FFmpegError as error:
            self._end = f"{self.name} breaks off after {self.read} pictures ({_reason(error)})"

    def _give(self, item: Frame | BaseException | None, wait: bool) -> None:
        """Put into the queue; where it is full, wait until there is room, or drop the frame that nobody has taken."""
        told = item, self._trouble()
        while not self._stop.is_set():
            try:
                return self._queue.put(told, wait, 0.1)
            except queue.Full:
                if not wait:
                    self._drop()

    def _drop(self) -> None:
        with suppress(queue.Empty):  # it may have been taken just now
            self._queue.get_nowait()
            self.dropped += 1


def _is_camera(name: str) -> bool:
    return name.isdecimal() or name.startswith("/dev/video")


def _open_camera(name: str) -> "av.container.InputContainer":
    """A camera by its number or device, as the system calls it."""
    import av

    if sys.platform == "darwin":
        return av.open(name, format="avfoundation", container_options={"framerate": "30"})
    if sys.platform == "win32":
        cameras = [one.name for one in av.device.enumerate_input_devices("dshow") if "video" in one.media_types]
        if int(name) >= len(cameras):
            raise OSError("there is no such camera")
        return av.open(f"video={cameras[int(name)]}", format="dshow")
    return av.open(f"/dev/video{name}" if name.isdecimal() else name, format="v4l2")


def _film(name: str) -> Path:
    """A film's path.

    Raises:
        VideoError: there is no such file, or nothing in it.
    """
    path = Path(os.path.expanduser(name))
    if not path.exists():
        raise VideoError(f"there is no film {name}")
    if path.is_dir():
        raise VideoError(f"{name} is a folder, not a film")
    if not path.is_file():
        raise VideoError(f"{name} is not an ordinary file")
    if not path.stat().st_size:
        raise VideoError(f"{name} is empty")
    return path


def _stream_of_pictures(container: "av.container.InputContainer", name: str) -> "av.VideoStream":
    """The pictures of what was opened.

    Raises:
        VideoError: it has none, or too large ones.
    """
    import av

    still = av.stream.Disposition.attached_pic  # the cover of a record
    streams = [one for one in container.streams.video if not one.disposition & still and one.codec_context]
    if not streams:
        raise VideoError(f"{name} has no pictures{', only sound' if container.streams.audio else ''}")
    width, height = round(streams[0].codec_context.width * _stretch(streams[0])), streams[0].codec_context.height
    if width * height > MAX_PIXELS:
        raise VideoError(f"{name} is too large ({width} x {height} pixels): {_LARGEST}")
    return streams[0]


def _length(container: "av.container.InputContainer", stream: "av.VideoStream") -> float | None:
    """Seconds that a film's pictures last, by what it says of itself; None where that is unknown."""
    import av

    if stream.duration:
        return _seconds(stream.duration, stream)
    told = next((text for name, text in stream.metadata.items() if name.startswith("DURATION")), "")  # Matroska's
    if parts := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", told):
        hours, minutes, seconds = map(float, parts.groups())
        end = 3600 * hours + 60 * minutes + seconds
    elif container.duration and len(container.streams) == 1:  # it is the longest of all streams
        end = container.duration / av.time_base
    else:
        return None
    return end - _seconds(stream.start_time, stream)


def _seconds(ticks: int | None, of: "av.VideoFrame | av.VideoStream") -> float:
    """Seconds that ticks of a frame's or a stream's clock are."""
    return float((ticks or 0) * (of.time_base or 0))


def _reason(error: Exception) -> str:
    """The reason in FFmpeg's own words, without number and name of the file; of a wait that we ended, in ours."""
    import av

    if isinstance(error, av.error.ExitError):
        return f"nothing came for {_PATIENCE:g} s"
    return re.sub(r"^\[Errno -?\d+\] |: '.*'$", "", str(error))


def _stretch(stream: "av.VideoStream") -> float:
    """Times that the stored pixels are wider than high as they are shown; 1 unless a film plausibly says otherwise."""
    ratio = float(stream.sample_aspect_ratio or 1)
    return ratio if 1 / _WIDEST <= ratio <= _WIDEST else 1.0


def _upright(picture: "av.VideoFrame", stretch: float) -> np.ndarray:
    """A decoded picture in RGB, (H, W, 3) uint8, its pixels made square, mirrored and turned as its film says."""
    width = min(max(1, round(picture.width * stretch)), MAX_PIXELS // picture.height)
    pixels: Any = picture.reformat(width, format="rgb24").to_ndarray()
    if _is_mirrored(picture):
        pixels = pixels[::-1]  # before it is turned: the angle that is told is that of its rows
    return np.ascontiguousarray(np.rot90(pixels, round(picture.rotation / 90) % 4))


def _is_mirrored(picture: "av.VideoFrame") -> bool:
    """True of a picture that its film wants shown as in a mirror: the matrix of its display turns the sides round."""
    try:
        beside: Any = picture.side_data
    except ValueError:  # something is there that PyAV has no name for
        return False
    if "DISPLAYMATRIX" not in beside:
        return False
    across, down, _, across_by_row, down_by_row = np.frombuffer(beside["DISPLAYMATRIX"], np.int32)[:5].astype(float)
    return bool(across * down_by_row < down * across_by_row)  # the determinant is negative
