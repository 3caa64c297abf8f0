"""Files that are written whole or not at all."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A file to write in place of `path`: it gets that name when the block ends, and is deleted when the block fails.

    So nobody ever reads half a file. Threads or processes that write the same file at the same time each have one of
    their own; the last to end stays.

    Args:
        path: the name at the end; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: object, indent: int | None = 1) -> None:
    """Write JSON by `atomic_write`, with a line break at the end."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=indent) + "\n")
