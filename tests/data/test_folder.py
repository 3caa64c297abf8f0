"""Folders of users: both layouts, names as people spell them, and what lies around in such folders."""

import os
from unicodedata import normalize

import pandas as pd
import pytest
from trees import faces, write_picture

from ferlib.data.dataset import DataError
from ferlib.data.folder import choose_splits, load_folder, person_of
from ferlib.data.folder_names import class_names
from ferlib.data.registry import load_dataset
from ferlib.data.splits import place_of, split_of


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


def test_three_people_of_many_pictures_are_shared_out():
    """Whatever their numbers: two of them are never put into one split."""
    rows = [
        {"name": "happiness", "split": "", "file": f"happy/{person}--{i}.png", "person": person}
        for person, count in {"kim": 14, "cara": 12, "gina": 10}.items()
        for i in range(count)
    ]
    frame = pd.DataFrame(rows)
    chosen, notes = choose_splits(frame)
    assert frame.assign(split=chosen).groupby("person")["split"].unique().map(len).eq(1).all()
    assert set(chosen) == {"train", "validation", "test"} and not notes


def test_a_person_in_two_split_folders_is_refused(tmp_path):
    write_tree(tmp_path, "train/happy/ann--a.png", "test/sad/ann--b.png", "test/sad/ben--b.png")
    with pytest.raises(DataError, match=r"person ann is in test and train;"):
        load_folder(tmp_path, size=24)


def test_a_split_that_asks_nobody_is_noted(tmp_path):
    write_tree(tmp_path, *(f"happy/ann_{i}.png" for i in range(3)))
    (note,) = load_folder(tmp_path, size=24).notes
    assert "split 6:2:2 by their names" in note and "one may stand in several splits" in note
    write_tree(tmp_path, "happy/ann--a.png")
    assert not load_folder(tmp_path, size=24).notes


def test_unsorted_faces_are_no_class(tmp_path):
    write_tree(tmp_path, "tired/a.png", "unsorted/b.png", "laughing/c.png")
    assert load_folder(tmp_path, size=24).classes == ("laughing", "tired")


# --- nothing vanishes without a word ---


def test_a_class_behind_a_link_is_read(tmp_path):
    write_tree(tmp_path / "disk", *(f"{i}.png" for i in range(3)))
    write_tree(tmp_path / "root", "happy/a.png")
    (tmp_path / "root" / "sad").symlink_to(tmp_path / "disk")
    data = load_folder(tmp_path / "root", size=24)
    assert data.counts().sum(axis=1).to_dict() == {"happiness": 1, "sadness": 3}
    assert len(data.notes) == 1 and "split 6:2:2" in data.notes[0]


@pytest.mark.parametrize("name", ["a.avif", "a.jfif", "a.jpe", "a.pgm", "A.PNG"])
def test_pictures_of_every_suffix_are_read(tmp_path, name):
    write_tree(tmp_path, f"happy/{name}")
    assert load_folder(tmp_path, size=24).frame["file"].tolist() == [f"happy/{name}"]


def test_a_picture_without_a_suffix_is_read(tmp_path):
    write_tree(tmp_path, "happy/a.png")
    (tmp_path / "happy" / "a.png").rename(tmp_path / "happy" / "DSC00017")
    assert load_folder(tmp_path, size=24).frame["file"].tolist() == ["happy/DSC00017"]


def test_what_is_not_read_is_said(tmp_path):
    write_tree(tmp_path, "train/happy/a.png", "val/happy/b.png", "test/happy/b.png", "unsorted/c.png", "test/sad/e.png")
    (tmp_path / "train" / "fear").mkdir()
    (tmp_path / "train" / "fear" / "readme.txt").write_text("none yet")
    (tmp_path / "train" / "happy" / "film.mov").write_text("")
    (tmp_path / "train" / "happy" / "gone").symlink_to("nowhere")
    (tmp_path / "labels.csv").write_text("a table beside the faces")
    data = load_folder(tmp_path, size=24)
    assert data.classes == ("happiness", "sadness") and len(data) == 4
    assert data.notes == (
        "files that are not read: 1 .txt, 1 .mov, 1 link to nothing",
        "1 pictures in the folder 'unsorted' are not read",
        "no pictures, so no class or split, in: train/fear",
    )
    assert repr(data).endswith("; notes: 3)") and not data.split("test").notes


