"""So many pixels may be unfolded at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """An amount that is lent to many threads in parts.

    Args:
        total: all that can be lent at a time.
    """

    def __init__(self, total: int):
        self.total = self.free = total
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, amount: int, patience: float) -> Iterator[None]:
        """Borrow a part while the `with` lasts; raises `TimeoutError` if it is not free within `patience` seconds.

        Small parts overtake large ones that still wait: a telephone's photo does not queue behind posters.
        """
        amount = min(amount, self.total)
        with self._changed:
            if not self._changed.wait_for(lambda: self.free >= amount, patience):
                raise TimeoutError
            self.free -= amount
        try:
            yield
        finally:
            with self._changed:
                self.free += amount
                self._changed.notify_all()
