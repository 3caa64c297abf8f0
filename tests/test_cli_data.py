"""The options that say which data a command reads, on the command line."""

import json
import shlex

import numpy as np
import pytest
from PIL import Image

from ferlib.cli import main
from ferlib.cli.data_options import load_from
from ferlib.data.dataset import FaceDataset

NAMES = {"suprise": "surprise", "happiness": "happiness", "sadness": "sadness"}


@pytest.fixture
def folder(tmp_path, synthetic_faces: FaceDataset):
    """Kaggle's form, train/ and test/, with a misspelt class and a broken picture."""
    root = tmp_path / "faces"
    for name, meaning in NAMES.items():
        for split in ("train", "test"):
            (root / split / name).mkdir(parents=True)
        rows = np.flatnonzero(synthetic_faces.frame["label"] == synthetic_faces.classes.index(meaning))[:40]
        for row in rows:
            split = "test" if row % 4 == 0 else "train"
            Image.fromarray(synthetic_faces.pixels[row, 0].numpy()).save(root / split / name / f"{row}.png")
    (root / "train" / "sadness" / "broken.png").write_text("not a picture")
    return root


@pytest.mark.filterwarnings("ignore:no temperature")  # of a model that has learnt nothing
def test_from_a_folder_as_kaggle_ships_it_to_a_figure(folder, tmp_path, capsys):
    """Each complaint names the option that mends it; with all of them a network is trained and measured."""
    out = str(tmp_path / "run")
    command = ["train", "ivsa", "--data", "folder", "--root", str(folder), "--out", out]
    command += ["--set", "widths=[4,4,8,8]", "hidden=8", "epochs=1"]
    assert main(command) == 1
    assert "--labels suprise=surprise" in capsys.readouterr().err
    command += ["--labels", "suprise=surprise"]
    assert main(command) == 1
    assert "broken.png cannot be used" in (complaint := capsys.readouterr().err) and "--skip-broken" in complaint
    assert main([*command, "--skip-broken"]) == 0
    text, notes = capsys.readouterr()
    assert "best epoch 1 of 1" in text and "note:" not in text
    assert "note: folder: there is no validation folder: " in notes
    assert "note: folder: 1 of 121 pictures cannot be read and are left out: broken.png" in notes
    reading = ["--data", "folder", "--root", str(folder), "--labels", "suprise=surprise", "--skip-broken"]
    assert main(["evaluate", f"{out}/best", *reading, "--format", "json"]) == 0
    text, notes = capsys.readouterr()
    assert json.loads(text)["faces"] == len(list(folder.glob("test/*/*.png"))) and "broken.png" in notes
    assert main(["calibrate", f"{out}/best", *reading]) == 0
    assert "broken.png" in capsys.readouterr().err


def test_coverage_reads_a_folder_at_the_side_of_each_model(folder, monkeypatch):
    seen = {}

    def measured(model, part, faces):
        seen[model.name] = part.pixels.shape[-1], faces[0].shape[0]
        return {"data": part.name, "faces": len(part), "sets": {}}

    monkeypatch.setattr("ferlib.release.coverage.measured", measured)
    reading = ["--data", "folder", "--root", str(folder), "--labels", "suprise=surprise", "--skip-broken"]
    assert main(["coverage", "convcut_ferplus", "ivsa_fer2013", *reading]) == 0
    assert seen == {"convcut_ferplus": (112, 112), "ivsa_fer2013": (48, 48)}


def test_data_check_counts_and_says_what_was_left_out(folder, capsys):
    root = ["--root", str(folder)]
    for command in (["data", *root, "check", "folder"], ["data", "check", "folder", *root]):
        assert main(command) == 1
        assert "suprise=surprise" in capsys.readouterr().err
    assert main([*command, "--labels", "keep", "--skip-broken"]) == 0
    text, notes = capsys.readouterr()
    assert "suprise" in text and "validation" in text and "broken.png" in notes


@pytest.mark.parametrize("words", [["suprise"], ["=surprise"], ["suprise="], ["keep", "suprise=surprise"]])
def test_labels_that_are_no_pairs(folder, words, capsys):
    assert main(["data", "check", "folder", "--root", str(folder), "--labels", *words]) == 1
    assert "--labels takes FOLDER=CLASS, or keep alone" in capsys.readouterr().err


def test_one_of_several_processes_speaks(folder, monkeypatch, capsys):
    from ferlib.cli import build_parser

    options = build_parser().parse_args(
        ["data", "check", "folder", "--root", str(folder), "--labels", "keep", "--skip-broken"]
    )
    monkeypatch.setenv("RANK", "1")
    assert load_from(options, "folder").notes and not capsys.readouterr().err


def test_label_says_what_it_did_not_read_and_which_class_is_a_slip(tmp_path, portrait, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(portrait).save(photos / "a.png")
    (photos / "film.mov").write_text("")
    (photos / "caf\udce9.jpg").write_text("no picture")
    command = ["label", str(photos), "--out", str(tmp_path / "my faces"), "--classes", "suprise", "tired"]
    assert main(command) == 0
    text, notes = capsys.readouterr()
    words = shlex.split(text.rpartition("Then: ")[2])  # as a shell reads the command that is printed
    assert words[words.index("--root") + 1] == str(tmp_path / "my faces")
    assert "1 face in 1 photo, nobody named" in text and "not used: caf\\udce9.jpg: " in text
    assert "note: files that are not read: 1 .mov\n" in notes and "did you mean surprise by 'suprise'?" in notes


def test_the_models_size_is_passed_on(folder):
    from ferlib.cli import build_parser

    words = ["data", "check", "folder", "--root", str(folder), "--labels", "keep", "--skip-broken"]
    assert load_from(build_parser().parse_args(words), "folder", size=64).pixels.shape[2:] == (64, 64)
