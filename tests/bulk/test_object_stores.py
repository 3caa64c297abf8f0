"""Photos, lists and tables at addresses that fsspec reaches; what is read there is read by worker processes."""

import io
import os
import re
import resource
import signal
import subprocess
import sys
import uuid
import zipfile
from dataclasses import replace
from pathlib import Path

import fsspec
import pyarrow.parquet
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from photo_folder import make_photos, rows_of

from ferlib.bulk.job import Counts, Job, Shard
from ferlib.bulk.manifest import begin
from ferlib.bulk.photos import photos_of, write_list
from ferlib.bulk.run import predict_table
from ferlib.bulk.storage import is_address, local_path, open_store
from ferlib.bulk.table import part_name
from ferlib.errors import MissingPackage, UserError


@pytest.fixture(scope="module")
def photos(tmp_path_factory, portrait, astronaut) -> Path:
    return make_photos(tmp_path_factory.mktemp("bulk") / "photos", portrait, astronaut) / "b" / "c"


@pytest.fixture
def bucket() -> str:
    """An empty place in the memory of this process, which behaves as an object store does."""
    return f"memory://{uuid.uuid4().hex}"


def faces(table: list[dict]) -> list[dict]:
    """Rows without the photos' names."""
    return [{name: value for name, value in row.items() if name != "image"} for row in table]


def test_photos_in_an_archive_are_read_by_workers(photos, tmp_path):
    """And the table goes to an address, of files."""
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(photos.iterdir()):
            file.write(path, f"in/{path.name}")
        file.writestr("in/zz.jpg", "no picture")
        for name in ("in/notes.txt", "in/._zz.jpg", "in/.thumbnails/a.jpg"):
            file.writestr(name, "not read")
    predict_table(photos, tmp_path / "plain", workers=1)
    summary = predict_table(f"zip://in::file://{archive}", f"file://{tmp_path}/t", workers=2, shard_size=3)
    assert summary.photos == 7 and summary.errors == 1
    *rows, bad = rows_of(tmp_path / "t")
    assert faces(rows) == faces(rows_of(tmp_path / "plain"))
    assert rows[0]["image"].startswith("zip://in/") and rows[0]["image"].endswith(f"::file://{archive}")
    assert "not a picture" in bad["error"] and bad["image"].startswith("zip://in/zz.jpg")


def test_a_table_in_an_object_store(photos, bucket, tmp_path):
    """Begun, taken up, refused, and the same as in a folder. Its memory is this process's, which does the shards."""
    job = Job(f"{bucket}/t", 4, "convcut_ferplus")
    manifest = begin(job, [str(photos)])
    job = Job(job.out, 4, job.model, digest=manifest.digest)
    assert begin(job, [str(photos)]) == manifest
    for number in range(manifest.shards):
        job(Shard(number))
    store = open_store(job.out)
    assert {part_name(0), part_name(1), "_manifest.json", "_photos.parquet"} == store.names()
    assert predict_table(photos, job.out, shard_size=4).before == 6  # nothing is left for a worker
    predict_table(photos, tmp_path / "plain", workers=1, shard_size=4)
    for number in range(2):
        with store.open(part_name(number)) as part:
            assert part.read() == (tmp_path / "plain" / part_name(number)).read_bytes()
    with pytest.raises(UserError, match="begun with other inputs"):
        begin(job, [str(photos.parent)])


def test_a_part_that_fails_is_not_there(bucket):
    store = open_store(bucket)
    with pytest.raises(KeyError), store.write("part") as file:
        file.write(b"half")
        raise KeyError
    assert not store.names()
    with store.write("part") as file:
        file.write(b"whole")
    assert store.names() == {"part"}


HALF = """
import resource, signal, sys
from ferlib.bulk.storage import open_store
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which ends the process
with open_store(sys.argv[1]).write("part-000000.parquet") as file:
    file.write(bytes(100_000))
    file.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
"""


def test_a_run_killed_while_it_sends_a_part_is_taken_up(photos, tmp_path):
    """To a place that is no object store: half a part is no part, and the next run removes it."""
    out, plain = f"local://{tmp_path}/t", tmp_path / "plain"
    begin(Job(out, 500, "convcut_ferplus"), [str(photos)])
    killed = subprocess.run([sys.executable, "-c", HALF, out])
    (left,) = {path for path in (tmp_path / "t").iterdir() if path.name not in ("_photos.parquet", "_manifest.json")}
    assert killed.returncode == -signal.SIGXFSZ and 0 < left.stat().st_size <= 50_000
    assert left.name.startswith("_part-000000.parquet.") and left.name.endswith(".partial")
    assert predict_table(photos, out, workers=1).before == 0
    predict_table(photos, plain, workers=1)
    for name in open_store(str(plain)).names():
        assert (tmp_path / "t" / name).read_bytes() == (plain / name).read_bytes()
    assert not left.exists() and len(list((tmp_path / "t").iterdir())) == 3


