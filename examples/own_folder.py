"""A folder of pictures, sorted by class, as a data set.

    python examples/own_folder.py

Here the pictures are synthetic ones, written into a temporary folder. With your own, leave out the first part and give
the folder: `load_dataset("folder", "my_faces")`, or on the command line `--data folder --root my_faces`.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from ferlib.data.imbalance import statistics
from ferlib.data.registry import load_dataset
from ferlib.synthetic.render import sample_face

PEOPLE = {"happiness": 12, "neutral": 8, "surprise": 4}  # two pictures of each

with TemporaryDirectory() as folder:
    rng = np.random.default_rng(0)
    for name, count in PEOPLE.items():
        for person in range(count):
            for number in (1, 2):
                # the part of a file's name before "--" is the person: nobody stands in two splits
                path = Path(folder) / name / f"{name}{person}--{number}.png"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(sample_face(name, rng, 64).pixels).save(path)

    faces = load_dataset("folder", folder, size=64)

print(faces)
for note in faces.notes:  # what was decided or left out
    print("note:", note)
print("people who stand in more than one split:", (faces.frame.groupby("person")["split"].nunique() > 1).sum())
print(statistics(faces.counts().sum(axis=1)))
