"""CK+ in both of its forms: subjects stay together, and what is wrong is said."""

import numpy as np
import pytest
from trees import write_ck48, write_ckextended, write_picture

from ferlib.data import ckplus
from ferlib.data.ckplus import CSV_COUNTS, FOLDER_COUNTS, group_alike, load_ckplus
from ferlib.data.dataset import DataError
from ferlib.data.registry import load_dataset
from ferlib.labels import CKPLUS

COUNTS = {"anger": 8, "happiness": 20, "neutral": 60, "contempt": 12}
FILMS = ("anger", "happy", "surprise")


def assert_six_two_two(data, slack: float = 0.05) -> None:
    shares = data.frame["split"].value_counts(normalize=True)
    assert np.allclose(shares[["train", "validation", "test"]], [0.6, 0.2, 0.2], atol=slack)


# --- folders ---


def test_folders(tmp_path):
    write_ck48(tmp_path, range(10, 30), FILMS)
    data = load_ckplus(tmp_path, check=False)
    assert data.pixels.shape == (180, 1, 48, 48)
    assert "neutral" not in data.classes and len(data.classes) == 7
    assert data.counts().sum(axis=1)[["anger", "happiness", "surprise"]].tolist() == [60, 60, 60]
    face = data.frame[data.frame["file"] == "S012_002_00000016.png"].iloc[0]
    assert (face["subject"], data.classes[face["label"]]) == ("S012", "happiness")


def test_subjects_stay_together(tmp_path):
    write_ck48(tmp_path, range(10, 30), FILMS)
    data = load_ckplus(tmp_path, check=False)
    assert data.frame.groupby("subject")["split"].nunique().max() == 1
    assert data.frame.groupby("subject")["group"].nunique().max() == 1
    assert data.frame["group"].nunique() == 20
    assert_six_two_two(data)
    assert load_ckplus(tmp_path, check=False).frame.equals(data.frame)


def test_split_folders_are_kept_unless_a_subject_crosses_them(tmp_path):
    for split, subjects in {"train": (1, 2), "valid": (3,), "test": (4,)}.items():
        write_ck48(tmp_path / split, subjects)
        (tmp_path / "CK+48").mkdir(exist_ok=True)
        (tmp_path / split / "CK+48").rename(tmp_path / "CK+48" / split)
    data = load_ckplus(tmp_path, check=False)
    assert data.frame["split"].value_counts().to_dict() == {"train": 12, "validation": 6, "test": 6}
    write_picture(tmp_path / "CK+48" / "test" / "anger" / "S002_005_00000011.png")
    with pytest.raises(DataError, match=r"CK\+: subject S002 is in test and train; a result on such splits"):
        load_ckplus(tmp_path, check=False)
    write_picture(tmp_path / "CK+48" / "anger" / "S009_005_00000011.png")
    with pytest.raises(DataError, match="both inside and outside split folders"):
        load_ckplus(tmp_path, check=False)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("anger/face.png", "does not start with a subject, as S010_004_00000017.png does"),
        ("boredom/S010_004_00000017.png", "is no class of CK., expected one of anger, disgust"),
        ("S010_004_00000017.png", "is in no class folder"),
    ],
)
def test_strange_picture(tmp_path, path, message):
    write_ck48(tmp_path, [1])
    write_picture(tmp_path / "CK+48" / path)
    with pytest.raises(DataError, match=message):
        load_ckplus(tmp_path, check=False)


