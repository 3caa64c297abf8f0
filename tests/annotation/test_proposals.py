"""From photos to labelled faces: a drawn booth and photos in the public domain, through the real detector and model."""

import csv
import os

import numpy as np
import pytest
import torch
from PIL import Image

from ferlib.annotation.proposals import (
    PROPOSALS,
    LabelFile,
    apply_labels,
    folder_of,
    propose_labels,
    read_proposals,
    tree_labels,
)
from ferlib.data.dataset import DataError
from ferlib.data.registry import load_dataset
from ferlib.detection.crop import crop_face
from ferlib.detection.faces import detect_faces
from ferlib.images import read_image
from ferlib.predict import Predictor
from ferlib.synthetic.photo_sheets import draw_booth


@pytest.fixture(scope="module")
def predictor():
    return Predictor.load()


@pytest.fixture(scope="module")
def photos(tmp_path_factory, portrait, astronaut):
    folder = tmp_path_factory.mktemp("photos")
    for place in ("grace/navy", "both"):
        (folder / place).mkdir(parents=True)
    Image.fromarray(portrait).save(folder / "grace" / "navy" / "1.png")
    Image.fromarray(np.concatenate([portrait[:512], astronaut], axis=1)).save(folder / "both" / "two.png")
    Image.fromarray(astronaut).save(folder / "eileen.png")
    Image.new("RGB", (300, 200), "grey").save(folder / "nobody.png")
    (folder / "broken.jpg").write_text("not a picture")
    return folder


@pytest.fixture(scope="module")
def proposed(photos, predictor, tmp_path_factory):
    out = tmp_path_factory.mktemp("faces")
    return out, propose_labels(photos, out, predictor)


def test_every_face_is_cut_out_and_named(photos, proposed):
    out, table = proposed
    found = table[table["file"] != ""].set_index("file")
    assert found["person"].to_dict() == {
        "grace--navy--1.png-1.png": "grace",
        "both--two.png-1.png": "both",
        "both--two.png-2.png": "both",
        "eileen.png-1.png": "",
    }
    image = read_image(photos / "grace" / "navy" / "1.png")
    (face,) = detect_faces(image)
    row = found.loc["grace--navy--1.png-1.png"]
    side = min(224, row["x1"] - row["x0"])
    kept = read_image(out / row["proposed"] / "grace--navy--1.png-1.png")
    assert (kept == crop_face(image, face, side)).all()  # in the framing of the training sets, never enlarged
    problems = table[table["problem"] != ""].set_index("photo")["problem"]
    assert list(problems.index) == ["broken.jpg", "nobody.png"] and "No face" in problems["nobody.png"]


def test_proposals_are_the_predictors(photos, proposed, predictor):
    _, table = proposed
    for name in ("grace/navy/1.png", "both/two.png"):
        faces = predictor.predict(photos / name).faces
        rows = table[table["photo"] == name].sort_values("face")
        assert rows["proposed"].tolist() == [face.label for face in faces]
        assert rows["margin"].tolist() == pytest.approx([face.margin for face in faces], abs=1e-4)
        assert rows["confidence"].tolist() == pytest.approx([face.scores[face.label] for face in faces], abs=1e-4)
    assert table["margin"].dropna().is_monotonic_increasing and table["margin"].isna()[-2:].all()


def test_what_people_moved_or_deleted_stays_so_when_photos_are_added(photos, predictor, tmp_path):
    out, more = tmp_path / "faces", tmp_path / "more"
    (more / "grace").mkdir(parents=True)
    Image.open(photos / "grace" / "navy" / "1.png").save(more / "grace" / "1.png")
    Image.open(photos / "eileen.png").save(more / "eileen.png")
    first = propose_labels(more, out, predictor)
    apply_labels(out, {"grace--1.png-1.png": "laughing"})
    (face,) = out.rglob("eileen*")
    face.unlink()
    Image.open(photos / "both" / "two.png").save(more / "grace" / "2.png")
    second = propose_labels(more, out, predictor)
    assert len(second) == len(first) + 2 == len(read_proposals(out))
    assert tree_labels(out)["grace--1.png-1.png"] == "laughing"
    assert not list(out.rglob("eileen*")) and len(list(out.rglob("grace--2.png-*.png"))) == 2
    assert propose_labels(more, out, predictor).equals(second)