@pytest.mark.parametrize("name", ["part-000000.parquet", "_photos.parquet", "_manifest.json"])
def test_a_disk_that_is_full_leaves_what_was_there(tmp_path, name):
    store, most = open_store(f"local://{tmp_path}/t"), resource.getrlimit(resource.RLIMIT_FSIZE)
    with store.write(name) as file:
        file.write(b"whole")
    try:
        with pytest.raises(OSError, match="too large"), store.write(name) as file:
            file.write(bytes(100_000))
            file.flush()
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, most[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert store.names() == {name} and store.open(name).read() == b"whole"


class Hesitant(LocalFileSystem):
    """As many a server: a move does not replace what is there."""

    protocol = "hesitant"

    def mv(self, path1, path2, **settings):
        if self.exists(path2):
            raise FileExistsError(path2)
        super().mv(path1, path2, **settings)


def test_a_part_replaces_another_where_a_move_does_not(tmp_path):
    fsspec.register_implementation("hesitant", Hesitant, clobber=True)
    store = open_store(f"hesitant://{tmp_path}")
    for content in (b"one", b"two"):
        with store.write("part") as file:
            file.write(content)
        assert store.names() == {"part"} and store.open("part").read() == content


def test_a_part_that_another_run_made_and_tidied_up_stays(tmp_path, monkeypatch):
    store, other = open_store(f"local://{tmp_path}"), open_store(f"local://{tmp_path}")
    move = LocalFileSystem.mv

    def later(*args, **settings):
        monkeypatch.setattr(LocalFileSystem, "mv", move)
        with other.write("part") as file:
            file.write(b"whole")
        other.remove_partial()
        move(*args, **settings)

    monkeypatch.setattr(LocalFileSystem, "mv", later)
    with store.write("part") as file:
        file.write(b"whole")
    assert store.names() == {"part"} and store.open("part").read() == b"whole"


@pytest.mark.parametrize("scheme", ["file", "File", "FILE"])
def test_an_address_of_a_file_is_a_path(tmp_path, scheme):
    assert not is_address(f"{scheme}://{tmp_path}") and local_path(f"{scheme}://{tmp_path}/a") == f"{tmp_path}/a"
    assert is_address(f"zip://in::{scheme}://{tmp_path}/a.zip") and is_address(f"local://{tmp_path}")
    with open_store(f"{scheme}://{tmp_path}/t").write("part") as file:
        file.write(b"whole")
    assert (tmp_path / "t" / "part").read_bytes() == b"whole"


def test_lists_in_an_object_store_and_what_is_not_there(photos, bucket, tmp_path):
    first = str(next(iter(sorted(photos.iterdir()))))
    system = fsspec.filesystem("memory")
    system.put(first, f"{bucket}/a.jpg")
    system.pipe(f"{bucket}/list.txt", f"{bucket}/a.jpg\n{bucket}/absent.jpg\n{first}\n".encode())
    column = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"path": [f"{bucket}/a.jpg"]}), column)
    system.pipe(f"{bucket}/list.parquet", column.getvalue())
    names = [f"{bucket}/a.jpg", f"{bucket}/absent.jpg", first]
    assert list(photos_of(f"{bucket}/list.txt")) == [name.encode() for name in names]
    assert list(photos_of(f"{bucket}/list.parquet")) == [names[0].encode()]
    assert list(photos_of(bucket)) == [names[0].encode()] == list(photos_of(names[0]))
    with pytest.raises(UserError, match="there is no folder, list or photo"):
        list(photos_of(f"{bucket}/nowhere"))
    with pytest.raises(UserError, match="cannot be reached"):
        list(photos_of("nosuchstore://bucket"))
    job = Job(str(tmp_path / "t"), 4, "convcut_ferplus")
    job = Job(job.out, 4, job.model, digest=begin(job, [f"{bucket}/list.txt"]).digest)
    job(Shard(0))
    one, absent, other = rows_of(tmp_path / "t")
    assert one["label"] == other["label"] and one["label"]
    assert absent["image"] == names[1] and absent["error"].startswith(f"{names[1]} cannot be fetched")


class Web(AbstractFileSystem):
    """As the web's: a path is a whole address."""

    protocol = "web"

    @classmethod
    def _strip_protocol(cls, path):
        return path

    def isdir(self, path):
        return True

    def find(self, path, **settings):
        return [f"{path}{name}" for name in ("._a.jpg", "a.jpg", "below/b.png", "index.html")]


class Server(MemoryFileSystem):
    """As that of ftp, or of a repository: a path leaves out the host, or what stands in its place."""

    protocol = "server"

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(re.sub("^server://[^/]*", "", path))


