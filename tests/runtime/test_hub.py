"""Files of a hub, from its cache or a server; the client's answers are played, as nothing can be downloaded here."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

from ferlib.runtime.hub import hub_folder

FILES, OPTIONAL = ["config.json"], ["model.onnx", "conformal.json"]


@pytest.fixture
def mirror(monkeypatch):
    """A server that has nothing at its top, as a company's mirror."""

    class Nothing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(404)

        def log_message(self, *arguments) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("ferlib.runtime.hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("ferlib.runtime.hub.constants.HF_HUB_OFFLINE", False)
    yield
    server.shutdown()
    server.server_close()


def test_a_mirror_without_a_front_page_is_asked(mirror, tmp_path, monkeypatch):
    def snapshot(repo: str, local_files_only: bool = False, **_) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        return str(tmp_path)

    monkeypatch.setattr("ferlib.runtime.hub.snapshot_download", snapshot)
    assert hub_folder("a/b", FILES, OPTIONAL) == tmp_path


def test_what_another_program_left_out_is_fetched_if_it_can_be(mirror, tmp_path, monkeypatch):
    (tmp_path / "config.json").touch()
    asked = []

    def snapshot(repo: str, local_files_only: bool = False, **_) -> str:
        asked.append(local_files_only)
        if not local_files_only and len(asked) < 3:
            raise TimeoutError("the client's own")
        return str(tmp_path)

    monkeypatch.setattr("ferlib.runtime.hub.snapshot_download", snapshot)
    assert hub_folder("a/b", FILES, OPTIONAL) == tmp_path and asked == [True, False]  # what is there does
    (tmp_path / "model.onnx").touch()
    assert hub_folder("a/b", FILES, OPTIONAL) == tmp_path and asked == [True, False, True]


def test_a_cache_that_is_known_to_lack_the_optional_ones_does_offline(tmp_path, monkeypatch):
    monkeypatch.setattr("ferlib.runtime.hub.constants.HF_HUB_OFFLINE", True)

    def snapshot(repo: str, local_files_only: bool = False, **_) -> str:
        raise IncompleteSnapshotError("model.onnx is missing", snapshot_path=str(tmp_path))

    monkeypatch.setattr("ferlib.runtime.hub.snapshot_download", snapshot)
    with pytest.raises(OSError, match="HF_HUB_OFFLINE is set"):
        hub_folder("a/b", FILES, OPTIONAL)
    for name in FILES:
        (tmp_path / name).touch()
    assert hub_folder("a/b", FILES, OPTIONAL) == tmp_path


def test_any_failure_of_the_client_is_a_sentence(mirror, monkeypatch):
    class ReadTimeout(Exception):
        """Of the client below the hub's: no OSError."""

    def snapshot(repo: str, local_files_only: bool = False, **_) -> str:
        raise LocalEntryNotFoundError("not in the cache") if local_files_only else ReadTimeout()

    monkeypatch.setattr("ferlib.runtime.hub.snapshot_download", snapshot)
    with pytest.raises(OSError, match="ReadTimeout"):
        hub_folder("a/b", FILES)
