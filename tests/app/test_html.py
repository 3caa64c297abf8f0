"""The HTML of answers."""

import re
from dataclasses import replace

from balanced import Balanced
from people import face, result_of

from ferlib.app import html as module
from ferlib.detection.quality import WARNINGS
from ferlib.labels import FERPLUS
from ferlib.predict import ImagePrediction


def test_a_card_shows_all_classes_sorted_the_margin_and_the_method():
    html = module.report([result_of(face(sadness=0.5, fear=0.3))], ["some"], "layercam")
    shown = re.findall(r'<th scope="row">(\w+)</th>', html)
    assert shown[:2] == ["sadness", "fear"] and sorted(shown) == sorted(FERPLUS)
    assert html.count("data:image/jpeg") == 4 and "One face found" in html  # a thumbnail, the face twice, its heat map
    assert 'id="face-1"' in html and " open>" in html
    seen, folded = html.split('<details class="more">')
    assert "It is 20 percentage points ahead" in folded and "(Layer-CAM)" in folded and "percentage" not in seen
    assert 'class="scale"' in seen and 'type="range"' in seen and "--turbo:linear-gradient(90deg,rgb(48,18,59)," in seen
    assert not Balanced(html).open


def test_without_an_explanation_there_is_no_heat_map():
    html = module.report([result_of(face(sadness=0.5, fear=0.3))], ["some"], None)
    assert html.count("data:image/jpeg") == 2 and "heat" not in html and 'type="range"' not in html


def test_two_models_stand_one_below_the_other():
    results = [result_of(face(sadness=0.5)), result_of(face(anger=0.7))]
    html = module.report(results, ["first", "second"], "gradcam")
    assert html.count('class="face"') == 1 and re.findall("<h3>(.*?)</h3>", html) == ["first", "second"]
    assert "They disagree: sadness and anger." in html and not Balanced(html).open
    html = module.report([results[0], result_of(face(fear=0.4, anger=0.38))], ["first", "second"], "gradcam")
    assert "first says sadness, second is undecided." in html


def test_many_faces_are_folded():
    html = module.report([result_of(*[face(fear=0.5)] * 50)], ["some"], "gradcam")
    assert html.count('class="face"') == 50 and " open>" not in html and "50 faces: 50 fear." in html
    assert len(html) < 3_000_000


def test_doubts_are_marked_in_a_word_and_told_below():
    html = module.report([result_of(replace(face(fear=0.5), warnings=("dark", "small")))], ["some"], None)
    summary, folded = re.search("<summary data-face.*?</summary>", html)[0], html.split('class="more"')[1]
    assert re.findall("<em>(.*?)</em>", summary) == ["dark", "small"] and WARNINGS["dark"] not in summary
    assert WARNINGS["dark"] in folded and WARNINGS["small"] in folded


def test_every_box_is_a_button_that_says_what_the_card_says():
    """Also of a box that reaches beyond the photo; of many faces the tabulator goes through the cards alone."""
    faces = face((-100, 30, 100, 270), fear=0.5), face((200, 60, 240, 90), fear=0.4, anger=0.38)
    html = module.boxed(result_of(*faces, size=(300, 400)))
    assert re.findall('aria-label="(.*?)"', html) == [
        "Face 1: fear, show its card",
        "Face 2: cannot say, show its card",
    ]
    assert re.findall('data-face="1" style="(.*?)"', html) == ["left:0.00%;top:10.00%;width:25.00%;height:80.00%"]
    assert 'alt="Your photo, 2 faces: 1 fear, 1 cannot say."' in html
    assert not Balanced(html).open and "tabindex" not in html
    assert module.boxed(result_of(*faces * 5)).count('tabindex="-1"') == 10
    assert module.boxed(ImagePrediction("image", (), "No face.")) == ""


def test_a_file_name_cannot_inject_html():
    html = module.report([ImagePrediction("image", (), "<script>alert(1)</script>.jpg is empty.")], ["some"], None)
    assert "<script" not in html and "&lt;script" in html


def test_a_class_name_cannot_inject_html():
    odd = replace(face(sadness=0.9), scores={"<img src=x>": 0.9, "<i>": 0.1})
    html = module.report([result_of(odd, odd)], ["some"], None)
    assert "2 faces: 2 &lt;img src=x&gt;." in html and "<img src=x" not in html and "<i>" not in html


def test_the_classes_of_a_report_stand_by_recall_with_numbers_of_faces():
    per_class = {
        "fear": {"precision": 1.0, "recall": 0.3, "f1": 0.46, "support": 10.0},
        "anger": {"precision": 0.9961, "recall": 1.0, "f1": 0.998, "support": 1790.0},
    }
    confusion = {"classes": ["fear", "anger"], "counts": [[3, 7], [0, 1790]]}
    html = module.classes_table({"per_class": per_class, "confusion": confusion})
    assert re.findall(r'<th scope="row">(\w+)</th>', html) == ["anger", "fear"]
    cells = re.findall(r"<td>([^<]+)</td>", html.replace("&nbsp;", " "))
    assert cells == ["100 %", "over 99 % of 1,797", "1,790", "30 %", "100 % of 3", "10"]
    assert " %" not in html and not Balanced(html).open
