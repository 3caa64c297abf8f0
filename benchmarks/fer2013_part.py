"""The files of FER2013 and FERPlus from a compact copy, or cut to a part, in the form that the library reads."""

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

USAGES = ("Training", "PublicTest", "PrivateTest")


def rows_of(folder: Path) -> Iterator[list[str]]:
    """FER2013's rows (emotion, pixels, usage) in order, from the CSV or from mosaics of 48x48 faces in JPEG."""
    if (compact := folder / "fer2013_compact.npz").exists():
        stored = np.load(compact)
        mosaics = np.split(stored["jpeg"], stored["ends"][:-1])
        pixels = (np.asarray(Image.open(io.BytesIO(mosaic.tobytes()))) for mosaic in mosaics)
        cut = (mosaic.reshape(len(mosaic) // 48, 48, -1, 48).swapaxes(1, 2) for mosaic in pixels)
        faces = (face for mosaic in cut for face in mosaic.reshape(-1, 48 * 48).tolist())
        for emotion, usage, face in zip(stored["emotion"], stored["usage"], faces, strict=False):
            yield [str(emotion), " ".join(map(str, face)), USAGES[usage]]
        return
    plain = folder / "fer2013.csv"
    with plain.open() if plain.exists() else gzip.open(folder / "fer2013.csv.gz", "rt") as file:
        yield from ([row["emotion"], row["pixels"], row["Usage"]] for row in csv.DictReader(file))


def write_part(source: Path, target: Path, faces: int | None = None) -> None:
    """Write the files of FER2013 and FERPlus anew, with the first so many faces of each split.

    Args:
        source: holds fer2013new.csv and fer2013.csv, fer2013.csv.gz or fer2013_compact.npz.
        target: folder that gets fer2013.csv, then fer2013new.csv.
        faces: of a split; None: all.
    """
    target.mkdir(parents=True, exist_ok=True)
    head, *votes = (source / "fer2013new.csv").read_text().splitlines()
    seen, kept = dict.fromkeys(USAGES, 0), [head]
    with (target / "fer2013.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        for row, vote in zip(rows_of(source), votes, strict=True):
            seen[row[2]] += 1
            if faces is None or seen[row[2]] <= faces:
                writer.writerow(row)
                kept.append(vote)
    (target / "fer2013new.csv").write_text("\n".join(kept) + "\n")
