"""The app without a browser: its endpoints on a really running server, faults, and the command."""

import json
import re
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from picture_files import BAD, GOOD, crowd, write_photos
from PIL import Image

pytest.importorskip("gradio")

from gradio_client import Client, handle_file

import app
from ferlib.app.page import build_app
from ferlib.app.server import launch
from ferlib.app.service import FULL, Service
from ferlib.labels import FERPLUS


@pytest.fixture(scope="module")
def service():
    service = Service()
    service.load()
    return service


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where uploads lie."""
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def served(service, folder):
    """A running server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        served = launch(build_app(service), service, port=0)
        yield served
        served.close()


@pytest.fixture(scope="module")
def url(served):
    return served.url


@pytest.fixture(scope="module")
def client(url, tmp_path_factory):
    return Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


@pytest.fixture(scope="module")
def photos(tmp_path_factory, portrait):
    """A folder with every kind of file."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, portrait)
    return folder


def test_nothing_loads_torch_or_anything_from_outside():
    folder = Path(app.__file__).parent
    own = [path for ending in ("py", "js", "css") for path in (folder / "ferlib" / "app").rglob(f"*.{ending}")]
    assert {"many.py", "routes.py", "webcam.js"} <= {path.name for path in own}
    for source in (folder / "app.py", *own):
        text = source.read_text()
        if source.parent.name != "blocks":  # the notebooks' pages
            assert not re.search(r"^\s*(import|from) torch\b", text, re.MULTILINE), source
        assert not re.search(r"https?://(?!127\.0\.0\.1|\{name\})", text)


# --- the endpoint ---


def test_the_public_endpoints(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert endpoints.keys() == {"/predict", "/compare", "/batch", "/neighbours", "/models"}
    predict = endpoints["/predict"]
    assert [p["parameter_name"] for p in predict["parameters"]] == ["image", "model", "method"]
    assert [r["label"] for r in predict["returns"]] == ["Faces", "Annotated picture", "Overlays"]
    assert all(endpoint["description"] for endpoint in endpoints.values())


def test_two_faces(client, service, portrait, astronaut, tmp_path):
    both = np.concatenate([portrait[:512], astronaut], axis=1)
    Image.fromarray(both).save(tmp_path / "both.png")
    data, annotated, overlays = client.predict(handle_file(tmp_path / "both.png"), api_name="/predict")
    assert data["error"] is None and data["size"] == [1024, 512] and data["image"] == "both.png"
    assert [one["number"] for one in data["faces"]] == [1, 2]
    with service.look(both) as (truths,):
        faces = truths.faces
    for one, truth in zip(data["faces"], faces, strict=True):
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
    assert data == {"image": "image", "size": None, "error": "No picture was given.", "faces": []}
    assert annotated is None and overlays == []


def test_fifty_faces(client, portrait, tmp_path):
    Image.fromarray(crowd(portrait)).save(tmp_path / "crowd.png")
    data, annotated, overlays = client.predict(handle_file(tmp_path / "crowd.png"), api_name="/predict")
    assert len(data["faces"]) == len(overlays) >= 45
    assert Image.open(annotated).size == (1600, 800)
    json.dumps(data)


def test_a_model_and_a_method_of_ones_choice(client, astronaut, tmp_path):
    Image.fromarray(astronaut).save(tmp_path / "one.png")
    photo = handle_file(tmp_path / "one.png")
    data, _, overlays = client.predict(photo, "ivsa_fer2013", "layercam", api_name="/predict")
    assert len(data["faces"][0]["scores"]) == 7 and len(overlays) == 1
    assert sum(data["faces"][0]["looked_at"].values()) == pytest.approx(1, abs=1e-4)
    data, annotated, overlays = client.predict(photo, "gpt", "", api_name="/predict")
    assert "There is no model 'gpt'" in data["error"] and annotated is None and overlays == []
    data, _, _ = client.predict(photo, "", "tea leaves", api_name="/predict")
    assert "unknown explanation 'tea leaves'" in data["error"]


def test_two_models_side_by_side(client, photos):
    both = client.predict(handle_file(photos / "cmyk.jpg"), "convcut_ferplus", "ivsa_fer2013", api_name="/compare")
    assert both.keys() == {"convcut_ferplus", "ivsa_fer2013"}
    assert [one["image"] for one in both.values()] == ["cmyk.jpg"] * 2
    boxes = [one["faces"][0]["box"] for one in both.values()]
    assert boxes[0] == boxes[1] and [len(one["faces"][0]["scores"]) for one in both.values()] == [8, 7]


@pytest.mark.parametrize(("model", "other"), [("", ""), ("ivsa_fer2013", ""), ("ivsa_fer2013", "ivsa_fer2013")])
def test_a_model_is_compared_with_another_one(client, photos, model, other):
    said = client.predict(handle_file(photos / "cmyk.jpg"), model, other, api_name="/compare")
    assert said == {"error": "Name two different models; /models lists them."}


def test_many_files_of_which_one_is_bad(client, photos):
    names = ("cmyk.jpg", "empty.jpg", "photo.tiff")
    table, text = client.predict([handle_file(photos / name) for name in names], "", api_name="/batch")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert [row["file"] for row in rows] == list(names)
    assert "is empty" in rows[1]["problem"] and rows[0]["expression"] in FERPLUS and not rows[2]["problem"]
    assert len(text.strip().splitlines()) == 4


def test_the_models_are_listed(client):
    listed = client.predict(api_name="/models")
    assert listed[0]["name"] == "convcut_ferplus"
    assert all(one["test"]["accuracy"]["value"] > 0.5 and "gradcam" in one["methods"] for one in listed)


def test_one_face_among_different_neighbours(client, photos):
    rows = client.predict(handle_file(photos / "cmyk.jpg"), api_name="/neighbours")["companies"]
    assert rows[0]["neighbours"] is None and len({row["neighbours"] for row in rows}) == len(rows) == 6
    honest, published = ([row[model] for row in rows] for model in ("honest", "published"))
    for scores in honest[1:]:
        assert scores == pytest.approx(honest[0], abs=1e-4)
    assert max(abs(scores[name] - published[0][name]) for scores in published for name in scores) > 0.1
    assert "No face" in client.predict(handle_file(photos / "meadow.png"), api_name="/neighbours")["error"]


# --- faults ---


def test_an_animation_and_a_strip(client, portrait, tmp_path):
    frames = [Image.fromarray(portrait), Image.new("RGB", portrait.shape[1::-1])]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    data, _, _ = client.predict(handle_file(tmp_path / "moving.gif"), api_name="/predict")
    assert len(data["faces"]) == 1
    for size in ((10_000, 10), (10, 10_000)):
        Image.new("RGB", size, "white").save(tmp_path / "strip.png")
        data, _, _ = client.predict(handle_file(tmp_path / "strip.png"), api_name="/predict")
        assert data["error"] == "No face was found in the picture." and data["size"] == list(size)


def test_a_full_queue_is_a_sentence_and_then_it_goes_on(url, service, photos):
    with httpx.Client(base_url=url, timeout=60) as visitor:
        (path,) = visitor.post("gradio_api/upload", files={"files": (photos / "cmyk.jpg").open("rb")}).json()
        with ExitStack() as places:
            for _ in range(service.queue_size):
                places.enter_context(service.place())
            refused = visitor.post("gradio_api/upload", files={"files": (photos / "cmyk.jpg").open("rb")})
            assert refused.status_code == 503 and refused.text == FULL  # before a byte of it is kept
            answer = visitor.post("gradio_api/run/predict", json={"data": [{"path": path}, "", ""]})
            assert answer.json()["data"][0] == {"image": "cmyk.jpg", "size": None, "error": FULL, "faces": []}
        answer = visitor.post("gradio_api/run/predict", json={"data": [{"path": path}, "", ""]})
        assert len(answer.json()["data"][0]["faces"]) == 1


def test_somebody_who_leaves_early_takes_no_place(url, client, service, photos):
    with httpx.Client(base_url=url) as visitor:
        (path,) = visitor.post("gradio_api/upload", files={"files": (photos / "cmyk.jpg").open("rb")}).json()
        body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "", ""]}
        event = visitor.post("gradio_api/call/predict", json=body).json()["event_id"]
        with visitor.stream("GET", f"gradio_api/call/predict/{event}"):
            pass  # gone before the answer
    data, _, _ = client.predict(handle_file(photos / "cmyk.jpg"), api_name="/predict")
    assert len(data["faces"]) == 1
    with service._changed:
        assert service._changed.wait_for(lambda: service.inside == 0, timeout=60)


def test_health(url, service):
    answer = httpx.get(f"{url}health")
    assert answer.status_code == 200 and answer.json() == service.health()
    assert answer.json()["status"] == "ok" and "convcut_ferplus" in answer.json()["models"]
    for path in ("health", "v1/models"):  # as what watches a server asks
        answer = httpx.head(f"{url}{path}")
        assert answer.status_code == 200 and not answer.content


def test_files_of_the_server_stay_closed(url):
    for path in (Path(app.__file__), Path("/etc/passwd")):
        assert httpx.get(f"{url}gradio_api/file={path}").status_code in (403, 404)
