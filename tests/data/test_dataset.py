"""The data set type, and the synthetic faces in it."""

import numpy as np
import pandas as pd
import pytest
import torch

from ferlib.data.dataset import DataError, FaceDataset
from ferlib.data.registry import load_dataset


def frame(n: int, **columns) -> pd.DataFrame:
    return pd.DataFrame({"label": [0] * n, "split": ["train"] * n, "group": range(n), "row": range(n)} | columns)


def faces(n: int) -> torch.Tensor:
    return torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 1, 8, 8)


def test_rows_and_pixels_stay_together():
    data = FaceDataset(
        "toy", ("a", "b"), frame(4, label=[0, 1, 0, 1], split=["train", "test", "test", "train"]), faces(4)
    )
    test = data.split("test")
    assert test.pixels[:, 0, 0, 0].tolist() == test.frame["row"].tolist() == [1, 2]
    assert test.labels().tolist() == [1, 0]
    assert data.subset(np.array([3, 0])).frame["row"].tolist() == [3, 0]
    pixels, label = data[3]
    assert pixels.unique().tolist() == [3] and label == 1
    assert data.counts().loc["b"].to_dict() == {"train": 1, "validation": 0, "test": 1}


@pytest.mark.parametrize(
    ("changes", "pixels", "message"),
    [
        ({"label": [0, 2]}, faces(2), "labels must lie in 0..1"),
        ({"split": ["train", "dev"]}, faces(2), "unknown splits"),
        ({}, faces(3), "2 rows of labels but 3 pictures"),
        ({}, faces(2).float(), "must be uint8"),
    ],
)
def test_inconsistent_data_is_refused(changes, pixels, message):
    with pytest.raises(DataError, match=message):
        FaceDataset("toy", ("a", "b"), frame(2, **changes), pixels)


def test_soft_labels_need_votes(synthetic_faces):
    with pytest.raises(DataError, match="no votes"):
        synthetic_faces.soft_labels()
    votes = frame(2, votes_a=[3, 0], votes_b=[1, 5])
    assert FaceDataset("toy", ("a", "b"), votes, faces(2)).soft_labels().tolist() == [[0.75, 0.25], [0, 1]]


def test_synthetic_persons_never_cross_splits(synthetic_faces):
    assert (synthetic_faces.frame.groupby("group")["split"].nunique() == 1).all()
    assert (synthetic_faces.counts().sum(axis=1) == 60).all()
    assert (synthetic_faces.counts() > 0).all(axis=None)


def test_missing_sets_say_where_they_were_looked_for(tmp_path):
    with pytest.raises(DataError, match=rf"ferplus was not found \(looked in {tmp_path}.*fer2013new\.csv"):
        load_dataset("ferplus", tmp_path)
    with pytest.raises(DataError, match="unknown data set 'imagenet'"):
        load_dataset("imagenet")


def test_other_annotators_have_classes_of_their_own(synthetic_faces):
    part = synthetic_faces.subset(np.arange(4))
    assert part.other_annotators() == {}
    part.frame["annotator_ada"] = pd.Categorical(["sad", None, "glad", "sad"], categories=["glad", "sad", "mad"])
    for data, codes in ((part, [1, -1, 0, 1]), (part.subset([2, 1]), [0, -1])):
        classes, found = data.other_annotators()["ada"]
        assert classes == ("glad", "sad", "mad") and found.tolist() == codes