@pytest.mark.parametrize("end", ["", "/"])
def test_photos_in_a_folder_are_named_so_that_they_are_found_again(bucket, tmp_path, end):
    for system in (Web, Server):
        fsspec.register_implementation(system.protocol, system, clobber=True)
    folder = f"server://me:word@host:21/{bucket.removeprefix('memory://')}"
    for name in ("a.jpg", "below/b.jpg", ".c/d.jpg"):
        Server().pipe(f"{folder}/{name}", name.encode())
    names = [os.fsdecode(name) for name in photos_of(folder + end)]
    assert names == [f"{folder}/a.jpg", f"{folder}/below/b.jpg"]
    assert [fsspec.open(name).open().read() for name in names] == [b"a.jpg", b"below/b.jpg"]
    assert list(photos_of("web://host/p/")) == [b"web://host/p/a.jpg", b"web://host/p/below/b.png"]
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        file.writestr("in/a.jpg", "a")
    for address in (f"zip://::file://{tmp_path}/photos.zip", f"zip::file://{tmp_path}/photos.zip"):
        assert list(photos_of(address)) == [f"zip://in/a.jpg::file://{tmp_path}/photos.zip".encode()]
    cached = [os.fsdecode(name) for name in photos_of(f"simplecache::{folder}{end}")]
    assert [fsspec.open(name).open().read() for name in cached] == [b"a.jpg", b"below/b.jpg"]


def test_without_fsspec_it_says_so(photos, monkeypatch, tmp_path):
    monkeypatch.setattr("ferlib.utils.packages.find_spec", lambda name: None if name == "fsspec" else sys)
    with pytest.raises(MissingPackage, match=r"s3:// needs fsspec, not installed: pip install 'ferlib\[bulk\]'"):
        predict_table("s3://bucket/photos", tmp_path / "t")


def test_a_store_that_does_not_answer_makes_no_part(bucket, monkeypatch, tmp_path):
    """A photo that is gone has a row; one of a store that is down has none while no other of its shard comes."""
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"memory://nowhere/{name}.jpg\n" for name in "abcd"))
    job = Job(f"{bucket}/t", 2, "convcut_ferplus")
    job = replace(job, digest=begin(job, [str(listed)]).digest)

    def fetched(address: str) -> bytes:
        raise FileNotFoundError(address) if address.endswith("a.jpg") else ConnectionError("no route to host")

    with monkeypatch.context() as patch:
        patch.setattr("ferlib.bulk.job._fetched", fetched)
        assert job(Shard(0)) == Counts(2, 0, 2, 2) and job(Shard(1)) == Counts(away=2)
    assert open_store(job.out).names() >= {part_name(0)} and part_name(1) not in open_store(job.out).names()
    assert job(Shard(1)) == Counts(2, 0, 2, 2)  # it answers: they are not there


def test_a_store_that_goes_down_within_a_shard_makes_no_part(bucket, monkeypatch, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"memory://nowhere/{name}.jpg\n" for name in "abcd"))
    job = Job(f"{bucket}/t", 4, "convcut_ferplus", detection=False)
    job = replace(job, digest=begin(job, [str(listed)]).digest)
    asked = []

    def fetched(address: str) -> bytes:
        asked.append(address)
        if len(asked) > 2:
            raise ConnectionError("no route to host")
        return b"no picture"

    with monkeypatch.context() as patch:
        patch.setattr("ferlib.bulk.job._fetched", fetched)
        assert job(Shard(0)) == Counts(away=4)
    assert part_name(0) not in open_store(job.out).names()


def test_a_package_that_is_missing_ends_a_run_over_addresses(tmp_path, monkeypatch):
    listed = tmp_path / "list.txt"
    listed.write_text("http://127.0.0.1:9/a.jpg\n")

    def missing(address: str) -> bytes:
        raise MissingPackage("http:// needs aiohttp")

    monkeypatch.setattr("ferlib.bulk.job._fetched", missing)
    job = Job(str(tmp_path / "t"), 2, "convcut_ferplus")
    job = replace(job, digest=begin(job, [str(listed)]).digest)
    with pytest.raises(MissingPackage):
        job(Shard(0))
    assert part_name(0) not in open_store(job.out).names()


def test_of_two_runs_that_begin_together_one_is_refused(photos, tmp_path, monkeypatch):
    job = Job(str(tmp_path / "t"), 4, "convcut_ferplus")
    other = Job(str(tmp_path / "t"), 3, "ivsa_fer2013")

    def slowly(*arguments):
        write_list(*arguments)
        with monkeypatch.context() as patch:
            patch.setattr("ferlib.bulk.manifest.write_list", write_list)
            begin(job, [str(photos)])  # meanwhile

    monkeypatch.setattr("ferlib.bulk.manifest.write_list", slowly)
    with pytest.raises(UserError, match="begun with other inputs"):
        begin(other, [str(photos)])
    monkeypatch.undo()
    assert begin(job, [str(photos)]).shard_size == 4
    listing = open_store(job.out)
    with listing.open("_photos.parquet") as file:
        assert pyarrow.parquet.ParquetFile(file).metadata.num_row_groups == 2  # the list of the first run stays
