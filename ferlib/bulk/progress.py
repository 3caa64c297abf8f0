"""Progress of a run in one line: photos done, rate, time left."""

import sys
import threading
import time

_EVERY = {True: 0.5, False: 60.0}  # seconds between two lines, in a terminal and in a log file


class Progress:
    """Counts photos and says so on standard error; may be called by several threads.

    Args:
        photos: in all.
        finished: of them before this run.
        visible: False says nothing.
    """

    def __init__(self, photos: int, finished: int, visible: bool = True):
        self.photos, self.finished, self.visible = photos, finished, visible
        self.done = 0
        self._reached: dict[int, int] = {}  # photos of shards that are being done
        self._lock, self._terminal = threading.Lock(), sys.stderr.isatty()
        self.began = self._last = time.monotonic()

    def at(self, shard: int, place: int) -> None:
        """A photo is being read."""
        with self._lock:
            self._reached[shard] = place
            self._say()

    def shard_done(self, shard: int, photos: int) -> None:
        """A shard has its part."""
        with self._lock:
            self._reached.pop(shard, None)
            self.done += photos
            self._say()

    def rate(self) -> float:
        """Photos a second in this run."""
        return (self.done + sum(self._reached.values())) / max(time.monotonic() - self.began, 1e-9)

    def line(self) -> str:
        """Photos done and in all, photos a second, time left."""
        rate = self.rate()
        seen = self.finished + self.done + sum(self._reached.values())
        left = f", {_duration((self.photos - seen) / rate)} left" if rate else ""
        return f"{seen:,} of {self.photos:,} photos ({seen / self.photos:.1%}), {rate:.1f} photos/s{left}"

    def _say(self) -> None:
        now = time.monotonic()
        if self.visible and now - self._last >= _EVERY[self._terminal]:
            self._last = now
            print(f"\r{self.line()}\x1b[K" if self._terminal else self.line(), end="" if self._terminal else "\n",
                  file=sys.stderr, flush=True)  # fmt: skip

    def end(self) -> None:
        """Clear the line."""
        if self.visible and self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    """Days, hours, minutes, of these the two largest that there are; or seconds."""
    whole = round(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((place for place, (number, _) in enumerate(parts) if number), 3)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2])
