"""RAF-DB in both of its forms, whole and damaged."""

import os

import numpy as np
import pytest
import torch
from trees import faces, write_picture, write_rafdb_folders, write_rafdb_list

from ferlib import labels
from ferlib.data import rafdb
from ferlib.data.dataset import DataError
from ferlib.data.rafdb import load_rafdb
from ferlib.data.registry import load_dataset

LABELS = {"train": [1, 2, 3, 4, 5, 6, 7] * 10, "test": [7, 6, 5, 4, 3, 2, 1, 1]}
FORMS = {"list": write_rafdb_list, "folders": write_rafdb_folders}


@pytest.fixture(params=FORMS)
def tree(request, tmp_path):
    """A tiny RAF-DB, in one form and in the other."""
    FORMS[request.param](tmp_path, LABELS)
    return tmp_path


def test_contents(tree):
    data = load_rafdb(tree, size=24, check=False)
    assert data.classes == labels.RAFDB
    assert data.pixels.shape == (78, 3, 24, 24)
    for split, number in (("train", 12), ("test", 8)):
        face = data.frame.set_index("file").loc[f"{split}_{number:05d}.jpg"]
        assert face["label"] == LABELS[split][number - 1] - 1
        drawn = torch.from_numpy(faces()[number % 14]).permute(2, 0, 1)
        assert (data.pixels[face["row"]].int() - drawn.int()).abs().float().mean() < 12  # JPEG


def test_a_tenth_of_every_training_class_is_validation_and_test_is_left_alone(tree):
    data = load_rafdb(tree, size=24, check=False)
    assert data.counts()["train"].tolist() == [9] * 7
    assert data.counts()["validation"].tolist() == [1] * 7
    assert data.frame["file"].str.startswith("test_").equals(data.frame["split"] == "test")
    assert (data.frame["group"] == -1).all()


def test_both_forms_give_the_same_splits(tmp_path):
    splits = []
    for name, write in FORMS.items():
        write(tmp_path / name, LABELS)
        splits.append(load_rafdb(tmp_path / name, size=24, check=False).frame.set_index("file")["split"].to_dict())
    assert splits[0] == splits[1]


def test_numbers_are_checked(tree, monkeypatch):
    with pytest.raises(DataError, match=r"found 70 train faces and 8 test faces in .*, expected 12,271 and 3,068; .*"
                                        r"load_rafdb\(folder, check=False\)"):  # fmt: skip
        load_rafdb(tree)
    monkeypatch.setattr(rafdb, "PUBLISHED", {"train": 70, "test": 8})
    with pytest.raises(DataError, match=r"found \(10, 10, .*\) train faces .* expected \(1290, 281, 717, 4772, 1982"):
        load_rafdb(tree)
    monkeypatch.setattr(rafdb, "TRAIN_COUNTS", (10,) * 7)
    with pytest.raises(DataError, match=r"found \(2, 1, 1, 1, 1, 1, 1\) test faces .* expected \(329, 74, 160, 1185"):
        load_rafdb(tree)
    monkeypatch.setattr(rafdb, "TEST_COUNTS", (2, 1, 1, 1, 1, 1, 1))
    assert len(load_rafdb(tree, size=24)) == 78


def test_published_numbers_agree():
    assert {"train": sum(rafdb.TRAIN_COUNTS), "test": sum(rafdb.TEST_COUNTS)} == rafdb.PUBLISHED


def test_a_picture_that_is_missing_in_its_folder_is_missed_in_the_numbers(tmp_path, monkeypatch):
    write_rafdb_folders(tmp_path, LABELS)
    monkeypatch.setattr(rafdb, "PUBLISHED", {"train": 70, "test": 8})
    next(tmp_path.rglob("train_00003_aligned.jpg")).unlink()
    with pytest.raises(DataError, match="found 69 train faces and 8 test faces"):
        load_rafdb(tmp_path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("train/2/train_00001_aligned.jpg", "train_00001.jpg has two labels"),
        ("train/1/test_00001_aligned.jpg", "is a test face among the train faces"),
        ("test/1/train_00001_aligned.jpg", "is a train face among the test faces"),
    ],
)
def test_contradictory_folders(tmp_path, path, message):
    write_rafdb_folders(tmp_path, LABELS)
    write_picture(tmp_path / "DATASET" / path)
    with pytest.raises(DataError, match=message):
        load_rafdb(tmp_path, check=False)


@pytest.mark.parametrize("write", FORMS.values())
@pytest.mark.parametrize(
    ("label", "message"),
    [
        (8, "label 8, one of the 11 compound classes; only the basic labels 1 to 7"),
        (12, "label '12', expected 1 to 7"),
        (0, "label '0', expected 1 to 7"),
    ],
)
def test_labels_out_of_range(tmp_path, write, label, message):
    write(tmp_path, {"train": [1, label], "test": [1]})
    with pytest.raises(DataError, match=message):
        load_rafdb(tmp_path, check=False)


def test_missing_picture(tmp_path):
    write_rafdb_list(tmp_path, LABELS)
    (tmp_path / "Image" / "aligned" / "test_00003_aligned.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 78 pictures are missing from .*aligned, e\.g\. test_00003_aligned\.jpg"):
        load_rafdb(tmp_path, check=False)


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_unreadable_picture(tree, content):
    path = next(tree.rglob("test_00003_aligned.jpg"))
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"RAF-DB: .*test_00003_aligned\.jpg cannot be used: .*(empty|not a picture)"):
        load_rafdb(tree, check=False)


