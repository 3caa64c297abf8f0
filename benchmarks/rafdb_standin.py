"""A stand-in for RAF-DB: 15,339 drawn faces in its layout, with its numbers of each class, for who has not got it.

    python benchmarks/rafdb_standin.py --out DIR/rafdb
    FERLIB_DATA=DIR python -m ferlib reproduce all --data rafdb --out tables.json ...

What `ferlib reproduce` does on the real set it does on this one, so that a machine with RAF-DB, ConvNeXt-Base's weights
and a GPU needs no other command. The faces are different, aligned and 100 px, as RAF-DB's; the figures mean nothing.
Some five minutes on one core.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ferlib.synthetic.render import sample_faces

#: RAF-DB's class ids 1 to 7, and its faces of each for training and test.
CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
COUNTS = {"train": (1290, 281, 717, 4772, 1982, 705, 2524), "test": (329, 74, 160, 1185, 478, 162, 680)}
SIDE = 100


def write(root: Path) -> int:
    """Write the stand-in into a new folder; returns the number of faces."""
    pictures, lines = root / "Image" / "aligned", []
    pictures.mkdir(parents=True)
    for seed, (split, counts) in enumerate(COUNTS.items()):
        left = dict(zip(CLASSES, counts, strict=True))
        number, bar = 0, tqdm(total=sum(counts), desc=split)
        while any(left.values()):  # in portions: all at once they would be held in memory
            portion = {name: min(count, 100) for name, count in left.items() if count}
            pixels, names, _ = sample_faces(portion, seed=1000 * seed + number, size=SIDE, grey=False)
            for face, name in zip(pixels, names, strict=True):
                number += 1
                Image.fromarray(np.asarray(face)).save(pictures / f"{split}_{number:05d}_aligned.jpg", quality=92)
                lines.append(f"{split}_{number:05d}.jpg {CLASSES.index(name) + 1}\n")
            left = {name: count - portion.get(name, 0) for name, count in left.items()}
            bar.update(len(names))
        bar.close()
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text("".join(lines))
    return len(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new folder, named rafdb")
    print(f"{write(parser.parse_args().out):,} faces")
