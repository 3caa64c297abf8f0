"""The boxed picture."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from people import face, result_of
from PIL import ImageColor

from ferlib.app.drawing import annotate, colour_of, example_pictures, examples
from ferlib.app.html import report
from ferlib.labels import COLOURS
from ferlib.predict import Predictor
from ferlib.runtime.boxes import ink
from ferlib.synthetic.render import EXPRESSIONS


@pytest.mark.parametrize("size", [(20, 30), (300, 400), (3000, 4000), (50, 3000)])
def test_boxes_are_legible_at_any_size(size):
    height, width = size
    box = (width // 4, height // 4, width // 2, height * 3 // 4)
    picture = annotate(result_of(face(box, happiness=0.9), size=size))
    assert 800 <= max(picture.size) <= 1600
    assert picture.width / picture.height == pytest.approx(width / height, rel=0.05)
    drawn = (np.asarray(picture) == ImageColor.getrgb(COLOURS["happiness"])).all(axis=2)
    scale = picture.width / width
    assert drawn[round((height / 2) * scale), round(box[0] * scale) + 1]  # the left edge, half-way down
    assert drawn.sum(axis=1).max() >= (box[2] - box[0]) * scale * 0.95  # the top edge, a line or the number's tag


def test_a_box_beyond_the_edge_is_still_drawn():
    picture = np.asarray(annotate(result_of(face((-50, -60, 450, 440), anger=0.9))))
    drawn = (picture == ImageColor.getrgb(COLOURS["anger"])).all(axis=2)
    assert all(edge.mean() > 0.5 for edge in (drawn[:, :8].any(1), drawn[:, -8:].any(1), drawn[-8:].any(0)))


def test_the_tag_and_the_card_say_the_same():
    """The picture's tag has the first class and its colour, or "?" and white, as the card's sentence says."""
    one = face((60, 200, 340, 480), sadness=0.55, neutral=0.4)
    pictures = {}
    for names in (("sadness",), ("sadness", "neutral"), ("sadness", "neutral", "fear")):
        judged = replace(one, coverage=0.9, prediction_set=names)
        pictures[names] = np.asarray(annotate(result_of(judged, size=(600, 400))))
        card = report([result_of(judged)], ["ours"], None).replace("&nbsp;", " ")
        said = "Face 1: cannot say, sadness (55 %) before neutral" if len(names) > 2 else "Face 1: sadness, 55 %"
        assert said in card and f"At 90 % coverage: {judged.answer}" in card
        assert f"--colour:{colour_of(judged)}" in card
        assert (pictures[names] == ImageColor.getrgb(colour_of(judged))).all(axis=2).any()
    alone, two, three = pictures.values()
    assert (alone == two).all() and (alone != three).any()
    assert (alone == np.asarray(annotate(result_of(one, size=(600, 400))))).all()  # as without a set
    undecided = face((60, 200, 340, 480), sadness=0.42, neutral=0.4)
    assert (three == np.asarray(annotate(result_of(undecided, size=(600, 400))))).all()  # as between two
    assert colour_of(one) == COLOURS["sadness"] and colour_of(undecided) not in COLOURS.values()
    dark = (three < 30).all(axis=2)  # an edge around white, on the grey photo
    assert dark.sum(axis=1).max() > 250 and dark.sum(axis=0).max() > 250


def test_writing_can_be_read_on_every_colour():
    def luminance(name: str) -> float:  # WCAG 2
        channels = np.array(ImageColor.getrgb(name)) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    for label, colour in COLOURS.items():
        dark, light = sorted((luminance(colour), luminance(ink(label))))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, label  # small text


def test_every_example_has_faces():
    predictor = Predictor.load()
    assert [len(predictor.predict(picture).faces) for picture in example_pictures()] == [1] * 9 + [2, 6, 1]


@pytest.mark.parametrize(("missing", "photos"), [("skimage", 1), ("matplotlib", 1), (None, 5)])
def test_examples_are_what_the_installed_packages_bring(missing, photos, monkeypatch):
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    found = examples.__wrapped__()
    assert len(found) == 7 + photos and {f"a drawn face, {name}" for name in EXPRESSIONS} < found.keys()
    assert all(picture.ndim == 3 and picture.dtype == np.uint8 for picture in found.values())
