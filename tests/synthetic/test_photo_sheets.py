"""Synthetic photos of people, and the truth about them."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ferlib.labels import SYNTHETIC
from ferlib.synthetic.photo_sheets import draw_booth


@pytest.fixture(scope="module")
def booth(tmp_path_factory):
    folder = tmp_path_factory.mktemp("booth")
    return folder, draw_booth(folder, people=3, sheets=4)


def test_sheets_and_truth(booth):
    folder, truth = booth
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    assert files == [f"person0{person}/sheet{sheet}.png" for person in (1, 2, 3) for sheet in (1, 2, 3, 4)]
    assert truth.groupby("photo").size().eq(4).all() and set(truth["photo"]) == set(files)
    assert (truth["photo"].str.split("/").str[0] == truth["person"]).all()
    assert set(truth["expression"]) == set(SYNTHETIC)
    counts = pd.crosstab(truth["person"], truth["expression"])
    assert counts.to_numpy().min() >= 2 and counts.to_numpy().max() <= 3  # they come in turn


def test_pictures_lie_where_the_truth_says(booth):
    folder, truth = booth
    sheet = np.asarray(Image.open(folder / "person02" / "sheet1.png"))
    inside = np.zeros(sheet.shape[:2], bool)
    for row in truth[truth["photo"] == "person02/sheet1.png"].itertuples():
        inside[row.y0 : row.y1, row.x0 : row.x1] = True
    assert (sheet[~inside] == 255).all()
    assert (sheet[inside] == 255).all(axis=1).mean() < 0.2


def test_the_same_seed_gives_the_same_bytes(booth, tmp_path):
    folder, truth = booth
    again = draw_booth(tmp_path, people=1, sheets=4)
    assert again.equals(truth[truth["person"] == "person01"])
    for path in tmp_path.rglob("*.png"):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes()
    draw_booth(tmp_path, people=1, sheets=4, seed=1)
    assert (tmp_path / "person01" / "sheet1.png").read_bytes() != (folder / "person01" / "sheet1.png").read_bytes()
