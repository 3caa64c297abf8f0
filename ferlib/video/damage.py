"""The places of a film that are damaged, counted from FFmpeg's signs of them."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av

LEAP = 10.0  # seconds that time stamps may leap ahead and are still of one clock
_SEAM, _NEAR = 2, 32  # packets: so late may be what is missing after a mark; signs of damage so close are of one place


class Damage:
    """Counts the damaged places of a film; a packet and the pictures made of it show the same one.

    FFmpeg marks packets that came broken. In formats whose films may be joined it also marks the seam of two sound
    ones: there a mark counts only if pictures are missing beside it, by the packets' time stamps.

    Attributes:
        places: so far.

    Args:
        joined: true of formats in which a film may be joined from others.
        step: seconds that a frame lasts, about.
    """

    def __init__(self, joined: bool, step: float):
        self.places = 0
        self._joined, self._gap = joined, 1.5 * step
        self._number = 0  # of the packet
        self._marked = self._last = -math.inf  # packets: with the last mark, with the last sign of damage
        self._before: float | None = None  # the stamp of the packet before

    def look_at(self, packet: "av.Packet") -> None:
        """Look at the next packet."""
        self._number += 1
        if packet.is_corrupt:
            self._marked = self._number
        stamp = None if packet.dts is None else float(packet.dts * (packet.time_base or 0))
        passed = 0.0 if stamp is None or self._before is None else stamp - self._before
        self._before = stamp
        since = self._number - self._marked
        if (since == 0 and not self._joined) or (since <= _SEAM and self._gap < passed < LEAP):
            self.found()

    def found(self) -> None:
        """A sign of damage, in the last packet or in one not long before."""
        self.places += self._number - self._last > _NEAR
        self._last = self._number
