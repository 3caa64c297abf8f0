"""Writes data sets as they lie on disk, filled with synthetic faces: for the tests of the loaders."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from ferlib.labels import CKPLUS
from ferlib.synthetic.render import sample_faces

SIDE = 24


@lru_cache
def faces(size: int = SIDE) -> np.ndarray:
    """14 synthetic faces, (14, size, size, 3) uint8."""
    return sample_faces(2, size=size, grey=False)[0]


def write_picture(path: Path, number: int = 0, size: int = SIDE) -> None:
    """Writes one of the synthetic faces; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = faces(size)
    Image.fromarray(drawn[number % len(drawn)]).save(path)


def write_rafdb_list(root: Path, labels: Mapping[str, Sequence[int]]) -> None:
    """The authors' form: a line and a picture for every label id of "train" and "test"."""
    lines = []
    for split, ids in labels.items():
        for number, label in enumerate(ids, start=1):
            lines.append(f"{split}_{number:05d}.jpg {label}\n")
            write_picture(root / "Image" / "aligned" / f"{split}_{number:05d}_aligned.jpg", number)
    (root / "EmoLabel").mkdir(parents=True)
    (root / "EmoLabel" / "list_patition_label.txt").write_text("".join(lines))


def write_rafdb_folders(root: Path, labels: Mapping[str, Sequence[int]]) -> None:
    """The copy in folders, with the same faces as `write_rafdb_list`, and its label tables, which are not read."""
    for split, ids in labels.items():
        for number, label in enumerate(ids, start=1):
            write_picture(root / "DATASET" / split / str(label) / f"{split}_{number:05d}_aligned.jpg", number)
        (root / f"{split}_labels.csv").write_text("image,label\n")


def write_ck48(root: Path, subjects: Sequence[int], classes: Sequence[str] = ("anger", "happy")) -> None:
    """CK+48: of every subject one film of every class, its last three frames."""
    for subject in subjects:
        for film, name in enumerate(classes, start=1):
            for frame in (15, 16, 17):
                write_picture(root / "CK+48" / name / f"S{subject:03d}_{film:03d}_{frame:08d}.png", subject + film)


def write_ckextended(path: Path, counts: Mapping[str, int], persons: int = 20, seed: int = 0) -> np.ndarray:
    """ckextended.csv of invented people, pictures of one nearly alike; returns the person of every row."""
    rng = np.random.default_rng(seed)
    people = rng.uniform(20, 235, (persons, 48 * 48))
    emotions = rng.permutation([CKPLUS.index(name) for name, count in counts.items() for _ in range(count)])
    who = rng.integers(persons, size=len(emotions))
    lines = ["emotion,pixels,Usage"]
    for emotion, person in zip(emotions, who, strict=True):
        pixels = (people[person] + rng.normal(0, 5, 48 * 48)).clip(0, 255).astype(int)
        lines.append(f"{emotion},{' '.join(map(str, pixels))},Training")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return who


def write_facial_expressions(root: Path, rows: Sequence[tuple[str, str]]) -> None:
    """The repository's form: legend.csv with these (file, label) rows, and a picture for every file."""
    (root / "data").mkdir(parents=True)
    (root / "images").mkdir()
    lines = ["user.id,image,emotion", *(f"1,{file},{label}" for file, label in rows)]
    (root / "data" / "legend.csv").write_text("\n".join(lines) + "\n")
    for number, (file, _) in enumerate(rows):
        write_picture(root / "images" / file, number)
