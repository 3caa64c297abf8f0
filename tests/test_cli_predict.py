"""`ferlib predict` with what people give it: many forms of names, and whatever goes wrong with one of them."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferlib.cli import main
from ferlib.detection.crop import crop_face
from ferlib.detection.faces import detect_faces

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def grace(tmp_path_factory, portrait) -> Path:
    path = tmp_path_factory.mktemp("photos") / "grace.jpg"
    Image.fromarray(portrait).save(path)
    return path


def ferlib(*arguments: str, **settings) -> subprocess.CompletedProcess:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "ferlib", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, **settings)


def results(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_folders_patterns_and_standard_input(grace, tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/one.jfif", "a/two", "three.jpg"):
        (tmp_path / name).write_bytes(grace.read_bytes())
    given = [str(tmp_path / "a"), str(tmp_path / "*.jpg"), "-"]
    with grace.open("rb") as file:
        done = ferlib("predict", *given, "--format", "json", stdin=file)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["image"] for row in rows] == [*(str(tmp_path / n) for n in ("a/one.jfif", "a/two", "three.jpg")), "-"]
    assert {row["faces"][0]["label"] for row in rows} == {"neutral"}


def test_faces_that_were_cut_out(portrait, tmp_path, capsys):
    (face,) = detect_faces(portrait)
    path = tmp_path / "face.png"
    Image.fromarray(crop_face(portrait, face)[40:-40, 40:-40]).save(path)  # too tight for the detector's framing
    assert main(["predict", str(path), "--no-detection", "--format", "json"]) == 0
    side = Image.open(path).width
    assert results(capsys)[0]["faces"][0]["box"] == [0, 0, side, side]


def test_device(grace, capsys):
    assert main(["predict", str(grace), "--device", "auto"]) == 0
    assert main(["predict", str(grace), "--device", "toaster"]) == 1
    assert "device" in capsys.readouterr().err


def test_a_folder_for_heat_maps_needs_heat_maps(grace, tmp_path, capsys):
    assert main(["predict", str(grace), "--out", str(tmp_path / "maps")]) == 1
    assert "--explain" in capsys.readouterr().err and not (tmp_path / "maps").exists()


def test_a_missing_folder_is_not_looked_up_on_a_hub(grace, capsys, monkeypatch):
    monkeypatch.setattr("ferlib.runtime.hub.hub_folder", lambda *_: pytest.fail("the hub was asked"))
    for name in ("a missing/folder", "./models/mine", "../mine", "/tmp/absent", "runs/mine/best", "mine", "~/mine"):
        assert main(["predict", str(grace), "--model", name]) == 1
        assert f"no model {name!r}" in capsys.readouterr().err


def test_a_model_is_given_by_its_folder(grace, tmp_path, capsys):
    (tmp_path / "model.onnx").touch()
    assert main(["predict", str(grace), "--model", str(tmp_path / "model.onnx")]) == 1
    assert f"model.onnx is a file; a model is given by its folder, here {tmp_path}" in capsys.readouterr().err


def test_two_runs_into_one_folder_keep_all_heat_maps(grace, tmp_path, capsys):
    for _ in range(2):
        main(["predict", str(grace), "--explain", "gradcam", "--out", str(tmp_path), "--format", "json"])
    first, second = (row["faces"][0]["overlay"] for row in results(capsys))
    assert first != second and sorted(map(str, tmp_path.iterdir())) == sorted([first, second])


def test_half_a_heat_map_is_not_left(grace, tmp_path, capsys, monkeypatch):
    """As on a full disk: the answer is there all the same."""

    def half(_, file, *__, **___) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    assert main(["predict", str(grace), "--explain", "gradcam", "--out", str(tmp_path), "--format", "json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["faces"][0]["overlay"] is None and "No space left" in said.err
    assert not list(tmp_path.iterdir())


def test_a_method_that_the_model_does_not_have_is_said_before_anything_is_made(grace, tmp_path, capsys):
    maps = tmp_path / "maps"
    words = ["predict", str(grace), "--model", "ferlib-l", "--explain", "attention", "--out", str(maps)]
    assert main([*words, "--format", "csv"]) == 1
    said = capsys.readouterr()
    assert "linear_probe has no attention" in said.err and not said.out and not maps.exists()


def test_heat_maps_below_the_photos_are_no_photos(grace, tmp_path, capsys, monkeypatch):
    shutil.copy(grace, tmp_path / "one.jpg")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        main(["predict", ".", "--explain", "gradcam", "--format", "json"])
        assert len(results(capsys)) == 1
    assert len(list(Path("overlays").iterdir())) == 2
    main(["predict", "overlays", "--explain", "gradcam", "--format", "json"])  # they were asked for
    assert len(results(capsys)) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_no_name_breaks_a_row_of_the_table(grace, tmp_path, capsys):
    shutil.copy(grace, tmp_path / "two\nlines\x1b[31m.jpg")
    main(["predict", str(tmp_path)])
    _, *rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 1 and "\x1b" not in rows[0] and "neutral" in rows[0]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("form", ["table", "json", "csv"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_name_ends_a_batch(grace, tmp_path, form, encoding):
    """Names that are as long as a file system allows, of broken bytes, and of letters the terminal does not have."""
    names = [b"x" * 250 + b".jpg", b"broken\xff.jpg", "Föto 你好.jpg".encode(), b"plain.jpg"]
    for name in names:
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(grace.read_bytes())
    (tmp_path / os.fsdecode(b"text\xff.jpg")).write_text("no picture")
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    rest = ["--format", form, "--explain", "gradcam", "--out", str(tmp_path / "maps")]
    done = ferlib("predict", str(tmp_path), *rest, env=environment)
    assert done.returncode == 1 and b"Traceback" not in done.stderr  # of the text alone
    assert done.stdout.decode(encoding).count("neutral") >= 4
    assert len(list((tmp_path / "maps").iterdir())) == 4
    assert "not a picture" in done.stdout.decode(encoding)


def test_a_web_address_is_a_row(grace, capsys):
    assert main(["predict", "https://example.org//a.jpg", str(grace), "--format", "json"]) == 1
    first, second = results(capsys)
    assert first["error"].startswith("https://example.org//a.jpg is a URL") and second["faces"]


def test_no_cell_is_a_formula(grace, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "=1+1.jpg").write_bytes(grace.read_bytes())
    (tmp_path / "@SUM(A1).jpg").write_text("no picture")
    main(["predict", "=1+1.jpg", "@SUM(A1).jpg", "--format", "csv"])
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert [row[0] for row in rows[1:]] == ["'=1+1.jpg", "'@SUM(A1).jpg"]
    assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row)


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_doubtful_face_is_said_to_be_so(portrait, tmp_path, capsys, form):
    path = tmp_path / "dark.png"
    Image.fromarray((portrait * 0.2).astype(np.uint8)).save(path)
    assert main(["predict", str(path), "--format", form]) == 0
    out = capsys.readouterr().out
    if form == "json":
        assert json.loads(out)["faces"][0]["warnings"] == ["dark"]
    elif form == "csv":
        assert next(csv.DictReader(io.StringIO(out)))["warnings"] == "dark"
    else:
        assert out.splitlines()[1].endswith(", dark")


def test_landmarks_are_columns_of_their_own(grace, capsys):
    """Pose and openness beside the answer, in each form; without the option there is nothing of them."""
    assert main(["predict", str(grace), "--format", "json"]) == 0
    (plain,) = results(capsys)[0]["faces"]
    assert main(["predict", str(grace), "--format", "json", "--landmarks"]) == 0
    (face,) = results(capsys)[0]["faces"]
    measures = face.pop("measures")
    assert {**face, "overlay": None} == {**plain, "overlay": None} and "measures" not in plain
    assert all(abs(measures[angle]) < 15 for angle in ("yaw", "pitch", "roll"))
    assert 0.2 < measures["eye_openness"] < 0.5 and measures["mouth_openness"] < 0.1
    assert main(["predict", str(grace), "absent.jpg", "--format", "csv", "--landmarks"]) == 1
    row, absent = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert {name: pytest.approx(float(row[name]), abs=1e-3) for name in measures} == measures
    assert absent["error"] and {absent[name] for name in measures} == {""} and None not in absent
    assert main(["predict", str(grace), "--landmarks"]) == 0
    assert f", yaw {measures['yaw']:.2f}, pitch " in capsys.readouterr().out
