"""The app without a browser: what it says and draws, its endpoint on a really running server, and the command."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from photos import BAD, GOOD, crowd, write_photos
from PIL import Image, ImageColor

pytest.importorskip("gradio")

from gradio_client import Client, handle_file

import app
from ferlib.labels import COLOURS, FERPLUS
from ferlib.predict import FacePrediction, ImagePrediction, Predictor

SOMEBODY = np.full((224, 224, 3), 120, np.uint8)


@pytest.fixture(scope="module")
def predictor():
    return Predictor.load()


@pytest.fixture(scope="module")
def url(predictor, tmp_path_factory):
    """A running server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        page = app.build_app(predictor)
        yield app.launch(page, port=free_port())
        page.close(verbose=False)


@pytest.fixture(scope="module")
def client(url, tmp_path_factory):
    return Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


@pytest.fixture(scope="module")
def photos(tmp_path_factory, portrait):
    """A folder with every kind of file."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, portrait)
    return folder


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def face(box=(10, 20, 110, 120), **scores: float) -> FacePrediction:
    """A made-up face; the classes that are not given share the rest."""
    others = [name for name in FERPLUS if name not in scores]
    rest = (1 - sum(scores.values())) / len(others)
    return FacePrediction(box, scores | dict.fromkeys(others, rest), SOMEBODY, np.eye(112, dtype=np.float32))


def result_of(*faces: FacePrediction, size=(300, 400)) -> ImagePrediction:
    return ImagePrediction("image", faces, None, np.full((*size, 3), 200, np.uint8))


# --- what it says and draws ---


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"happiness": 0.91, "neutral": 0.05}, "Face 1: happiness, 91 %, well ahead of neutral (5 %)."),
        ({"sadness": 0.41, "neutral": 0.38}, "Face 1: undecided between sadness (41 %) and neutral (38 %)."),
        ({"fear": 0.6, "surprise": 0.25}, "Face 1: fear, 60 %, ahead of surprise (25 %)."),
        ({"fear": 0.5, "surprise": 0.35}, "Face 1: fear, 50 %, somewhat ahead of surprise (35 %)."),
        ({"anger": 0.998, "fear": 0.001}, "Face 1: anger, over 99 %, well ahead of fear (under 1 %)."),
    ],
)
def test_the_sentence(scores, said):
    assert app.sentence(1, face(**scores)) == said


@pytest.mark.parametrize("size", [(20, 30), (300, 400), (3000, 4000), (50, 3000)])
def test_boxes_are_legible_at_any_size(size):
    height, width = size
    box = (width // 4, height // 4, width // 2, height * 3 // 4)
    picture = app.annotate(result_of(face(box, happiness=0.9), size=size))
    assert 800 <= max(picture.size) <= 1600
    assert picture.width / picture.height == pytest.approx(width / height, rel=0.05)
    drawn = (np.asarray(picture) == ImageColor.getrgb(COLOURS["happiness"])).all(axis=2)
    scale = picture.width / width
    assert drawn[round((height / 2) * scale), round(box[0] * scale) + 1]  # the left edge, half-way down
    assert drawn.sum(axis=1).max() >= (box[2] - box[0]) * scale * 0.95  # the top edge, a line or the number's tag


def test_a_box_beyond_the_edge_is_still_drawn():
    picture = np.asarray(app.annotate(result_of(face((-50, -60, 450, 440), anger=0.9))))
    drawn = (picture == ImageColor.getrgb(COLOURS["anger"])).all(axis=2)
    assert all(edge.mean() > 0.5 for edge in (drawn[:, :8].any(1), drawn[:, -8:].any(1), drawn[-8:].any(0)))


def test_a_card_shows_all_classes_sorted_and_the_margin():
    html = app.report(result_of(face(sadness=0.5, fear=0.3)))
    shown = re.findall(r'<th scope="row">(\w+)</th>', html)
    assert shown[:2] == ["sadness", "fear"] and sorted(shown) == sorted(FERPLUS)
    assert "20 percentage points" in html and html.count("data:image/jpeg") == 2 and "One face found" in html
    assert "<details" in html and " open>" in html


def test_many_faces_are_folded():
    html = app.report(result_of(*[face(fear=0.5)] * 50))
    assert html.count("<details") == 50 and " open>" not in html and "50 faces found" in html
    assert len(html) < 3_000_000


def test_a_file_name_cannot_inject_html():
    html = app.report(ImagePrediction("image", (), "<script>alert(1)</script>.jpg is empty."))
    assert "<script" not in html and "&lt;script" in html


def test_nothing_loads_torch_or_anything_from_outside():
    source = Path(app.__file__).read_text()
    assert "import torch" not in source
    assert not re.search(r"https?://(?!127\.0\.0\.1)", source)


# --- the endpoint ---


def test_one_endpoint_is_public(client):
    (endpoint,) = client.view_api(return_format="dict")["named_endpoints"].items()
    name, api = endpoint
    assert name == "/predict"
    assert [p["parameter_name"] for p in api["parameters"]] == ["image"]
    assert [r["label"] for r in api["returns"]] == ["Faces", "Annotated picture", "Overlays"]


def test_two_faces(client, predictor, portrait, astronaut, tmp_path):
    both = np.concatenate([portrait[:512], astronaut], axis=1)
    Image.fromarray(both).save(tmp_path / "both.png")
    data, annotated, overlays = client.predict(handle_file(tmp_path / "both.png"), api_name="/predict")
    assert data["error"] is None and data["size"] == [1024, 512]
    assert [one["number"] for one in data["faces"]] == [1, 2]
    for one, truth in zip(data["faces"], predictor.predict(both).faces, strict=True):
        assert tuple(one["box"]) == truth.box and one["label"] == truth.label == next(iter(one["scores"]))
        assert one["scores"] == pytest.approx(truth.scores, abs=1e-5)
        assert list(one["scores"].values()) == sorted(one["scores"].values(), reverse=True)
        assert one["margin"] == pytest.approx(truth.margin, abs=1e-5)
        assert one["sentence"].startswith(f"Face {one['number']}: ") and one["label"] in one["sentence"]
    assert Image.open(annotated).size == (1024, 512)
    assert [Image.open(item["image"]).size for item in overlays] == [(224, 224)] * 2
    assert overlays[0]["caption"] == data["faces"][0]["sentence"]


@pytest.mark.parametrize("name", GOOD)
def test_odd_files_are_read_the_right_way_up(client, photos, name):
    data, annotated, _ = client.predict(handle_file(photos / name), api_name="/predict")
    assert data["error"] is None and data["size"] == [512, 600]
    (one,) = data["faces"]
    x0, y0, x1, y1 = one["box"]
    assert 150 < (x0 + x1) / 2 < 350 and 80 < (y0 + y1) / 2 < 320
    picture = Image.open(annotated)
    assert picture.height > picture.width


@pytest.mark.parametrize("name", BAD)
def test_bad_files_get_a_sentence(client, photos, name):
    data, annotated, overlays = client.predict(handle_file(photos / name), api_name="/predict")
    assert data["faces"] == [] and annotated is None and overlays == []
    assert BAD[name] in data["error"] and data["error"].endswith(".") and "Error" not in data["error"]


def test_no_picture_gets_a_sentence(client):
    data, annotated, overlays = client.predict(None, api_name="/predict")
    assert data == {"faces": [], "error": "No picture was given.", "size": None}
    assert annotated is None and overlays == []


def test_fifty_faces(client, portrait, tmp_path):
    Image.fromarray(crowd(portrait)).save(tmp_path / "crowd.png")
    data, annotated, overlays = client.predict(handle_file(tmp_path / "crowd.png"), api_name="/predict")
    assert len(data["faces"]) == len(overlays) >= 45
    assert Image.open(annotated).size == (1600, 800)
    json.dumps(data)


def test_every_example_has_faces(predictor):
    counts = [len(predictor.predict(picture).faces) for picture in app.example_pictures()]
    assert counts == [1, 1, 1, 1, 1, 2]


def test_files_of_the_server_stay_closed(url):
    import httpx

    for path in (Path(app.__file__), Path("/etc/passwd")):
        assert httpx.get(f"{url}gradio_api/file={path}").status_code in (403, 404)


# --- the command ---


@pytest.fixture
def keep_signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_port_in_use_is_one_sentence(capsys, keep_signals):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert app.main(["--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert f"port {port}: Address already in use" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--port", "70000"], ["--host", "192.0.2.1"], ["--model", "no/such-model"], ["--model", "/nowhere"]]
)
def test_what_cannot_work_is_one_sentence(arguments, capsys, keep_signals):
    port = [] if "--port" in arguments else ["--port", str(free_port())]
    assert app.main([*arguments, *port]) == 1
    said = capsys.readouterr().err
    assert said.startswith("app.py: ") and said.count("\n") == 1


@pytest.mark.slow
def test_the_command_serves_talks_to_nobody_and_cleans_up(tmp_path, photos):
    """From start to Ctrl-C, with every address written down that the process connects to or asks for."""
    spy = (
        "import sys; sys.addaudithook(lambda event, args: event in ('socket.connect', 'socket.getaddrinfo') and "
        "print('HOST', args[1][0] if event == 'socket.connect' else args[0], flush=True)); "
        "import app; sys.exit(app.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", spy, "--port", str(free_port())]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    server = subprocess.Popen(command, cwd=Path(app.__file__).parent, env=environment, **pipes)
    try:
        lines = []
        for line in server.stdout:
            lines.append(line)
            if found := re.match(r"Open (\S+) in a browser", line):
                break
        else:
            pytest.fail(server.stderr.read())
        client = Client(found[1], verbose=False, download_files=False)
        data, _, _ = client.predict(handle_file(photos / "lying.jpg"), api_name="/predict")
        assert len(data["faces"]) == 1
        (folder,) = tmp_path.glob("ferlib-app-*")
        assert any(folder.rglob("lying.jpg"))
        server.send_signal(signal.SIGINT)
        output, errors = server.communicate(timeout=30)
    finally:
        server.kill()
    assert server.returncode == 0 and "Traceback" not in errors
    assert not list(tmp_path.glob("ferlib-app-*"))
    hosts = {line.split()[1] for line in [*lines, *output.splitlines()] if line.startswith("HOST")}
    assert hosts <= {"127.0.0.1", "localhost", "None"}
