"""What a client sent is opened, and nothing else."""

import io
import os
import time

import pytest
from PIL import Image

from ferlib.app.uploads import Uploads, picture_type, pixels_of
from ferlib.images import MAX_PIXELS, ImageError


@pytest.fixture
def uploads(tmp_path):
    folder = tmp_path / "uploads"
    (folder / "abc").mkdir(parents=True)
    (folder / "abc" / "photo.jpg").write_bytes(b"sent")
    (tmp_path / "secret.jpg").write_bytes(b"not sent")
    return Uploads(folder)


def test_an_upload_is_opened(uploads):
    with uploads.sent({"path": str(uploads.folder / "abc" / "photo.jpg")}).open() as file:
        assert file.read() == b"sent"


def test_an_upload_is_opened_where_the_folder_itself_is_a_link(uploads, tmp_path):
    (tmp_path / "link").symlink_to(uploads.folder)
    linked = Uploads(tmp_path / "link")
    with linked.sent({"path": str(tmp_path / "link" / "abc" / "photo.jpg")}).open() as file:
        assert file.read() == b"sent"


@pytest.mark.parametrize(
    "path",
    ["../secret.jpg", "abc/../../secret.jpg", "link.jpg", "folder/secret.jpg", "pipe", "abc", "", ".", "nothing",
     "a\0b", "x" * 5000, "\ud800"],
)  # fmt: skip
def test_nothing_else_is(uploads, tmp_path, path):
    (uploads.folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (uploads.folder / "folder").symlink_to(tmp_path)
    os.mkfifo(uploads.folder / "pipe")
    for named in (f"{uploads.folder}/{path}", path or "/"):
        with pytest.raises(ImageError, match="is not among the pictures sent to this page") as refused:
            uploads.sent({"path": named}).open()
        assert str(tmp_path) not in str(refused.value) and len(str(refused.value)) < 250


def test_a_file_beside_a_folder_of_the_same_beginning_is_not_in_it(uploads, tmp_path):
    other = tmp_path / "uploads-of-others"
    other.mkdir()
    (other / "photo.jpg").write_bytes(b"not sent")
    with pytest.raises(ImageError):
        uploads.sent({"path": str(other / "photo.jpg")}).open()


def test_no_picture(uploads):
    assert uploads.sent(None) is None and uploads.sent({"path": None, "url": None}) is None


def test_pictures_by_their_header():
    def packed(kind: str) -> io.BytesIO:
        file = io.BytesIO()
        Image.new("RGB", (20, 10)).save(file, kind)
        file.seek(0)
        return file

    assert [picture_type(packed(kind)) for kind in ("JPEG", "PNG", "WEBP", "TIFF")] == [
        "image/jpeg", "image/png", "image/webp", None
    ]  # fmt: skip
    assert picture_type(io.BytesIO(b"<html>")) is None
    file = packed("TIFF")
    assert pixels_of(file) == 200 and file.tell() == 0
    assert pixels_of(io.BytesIO(b"what is this")) == MAX_PIXELS and pixels_of(None) == 0
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 10\n%%EndComments\n"
    assert pixels_of(io.BytesIO(eps)) == MAX_PIXELS  # Pillow would read it, ferlib does not


def test_uploads_that_have_not_ended_take_room_too(tmp_path):
    uploads = Uploads(tmp_path, max_bytes=100, max_files=4)
    assert [uploads.admit(90), uploads.admit(90)] == [True, False]
    uploads._counted = -100.0  # so that it looks into the folder, where nothing of the first is yet
    assert not uploads.admit(90)
    uploads.ended(90)
    assert [uploads.admit(10, 3), uploads.admit(0, 2), uploads.admit(0, 1)] == [True, False, True]  # nothing came of it


def test_nothing_is_deleted_for_an_upload_that_cannot_have_room(tmp_path, monkeypatch):
    monkeypatch.setattr("ferlib.app.uploads.NEEDED", -1)  # seconds: what lies there may go
    (tmp_path / "picture.jpg").write_bytes(b"x" * 50)
    uploads = Uploads(tmp_path, max_bytes=100)
    assert not uploads.admit(101) and (tmp_path / "picture.jpg").exists()
    assert uploads.admit(60) and not (tmp_path / "picture.jpg").exists()


@pytest.mark.parametrize("head", [b"P6 %d %d 254\n", b"P3 %d %d 255\n"], ids=["odd maximum", "plain text"])
def test_a_large_picture_that_python_decodes_is_refused(head):
    """Pillow takes seconds for a megapixel of these, and no other photo is read meanwhile."""
    assert pixels_of(io.BytesIO(head % (500, 500) + bytes(9))) == 250_000
    with pytest.raises(ImageError, match="takes long to read"):
        pixels_of(io.BytesIO(head % (2000, 2000) + bytes(9)))
    assert pixels_of(io.BytesIO(b"P6 2000 2000 255\n")) == 4_000_000


def test_a_large_packed_bitmap_is_refused():
    packed = io.BytesIO()
    Image.new("P", (1200, 1200)).save(packed, "BMP")
    data = bytearray(packed.getvalue())
    assert pixels_of(io.BytesIO(data)) == 1_440_000
    data[30] = 1  # compression: runs of equal pixels
    with pytest.raises(ImageError, match="takes long to read"):
        pixels_of(io.BytesIO(data))


def test_files_that_wait_for_their_turn_stay(uploads):
    path = uploads.folder / "abc" / "photo.jpg"
    before = path.stat().st_ctime_ns
    time.sleep(0.02)
    uploads.stay([{"path": str(path)}, {"path": str(uploads.folder / "gone.jpg")}, {}])
    assert path.stat().st_ctime_ns > before and path.read_bytes() == b"sent"
