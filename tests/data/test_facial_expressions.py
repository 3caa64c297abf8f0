"""muxspace/facial_expressions: labels, doubles, persons; on generated trees and on the real set."""

import pytest
from trees import write_facial_expressions, write_picture

from ferlib import labels
from ferlib.data.dataset import DataError
from ferlib.data.facial_expressions import load_facial_expressions, person_of, read_legend
from ferlib.data.registry import load_dataset

ROWS = [(f"Person_{chr(65 + person)}_{i:04d}.jpg", "neutral") for person in range(12) for i in range(3)]


def test_contents(tmp_path):
    write_facial_expressions(tmp_path, ROWS)
    data = load_facial_expressions(tmp_path, size=24)
    assert data.classes == labels.FACIAL_EXPRESSIONS
    assert data.pixels.shape == (36, 3, 24, 24)
    assert data.frame["group"].nunique() == 12
    assert data.frame.groupby("person")["split"].nunique().max() == 1


def test_labels_in_any_case_and_spelling(tmp_path):
    spellings = ["HAPPINESS", "happy", "Happiness", "angry", "ANGER", "fear"]
    write_facial_expressions(tmp_path, [(f"A_B_{i:04d}.jpg", label) for i, label in enumerate(spellings)])
    found = [labels.FACIAL_EXPRESSIONS[label] for label in read_legend(tmp_path)["label"]]
    assert found == ["happiness"] * 3 + ["anger"] * 2 + ["fear"]


def test_doubles_are_merged_and_contradictions_dropped(tmp_path):
    rows = [
        ("A_1.jpg", "neutral"),
        ("B_1.jpg", "anger"),
        ("A_1.jpg", "NEUTRAL"),
        ("C_1.jpg", "fear"),
        ("C_1.jpg", "sad"),
    ]
    write_facial_expressions(tmp_path, rows)
    frame = read_legend(tmp_path)
    assert frame["file"].tolist() == ["A_1.jpg", "B_1.jpg"]
    assert frame["row"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("file", "person"),
    [
        ("Zhu_Rongji_0001.jpg", "Zhu_Rongji"),
        ("HrithikRoshan_159.jpg", "HrithikRoshan"),
        ("facial-expressions_2868588k.jpg", "facial-expressions"),
        ("Aby_Har-Even_0001.jpg", "Aby_Har-Even"),
    ],
)
def test_person_of_a_file(file, person):
    assert person_of(file) == person


def test_a_person_may_be_spelled_in_several_ways(tmp_path):
    files = ["Ann_Lee_0001.jpg", "Bo_Ek_0001.jpg", "AnnLee_7.jpg", "ann-lee_1.jpg", "Ann_Leeds_0001.jpg"]
    write_facial_expressions(tmp_path, [(file, "fear") for file in files])
    frame = read_legend(tmp_path)
    assert frame["person"].tolist() == ["Ann_Lee", "Bo_Ek", "Ann_Lee", "Ann_Lee", "Ann_Leeds"]
    assert frame["group"].tolist() == [0, 1, 0, 0, 2]
    assert len(set(frame["split"][frame["group"] == 0])) == 1


def test_new_persons_move_no_old_ones(tmp_path):
    write_facial_expressions(tmp_path / "old", ROWS[:18])
    write_facial_expressions(tmp_path / "new", ROWS)
    old, new = (read_legend(tmp_path / name).set_index("file")["split"].to_dict() for name in ("old", "new"))
    assert {file: new[file] for file in old} == old


def test_missing_picture(tmp_path):
    write_facial_expressions(tmp_path, ROWS)
    (tmp_path / "images" / "Person_C_0001.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 36 pictures are missing from .*images, e\.g\. Person_C_0001\.jpg"):
        load_facial_expressions(tmp_path)


def test_unreadable_picture(tmp_path):
    write_facial_expressions(tmp_path, ROWS)
    (tmp_path / "images" / "Person_C_0001.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"Person_C_0001\.jpg cannot be used: .* is empty"):
        load_facial_expressions(tmp_path, size=24)


def test_broken_and_missing_pictures_can_be_left_out(tmp_path):
    write_facial_expressions(tmp_path, ROWS)
    whole = load_facial_expressions(tmp_path, size=24)
    (tmp_path / "images" / "Person_C_0001.jpg").write_bytes(b"")
    (tmp_path / "images" / "Person_D_0002.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 36 pictures are missing .*Person_D_0002.*--skip-broken"):
        load_facial_expressions(tmp_path, size=24)
    data = load_facial_expressions(tmp_path, size=24, skip_broken=True)
    left = whole.subset(~whole.frame["file"].isin(["Person_C_0001.jpg", "Person_D_0002.jpg"]).to_numpy())
    assert data.frame.equals(left.frame) and (data.pixels == left.pixels).all()
    (note,) = data.notes
    assert note == "2 of 36 pictures cannot be read and are left out: Person_C_0001.jpg, Person_D_0002.jpg"


def test_folders_in_other_capitals_and_pictures_that_are_reduced(tmp_path):
    write_facial_expressions(tmp_path, ROWS)
    for name in ("data", "images"):
        (tmp_path / name).rename(tmp_path / name.upper())
    write_picture(tmp_path / "IMAGES" / "Person_C_0001.jpg", size=150)
    data = load_dataset("facial_expressions", tmp_path)
    assert data.notes == ("1 pictures larger than 112 px were reduced to it; size= loads them larger",)
    assert load_dataset("facial_expressions", tmp_path, size=150).pixels.shape[2:] == (150, 150)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a table"),
        ("user.id,image,emotion\n", "is damaged: it has no rows"),
        ("user.id,image\n1,A_1.jpg\n", "lacks the columns image and emotion"),
        ("user.id,image,emotion\n1,A_1.jpg,fear\n1,A_2.jpg,\n", "line 3 has no picture or no label"),
        ("user.id,image,emotion\n1,A_1.jpg,boredom\n", "has the unknown labels boredom"),
    ],
)
def test_damaged_table(tmp_path, text, message):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "legend.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_legend(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"no data/legend\.csv in"):
        read_legend(tmp_path)
    with pytest.raises(DataError, match=r"was not found .* data get facial_expressions"):
        load_dataset("facial_expressions", tmp_path)


@pytest.mark.data
def test_the_real_table(data_root):
    folder = data_root / "facial_expressions"
    if not folder.is_dir():
        pytest.skip(f"no facial_expressions in {data_root}")
    frame = read_legend(folder)
    assert len((folder / "data" / "legend.csv").read_text().splitlines()) - 1 == 11_252
    assert len(frame) == 11_244  # 7 rows repeat a picture, one of them with another label
    counts = frame["label"].map(labels.FACIAL_EXPRESSIONS.__getitem__).value_counts()
    assert set(counts.index) == set(labels.FACIAL_EXPRESSIONS)
    assert frame["split"].value_counts().to_dict() == {"train": 7_052, "validation": 2_163, "test": 2_029}
    assert frame["group"].nunique() == 4_749  # 4,750 names; Hrithik_Roshan is also spelled HrithikRoshan
    assert frame.groupby("group")["split"].nunique().max() == 1
    assert all((folder / "images" / file).is_file() for file in frame["file"])
