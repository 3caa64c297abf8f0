"""Folders of users: both layouts, names as people spell them, and what lies around in such folders."""

import pytest
from trees import write_picture

from ferlib.data.catalogue import load_dataset
from ferlib.data.dataset import DataError
from ferlib.data.folder import load_folder, person_of
from ferlib.data.groups import split_of


def write_tree(root, *files: str) -> None:
    for number, file in enumerate(files):
        write_picture(root / file, number)


def splits(data) -> dict[str, str]:
    return dict(zip(data.frame["file"], data.frame["split"], strict=True))


def test_class_folders(tmp_path):
    write_tree(tmp_path, *(f"{name}/{i}.png" for name in ("sad", "happy") for i in range(20)))
    data = load_folder(tmp_path, size=32)
    assert data.classes == ("happiness", "sadness")
    assert data.pixels.shape == (40, 3, 32, 32)
    assert data.counts().sum(axis=1).tolist() == [20, 20]
    assert set(data.frame["split"]) == {"train", "validation", "test"}
    assert splits(load_folder(tmp_path, size=32)) == splits(data)


def test_split_folders(tmp_path):
    write_tree(tmp_path, "Train/happy/a.png", "val/happy/b.png", "testing/sad/c.png", "train/sad/2021/d.png")
    assert splits(load_folder(tmp_path, size=24)) == {
        "Train/happy/a.png": "train",
        "val/happy/b.png": "validation",
        "testing/sad/c.png": "test",
        "train/sad/2021/d.png": "train",
    }


def test_pixels_belong_to_their_labels(tmp_path):
    write_tree(tmp_path, "happy/a.png", "angry/b.png")
    data = load_folder(tmp_path, size=24)
    write_tree(tmp_path / "alone", "angry/b.png")
    face = data.frame.set_index("file").loc["angry/b.png"]
    assert data.classes[face["label"]] == "anger"
    assert not (data.pixels[face["row"]] == data.pixels[1 - face["row"]]).all()
    write_picture(tmp_path / "alone" / "angry" / "b.png", number=1)
    assert (load_folder(tmp_path / "alone", size=24).pixels[0] == data.pixels[face["row"]]).all()


def test_spellings_are_one_class_and_unknown_ones_follow_by_alphabet(tmp_path):
    write_tree(tmp_path, "zest/a.png", "Joy/b.png", "HAPPY/c.png", "boredom/d.png", "neutral/e.png", "afraid/f.png")
    data = load_folder(tmp_path, size=24)
    assert data.classes == ("neutral", "happiness", "fear", "boredom", "zest")
    assert data.counts().sum(axis=1)["happiness"] == 2


def test_stray_files_are_left_out(tmp_path):
    write_tree(tmp_path, "happy/a.png", "happy/.hidden.png", ".thumbnails/b.png")
    (tmp_path / "readme.txt").write_text("my faces")
    (tmp_path / "happy" / "Thumbs.db").write_bytes(b"")
    (tmp_path / "happy" / "._a.jpg").write_bytes(b"macOS leaves these")
    (tmp_path / "sad.png").mkdir()
    assert load_folder(tmp_path, size=24).frame["file"].tolist() == ["happy/a.png"]


def test_new_pictures_move_no_old_ones(tmp_path):
    write_tree(tmp_path, *(f"happy/{i}.png" for i in range(12)))
    old = splits(load_folder(tmp_path, size=24))
    write_tree(tmp_path, *(f"happy/new{i}.png" for i in range(6)), *(f"angry/{i}.png" for i in range(6)))
    new = splits(load_folder(tmp_path, size=24))
    assert len(new) == 24
    assert {file: new[file] for file in old} == old


@pytest.mark.parametrize("file", ["a.png", "happy/2021/a.png", "train/a.png"])
def test_picture_in_no_class_folder(tmp_path, file):
    write_tree(tmp_path, file)
    with pytest.raises(DataError, match=r"a\.png is in no class folder; expected .*<class>/<picture>"):
        load_folder(tmp_path)


@pytest.mark.parametrize(("content", "reason"), [(b"", "is empty"), (b"\x89PNG\r\n\x1a\n", "is damaged")])
def test_unreadable_picture(tmp_path, content, reason):
    write_tree(tmp_path, "happy/a.png", "happy/b.png")
    (tmp_path / "happy" / "b.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"folder: .*b\.png cannot be used: .*{reason}"):
        load_folder(tmp_path, size=24)


def test_no_folder_or_nothing_in_it(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no pictures in"):
        load_folder(tmp_path)
    with pytest.raises(DataError, match="say which folder"):
        load_dataset("folder")


def test_people_are_kept_in_one_split(tmp_path):
    people = [f"p{number}" for number in range(25)]
    write_tree(tmp_path, *(f"{name}/{person}--{name}.jpg-1.png" for name in ("happy", "sad") for person in people))
    write_tree(tmp_path, "happy/nobody.png", "sad/nobody.png")
    frame = load_folder(tmp_path, size=24).frame
    assert person_of("happy/ann--a--b.jpg-1.png") == "ann" and person_of("ann/img-1.png") == ""
    assert set(frame["split"]) == {"train", "validation", "test"}
    known = frame[frame["person"] != ""]
    assert set(known["person"]) == set(people)
    assert known.groupby("person")[["split", "group"]].nunique().eq(1).all(axis=None)
    assert known["group"].nunique() == 25
    assert frame.loc[frame["person"] == "", "group"].tolist() == [-1, -1]


def test_new_pictures_move_no_person(tmp_path):
    write_tree(tmp_path, *(f"happy/p{number}--a.png" for number in range(25)))
    old = load_folder(tmp_path, size=24).frame.set_index("person")["split"]
    write_tree(tmp_path, *(f"sad/p{number}--b.png" for number in range(40)))
    new = load_folder(tmp_path, size=24).frame.drop_duplicates("person").set_index("person")["split"]
    assert new[old.index].equals(old) and len(new) == 40


@pytest.mark.parametrize("people", [3, 4, 5, 6])
def test_few_people_are_shared_out(tmp_path, people):
    """Of so few the hash would leave a split empty; the names are chosen so that it does."""
    names = [name for name in map(str, range(200)) if split_of(name) == "train"][:people]
    write_tree(tmp_path, *(f"{label}/{name}--a.png" for label in ("happy", "sad") for name in names))
    frame = load_folder(tmp_path, size=24).frame
    assert set(frame["split"]) == {"train", "validation", "test"}
    assert frame.groupby("person")["split"].nunique().eq(1).all()


def test_a_person_in_two_split_folders_is_refused(tmp_path):
    write_tree(tmp_path, "train/happy/ann--a.png", "test/sad/ann--b.png", "test/sad/ben--b.png")
    with pytest.raises(DataError, match="person ann is in"):
        load_folder(tmp_path, size=24)


def test_unsorted_faces_are_no_class(tmp_path):
    write_tree(tmp_path, "tired/a.png", "unsorted/b.png", "laughing/c.png")
    assert load_folder(tmp_path, size=24).classes == ("laughing", "tired")