def test_a_photo_that_had_a_problem_is_looked_at_again(portrait, tmp_path, monkeypatch):
    """The damaged one was replaced; the one without a face is still there, also where it is not come to again."""
    photos, out = tmp_path / "photos", tmp_path / "faces"
    photos.mkdir()
    (photos / "a.png").write_bytes(b"\x89PNG damaged")
    Image.new("RGB", (90, 90)).save(photos / "b.png")
    assert (propose_labels(photos, out)["problem"] != "").tolist() == [True, True]
    Image.fromarray(portrait).save(photos / "a.png")

    def stopped(path):
        if path.name == "b.png":
            raise KeyboardInterrupt
        return read_image(path)

    monkeypatch.setattr("ferlib.annotation.proposals.read_image", stopped)
    with pytest.raises(KeyboardInterrupt):
        propose_labels(photos, out)
    for _ in range(2):
        table = read_proposals(out)
        assert table["file"].tolist() == ["a.png-1.png", ""] and table["photo"].tolist() == ["a.png", "b.png"]
        monkeypatch.undo()
        propose_labels(photos, out)


@pytest.mark.parametrize("killed", [False, True])
def test_what_people_moved_stays_so_after_an_interruption(photos, tmp_path, monkeypatch, killed):
    """Ctrl-C keeps the table of the photos before; a kill keeps the faces alone."""
    out, more = tmp_path / "faces", tmp_path / "more"
    more.mkdir()
    for name in ("a.png", "b.png"):
        Image.open(photos / "eileen.png").save(more / name)

    def stopped(path):
        if path.name == "b.png":
            raise KeyboardInterrupt
        return read_image(path)

    monkeypatch.setattr("ferlib.annotation.proposals.read_image", stopped)
    with pytest.raises(KeyboardInterrupt, match="goes on after 1 new faces"):
        propose_labels(more, out, None, ["happy"])
    if killed:
        (out / PROPOSALS).unlink()
    apply_labels(out, {"a.png-1.png": "happy"})
    monkeypatch.undo()
    assert len(propose_labels(more, out, None, ["happy"])) == 2
    assert tree_labels(out).to_dict() == {"a.png-1.png": "happiness"}
    assert sorted(path.name for path in out.rglob("*.png")) == ["a.png-1.png", "b.png-1.png"]


def test_a_link_to_itself_is_left(tmp_path, portrait):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(portrait).save(photos / "one.png")
    (photos / "loop.jpg").symlink_to("loop.jpg")
    table = propose_labels(photos, tmp_path / "faces", None, ["happy"])
    assert "one.png-1.png" in set(table["file"])


def test_own_classes_from_photos_to_a_prediction(tmp_path):
    """Nothing proposed, a vocabulary of one's own, and the whole way to a model that answers in it."""
    from ferlib.models.registry import WEIGHTS, build_model
    from ferlib.training.loop import fit
    from ferlib.training.recipes import RECIPES

    truth = draw_booth(tmp_path / "photos", people=5, sheets=2)
    out = tmp_path / "faces"
    table = propose_labels(tmp_path / "photos", out, classes=("Tired", "laughing out loud"))
    assert sorted(path.name for path in out.iterdir()) == ["laughing out loud", "proposals.csv", "tired", "unsorted"]
    with pytest.raises(DataError, match="no pictures"):
        load_dataset("folder", out)
    table = table[table["file"] != ""]
    assert len(table) >= 0.9 * len(truth) and (table["proposed"] == "").all()
    said = {}
    for row in table.itertuples():
        x, y = (row.x0 + row.x1) / 2, (row.y0 + row.y1) / 2
        here = truth[(truth["photo"] == row.photo) & truth["x0"].le(x) & truth["x1"].gt(x)]
        (expression,) = here.loc[here["y0"].le(y) & here["y1"].gt(y), "expression"]
        said[row.file] = "laughing out loud" if expression in ("happiness", "surprise", "fear") else "tired"
    assert apply_labels(out, said) == len(said)
    assert tree_labels(out).to_dict() == said
    data = load_dataset("folder", out)
    assert data.classes == ("laughing out loud", "tired")
    assert data.frame.groupby("person")["split"].nunique().eq(1).all()
    recipe = RECIPES["convcut"].override(
        {"classes": data.classes, "backbone": "tf_efficientnet_lite0", "input_size": 112, "grey": True}
        | {"detail_layers": 1, "epochs": 2, "batch_size": 8}
    )
    torch.manual_seed(0)
    fit(build_model(recipe.config, WEIGHTS / "convcut_ferplus" / "model.safetensors"), data, recipe, tmp_path / "run")
    mine = Predictor.load(tmp_path / "run" / "best")
    result = mine.predict(tmp_path / "photos" / "person01" / "sheet1.png", explain="gradcam")
    assert len(result.faces) == 4 and set(result.faces[0].scores) == {"laughing out loud", "tired"}
    again = propose_labels(tmp_path / "photos", tmp_path / "second", mine)  # now there is somebody to propose
    assert set(again.loc[again["file"] != "", "proposed"]) <= {"laughing out loud", "tired"}