def test_empty_picture(tmp_path):
    write_ck48(tmp_path, range(1, 6))
    (tmp_path / "CK+48" / "anger" / "S001_001_00000016.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"S001_001_00000016\.png cannot be used: .* is empty"):
        load_ckplus(tmp_path, check=False)


def test_broken_pictures_can_be_left_out_and_links_are_followed(tmp_path):
    write_ck48(tmp_path / "disk", range(1, 6))
    (tmp_path / "disk" / "CK+48" / "anger" / "S001_001_00000016.png").write_bytes(b"")
    (tmp_path / "ck+48").mkdir()
    for path in (tmp_path / "disk" / "CK+48").iterdir():
        (tmp_path / "ck+48" / path.name).symlink_to(path)
    with pytest.raises(DataError, match=r"S001_001_00000016\.png cannot be used: .* is empty"):
        load_ckplus(tmp_path, check=False)
    data = load_ckplus(tmp_path, check=False, skip_broken=True)
    assert len(data) == 29 and "S001_001_00000016.png" in data.notes[0]
    assert "S001_001_00000016.png" not in set(data.frame["file"])


def test_picture_with_two_labels(tmp_path):
    write_ck48(tmp_path, range(1, 6))
    write_picture(tmp_path / "CK+48" / "fear" / "S001_001_00000016.png")
    with pytest.raises(DataError, match=r"S001_001_00000016\.png has two labels"):
        load_ckplus(tmp_path, check=False)


def test_folders_of_the_usual_size_pass_and_without_a_picture_they_do_not(tmp_path, monkeypatch):
    write_ck48(tmp_path, range(1, 6))
    monkeypatch.setattr(ckplus, "FOLDER_COUNTS", {"anger": 15, "happiness": 15})
    assert len(load_ckplus(tmp_path)) == 30
    (tmp_path / "CK+48" / "happy" / "S004_002_00000016.png").unlink()
    with pytest.raises(DataError, match=r"found 29 faces in .*, expected 30 \(happiness 14 instead of 15\)"):
        load_ckplus(tmp_path)


def test_folder_numbers_are_checked(tmp_path):
    write_ck48(tmp_path, [1])
    with pytest.raises(DataError, match=r"found 6 faces in .*, expected 981 \(anger 3 instead of 135.*check=False"):
        load_ckplus(tmp_path)


# --- csv ---


def test_csv(tmp_path):
    who = write_ckextended(tmp_path / "ckextended.csv", COUNTS)
    data = load_ckplus(tmp_path, check=False)
    assert any("does not say who is on a picture" in note for note in data.notes)
    assert data.classes == CKPLUS
    assert data.pixels.shape == (100, 1, 48, 48)
    assert data.counts().sum(axis=1).to_dict() == {name: COUNTS.get(name, 0) for name in CKPLUS}
    first = (tmp_path / "ckextended.csv").read_text().splitlines()[1].split(",")
    assert data.frame["label"][0] == int(first[0])
    assert data.pixels[0].flatten().tolist() == [int(value) for value in first[1].split()]
    splits = data.frame.groupby(who)["split"]
    assert splits.nunique().max() == 1
    assert_six_two_two(data)


def test_alike_pictures_are_one_group():
    rng = np.random.default_rng(0)
    people = rng.uniform(0, 255, (5, 48 * 48))
    who = np.array([0, 1, 2, 3, 4, 1, 0, 0])
    pixels = (people[who] + rng.normal(0, 5, (8, 48 * 48))).clip(0, 255).astype(np.uint8)
    groups = group_alike(pixels)
    assert np.array_equal(groups[:, None] == groups, who[:, None] == who)
    assert len(set(group_alike(pixels, threshold=1))) == 8


def test_csv_of_the_usual_size_passes_and_another_does_not(tmp_path):
    write_ckextended(tmp_path / "ckextended.csv", CSV_COUNTS, persons=120)
    data = load_dataset("ckplus", tmp_path)
    assert_six_two_two(data, slack=0.01)
    path = tmp_path / "ckextended.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match=r"found 919 faces in .*, expected 920 \(.* instead of .*check=False"):
        load_dataset("ckplus", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not ckextended.csv"),
        ("emotion,Usage\n0,Training\n", "is not ckextended.csv.*pixels"),
        ("emotion,pixels,Usage\n", "has no rows"),
        (f"emotion,pixels,Usage\n8,{'1 ' * 2304},Training\n", "line 2 has label 8, expected 0 to 7"),
        (f"emotion,pixels,Usage\n,{'1 ' * 2304},Training\n", "line 2 has label nan, expected 0 to 7"),
        (f"emotion,pixels,Usage\nhappy,{'1 ' * 2304},Training\n", "line 2 has label happy, expected 0 to 7"),
        (f"emotion,pixels,Usage\n0,-1 {'1 ' * 2303},Training\n", "is not ckextended.csv, 48x48 pixels a row"),
        ("emotion,pixels,Usage\n0,1 2 3,Training\n", "is not ckextended.csv, 48x48 pixels a row"),
        (f"emotion,pixels,Usage\n0,{'1 ' * 2303}256,Training\n", "is not ckextended.csv, 48x48 pixels a row"),
        ("emotion,pixels,Usage\n0,,Training\n", "is not ckextended.csv, 48x48 pixels a row"),
    ],
)
def test_damaged_csv(tmp_path, text, message):
    (tmp_path / "ckextended.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load_ckplus(tmp_path, check=False)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"neither CK\+48/ nor ckextended.csv in"):
        load_ckplus(tmp_path)
    (tmp_path / "CK+48").mkdir()
    with pytest.raises(DataError, match="no pictures in"):
        load_ckplus(tmp_path)


def test_known_numbers_agree():
    assert (sum(CSV_COUNTS.values()), sum(FOLDER_COUNTS.values())) == (920, 981)
