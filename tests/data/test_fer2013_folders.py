"""FER2013 as folders of pictures, with and without the published splits in the file names."""

from pathlib import Path

import pytest
from trees import write_picture

from ferlib import labels
from ferlib.data.dataset import DataError
from ferlib.data.fer2013 import SPLIT_OF_USAGE
from ferlib.data.registry import load_dataset


def write_folders(root: Path, names: dict[str, str]) -> None:
    """Kaggle's folders; `names` has the beginning of the files' names by split."""
    number = 0
    for split, beginnings in names.items():
        for name in ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"):
            for beginning in beginnings.split():
                for _ in range(6):
                    number += 1
                    write_picture(root / split / name / f"{beginning}{number}.jpg", number, 48)


def test_folders_without_a_validation_part(tmp_path):
    write_folders(tmp_path / "fer2013", {"train": "im", "test": "im"})
    data = load_dataset("fer2013", tmp_path)
    assert (data.classes, tuple(data.pixels.shape[1:])) == (labels.FER2013, (1, 48, 48))
    folders = data.frame["file"].map(lambda file: Path(file).parts)
    assert [labels.canonical(parts[1]) for parts in folders] == [data.classes[label] for label in data.labels()]
    assert (data.frame["split"] == "test").equals(folders.map(lambda parts: parts[0] == "test"))
    share = (data.frame["split"] == "validation").sum() / folders.map(lambda parts: parts[0] == "train").sum()
    assert 0.01 < share < 0.3
    taken, usage, counts = data.notes
    assert "where FER2013 has 28,709 / 3,589 / 3,589" in counts
    assert "there is no validation folder" in taken and "do not tell PublicTest from PrivateTest" in usage
    assert load_dataset("fer2013", tmp_path).frame.equals(data.frame)
    assert data.name == "fer2013_folders"  # of its splits models of FER2013 have seen others


def test_folders_whose_file_names_tell_the_published_splits(tmp_path):
    write_folders(tmp_path, {"train": "Training_", "test": "PublicTest_ PrivateTest_"})
    data = load_dataset("fer2013", tmp_path)
    assert data.counts().sum().tolist() == [42, 42, 42] and data.name == "fer2013"
    usage = data.frame["file"].map(lambda file: Path(file).name.partition("_")[0])
    assert data.frame["split"].equals(usage.map(SPLIT_OF_USAGE).rename("split"))
    assert any("PublicTest is validation" in note for note in data.notes)


def test_folders_of_other_classes_and_broken_pictures(tmp_path):
    write_folders(tmp_path, {"train": "im", "test": "im"})
    (tmp_path / "train" / "angry" / "im1.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"im1\.jpg is empty"):
        load_dataset("fer2013", tmp_path)
    data = load_dataset("fer2013", tmp_path, skip_broken=True)
    assert len(data) == 83 and any("im1.jpg" in note for note in data.notes)
    write_picture(tmp_path / "train" / "bored" / "a.jpg")
    with pytest.raises(DataError, match="has the folders bored, which are no classes of FER2013"):
        load_dataset("fer2013", tmp_path)