def test_photos_that_cannot_be_used(tmp_path, portrait):
    with pytest.raises(DataError, match="is not a folder"):
        propose_labels(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="no photos in"):
        propose_labels(tmp_path / "photos", tmp_path / "out")
    with pytest.raises(DataError, match="a folder of their own"):
        propose_labels(tmp_path / "photos", tmp_path / "photos")
    with pytest.raises(DataError, match="a folder of their own"):  # `--out .`
        propose_labels(tmp_path / "photos", tmp_path)
    (tmp_path / "photos" / "a" / "b").mkdir(parents=True)
    for name in ("a/b--c.png", "a/b/c.png"):
        Image.fromarray(portrait[::8, ::8]).save(tmp_path / "photos" / name)
    with pytest.raises(DataError, match="faces of the same name"):
        propose_labels(tmp_path / "photos", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_links_odd_names_and_files_without_a_suffix(tmp_path, portrait):
    """A face of each, found again in the table that is read back, and moved by its label, through a link as well."""
    photos, out = tmp_path / "photos", tmp_path / "faces"
    (tmp_path / "disk").mkdir()
    photos.mkdir()
    Image.fromarray(portrait).save(tmp_path / "disk" / "a.jfif", "JPEG")
    (photos / "anna").symlink_to(tmp_path / "disk")
    Image.fromarray(portrait).save(photos / "DSC00017", "PNG")
    long = "x" * 245 + ".jpg"
    (photos / long).write_bytes((tmp_path / "disk" / "a.jfif").read_bytes())
    os.link(os.fsencode(photos / long), os.fsencode(photos) + b"/caf\xe9.jpg")
    (photos / "gone.jpg").symlink_to("nowhere")
    table = propose_labels(photos, out)
    found = table[table["file"] != ""].set_index("photo")["file"]
    assert {os.fsencode(name) for name in found.index} == {b"anna/a.jfif", b"DSC00017", long.encode(), b"caf\xe9.jpg"}
    assert found["anna/a.jfif"] == "anna--a.jfif-1.png" and len(found[long]) < 30
    assert table[table["problem"] != ""]["photo"].tolist() == ["gone.jpg"]
    assert len(propose_labels(photos, out)) == 5  # nothing is cut out a second time
    (tmp_path / "elsewhere").mkdir()
    (out / "tired").symlink_to(tmp_path / "elsewhere")
    said = LabelFile(out, "ann")
    for file in found:
        said.add(file, "tired")
    assert apply_labels(out, said.read()) == 4
    assert set(os.listdir(tmp_path / "elsewhere")) == set(found)
    assert tree_labels(out).to_dict() == dict.fromkeys(found, "tired")
    assert set(load_dataset("folder", out).frame["file"]) == {f"tired/{file}" for file in found}


def test_no_cell_of_the_tables_is_a_formula(tmp_path, portrait):
    """Names of photos may come from strangers, and people open the table in a spreadsheet."""
    photos, out = tmp_path / "photos", tmp_path / "faces"
    photos.mkdir()
    name = '=HYPERLINK("http:evil",1).png'
    Image.fromarray(portrait).save(photos / name)
    (photos / "@nobody.jpg").write_text("not a picture")
    said = LabelFile(out, "ann")
    for _ in range(2):  # the second time the table is read and written again
        table = propose_labels(photos, out)
        assert table["photo"].tolist() == [name, "@nobody.jpg"] and table["file"][0] == f"{name}-1.png"
        assert table["face"].dtype == "Int64" and table["face"][0] == 1
    said.add(table["file"][0], "joy")
    assert said.read().to_dict() == {f"{name}-1.png": "happiness"}
    for path in (out / PROPOSALS, said.path):
        with path.open(newline="") as file:
            assert not [cell for row in csv.reader(file) for cell in row if cell.startswith(("=", "@"))]


def test_marks_in_names_make_no_person_and_join_none(tmp_path, portrait):
    photos = tmp_path / "photos"
    for name in ("anna--x/1.png", "anna--y/1.png", "holiday--2.png", "holiday-2.png", "ben/a--b.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(portrait).save(photos / name)
    table = propose_labels(photos, tmp_path / "faces").set_index("photo")
    persons = table["person"].to_dict()
    assert persons["holiday--2.png"] == persons["holiday-2.png"] == "" and persons["ben/a--b.png"] == "ben"
    assert persons["anna--x/1.png"].startswith("anna-x-") and persons["anna--y/1.png"].startswith("anna-y-")
    assert table["file"].is_unique


@pytest.mark.parametrize("name", ["", " ", "a/b", "..", ".git", "train", "Test", "c:d"])
def test_names_that_are_no_class(name):
    with pytest.raises(DataError, match="cannot be the name of a class"):
        folder_of(name)
    with pytest.raises(DataError, match="a class cannot be called error"):
        folder_of("Error")


def test_no_class_is_called_like_the_folder_of_faces_without_one(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "photos" / "a.png")
    with pytest.raises(DataError, match="a class cannot be called unsorted"):
        propose_labels(tmp_path / "photos", tmp_path / "faces", classes=["happy", "Unsorted"])
    assert not (tmp_path / "faces").exists()


def test_labels_are_kept_line_by_line_and_the_last_counts(tmp_path):
    said = LabelFile(tmp_path, "ann")
    assert said.read().empty
    for file, label in [("b.png", "Joy"), ("a.png", "None"), ("b.png", "tired")]:
        said.add(file, label)
    assert LabelFile(tmp_path, "ann").read().to_dict() == {"b.png": "tired", "a.png": "none"}
    assert list(said.read().index) == ["b.png", "a.png"] and LabelFile(tmp_path, "ben").read().empty
    with pytest.raises(DataError, match="cannot be a file's name"):
        LabelFile(tmp_path, "../ann")
    LabelFile(tmp_path, "007").add("a.png", "happy")
    assert (tmp_path / "labels-007.csv").exists()


def test_a_label_file_that_another_program_saved(tmp_path):
    said = LabelFile(tmp_path, "ann")
    said.path.write_text("file,label\nb.png,tired")  # without a line break at the end
    said.add("a.png", "joy")
    assert said.read().to_dict() == {"b.png": "tired", "a.png": "happiness"}
    said.path.write_text("")
    said.add("a.png", "joy")
    assert said.read().to_dict() == {"a.png": "happiness"}
    said.path.write_text("file;label\na.png;joy\n")
    with pytest.raises(DataError, match=r"ann\.csv has no column file, label; was it saved with other separators"):
        said.read()
    said.path.write_text("file,label\na.png,joy,fear,anger\nb,c\na,b,c,d,e\n")
    with pytest.raises(DataError, match=r"labels-ann\.csv cannot be read as a table"):
        said.read()


def test_proposals_that_another_program_saved(tmp_path):
    (tmp_path / PROPOSALS).write_text("photo;face\na.jpg;1\n")
    with pytest.raises(DataError, match="has no column photo, face"):
        read_proposals(tmp_path)
    (tmp_path / PROPOSALS).write_text("")
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_proposals(tmp_path)


def test_a_label_for_a_face_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"not in .*, e\.g\. a\.png"):
        apply_labels(tmp_path, {"a.png": "tired"})


def test_a_name_may_have_any_end_of_line(tmp_path, portrait):
    (tmp_path / "photos").mkdir()
    Image.fromarray(portrait).save(tmp_path / "photos" / "a\rb.png")
    table = propose_labels(tmp_path / "photos", tmp_path / "faces")
    assert table["photo"].tolist() == ["a\rb.png"] and table["problem"].tolist() == [""]
