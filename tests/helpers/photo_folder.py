"""A small folder of photos for tables: public portraits, a group, and what cannot be read."""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet
from PIL import Image

GOOD = 3 * 6


def make_photos(folder: Path, portrait: np.ndarray, astronaut: np.ndarray) -> Path:
    """Write 18 photos, hard links of three, and five files that give no face; in folders, and as people name them."""
    (folder / "b" / "c").mkdir(parents=True)
    both = np.concatenate([portrait[:512:2, ::2], astronaut[::2, ::2]], axis=1)
    for name, pixels in (("portrait", portrait[::2, ::2]), ("astronaut", astronaut[::2, ::2]), ("two", both)):
        first = folder / f"{name}0.jpg"
        Image.fromarray(pixels).save(first, quality=90)
        for number in range(1, 6):
            os.link(first, folder / ("b" if number % 2 else "b/c") / f"{name}{number}.JPG")
    Image.new("RGB", (90, 90)).save(folder / "nobody.png")
    (folder / "b" / "text.jpg").write_text("no picture")
    (folder / "b" / "empty.png").touch()
    (folder / "b" / "cut.jpg").write_bytes((folder / "two0.jpg").read_bytes()[:2000])
    Path(os.fsdecode(os.fsencode(folder) + b"/broken\xff.gif")).write_bytes(b"GIF8")
    (folder / "notes.txt").write_text("not read")
    return folder


def parts_of(table: Path) -> dict[str, bytes]:
    """Contents of a table's parts by name."""
    return {path.name: path.read_bytes() for path in sorted(table.glob("part-*.parquet"))}


def rows_of(table: Path) -> list[dict]:
    """All rows, in order."""
    return pyarrow.parquet.read_table(table).to_pylist()
