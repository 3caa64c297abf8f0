"""What is found in a folder: links, odd suffixes, files without one, and what is passed over is counted."""

import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from trees import write_picture

from ferlib import images
from ferlib.image_paths import expand
from ferlib.images import ImageError, read_image
from ferlib.utils.files import find_path, search_pictures, skipped_note


def names(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_links_to_folders_and_files_are_followed(tmp_path):
    write_picture(tmp_path / "disk" / "happy" / "a.png")
    root = tmp_path / "root"
    (root / "sad").mkdir(parents=True)
    (root / "happy").symlink_to(tmp_path / "disk" / "happy")
    (root / "sad" / "b.png").symlink_to(tmp_path / "disk" / "happy" / "a.png")
    found = search_pictures(root)
    assert names(found.pictures, root) == ["happy/a.png", "sad/b.png"] and not found.skipped


def test_links_in_a_circle_end(tmp_path):
    write_picture(tmp_path / "happy" / "a.png")
    (tmp_path / "happy" / "up").symlink_to(tmp_path)
    (tmp_path / "happy" / "same").symlink_to(".")
    (tmp_path / "itself").symlink_to("itself")
    found = search_pictures(tmp_path)
    assert names(found.pictures, tmp_path) == ["happy/a.png"]
    assert Counter(kind for _, kind in found.skipped) == {"link back to a folder above": 2, "link to nothing": 1}


@pytest.mark.parametrize("shut", ["closed", "barred"])  # barred: as if it was closed a moment after it was found
def test_a_folder_that_cannot_be_read_is_counted(tmp_path, shut, request):
    write_picture(tmp_path / "a" / "1.png")
    write_picture(tmp_path / "b" / "2.png")
    request.getfixturevalue(shut)(tmp_path / "b")
    found = search_pictures(tmp_path)
    assert names(found.pictures, tmp_path) == ["a/1.png"]
    assert found.skipped == [(tmp_path / "b", "folder that cannot be read")]


def test_a_search_begins_in_a_folder_that_can_be_read(tmp_path, closed):
    closed(tmp_path)
    with pytest.raises(OSError, match="may not"):
        search_pictures(tmp_path)


def test_links_into_a_closed_folder_cost_no_other_picture(tmp_path, barred):
    write_picture(tmp_path / "a" / "1.png")
    write_picture(tmp_path / "z.png")
    for name in ("folder", "text.txt", "picture.png"):
        (tmp_path / name).symlink_to("nowhere")
        barred(tmp_path / name)
    found = search_pictures(tmp_path)
    assert names(found.pictures, tmp_path) == ["a/1.png", "picture.png", "z.png"]
    assert found.skipped == [(tmp_path / name, "link to nothing") for name in ("folder", "text.txt")]
    assert expand(tmp_path) == list(map(str, found.pictures))
    with pytest.raises(ImageError, match="No permission"):
        read_image(found.pictures[1])


def test_a_folder_that_two_links_lead_to_is_read_twice(tmp_path):
    write_picture(tmp_path / "disk" / "a.png")
    for name in ("happy", "joy"):
        (tmp_path / "root").mkdir(exist_ok=True)
        (tmp_path / "root" / name).symlink_to(tmp_path / "disk")
    assert names(search_pictures(tmp_path / "root").pictures, tmp_path / "root") == ["happy/a.png", "joy/a.png"]


def test_every_suffix_of_a_format_that_can_be_read_is_known():
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in images._FORMATS}
    assert {".jfif", ".pgm", ".avif"} <= known <= set(images.SUFFIXES)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM"])
def test_a_picture_needs_no_suffix(tmp_path, kind):
    Image.new("RGB", (40, 40), "grey").save(tmp_path / "photo", kind)
    (path,) = search_pictures(tmp_path).pictures
    assert read_image(path).shape == (40, 40, 3)


def test_a_picture_may_have_a_suffix_of_no_known_kind(tmp_path):
    """As browsers and people name them; what is known as another kind or as an older copy is not opened."""
    odd = ["2020.01.02 party", "b.jpg_large", "c.jpg?w=200"]
    for name in (*odd, "d.nef", "e.jpg_original", "f.jpg~", "g.txt"):
        Image.new("RGB", (40, 40), "grey").save(tmp_path / name, "JPEG")
    (tmp_path / "h.jpg_large").write_text("text")
    found = search_pictures(tmp_path)
    assert names(found.pictures, tmp_path) == odd and len(found.skipped) == 5
    assert expand(tmp_path) == [str(tmp_path / name) for name in odd]


@pytest.mark.parametrize(
    "content", [b"", b"P5 is not a picture here", b"BMW is a car", b"RIFF1234WAVEfmt ", b"\xff\xd8\xff"]
)
def test_other_files_without_a_suffix_are_counted(tmp_path, content):
    (tmp_path / "notes").write_bytes(content)
    found = search_pictures(tmp_path)
    assert not found.pictures and skipped_note(found.skipped) == ["files that are not read: 1 without a suffix"]


def test_what_is_passed_over_is_counted_by_kind(tmp_path):
    for name in ("a.txt", "b.TXT", ".DS_Store", "c.mov"):
        (tmp_path / name).write_text("")
    write_picture(tmp_path / ".thumbnails" / "a.png")
    assert skipped_note(search_pictures(tmp_path).skipped) == ["files that are not read: 2 hidden, 2 .txt, 1 .mov"]
    assert skipped_note([]) == []


def test_a_picture_that_is_none_is_left_to_the_reader(tmp_path):
    """A broken link, a pipe, a text: they are called pictures, so whoever reads them complains, and nothing hangs."""
    (tmp_path / "a.png").symlink_to("nowhere")
    (tmp_path / "b.jpg").write_text("text")
    os.mkfifo(tmp_path / "c.jpg")
    os.mkfifo(tmp_path / "pipe")
    assert names(search_pictures(tmp_path).pictures, tmp_path) == ["a.png", "b.jpg", "c.jpg"]


def test_a_path_in_any_case(tmp_path):
    write_picture(tmp_path / "Image" / "Aligned" / "a.png")
    assert find_path(tmp_path, "image/aligned/A.PNG") == tmp_path / "Image" / "Aligned" / "a.png"
    assert find_path(tmp_path, "image/other") is None and find_path(tmp_path, "Image/Aligned/a.png/b") is None
    (tmp_path / "image").mkdir()
    assert find_path(tmp_path, "image") == tmp_path / "image"  # as it is written goes first
