"""The rivals' tables of the pages, made from entries whose figures are known."""

import json

import pytest
import study_tables
from rival_entries import entry, with_noise

from ferlib.experiments.published import read_rivals


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Writes results/methods.json with these entries."""
    monkeypatch.setattr(study_tables, "RESULTS", tmp_path)

    def write(*entries: dict) -> None:
        (tmp_path / "methods.json").write_text(json.dumps({"entries": entries}))

    return write


def lines(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line]


def test_a_table_a_backbone(results):
    results(entry(backbone="tf_efficientnet_lite0", plain=0.7), entry())
    faces, imagenet = study_tables.methods("methods-frozen").split("\n\n")
    head, _, plain, mixup, scn, ltnet, _ = lines(faces)
    assert head[0] == "MobileNetV1 (faces), 3 seeds, 8 epochs"
    assert plain == ["plain", *["80.0 (79.0 to 81.0)"] * 3, "5.0", "", "", "", "0.4", "2.5", "1.2"]
    assert scn[5:8] == ["+2.0 (+1.0 to +3.0): helps"] * 2 + ["2 of 3"]
    assert ltnet[5] == "-3.0 (-4.0 to -2.0): harms" and mixup[5] == "+0.1 (-0.9 to +1.1): cannot be told"
    assert lines(imagenet)[2][1] == "70.0 (69.0 to 71.0)"


def test_a_row_with_fewer_seeds_says_so(results):
    found = entry(rows=("plain", "SCN"))
    del found["rows"][1]["seeds"]["2"]
    results(found)
    assert lines(study_tables.methods("methods-frozen"))[-1][0] == "SCN (2 of 3 seeds)"
    found["rows"][1]["seeds"] = {seed: {} for seed in "01234"}
    results(found)
    assert lines(study_tables.methods("methods-frozen"))[-1][0] == "SCN (5 seeds)"


def test_flipped_labels_beside_none(results):
    results(*with_noise())
    head, _, plain, scn, ltnet = lines(study_tables.methods_noise("methods-frozen-noise"))
    assert head[1:] == ["0 % flipped", "10 % flipped", "20 % flipped", "less plain at 10 %", "less plain at 20 %"]
    assert plain[1:] == [f"{v}.0 ({v - 1}.0 to {v + 1}.0)" for v in (80, 75, 70)] + ["", ""]
    assert scn[4] == "+2.0 (+1.0 to +3.0): helps" and ltnet[1] == ""
    fifth, tenth, clean = with_noise()
    for row in tenth["rows"]:
        row["seeds"] = {"0": {}}
    tenth["rows"][1]["seeds"] = {"0": {}, "1": {}}
    results(fifth, tenth, clean)
    head = lines(study_tables.methods_noise("methods-frozen-noise"))[0]
    assert head[:3] == ["MobileNetV1 (faces), accuracy, %", "0 % flipped (3 seeds)", "10 % flipped (1 to 2 seeds)"]


def test_only_tables_with_entries_are_offered(results):
    results(entry())
    always = {"methods_verdicts", "methods_claims"}
    assert set(study_tables.methods_tables()) == {"methods_frozen"} | always
    results(*with_noise(), entry("methods"))
    tables = study_tables.methods_tables()
    assert set(tables) == {"methods", "methods_frozen", "methods_frozen_noise"} | always
    results(entry(), entry(data="facial_expressions", plain=0.6))
    tables = study_tables.methods_tables()
    assert set(tables) == {"methods_frozen", "methods_frozen_facial_expressions"} | always
    assert all(make().startswith("| ") for make in tables.values())
    assert lines(tables["methods_frozen_facial_expressions"]())[2][1] == "60.0 (59.0 to 61.0)"


def test_verdicts_of_every_table_beside_each_other(results):
    *noisy, clean = with_noise()
    _mixup, scn, ltnet = clean["rows"][1:4]
    scn["minus_plain"]["accuracy"] = {"verdict": "harms"}
    scn["minus_plain"]["balanced_accuracy"] = {"verdict": "cannot be told"}
    ltnet["seeds"] = {"0": {}}
    results(*noisy, entry("methods", rows=("plain", "SCN")), entry(data="facial_expressions"), clean)
    head, _, *rows = lines(study_tables.methods_verdicts())
    assert head[1:] == [
        "fine-tuned, MobileNetV1 (faces)",
        "frozen, MobileNetV1 (faces)",
        "frozen, MobileNetV1 (faces), facial expressions",
        "frozen, MobileNetV1 (faces), 10 % of the labels flipped",
        "frozen, MobileNetV1 (faces), 20 % of the labels flipped",
    ]
    found = {row[0]: row[1:] for row in rows}
    assert list(found) == ["mixup", "SCN", "LTNet", "DDAMFN"]
    assert found["SCN"][:3] == ["helps all three", "helps macro-F1; harms accuracy", "helps all three"]
    assert found["LTNet"][:2] == ["", "harms all three (1 seed)"] and found["mixup"][1] == "cannot be told"


def test_claims_name_every_method_and_what_became_of_it(results):
    results(entry(), entry("methods", backbone="tf_efficientnet_lite0", rows=("plain",)))
    head, _, *rows = lines(study_tables.methods_claims())
    assert head[3:5] == [
        "here, FERPlus: EfficientNet-Lite0 (ImageNet), fine-tuned",
        "here, FERPlus: MobileNetV1 (faces), frozen",
    ]
    found = {row[0]: row for row in rows}
    assert set(found) == set(read_rivals()["model"])
    assert found["SCN"][1] == "RAF-DB 87.03, FERPlus 89.35"
    assert found["SCN"][3:5] == ["not run", "82.0 (81.0 to 83.0); +2.0 (+1.0 to +3.0): helps"]
    assert found["EAC"][3:5] == ["not run", "left out there"]
    assert found["CLEF"][3:] == ["not built", "not built", "not built: neither code nor full text"]
    assert found["SCN"][5].startswith("faces weighed and relabelled; ")


def test_the_epoch_of_what_was_tried_is_the_one_that_is_kept(results, tmp_path, monkeypatch):
    """The last of equals, as in a run."""
    history = ["epoch,accuracy,balanced_accuracy", "0,0.8,0.5", "1,0.9,0.6", "2,0.9,0.7", "3,0.85,0.9"]
    (tmp_path / "gpu_session.json").write_text(json.dumps({"parts": {"student_0": {"history": history}}}))
    monkeypatch.setattr(study_tables, "TRIED", {"ours": "student"})
    assert study_tables.tried().splitlines()[-1] == "| ours | 1 | 90.0 | 70.0 |"
