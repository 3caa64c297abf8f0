"""The labeller of the notebooks, its buttons pressed as a person would."""

import pytest
from PIL import Image

pytest.importorskip("ipywidgets")

from ferlib.annotation.proposals import LabelFile, apply_labels, propose_labels, tree_labels
from ferlib.annotation.widget import Labeller
from ferlib.data.dataset import DataError
from ferlib.predict import Predictor


@pytest.fixture(scope="module")
def folder(tmp_path_factory, portrait, astronaut):
    root = tmp_path_factory.mktemp("label")
    (root / "photos").mkdir()
    for name, pixels in (("grace", portrait), ("eileen", astronaut)):
        Image.fromarray(pixels).save(root / "photos" / f"{name}.png")
    table = propose_labels(root / "photos", root / "faces", Predictor.load())
    return root / "faces", table


def test_buttons_note_labels_and_go_on(folder):
    root, table = folder
    labeller = Labeller(root, ["Happy", "tired"], who="ann")
    assert list(labeller.buttons) == ["happiness", "tired", "unsorted"]
    assert labeller.files == table["file"].tolist() and labeller.place == 0  # the least sure first
    assert labeller.picture.value == (next(root.rglob(labeller.files[0]))).read_bytes()
    assert labeller.title.value == "Face 1 of 2" and labeller.back.disabled
    labeller.buttons["tired"].click()
    assert labeller.place == 1
    labeller.back.click()
    labeller.buttons["happiness"].click()
    said = LabelFile(root, "ann").read()
    assert said.to_dict() == {labeller.files[0]: "happiness"}

    later = Labeller(root, ["happiness", "tired"], who="ann")  # the next day
    assert later.place == 1
    later.buttons["tired"].click()
    assert later.title.value == "All done." and later.buttons["tired"].disabled
    later.choose("tired")  # nothing left to label
    assert Labeller(root, ["tired"], who="ben").place == 0
    before = tree_labels(root)
    assert apply_labels(root, LabelFile(root, "ann").read()) >= 1
    assert tree_labels(root).to_dict() == {later.files[0]: "happiness", later.files[1]: "tired"} != before.to_dict()


def test_a_label_is_for_the_face_that_is_shown(folder):
    root, _ = folder
    labeller = Labeller(root, ["happiness", "tired", "asleep"], who="dan")
    first, second = labeller.files
    labeller.buttons["happiness"].click()
    apply_labels(root, {first: "asleep", second: "asleep"})  # meanwhile, or in a file manager
    labeller.back.click()
    assert labeller.title.value == "Face 1 of 2"
    assert labeller.picture.value == (root / "asleep" / first).read_bytes()
    labeller.queue.go_to(1)  # another window on the same labels
    labeller.buttons["tired"].click()
    assert LabelFile(root, "dan").read().to_dict() == {first: "tired"} and labeller.place == 1
    (root / "asleep" / second).rename(root / "elsewhere.away")
    labeller.back.click()
    labeller.buttons["tired"].click()
    assert labeller.title.value == "All done." and labeller.files == [first]
    (root / "elsewhere.away").rename(root / "asleep" / second)


def test_hints_mark_the_proposal(folder):
    root, table = folder
    proposal = table["proposed"].iloc[0]
    shown = Labeller(root, [proposal, "tired"], who="cat")
    assert [name for name, button in shown.buttons.items() if button.button_style] == [proposal]
    hidden = Labeller(root, [proposal, "tired"], who="cat", hints=False)
    assert not any(button.button_style for button in hidden.buttons.values())


def test_nothing_to_label(tmp_path):
    with pytest.raises(DataError, match="python -m ferlib label"):
        Labeller(tmp_path, ["tired"])
