"""Write a film: H.264 in MP4, in the colours of BT.709 and tagged so, every frame at its own time."""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ferlib.errors import UserError
from ferlib.utils.atomic import atomic_write
from ferlib.utils.packages import require

_CLOCK = 90_000  # ticks a second, MPEG's own
_BT709, _LIMITED = 1, 1  # FFmpeg's numbers: of matrix, primaries and curve; of luma from 16 to 235


class VideoWriter:
    """A film that is being written; it has its name when the `with` block ends, and is deleted when the block fails.

    Without a frame no file is written.

    Args:
        path: ends in .mp4.
        rate: frames a second, about: a hint for the encoder.
        rotation: degrees, counter-clockwise, by which a player is told to turn the film.

    Raises:
        UserError: the path has another ending.
        MissingPackage: PyAV is not installed.
    """

    def __init__(self, path: str | Path, rate: float = 25.0, rotation: int = 0):
        require("a film", "av")
        self.path, self.rate, self.rotation = Path(path), rate, rotation
        if self.path.suffix.lower() != ".mp4":
            raise UserError(f"films are written as .mp4, not {self.path.name}")
        self._last = -1
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def _begin(self) -> None:
        import av

        partial = self._open.enter_context(atomic_write(self.path))
        self._container = self._open.enter_context(av.open(str(partial), "w", format="mp4"))
        self._open.push(self._flush)
        self._stream = self._container.add_stream("libx264", rate=Fraction(self.rate).limit_denominator(1001))
        self._stream.options = {"preset": "veryfast", "crf": "20"}
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, _CLOCK)
        context.colorspace = context.color_primaries = context.color_trc = _BT709  # untagged, players guess
        context.color_range = _LIMITED
        if self.rotation:
            self._stream.set_display_rotation(self.rotation)

    def _flush(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self._container.mux(self._stream.encode())

    def write(self, pixels: np.ndarray, time: float) -> None:
        """Append a frame.

        Args:
            pixels: (H, W, 3) uint8; all as large as the first one, an odd last row or column is left out.
            time: in seconds, later than the frame before.
        """
        import av

        height, width = (side // 2 * 2 for side in pixels.shape[:2])
        if not height or not width:
            raise UserError("a film needs at least 2 x 2 pixels")
        if self._last < 0:
            self._begin()
            self._stream.width, self._stream.height = width, height
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
        size = self._stream.width, self._stream.height
        frame = frame.reformat(*size, "yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED)
        frame.pts = self._last = max(self._last + 1, round(time * _CLOCK))
        frame.time_base = Fraction(1, _CLOCK)
        self._container.mux(self._stream.encode(frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)
