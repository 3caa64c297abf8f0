"""The app without a browser: its endpoints on a really running server, faults, and the command."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from photos import BAD, GOOD, crowd, write_photos
from PIL import Image

pytest.importorskip("gradio")

from gradio_client import Client, handle_file

import app
from ferlib import cli
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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_nothing_loads_torch_or_anything_from_outside():
    folder = Path(app.__file__).parent
    for source in (folder / "app.py", *(folder / "ferlib" / "app").glob("*.*")):
        text = source.read_text()
        assert "import torch" not in text
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
    assert data["error"] is None and data["size"] == [1024, 512]
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
    assert data == {"faces": [], "error": "No picture was given.", "size": None}
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
    boxes = [one["faces"][0]["box"] for one in both.values()]
    assert boxes[0] == boxes[1] and [len(one["faces"][0]["scores"]) for one in both.values()] == [8, 7]


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
            assert answer.json()["data"][0] == {"faces": [], "error": FULL, "size": None}
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


def test_files_of_the_server_stay_closed(url):
    for path in (Path(app.__file__), Path("/etc/passwd")):
        assert httpx.get(f"{url}gradio_api/file={path}").status_code in (403, 404)


# --- where it is served ---


@pytest.mark.parametrize(("host", "shown"), [("::1", "[::1]"), ("[::1]", "[::1]"), ("localhost", "localhost")])
def test_it_is_served_at_any_kind_of_address(host, shown, service, folder, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    try:
        served = launch(build_app(service), service, host, 0)
    except OSError as error:
        pytest.skip(str(error))
    try:
        assert served.url.startswith(f"http://{shown}:")
        assert httpx.get(f"{served.url}health").json()["status"] == "ok"
        assert "Facial expressions" in httpx.get(served.url).text
    finally:
        served.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(served.url)


@pytest.mark.parametrize("root", ["/faces", "https://example.org/faces/"])
@pytest.mark.parametrize("stripped", [True, False], ids=["the proxy cuts the path off", "the proxy hands it on"])
def test_a_proxy_serves_it_below_a_path(root, stripped, service, folder, photos, monkeypatch):
    """As nginx does it: the outer name in X-Forwarded-Host, which must be allowed, or stands in --root-path."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    allowed = [] if ":" in root else ["example.org"]
    served = launch(build_app(service), service, port=0, root=root, allowed=allowed)
    forwarded = {"X-Forwarded-Host": "example.org", "X-Forwarded-Proto": "https", "Origin": "https://example.org"}
    try:
        with httpx.Client(base_url=served.url + ("" if stripped else "faces/"), headers=forwarded, timeout=60) as proxy:
            assert '"root":"https://example.org/faces"' in proxy.get("").text.replace(": ", ":")
            (path,) = proxy.post("gradio_api/upload", files={"files": (photos / "cmyk.jpg").open("rb")}).json()
            answer = proxy.post("gradio_api/run/predict", json={"data": [{"path": path}, "", ""]}).json()
            assert len(answer["data"][0]["faces"]) == 1
            address = answer["data"][1]["url"]
            assert address.startswith("https://example.org/faces/gradio_api/file=")
            assert proxy.get(address.removeprefix("https://example.org/faces/")).status_code == 200
    finally:
        served.close()


def test_sites_that_are_named_may_show_it_within_theirs(service, folder, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    served = launch(build_app(service), service, port=0, frames=["https://example.org"])
    try:
        policy = httpx.get(served.url).headers["content-security-policy"]
        assert policy.endswith("frame-ancestors 'self' https://example.org")
    finally:
        served.close()


# --- the command ---


@pytest.fixture
def keep_signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_port_in_use_is_one_sentence(capsys, keep_signals):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert cli.main(["app", "--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert f"port {port}: Address already in use" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "70000"],
        ["--host", "192.0.2.1"],
        ["--model", "no/such-model"],
        ["--model", "/nowhere"],
        ["--model", "nosuch"],
    ],
)
def test_what_cannot_work_is_one_sentence(arguments, capsys, keep_signals):
    port = [] if "--port" in arguments else ["--port", str(free_port())]
    assert cli.main(["app", *arguments, *port]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("ferlib: ") and said.err.count("\n") == 1 and "Open" not in said.out


def test_a_word_that_is_no_model_is_told_at_once_without_torch_and_without_a_hub():
    code = (
        "import sys; sys.addaudithook(lambda event, args: event == 'socket.connect' and print('ASKED', args[1])); "
        "import app; code = app.main(sys.argv[1:]); print('torch' in sys.modules); sys.exit(code)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    for name in ("nosuch", "a missing/folder", "/nowhere", "./no/where"):
        ended = subprocess.run(
            [sys.executable, "-c", code, "--model", name, "--port", "0"],
            cwd=Path(app.__file__).parent, env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert ended.returncode == 1 and ended.stdout == "False\n", ended
        assert ended.stderr.startswith(f"ferlib: no model {name!r}") and ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_command_serves_talks_to_nobody_and_cleans_up(tmp_path, photos):
    """From start to Ctrl-C, with every address written down that the process connects to or asks for."""
    spy = (
        "import sys; sys.addaudithook(lambda event, args: event in ('socket.connect', 'socket.getaddrinfo') and "
        "print('HOST', args[1][0] if event == 'socket.connect' else args[0], flush=True)); "
        "import app; sys.exit(app.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", spy, "--port", str(free_port())]
    proxy = "http://192.0.2.1:9"  # nobody is there; the page must not ask for itself by it
    environment = {**os.environ, "TMPDIR": str(tmp_path), "HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": ""}
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
        with httpx.Client(base_url=found[1], timeout=120, trust_env=False) as visitor:
            files = {"files": ("lying.jpg", (photos / "lying.jpg").read_bytes())}
            (path,) = visitor.post("gradio_api/upload", files=files).json()
            answer = visitor.post("gradio_api/run/predict", json={"data": [{"path": path}, "", ""]}).json()
        assert len(answer["data"][0]["faces"]) == 1
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


@pytest.mark.slow
def test_an_installed_wheel_serves_it_too(tmp_path):
    """Outside any checkout, by `python -m ferlib app`; the other packages come from this environment."""
    source, place, away = Path(app.__file__).parent, tmp_path / "site", tmp_path / "away"
    away.mkdir()
    copy = shutil.copytree(source, tmp_path / "source", ignore=shutil.ignore_patterns(".*", "results", "docs", "build"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    settings = {"check": True, "cwd": copy, "timeout": 300}
    subprocess.run([*pip, "wheel", ".", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)], **settings)
    (wheel,) = tmp_path.glob("ferlib-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(place), str(wheel)], **settings)
    environment = {**os.environ, "PYTHONPATH": str(place)}
    command = [sys.executable, "-m", "ferlib", "app", "--port", "0"]
    server = subprocess.Popen(command, cwd=away, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        address = re.match(r"Open (\S+) in a browser", server.stdout.readline())[1]
        assert "Facial expressions" in httpx.get(address).text
        while httpx.get(f"{address}health").json()["status"] == "loading":
            time.sleep(0.5)
        assert httpx.get(f"{address}health").json()["status"] == "ok"
        assert any(one["name"] == "convcut_ferplus" for one in httpx.post(
            f"{address}gradio_api/run/models", json={"data": []}, timeout=60).json()["data"][0])  # fmt: skip
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        server.kill()