def test_slips_and_numbers_are_asked_about(tmp_path):
    write_tree(tmp_path, "suprise/a.png", "happy/b.png", "scared/c.png")
    with pytest.raises(DataError, match=r"in .*, is 'scared' fear, 'suprise' surprise\? .*--labels scared=fear"):
        load_folder(tmp_path)
    answers = {"suprise": "surprise", "scared": "scared"}
    assert load_folder(tmp_path, 24, answers).classes == ("happiness", "surprise", "scared")
    assert load_dataset("folder", tmp_path, 24, "keep").classes == ("happiness", "scared", "suprise")
    with pytest.raises(DataError, match="is for folders"):
        load_dataset("synthetic", labels="keep")
    write_tree(tmp_path / "numbers", *(f"train/{number}/a.png" for number in range(8)))
    with pytest.raises(DataError, match="the class folders 0, 1, 2, 3, 4, 5, 6, 7 are numbers"):
        load_folder(tmp_path / "numbers")


def test_two_spellings_of_one_answer_are_one_class(tmp_path):
    write_tree(tmp_path, "suprise/a.png", "surprised/b.png")
    data = load_folder(tmp_path, 24, {"suprise": "surprise"})
    assert data.classes == ("surprise",) and len(data) == 2


# --- split folders without validation ---


def test_validation_is_taken_from_train_and_new_pictures_move_none(tmp_path):
    write_tree(tmp_path, *(f"train/{name}/{i}.png" for name in ("happy", "sad") for i in range(60)), "test/sad/a.png")
    data = load_folder(tmp_path, size=24)
    old = splits(data)
    count = list(old.values()).count("validation")
    assert 2 <= count <= 30 and list(old.values()).count("test") == 1 and old["test/sad/a.png"] == "test"
    (note,) = data.notes
    assert note == f"there is no validation folder: {count} of 120 training faces are it, chosen by file name"
    write_tree(tmp_path, *(f"train/happy/new{i}.png" for i in range(20)))
    new = splits(load_folder(tmp_path, size=24))
    assert {file: new[file] for file in old} == old


def test_validation_is_taken_by_person(tmp_path):
    people = [f"p{number}" for number in range(40)]
    write_tree(tmp_path, *(f"train/{name}/{person}--a.png" for name in ("happy", "sad") for person in people))
    write_tree(tmp_path, "test/sad/ann--a.png")
    data = load_folder(tmp_path, size=24)
    assert data.frame.groupby("person")["split"].nunique().eq(1).all()
    assert set(data.frame["split"]) == {"train", "validation", "test"} and "by person" in data.notes[0]


@pytest.mark.parametrize("people", [2, 3])
def test_of_few_one_is_validation(tmp_path, people):
    names = [name for name in map(str, range(200)) if place_of(name) > 0.5][:people]
    write_tree(tmp_path, *(f"train/{label}/{name}--a.png" for label in ("happy", "sad") for name in names))
    frame = load_folder(tmp_path, size=24).frame
    assert frame["split"].value_counts().to_dict() == {"train": 2 * people - 2, "validation": 2}


# --- broken pictures, and their size ---


