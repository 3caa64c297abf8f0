"""Where the page is served, and the command that does it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from test_app import folder, photos, service  # noqa: F401 - fixtures

import app
from ferlib import cli
from ferlib.app.page import build_app
from ferlib.app.server import launch


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


# --- where it is served ---


@pytest.mark.parametrize(("host", "shown"), [("::1", "[::1]"), ("[::1]", "[::1]"), ("localhost", "localhost")])
def test_it_is_served_at_any_kind_of_address(host, shown, service, folder, monkeypatch):  # noqa: F811
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
def test_a_proxy_serves_it_below_a_path(root, stripped, service, folder, photos, monkeypatch):  # noqa: F811
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


def test_sites_that_are_named_may_show_it_within_theirs(service, folder, monkeypatch):  # noqa: F811
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
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


def test_a_port_in_use_is_one_sentence(capsys, keep_signals):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert cli.main(["app", "--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert f"port {port}: Address already in use; try another --port\n" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--port", "70000"], "; try another --port\n"),
        (["--host", "192.0.2.1"], "; try another --host\n"),
        (["--host", "nosuch.invalid"], "; try another --host\n"),
        (["--model", "no/such-model"], "no model 'no/such-model'"),
        (["--model", "/nowhere"], "no model '/nowhere'"),
        (["--model", "nosuch"], "no model 'nosuch'"),
    ],
)
def test_what_cannot_work_is_one_sentence(arguments, hint, capsys, keep_signals):
    port = [] if "--port" in arguments else ["--port", "0"]
    assert cli.main(["app", *arguments, *port]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("ferlib: ") and said.err.count("\n") == 1 and "Open" not in said.out
    assert hint in said.err


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
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGHUP], ids=["Ctrl-C", "the terminal is closed"])
def test_the_command_serves_talks_to_nobody_and_cleans_up(tmp_path, photos, ending):  # noqa: F811
    """From start to end, with every address written down that the process connects to or asks for."""
    spy = (
        "import sys; sys.addaudithook(lambda event, args: event in ('socket.connect', 'socket.getaddrinfo') and "
        "print('HOST', args[1][0] if event == 'socket.connect' else args[0], flush=True)); "
        "import app; sys.exit(app.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", spy, "--port", str(free_port())]
    proxy = "http://192.0.2.1:9"  # nobody is there; the page must not ask for itself by it
    environment = {**os.environ, "TMPDIR": str(tmp_path), "HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    begins = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)}  # also where tests run by nohup
    server = subprocess.Popen(command, cwd=Path(app.__file__).parent, env=environment, **pipes, **begins)
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
        assert [path.name for path in tmp_path.iterdir()] == [folder.name]  # Gradio's own folders are in it
        server.send_signal(ending)
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
