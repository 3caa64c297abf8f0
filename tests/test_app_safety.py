"""The page as an attacker meets it: what he may read, write, have fetched, and hold."""

import http.server
import io
import json
import logging
import os
import re
import select
import socket
import threading
import time

import httpx
import pytest
from PIL import Image
from test_app import folder, photos, served, service, url  # noqa: F401 - fixtures

from ferlib.app import middleware, server, unread_answers
from ferlib.app.cleanup import all_files
from ferlib.app.translations import say
from ferlib.app.uploads import Upload

SESSION = iter(range(1_000_000))
BOXES = re.compile(r'"(box|x0|scores|published)"|class="(face|companies)"|^photo\.png,1,', re.MULTILINE)


@pytest.fixture(scope="module")
def secret(tmp_path_factory, portrait):
    """A picture with a face that nobody has sent."""
    path = tmp_path_factory.mktemp("elsewhere") / "photo.png"
    Image.fromarray(portrait).save(path)
    return path


@pytest.fixture
def other_server(secret):
    """Another web server that has the picture, and what was asked of it."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(secret.read_bytes())

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/photo.png", asked
    running.shutdown()
    running.server_close()


@pytest.fixture
def attacks(secret, folder, other_server):  # noqa: F811
    """Pictures as an attacker names them."""
    link, mark = folder / "link.png", {"meta": {"_type": "gradio.FileData"}}
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    address, _ = other_server
    relative = f"{folder}/../../../../../../../../../..{secret}"
    paths = [str(secret), relative, "photo.png", str(link), "/dev/zero", "/proc/self/environ", address, str(folder)]
    yield [
        *({"path": path, "orig_name": "photo.png"} | more for path in paths for more in ({}, mark)),
        {"url": address}, {"url": address} | mark, {"path": str(secret), "url": address} | mark,
        {"path": None, "url": f"file://{secret}"}, {"path": str(secret), "is_stream": True} | mark,
        *({"path": path, "orig_name": "film.mp4"} for path in (str(secret), relative, str(link), address)),
    ]  # fmt: skip
    link.unlink()


def inputs(function, picture) -> list | None:
    """Arguments with the picture in them; None for a function that takes none, or runs in the browser alone."""
    kinds = [type(block).__name__ for block in function.inputs]
    if function.fn is None or not {"Image", "File"} & set(kinds):
        return None
    given = {"Image": picture, "File": [picture]}
    words = {"Model": "convcut_ferplus", "Explanation": "gradcam", "model": "convcut_ferplus", "other": "ivsa_fer2013"}
    words |= {str(say(label)): word for label, word in words.items()}  # as the page's own components are labelled
    labels = [str(block.label) for block in function.inputs]
    return [given.get(kind, words.get(label, "")) for kind, label in zip(kinds, labels, strict=True)]


def ask(visitor, function, data, way: str, own: bool) -> str:
    """Everything that a call brings, by one of the ways to make it."""
    headers = {"Origin": str(visitor.base_url).rstrip("/")} if own else {}
    session = f"s{next(SESSION)}"
    body = {"data": data, "session_hash": session, "fn_index": function._id}
    if way == "run":
        return visitor.post("gradio_api/run/predict", json=body, headers=headers).text
    if way == "name":
        return visitor.post(f"gradio_api/api/{function.api_name}", json={"data": data}, headers=headers).text
    if way == "call":
        answer = visitor.post(f"gradio_api/call/{function.api_name}", json={"data": data}, headers=headers)
        if answer.status_code != 200:
            return answer.text
        return first_answer(visitor, f"gradio_api/call/{function.api_name}/{answer.json()['event_id']}")
    answer = visitor.post("gradio_api/queue/join", json=body, headers=headers)
    if answer.status_code != 200:
        return answer.text
    return first_answer(visitor, f"gradio_api/queue/data?session_hash={session}")


def first_answer(visitor, path: str) -> str:
    """What the server tells until there is an answer."""
    said = ""
    with visitor.stream("GET", path) as stream:
        for line in stream.iter_lines():
            said += line
            if re.search(r"process_completed|^event: error", line) or (
                line.startswith("data: ") and re.search("event: (complete|generating)", said)
            ):
                break
    return said


@pytest.mark.parametrize(
    "way", ["run", *(pytest.param(way, marks=pytest.mark.slow) for way in ("queue", "name", "call"))]
)
def test_nothing_is_read_written_or_fetched(way, served, folder, attacks, other_server):  # noqa: F811
    before = all_files(folder)
    with httpx.Client(base_url=served.url, timeout=60) as visitor:
        tried = 0
        for function in served.page.fns.values():
            for picture in attacks:
                data = inputs(function, picture)
                if data is None:
                    break
                for own in (False, True):
                    said = ask(visitor, function, data, way, own)
                    if function.api_visibility != "public" and not own:
                        assert "Only the page itself" in said
                    else:
                        assert not BOXES.search(said), (function.api_name, picture)
                        assert "is not among the pictures sent" in said, (function.api_name, picture, said)
                    assert not re.search(r"(/tmp|/proc|/dev|file:|\.\.)/", said), (function.api_name, picture, said)
                    tried += 1
    assert tried > 300
    assert all_files(folder) == before and other_server[1] == []


@pytest.mark.parametrize("name", ["photo.png", "no such photo.png"])
def test_the_answer_does_not_tell_which_files_exist(name, url, secret):  # noqa: F811
    answer = httpx.post(f"{url}gradio_api/run/predict", json={"data": [{"path": str(secret.with_name(name))}, "", ""]})
    said = answer.json()["data"][0]["error"]
    assert said.replace(name, "X") == "X is not among the pictures sent to this page, or it has been deleted since; " \
        "please send it again."  # fmt: skip


def test_what_was_sent_is_read(url, secret):  # noqa: F811
    with httpx.Client(base_url=url, timeout=60) as visitor:
        (path,) = visitor.post("gradio_api/upload", files={"files": secret.open("rb")}).json()
        for body, route in (
            ({"data": [{"path": path}, "", ""]}, "run/predict"),
            ({"image": {"path": path}}, "call/v2"),
        ):
            if route == "call/v2":
                event = visitor.post("gradio_api/call/v2/predict", json=body).json()["event_id"]
                assert '"box"' in visitor.get(f"gradio_api/call/v2/predict/{event}").text
            else:
                assert len(visitor.post(f"gradio_api/{route}", json=body).json()["data"][0]["faces"]) == 1


def test_doors_of_gradio_that_the_page_does_not_need_are_shut(url, other_server, secret):  # noqa: F811
    address, asked = other_server
    for path in (
        f"file={address}", f"file={secret}", "file=/proc/self/environ", f"proxy={address}", f"file/{secret}",
        "deep_link?session_hash=s", "runs", "custom_component/1/client/component/x.js", "startup-events",
    ):  # fmt: skip
        assert httpx.get(f"{url}gradio_api/{path}").status_code in (403, 404), path
    for path in ("component_server", "process_recording", "vibe-edit", "run-history/connect", "undo-vibe-edit"):
        assert httpx.post(f"{url}gradio_api/{path}", json={}).status_code == 404, path
    assert httpx.get(f"{url}monitoring").status_code == httpx.get(f"{url}docs").status_code == 404
    assert asked == []


# --- who asks ---


@pytest.mark.parametrize(
    "name", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1", "0"]
)
def test_a_foreign_name_is_refused(name, url):  # noqa: F811
    for headers in ({"Host": name}, {"X-Forwarded-Host": name}):
        for path in ("", "gradio_api/info", "health", "gradio_api/file=/etc/passwd"):
            assert httpx.get(f"{url}{path}", headers=headers).status_code == 403
        body = {"data": [None, "", ""]}
        assert httpx.post(f"{url}gradio_api/run/predict", json=body, headers=headers).status_code == 403


def test_another_site_is_refused_and_the_page_itself_is_not(url):  # noqa: F811
    body = {"data": [None, "", ""]}
    for origin, status in (("https://evil.example", 403), ("null", 403), ("http://localhost:1", 403), (url[:-1], 200)):
        answer = httpx.post(f"{url}gradio_api/run/predict", json=body, headers={"Origin": origin})
        assert answer.status_code == status, origin


# --- bad requests ---


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("run/predict", {"fn_index": -1, "data": []}, 404),
        ("queue/join", {"fn_index": -1, "data": [], "session_hash": "x"}, 404),
        ("queue/join", {"fn_index": 10**9, "data": [], "session_hash": "x"}, 404),
        ("queue/join", {"fn_index": "3", "data": []}, 404),
        ("run/nosuch", {"data": []}, 404),
        ("call/nosuch", {"data": []}, 404),
        ("call/v2/nosuch", {}, 404),
        ("call/v2/predict", {"picture": None}, 422),
        ("run/predict", {"data": []}, 422),
        ("run/predict", {"data": "photo"}, 422),
        ("run/predict", {"data": ["/etc/passwd", "", ""]}, 422),
        ("run/predict", {"data": [{"path": 5}, "", ""]}, 422),
        ("run/predict", {"data": [None, {}, []]}, 422),
        ("run/batch", {"data": [["photo"], ""]}, 422),
        ("run/predict", [], 400),
        ("run/predict", "{", 400),
        ("run/predict", "[" * 100_000, 400),
        ("stream/nosuch", {"data": [None, ""]}, 404),
        ("upload", {}, 400),
    ],
)
def test_a_bad_request_is_told_why_in_one_line(path, body, status, url, caplog, capfd):  # noqa: F811
    text = body if isinstance(body, str) else json.dumps(body)
    with caplog.at_level(logging.WARNING):
        answer = httpx.post(f"{url}gradio_api/{path}", content=text, headers={"Origin": url[:-1]})
    assert answer.status_code == status
    if path != "upload":
        assert answer.json()["error"] == answer.json()["detail"] and len(answer.json()["error"]) > 10
        assert len(caplog.records) == 1
    assert "Traceback" not in "".join(capfd.readouterr()) + caplog.text


@pytest.mark.parametrize("path", ["call/predict/nosuch", "queue/data?session_hash=nosuch"])
def test_answers_that_nobody_waits_for_are_told_in_one_line(path, url, caplog, capfd):  # noqa: F811
    assert "404: Not Found" in httpx.get(f"{url}gradio_api/{path}").text
    assert len(caplog.records) == 1 and "Traceback" not in "".join(capfd.readouterr()) + caplog.text


def test_a_long_list_whose_answers_nobody_fetches_comes_to_an_end(served, url, monkeypatch):  # noqa: F811
    monkeypatch.setattr(unread_answers, "UNREAD", 5)
    (looking,) = [one for one in served.page.fns.values() if one.api_name == "look_at_many"]
    tab, waiting = looking.fn.__self__, served._gate.unread
    seen = []
    monkeypatch.setattr(type(tab.uploads), "sent", lambda self, file: seen.append(file) or Upload(self.folder, "no"))
    monkeypatch.setattr(type(tab.uploads), "stay", lambda *_: None)
    files = [{"path": f"{number}.jpg"} for number in range(100)]
    body = {"data": [files, "convcut_ferplus"], "session_hash": "away", "fn_index": looking._id}
    assert httpx.post(f"{url}gradio_api/queue/join", json=body, headers={"Origin": url.rstrip("/")}).status_code == 200
    end = time.monotonic() + 60
    while not seen or tab.looking:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert len(seen) < 10 and 5 < waiting["away"].qsize() < 10
    again = httpx.post(f"{url}gradio_api/queue/join", json=body, headers={"Origin": url.rstrip("/")})
    assert again.status_code == 429 and "Fetch the answers to your earlier questions first." in again.text


def test_a_file_that_is_named_many_times_is_looked_at_once(served, url):  # noqa: F811
    (looking,) = [one for one in served.page.fns.values() if one.api_name == "look_at_many"]
    with httpx.Client(base_url=url, timeout=60) as visitor:
        said = ask(visitor, looking, [[{"path": "a.jpg"}] * 900, "convcut_ferplus"], "queue", own=True)
    assert "1 of 1: a.jpg" in said or "1 file without a result" in said


def test_a_list_of_a_program_that_is_too_long_is_refused(url):  # noqa: F811
    files = [{"path": f"{number}.jpg"} for number in range(501)]
    answer = httpx.post(f"{url}gradio_api/run/batch", json={"data": [files, ""]}, timeout=60)
    assert "At most 500 pictures are looked at, not 501." in answer.text


def test_an_unknown_model_is_a_sentence_wherever_it_is_asked_for(served, url, capfd):  # noqa: F811
    with httpx.Client(base_url=url, timeout=60) as visitor:
        asked = 0
        for function in served.page.fns.values():
            kinds = [type(block).__name__ for block in function.inputs]
            if not {"Dropdown", "Textbox"} & set(kinds) or not function.fn or function.js or "Image" in kinds:
                continue
            asked += 1
            given = {"Image": None, "File": [{"path": "x.png"}]}
            said = ask(visitor, function, [given.get(kind, "gpt") for kind in kinds], "run", own=True)
            assert "There is no model 'gpt'" in said or function.api_name == "lambda", (function.api_name, said)
    assert asked >= 4
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_fault_of_ours_is_told_without_its_details_and_stands_in_the_log(served, url, monkeypatch, capfd):  # noqa: F811
    (listing,) = [one for one in served.page.fns.values() if one.api_name == "models"]
    monkeypatch.setattr(type(listing.fn.__self__.service), "models", property(lambda self: 1 / 0))
    answer = httpx.post(f"{url}gradio_api/run/models", json={"data": []})
    assert (
        answer.status_code == 500 and answer.json()["error"] == "Something went wrong on the server; its log says what."
    )
    assert "ZeroDivisionError" in capfd.readouterr().err


# --- headers ---


def test_every_answer_carries_the_headers(url):  # noqa: F811
    for path in ("", "theme.css", "gradio_api/info", "nosuch", "health", "gradio_api/file=/etc/passwd"):
        headers = httpx.get(f"{url}{path}").headers
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'self'" in policy and "default-src 'self'" in policy
        assert not re.search(r"https?:|\*", policy)


def test_only_pictures_are_shown_in_the_browser(url, portrait):  # noqa: F811
    picture = io.BytesIO()
    Image.fromarray(portrait).save(picture, "JPEG")
    page = b"<script>alert(1)</script>"
    for name, content, place in (
        ("page.jpg", page, "attachment"), ("page.html", page, "attachment"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "attachment"),
        ("cut.jpg", picture.getvalue()[:3] + page, "attachment"),
        ("Föto 你好.jpg", picture.getvalue(), "inline"), ("photo.txt", picture.getvalue(), "inline"),
    ):  # fmt: skip
        (path,) = httpx.post(f"{url}gradio_api/upload", files={"files": (name, content)}).json()
        answer = httpx.get(f"{url}gradio_api/file={path}")
        assert answer.status_code == 200 and answer.content == content
        assert answer.headers["content-disposition"].startswith(place), name
        kind = "image/jpeg" if place == "inline" else "application/octet-stream"
        assert answer.headers["content-type"] == kind


# --- how much ---


def send(url, number=1, size=100):  # noqa: F811
    files = [("files", (f"{i}.jpg", os.urandom(size))) for i in range(number)]
    return httpx.post(f"{url}gradio_api/upload", files=files, timeout=60)


def test_too_many_files_at_once_are_refused(url):  # noqa: F811
    assert send(url, middleware.MOST_FILES).status_code == 200
    refused = send(url, middleware.MOST_FILES + 1)
    assert refused.status_code == 413 and "At most 500 pictures" in refused.text


def test_the_folder_has_room_for_so_much(served, folder, url, monkeypatch):  # noqa: F811
    uploads = served.page.uploads
    for limit in ("max_bytes", "max_files"):
        sizes = [path.stat().st_size for path in all_files(folder)]
        now = sum(sizes) + 10_000 if limit == "max_bytes" else len(sizes) + 2
        with monkeypatch.context() as patch:
            patch.setattr(uploads, limit, now)
            patch.setattr(uploads, "_counted", -100.0)
            answers = [send(url, size=4_000) for i in range(4)]
            assert [answer.status_code for answer in answers] == [200, 200, 503, 503]
            assert "no room" in answers[2].text
            patch.setattr("ferlib.app.uploads.NEEDED", -1)  # what lies there is no longer needed: the oldest gives way
            assert send(url, size=5_000).status_code == 200


def test_every_file_of_an_upload_needs_room(served, folder, url, monkeypatch):  # noqa: F811
    uploads = served.page.uploads
    monkeypatch.setattr(uploads, "max_files", len(all_files(folder)) + 3)
    monkeypatch.setattr(uploads, "_counted", -100.0)
    refused = send(url, 5)
    assert refused.status_code == 503 and "no room" in refused.text
    monkeypatch.setattr(uploads, "_counted", -100.0)
    monkeypatch.setattr(uploads, "max_files", len(all_files(folder)) + 3)
    assert send(url, 3).status_code == 200


def test_an_upload_that_only_announces_much_takes_no_room_from_others(served, folder, url, monkeypatch):  # noqa: F811
    uploads = served.page.uploads
    monkeypatch.setattr(uploads, "max_bytes", sum(path.stat().st_size for path in all_files(folder)) + 40_000_000)
    monkeypatch.setattr(uploads, "_counted", -100.0)
    lines = connections(url, 3)
    for line in lines:
        line.sendall(START + b"Content-Length: 39000000\r\n\r\n--x")
    until(lambda: uploads._coming[1] == len(lines))
    assert send(url).status_code == 200
    assert send(url, size=21_000_000).status_code == 503  # what is coming of the others counts while it comes
    for line in lines:
        line.close()


def test_an_upload_must_say_how_long_it_is_and_not_be_too_long(url):  # noqa: F811
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert httpx.post(f"{url}gradio_api/upload", content=iter([b"--x"]), headers=headers).status_code == 411
    assert httpx.post(f"{url}gradio_api/run/predict", content=b" " * 3_000_000).status_code == 413
    begun = b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
    for rest, status in ((b"2000000000\r\n\r\n", b" 413 "), (b"10\r\nTransfer-Encoding: chunked\r\n\r\n", b" 411 ")):
        with socket.create_connection(("127.0.0.1", httpx.URL(url).port)) as line:
            line.sendall(begun + rest)
            assert status in line.recv(1000)


def test_calls_that_only_begin_leave_room_for_photos_of_programs(served, url, monkeypatch, photos):  # noqa: F811
    monkeypatch.setattr(middleware, "SHORT_SILENCE", 4.0)
    lines = connections(url, middleware.CALLING)
    for line in lines:
        line.sendall(b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
    until(lambda: served._gate.calling.free == 0)
    with (photos / "cmyk.jpg").open("rb") as photo:
        assert httpx.post(f"{url}v1/predict", files={"image": photo}, timeout=60).status_code == 200
    for line in lines:
        line.settimeout(30)
        assert b" 408 " in line.recv(1000)
        line.close()


START = b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"


def until(reached):
    """Wait until the server has come so far."""
    end = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def connections(url, number):  # noqa: F811
    return [socket.create_connection(("127.0.0.1", httpx.URL(url).port)) for _ in range(number)]


def test_a_class_that_begins_together_is_let_in(url):  # noqa: F811
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    rest = b"pixels\r\n--x--\r\n"
    lines = connections(url, 30)
    for line in lines:
        line.sendall(START + b"Content-Length: %d\r\n\r\n" % (len(part) + len(rest)) + part)
    time.sleep(0.5)
    for line in lines:
        line.sendall(rest)
    for line in lines:
        line.settimeout(30)
        assert b" 200 " in line.recv(1000)
        line.close()


def test_an_answer_does_not_wait_for_the_clients_word_on_its_first_part(url):  # noqa: F811
    with httpx.Client(base_url=url) as visitor:
        times = [visitor.get("health").elapsed.total_seconds() for _ in range(30)]
    assert min(times) < 0.03  # where the body waits for the acknowledgement of the head, none takes less than 0.04


def test_uploads_at_once_are_few_and_a_silent_one_ends(served, url, monkeypatch, photos):  # noqa: F811
    monkeypatch.setattr(middleware, "SILENCE", 4.0)
    lines = connections(url, middleware.UPLOADING)
    for line in lines:
        line.sendall(START + b"Content-Length: 1000\r\n\r\n--x")
    until(lambda: served._gate.uploading.free == 0)
    refused = send(url)
    assert refused.status_code == 503 and "queue is full" in refused.text
    for line in lines:
        line.settimeout(30)
        assert b" 408 " in line.recv(1000)
        line.close()
    assert send(url).status_code == 200


def test_a_request_that_drips_ends_too(url, monkeypatch):  # noqa: F811
    """A byte comes every now and then, always before it counts as silent."""
    for silence in ("SILENCE", "SHORT_SILENCE"):
        monkeypatch.setattr(middleware, silence, 1.0)
    call = b"POST /gradio_api/run/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    lines = connections(url, 2)
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    line, other = lines
    line.sendall(START + b"Content-Length: 900000000\r\n\r\n" + part)
    other.sendall(call + b"Content-Length: 900000\r\n\r\n{")
    began = time.monotonic()
    while lines:
        answered, _, _ = select.select(lines, [], [], 0.3)
        for line in answered:
            assert b" 408 " in line.recv(1000)
            lines.remove(line)
            line.close()
        for line in lines:
            line.sendall(b"-")
        assert time.monotonic() - began < 20


def test_idle_and_slow_connections_are_dropped(url, monkeypatch):  # noqa: F811
    monkeypatch.setattr(server, "UNASKED", 0.5)
    address = ("127.0.0.1", httpx.URL(url).port)
    with socket.create_connection(address) as silent, socket.create_connection(address) as slow:
        silent.settimeout(20)
        slow.settimeout(20)
        assert silent.recv(1) == b""
        began = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT011 (its words are the system's)
            for letter in b"GET / HTTP/1.1\r\nHost: localhost\r\n" * 10:
                slow.sendall(bytes([letter]))
                time.sleep(0.05)
        assert time.monotonic() - began < 10
