"""Downloads, for real: from a server on this machine and from a git repository in a folder."""

import subprocess
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tqdm.auto import tqdm
from trees import write_facial_expressions

from ferlib import cli
from ferlib.data.dataset import DataError
from ferlib.data.download import download, download_dataset
from ferlib.data.fer2013 import ROWS, VOTE_COLUMNS
from ferlib.data.registry import load_dataset

HEADER = ",".join(["Usage", "Image name", *VOTE_COLUMNS])
CLOSED = "http://127.0.0.1:9"  # nobody listens


class QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


class HalfAFile(BaseHTTPRequestHandler):
    """Promises a thousand bytes and hangs up after six."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"Usage,")

    log_message = QuietFiles.log_message


class NoAnswer(QuietFiles):
    def do_GET(self):
        time.sleep(2)


@pytest.fixture
def serve():
    """Starts a server with a handler, returns its address; all are stopped at the end."""
    servers = []

    def start(handler) -> str:
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def site(serve, tmp_path):
    """A folder served over HTTP, and its address."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder, serve(partial(QuietFiles, directory=folder))


@pytest.fixture
def repository(tmp_path):
    """A git repository of the form of muxspace/facial_expressions, as a file:// address."""
    folder = tmp_path / "repository"
    write_facial_expressions(folder, [(f"A_B_{i:04d}.jpg", "neutral") for i in range(3)])
    commit(folder)
    return f"file://{folder}"


def commit(folder) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "-m", "faces"]):
        subprocess.run(["git", "-C", folder, *command], check=True, timeout=60)


def write_votes(folder, rows: int = ROWS) -> None:
    (folder / "fer2013new.csv").write_text(HEADER + "\n" + "Training,,10,0,0,0,0,0,0,0,0,0\n" * rows)


