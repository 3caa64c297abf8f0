"""The page for programs: `/v1`, on a really running server, by plain HTTP and by the documented commands."""

import base64
import json
import re
import shutil
import subprocess
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest
from picture_files import BAD, GOOD
from test_app import folder, photos, served, service, url  # noqa: F401 - fixtures
from test_app_safety import attacks, other_server, secret  # noqa: F401 - fixtures

from ferlib.app import middleware
from ferlib.app.api.guide import ADDRESS, GUIDE
from ferlib.app.cleanup import all_files
from ferlib.app.messages import as_data
from ferlib.app.service import FULL
from ferlib.detection.quality import WARNINGS
from ferlib.explain import METHODS
from ferlib.images import read_image

DOCS = Path(__file__).parents[1] / "docs" / "api.md"
HEAD = b'--x\r\nContent-Disposition: form-data; name="'


@pytest.fixture
def program(url):  # noqa: F811
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def send(program, photo, **fields) -> httpx.Response:
    """A photo as a form."""
    return program.post("v1/predict", files={"image": photo}, data=fields)


#: As in RFC 9110; Python has older names before 3.13.
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}


def refused(answer, status: int, words: str) -> None:
    """Assert that it is a problem with these words, and nothing of the server's insides."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    told = answer.json()
    assert told["title"] == TITLES.get(status, HTTPStatus(status).phrase)
    assert answer.status_code == told["status"] == status and told.keys() == {"type", "title", "status", "detail"}
    assert words in told["detail"] and not re.search(r"Traceback|/tmp|/proc|ferlib/", answer.text)


# --- answers ---


def test_a_form_is_answered_as_the_page_answers(program, service, photos):  # noqa: F811
    answer = send(program, (photos / "cmyk.jpg").open("rb"))
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    with service.look(read_image(photos / "cmyk.jpg")) as (result,):
        (face,) = as_data(result)["faces"]
    said = answer.json()
    assert (said["image"], said["model"]) == ("cmyk.jpg", "convcut_ferplus")
    assert said["size"] == [512, 600] and said["error"] is None
    (one,) = said["faces"]
    assert one["overlay"] is one["looked_at"] is None
    assert one["scores"] == pytest.approx(face["scores"], abs=1e-5) and list(one["scores"]) == list(face["scores"])
    for name in ("number", "box", "label", "warnings", "coverage", "prediction_set", "answer", "sentence"):
        assert one[name] == face[name], name


@pytest.mark.parametrize("name", GOOD)
def test_json_is_answered_like_a_form(program, photos, name):  # noqa: F811
    photo = (photos / name).read_bytes()
    asked = {"image": base64.b64encode(photo).decode(), "explain": None}
    by_json, by_form = program.post("v1/predict", json=asked), send(program, photo)
    assert by_json.status_code == 200 and by_json.json()["size"] == [512, 600]
    assert by_json.json()["faces"] == by_form.json()["faces"]


def test_model_explanation_and_coverage_of_ones_choice(program, photos):  # noqa: F811
    photo = (photos / "cmyk.jpg").read_bytes()
    sets = []
    for coverage in (0.8, 0.95):
        answer = send(program, photo, model="ivsa_fer2013", explain="gradcam", coverage=coverage)
        said = answer.json()
        (one,) = said["faces"]
        assert said["model"] == "ivsa_fer2013" and len(one["scores"]) == 7 and one["coverage"] == coverage
        assert sum(one["looked_at"].values()) == pytest.approx(1, abs=1e-4)
        kind, _, picture = one["overlay"].partition(",")
        assert kind == "data:image/jpeg;base64" and base64.b64decode(picture).startswith(b"\xff\xd8")
        sets.append(set(one["prediction_set"]))
    assert sets[0] <= sets[1]


def test_no_face_is_an_answer(program, photos):  # noqa: F811
    answer = send(program, (photos / "meadow.png").open("rb"))
    assert answer.status_code == 200
    assert answer.json()["faces"] == [] and answer.json()["error"] == "No face was found in the picture."


def test_the_models(program, service):  # noqa: F811
    listed = program.get("v1/models").json()
    assert [one["name"] for one in listed] == list(service.models) and 0.9 in listed[0]["coverages"]
    accuracy = listed[0]["test"]["accuracy"]
    assert 0.5 < accuracy["low"] < accuracy["value"] < accuracy["high"] and "gradcam" in listed[0]["methods"]


def test_openapi_explains_every_field_and_names_every_choice(program, service):  # noqa: F811
    document = program.get("v1/openapi.json").json()
    assert document["servers"] == [{"url": "/v1"}]
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        for field, told in schema["properties"].items():
            assert len(told["description"]) > 8, (name, field)
    post = document["paths"]["/predict"]["post"]
    assert post["requestBody"]["content"].keys() == {"multipart/form-data", "application/json"}
    for name in ("PhotoForm", "PhotoJson"):
        asked = schemas[name]["properties"]
        nothing = [None] if name == "PhotoJson" else []
        assert asked["model"]["enum"] == [*service.models, *nothing]
        assert asked["explain"]["enum"] == [*METHODS, *nothing]
        assert asked["coverage"] | {"description": ""} == {
            "type": ["number", "null"] if nothing else "number", "enum": [0.8, 0.9, 0.95, *nothing],
            "description": "", "title": "Coverage",
        }  # fmt: skip
        assert schemas[name]["required"] == ["image"]
    assert schemas["FaceAnswer"]["properties"]["warnings"]["items"]["enum"] == list(WARNINGS)
    for status in ("400", "411", "413", "415", "422", "503"):
        assert "application/problem+json" in post["responses"][status]["content"]
    answered = document["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answered == {"$ref": "#/components/schemas/PhotoAnswer"}


# --- refusals ---


@pytest.mark.parametrize("name", [name for name in BAD if name != "meadow.png"])
def test_a_bad_photo_is_a_problem(program, photos, name):  # noqa: F811
    refused(send(program, (photos / name).open("rb")), 422, BAD[name])
    asked = {"image": base64.b64encode((photos / name).read_bytes()).decode()}
    refused(program.post("v1/predict", json=asked), 422, BAD[name])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "gpt"}, "There is no model 'gpt'"),
        ({"explain": "tea leaves"}, "unknown explanation 'tea leaves'"),
        ({"coverage": "0.5"}, "not 0.5"),
        ({"coverage": "nan"}, "not nan"),
        ({"coverage": "much"}, '"coverage": '),
        ({"url": "http://127.0.0.1/photo.jpg"}, '"url": '),
    ],
)
def test_a_bad_choice_is_a_problem(program, photos, fields, words):  # noqa: F811
    photo = (photos / "cmyk.jpg").read_bytes()
    refused(send(program, photo, **fields), 422, words)
    refused(program.post("v1/predict", json={"image": base64.b64encode(photo).decode(), **fields}), 422, words)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{", 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b"\xff\xfe", 400),
        ("application/json", b"[]", 422),
        ("application/json", b"{}", 422),
        ("application/json", b"{" + b",".join(b'"%d":1' % i for i in range(100_000)) + b"}", 422),
        ("application/json", b'{"image": 5}', 422),
        ("application/json", b'{"image": {"path": "/etc/passwd"}}', 422),
        ("application/json", b'{"image": "%%%"}', 422),
        ("application/json", '{"image": "ü"}'.encode(), 422),
        ("application/json", b'{"image": ""}', 422),
        ("text/plain", b"photo", 415),
        ("application/octet-stream", b"photo", 415),
        ("application/x-www-form-urlencoded", b"image=photo", 415),
        ("", b"photo", 415),
        ("multipart/form-data", b"photo", 400),
        ("multipart/form-data; boundary=x", b"photo", 400),
        ("multipart/form-data; boundary=x", b"", 422),
        ("multipart/form-data; boundary=x", HEAD + b'image"; filename="a.jpg"\r\n\r\ncut', 422),
        ("multipart/form-data; boundary=x", HEAD + b'image"\r\n\r\n@photo.jpg\r\n--x--\r\n', 422),
        ("multipart/form-data; boundary=x", (HEAD + b'model"\r\n\r\na\r\n') * 100_000 + b"--x--\r\n", 422),
        ("multipart/form-data; boundary=x", (HEAD + b'image"; filename="a"\r\n\r\na\r\n') * 2 + b"--x--\r\n", 422),
    ],
)
def test_a_bad_request_is_a_problem(program, kind, body, status, capfd):
    answer = program.post("v1/predict", content=body, headers={"Content-Type": kind})
    refused(answer, status, "")
    assert len(answer.json()["detail"]) > 10 and "Traceback" not in "".join(capfd.readouterr())


def test_nothing_is_read_written_or_fetched(program, folder, attacks, other_server):  # noqa: F811
    before = all_files(folder)
    for attack in attacks:
        for text in (one for one in attack.values() if isinstance(one, str)):
            refused(program.post("v1/predict", json={"image": text}), 422, "")
            named = send(program, (text, b"not a picture"))
            assert named.status_code == 422 and "is not a picture" in named.json()["detail"]
            refused(program.post("v1/predict", data={"image": text}, files={"other": b""}), 422, "image=@")
        refused(program.post("v1/predict", json={"image": attack}), 422, "")
    assert all_files(folder) == before and other_server[1] == []


def test_a_huge_or_endless_request_is_refused_before_it_comes(program, monkeypatch):
    endless = program.post("v1/predict", content=iter([b"--x"]), headers={"Content-Type": "multipart/form-data"})
    refused(endless, 411, "how long")
    headers = {"Content-Type": "application/json"}
    refused(
        program.post("v1/predict", content=b" " * (middleware.PHOTOS["/v1/predict"] + 1), headers=headers), 413, "28 MB"
    )


def test_memory_for_requests_is_bounded(program, served, photos):  # noqa: F811
    gate = served._gate
    held, gate.held = gate.held, gate.held | {"/v1/predict": middleware.Places(1000)}
    try:
        full = send(program, (photos / "cmyk.jpg").open("rb"))
        refused(full, 503, FULL)
        assert int(full.headers["retry-after"]) > 0
        refused(program.post("v1/predict", json={}), 422, "image")  # a small one has room
    finally:
        gate.held = held


def test_a_full_queue_says_when_to_come_back_and_then_it_goes_on(program, service, photos):  # noqa: F811
    photo = (photos / "cmyk.jpg").read_bytes()
    with ExitStack() as places:
        for _ in range(service.queue_size):
            places.enter_context(service.place())
        full = send(program, photo)
        refused(full, 503, FULL)
        assert int(full.headers["retry-after"]) > 0
    assert len(send(program, photo).json()["faces"]) == 1
    assert service.inside == 0


def test_the_gate_is_the_same(program, url, photos):  # noqa: F811
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        for answer in (
            program.get("v1/models", headers=headers),
            program.post("v1/predict", files={"image": b"x"}, headers=headers),
        ):
            refused(answer, 403, "")
    for path in ("v1/nosuch", "v1/", "v1/predict/", "v1/../gradio_api/file=/etc/passwd"):
        assert program.get(path).status_code in (403, 404), path
    refused(program.get("v1/predict"), 405, "POST")
    assert program.get("v1/predict").headers["allow"] == "POST"
    refused(program.post("v1/models"), 405, "GET")
    answer = program.get("v1/models")
    assert answer.headers["x-content-type-options"] == "nosniff" and "content-security-policy" in answer.headers


def test_a_fault_of_ours_is_told_without_its_details(program, service, monkeypatch, photos):  # noqa: F811
    monkeypatch.setattr(type(service), "models", property(lambda self: 1 / 0))
    refused(send(program, (photos / "cmyk.jpg").open("rb")), 500, "Something went wrong on the server")


# --- the documented commands ---


def commands(text: str) -> list[str]:
    """The blocks of shell commands in Markdown."""
    return re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_documented_commands_work(url, photos, tmp_path):  # noqa: F811
    shutil.copy(photos / "cmyk.jpg", tmp_path / "photo.jpg")
    blocks = commands(DOCS.read_text()) + commands(GUIDE)[0].split("\n\n")
    assert len(blocks) == 9 and all(ADDRESS in block for block in blocks)
    for block in blocks:
        script = block.replace(ADDRESS, url.rstrip("/"))
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, block + done.stderr
        said = json.loads(done.stdout)
        if "gpt" in block:
            assert said["status"] == 422 and "There is no model 'gpt'" in said["detail"]
        elif "predict" in block:
            (one,) = said["faces"]
            assert bool(one["overlay"]) == ("gradcam" in block) and one["label"] == "neutral"
        else:
            assert "openapi" in said if "openapi" in block else said[0]["name"] == "convcut_ferplus"