def test_broken_pictures_are_named_together_and_can_be_left_out(tmp_path):
    write_tree(tmp_path, *(f"happy/{i:02d}.png" for i in range(15)), "sad/a.png", "sad/b.png", "fear/a.png")
    for i in range(12):
        (tmp_path / "happy" / f"{i:02d}.png").write_bytes(b"")
    (tmp_path / "fear" / "a.png").unlink()
    (tmp_path / "fear" / "a.png").symlink_to("nowhere")
    with pytest.raises(DataError) as caught:
        load_folder(tmp_path, size=24)
    text = str(caught.value)
    assert "13 of 18 pictures cannot be read" in text and text.count("cannot be used") == 10
    assert "and 3 more" in text and "--skip-broken" in text
    data = load_dataset("folder", tmp_path, 24, skip_broken=True)
    assert splits(data).keys() == {"happy/12.png", "happy/13.png", "happy/14.png", "sad/a.png", "sad/b.png"}
    assert data.classes == ("happiness", "sadness")
    assert data.notes[-2].startswith("13 of 18 pictures cannot be read and are left out: a.png, 00.png, 01.png")
    assert data.notes[-1] == "no picture of the class fear can be read"
    write_tree(tmp_path / "alone", "happy/a.png")
    write_picture(tmp_path / "alone" / "happy" / "a.png", 16)  # the last of "sad"
    (alone,) = load_folder(tmp_path / "alone", size=24).pixels
    assert (data.pixels[data.frame["file"].tolist().index("sad/b.png")] == alone).all()


def test_nothing_but_broken_pictures(tmp_path):
    write_tree(tmp_path, "happy/a.png", "sad/b.png")
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="2 of 2 pictures cannot be read"):
        load_folder(tmp_path, skip_broken=True)


def test_a_name_with_a_broken_byte_is_a_name(tmp_path):
    write_tree(tmp_path, "happy/a.png")
    os.rename(tmp_path / "happy" / "a.png", os.fsencode(tmp_path) + b"/happy/caf\xe9.png")
    data = load_folder(tmp_path, size=24)
    assert data.frame["file"].map(os.fsencode).tolist() == [b"happy/caf\xe9.png"]


def test_large_pictures_are_reduced_with_a_word_and_not_where_the_size_is_said(tmp_path):
    for number, side in enumerate((224, 300, 112, 48)):
        write_picture(tmp_path / "happy" / f"{side}.png", number, side)
    data = load_dataset("folder", tmp_path)
    assert data.pixels.shape == (4, 3, 112, 112)
    assert data.notes[1:] == ("2 pictures larger than 112 px were reduced to it; size= loads them larger",)
    large = load_dataset("folder", tmp_path, size=224)
    assert large.pixels.shape == (4, 3, 224, 224) and not any("larger" in note for note in large.notes)
    face = large.pixels[large.frame["file"].tolist().index("happy/224.png")]
    assert (face.permute(1, 2, 0).numpy() == faces(224)[0]).all()  # every pixel of it


def test_a_name_is_one_in_both_forms_of_its_letters(tmp_path):
    """Macs write é as two letters, e and an accent."""
    one, two = (normalize(form, "Andr\u00e9") for form in ("NFC", "NFD"))
    assert one != two
    write_tree(tmp_path, *(f"happy/{name}--{number}.png" for name in (one, two, "ben", "eva") for number in range(3)))
    frame = load_folder(tmp_path, 24).frame
    assert set(frame["person"]) == {one, "ben", "eva"} and (frame.groupby("person")["split"].nunique() == 1).all()
    classes = [normalize(form, "d\u00e9go\u00fbt") for form in ("NFC", "NFD")]
    assert set(class_names(classes, {classes[1]: "disgust"}).values()) == {"disgust"}


def test_folders_that_become_one_class_are_told(tmp_path):
    write_tree(tmp_path, "happy/a.png", "joy/b.png", "sad/c.png")
    data = load_folder(tmp_path, 24)
    assert data.classes == ("happiness", "sadness")
    assert "the folders happy, joy are one class, happiness (--labels joy=joy keeps one apart)" in data.notes
    apart = load_folder(tmp_path, 24, {"joy": "joy"})
    assert apart.classes == ("happiness", "sadness", "joy") and not any("one class" in note for note in apart.notes)


def test_names_that_make_all_faces_one_persons_are_told(tmp_path):
    write_tree(tmp_path, *(f"happy/IMG--{number:04}.png" for number in range(6)), "sad/IMG--0006.png")
    assert any("all are IMG's: of one person there are no splits" in note for note in load_folder(tmp_path, 24).notes)
