"""Progress bars where somebody sees them, in a terminal and in a notebook; a log file gets only what is printed.

TQDM_DISABLE=1 in the environment switches them all off.
"""

import os
import sys
from collections.abc import Iterable

from tqdm.auto import tqdm


def progress(items: Iterable, description: str, unit: str, visible: bool = True, total: int | None = None) -> tqdm:
    """A bar over `items`, gone when it ends.

    Args:
        items: to go through.
        description: in front of the bar.
        unit: of an item, e.g. "step".
        visible: false for no bar at all, say in all but one of several processes.
        total: number of items, where `items` cannot say.
    """
    in_notebook = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
    seen = visible and (in_notebook or sys.stderr.isatty()) and not os.environ.get("TQDM_DISABLE")
    return tqdm(items, description, total, unit=unit, leave=False, disable=not seen)