def files_below(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- facial_expressions, by git ---


def test_clone(repository, tmp_path, capfd):
    root = tmp_path / "data"
    command = ["data", "get", "facial_expressions", "--root", str(root), "--from", repository]
    assert cli.main(command) == 0
    output, progress = capfd.readouterr()
    assert f"facial_expressions is now in {root / 'facial_expressions'}" in output
    assert "100%" in progress
    assert len(load_dataset("facial_expressions", root)) == 3
    assert [path.name for path in root.iterdir()] == ["facial_expressions"]
    assert cli.main([*command[:-1], "file:///nowhere"]) == 0  # nothing is asked for a second time
    assert "already there, complete" in capfd.readouterr().out


@pytest.mark.parametrize("address", ["file:///nowhere", CLOSED + "/repository"])
def test_clone_of_nothing(tmp_path, address):
    with pytest.raises(
        DataError, match=r"git could not clone file:///nowhere|127.* cannot be reached; is this machine"
    ):
        download_dataset("facial_expressions", tmp_path, address)
    assert not any(tmp_path.iterdir())


def test_clone_of_something_else(tmp_path):
    other = tmp_path / "other"
    (other / "images").mkdir(parents=True)
    (other / "images" / "A_1.jpg").write_bytes(b"")
    commit(other)
    with pytest.raises(DataError, match=r"no data/legend\.csv"):
        download_dataset("facial_expressions", tmp_path / "data", f"file://{other}")
    assert not any((tmp_path / "data").iterdir())


def test_clone_does_not_overwrite(repository, tmp_path):
    mine = tmp_path / "facial_expressions" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(DataError, match="is there but is not the whole data set; move it away"):
        download_dataset("facial_expressions", tmp_path, repository)
    assert mine.read_text() == "mine"


# --- FERPlus's votes, by HTTP ---


def test_votes_beside_fer2013(site, tmp_path, capsys):
    folder, address = site
    write_votes(folder)
    fer2013 = tmp_path / "data" / "fer2013"
    fer2013.mkdir(parents=True)
    (fer2013 / "fer2013.csv").write_text("")
    command = ["data", "get", "ferplus", "--root", str(tmp_path / "data"), "--from", f"{address}/fer2013new.csv"]
    assert cli.main(command) == 0
    output, progress = capsys.readouterr()
    assert f"ferplus is now in {fer2013}" in output
    assert "fer2013new.csv: 100%" in progress
    assert (fer2013 / "fer2013new.csv").read_bytes() == (folder / "fer2013new.csv").read_bytes()
    assert files_below(fer2013) == {"fer2013.csv", "fer2013new.csv"}
    assert cli.main(command) == 0
    assert "already there" in capsys.readouterr().out


def test_no_progress_is_no_broken_download(site, tmp_path, monkeypatch):
    """With TQDM_DISABLE=1 in the environment no bar counts anything."""
    monkeypatch.setattr("ferlib.data.download.tqdm", partial(tqdm, disable=True))
    folder, address = site
    (folder / "votes.csv").write_text(HEADER)
    download(f"{address}/votes.csv", tmp_path / "here.csv")
    assert (tmp_path / "here.csv").read_text() == HEADER


def test_votes_go_where_fer2013_is_whatever_its_folder_is_called(site, tmp_path):
    folder, address = site
    write_votes(folder)
    (tmp_path / "FER2013").mkdir()
    (tmp_path / "FER2013" / "FER2013.csv").write_text("")
    assert download_dataset("ferplus", tmp_path, f"{address}/fer2013new.csv") == tmp_path / "FER2013"
    assert (tmp_path / "FER2013" / "fer2013new.csv").is_file() and not (tmp_path / "fer2013").exists()


def test_votes_without_fer2013_say_what_is_left_to_do(site, tmp_path):
    folder, address = site
    write_votes(folder)
    for _ in range(2):  # the second time without a download
        with pytest.raises(DataError, match=r"labels are in .*fer2013new\.csv, its pictures are FER2013's .* Kaggle"):
            download_dataset("ferplus", tmp_path / "data", f"{address}/fer2013new.csv")
        (folder / "fer2013new.csv").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not FERPlus's table"),
        ("<html>Sign in</html>", "is not FERPlus's table: the columns .* are missing"),
        (f"{HEADER}\n", "0 rows instead of 35,887"),
    ],
    ids=["empty", "a page", "no rows"],
)
def test_something_else_than_votes(site, tmp_path, text, message):
    folder, address = site
    (folder / "fer2013new.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        download_dataset("ferplus", tmp_path / "data", f"{address}/fer2013new.csv")
    assert not files_below(tmp_path / "data")


@pytest.mark.parametrize("way", ["missing", "half", "silent", "closed"])
def test_no_download(site, serve, tmp_path, monkeypatch, way):
    monkeypatch.setattr("ferlib.data.download.TIMEOUT", 0.5)
    address, message = {
        "missing": (site[1], "the server says 404"),
        "half": (serve(HalfAFile), r"broke off after 6 of 1,000 bytes"),
        "silent": (serve(NoAnswer), r"cannot be reached; is this machine online\? \(timed out\)"),
        "closed": (CLOSED, "cannot be reached; is this machine online"),
    }[way]
    with pytest.raises(DataError, match=message):
        download_dataset("ferplus", tmp_path / "data", f"{address}/fer2013new.csv")
    assert not files_below(tmp_path / "data")


# --- sets that need a licence, and the list ---


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("fer2013", "Kaggle"),
        ("rafdb", "by e-mail from a university's address"),
        ("ckplus", "Jeffrey Cohn's laboratory"),
    ],
)
def test_sets_with_a_licence(tmp_path, capsys, name, where):
    assert cli.main(["data", "get", name, "--root", str(tmp_path)]) == 1
    output, complaint = capsys.readouterr()
    assert not output
    assert complaint.startswith(f"ferlib: {name} needs a licence and cannot be downloaded for you. To get it: ")
    assert where in complaint and f"{name}/" in complaint and str(tmp_path) in complaint
    assert complaint.count("\n") == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["synthetic", "folder", "imagenet"])
def test_nothing_to_get(name):
    with pytest.raises(DataError, match=f"'{name}'; sets to get are fer2013, ferplus, rafdb"):
        download_dataset(name)


def test_list(tmp_path, capsys):
    write_facial_expressions(tmp_path / "facial_expressions", [("A_1.jpg", "fear")])
    assert cli.main(["data", "--root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    assert names == ["fer2013", "ferplus", "rafdb", "ckplus", "facial_expressions", "folder", "synthetic"]
    assert all(line[20] == " " and line[21] != " " for line in lines)
    assert f"found in {tmp_path / 'facial_expressions'}" in lines[4]
    assert "not found; to get it: " in lines[2]