def test_broken_pictures_can_be_left_out(tree):
    whole = load_rafdb(tree, size=24, check=False)
    next(tree.rglob("test_00003_aligned.jpg")).write_bytes(b"")
    next(tree.rglob("train_00005_aligned.jpg")).write_text("not a picture")
    with pytest.raises(DataError, match=r"2 of 78 pictures cannot be read:\s.*train_00005.*\s.*test_00003"):
        load_rafdb(tree, size=24, check=False)
    for _ in range(2):  # the second time from the cache
        data = load_rafdb(tree, size=24, check=False, skip_broken=True)
        assert any("2 of 78 pictures cannot be read and are left out" in note for note in data.notes)
        left_out = whole.frame["file"].isin(["test_00003.jpg", "train_00005.jpg"]).to_numpy()
        assert data.frame.equals(whole.subset(~left_out).frame)
        assert torch.equal(data.pixels, whole.subset(~left_out).pixels)
        with pytest.raises(DataError, match="2 of 78 pictures cannot be read"):
            load_rafdb(tree, size=24, check=False)


def test_a_missing_picture_of_the_list_can_be_left_out(tmp_path):
    write_rafdb_list(tmp_path, LABELS)
    (tmp_path / "Image" / "aligned" / "test_00003_aligned.jpg").unlink()
    data = load_rafdb(tmp_path, size=24, check=False, skip_broken=True)
    assert len(data) == 77 and "test_00003.jpg" not in set(data.frame["file"])


def test_folders_in_other_capitals_and_behind_links(tree, tmp_path_factory):
    whole = load_rafdb(tree, size=24, check=False)
    folder = tmp_path_factory.mktemp("links")
    for path in tree.iterdir():
        (folder / path.name.lower()).symlink_to(path)
    other = load_rafdb(folder, size=24, check=False)
    assert other.frame.equals(whole.frame) and torch.equal(other.pixels, whole.pixels)


def test_a_replaced_picture_is_read_again(tree):
    before = load_rafdb(tree, size=24, check=False).pixels
    write_picture(next(tree.rglob("test_00001_aligned.jpg")), number=9)
    after = load_rafdb(tree, size=24, check=False).pixels
    assert (before != after).flatten(1).any(dim=1).sum() == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no pictures in"),
        ("train_00001.jpg\n", "line 1 is 'train_00001.jpg', not like 'train_00001.jpg 5'"),
        ("picture.jpg 5\n", "not like 'train_00001.jpg 5'"),
        ("train_00001.jpg happy\n", "label 'happy', expected 1 to 7"),
        ("train_00001.jpg 4\ntrain_00001.jpg 5\n", "train_00001.jpg has two labels"),
    ],
)
def test_damaged_list(tmp_path, text, message):
    (tmp_path / "EmoLabel").mkdir()
    (tmp_path / "EmoLabel" / "list_patition_label.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        load_rafdb(tmp_path, check=False)


def test_other_folders(tmp_path):
    with pytest.raises(DataError, match=r"neither EmoLabel/.* nor DATASET/ in"):
        load_rafdb(tmp_path)
    write_picture(tmp_path / "DATASET" / "train" / "train_00001_aligned.jpg")
    with pytest.raises(DataError, match="is in no label folder"):
        load_rafdb(tmp_path)


def test_catalogue(tmp_path):
    with pytest.raises(DataError, match=r"rafdb was not found .* To get it: ask its authors"):
        load_dataset("rafdb", tmp_path)
    write_rafdb_list(tmp_path / "rafdb", LABELS)
    with pytest.raises(DataError, match="expected 12,271 and 3,068"):  # so it was found
        load_dataset("rafdb", tmp_path)


def test_the_published_protocol_trains_on_all_training_faces(tmp_path, monkeypatch):
    for name, split in (("TRAIN_COUNTS", "train"), ("TEST_COUNTS", "test")):
        monkeypatch.setattr(rafdb, name, tuple(LABELS[split].count(number) for number in range(1, 8)))
    monkeypatch.setattr(rafdb, "PUBLISHED", {split: len(ids) for split, ids in LABELS.items()})
    write_rafdb_list(tmp_path, LABELS)
    assert load_dataset("rafdb", tmp_path).counts().sum().tolist() == [63, 7, 8]
    assert load_dataset("rafdb", tmp_path, published=True).counts().sum().tolist() == [70, 0, 8]
    assert load_rafdb(tmp_path, size=24, validation_share=0.2).counts().sum().tolist() == [56, 14, 8]


@pytest.mark.slow
def test_the_whole_size(tmp_path):
    write_rafdb_list(tmp_path, {"train": [4], "test": [4]})
    lines = []
    for split, counts in {"train": rafdb.TRAIN_COUNTS, "test": rafdb.TEST_COUNTS}.items():
        for number, label in enumerate(np.repeat(range(1, 8), counts), start=1):
            lines.append(f"{split}_{number:05d}.jpg {label}\n")
            picture = tmp_path / "Image" / "aligned" / f"{split}_{number:05d}_aligned.jpg"
            if number > 1:
                os.link(picture.with_name(f"{split}_00001_aligned.jpg"), picture)
    (tmp_path / "EmoLabel" / "list_patition_label.txt").write_text("".join(lines))
    data = load_rafdb(tmp_path, size=24)
    assert data.frame["split"].value_counts().to_dict() == {"train": 11_045, "validation": 1_226, "test": 3_068}
