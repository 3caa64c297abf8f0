"""What a name on the command line stands for."""

import os

import pytest
from PIL import Image

from ferlib.image_paths import expand, name_of
from ferlib.images import ImageError, read_image


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a.png", "below/c.jfif", "below/deeper/d", "[odd].jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, "PNG")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def names(folder, found) -> list[str]:
    return [os.path.relpath(path, folder) for path in found]


def test_a_folder_is_all_its_pictures(folder):
    everything = ["[odd].jpg", "a.png", "b.jpg", "below/c.jfif", "below/deeper/d"]
    assert names(folder, expand(folder)) == names(folder, expand(str(folder))) == everything


def test_a_pattern_is_the_files_that_match(folder):
    assert names(folder, expand(f"{folder}/*.jpg")) == ["[odd].jpg", "b.jpg"]
    assert names(folder, expand(f"{folder}/**/?")) == ["below/deeper/d"]
    assert names(folder, expand(f"{folder}/*")) == ["[odd].jpg", "a.png", "b.jpg", "notes.txt"]
    assert names(folder, expand(f"{folder}/[odd].jpg")) == ["[odd].jpg"]  # a file that is there is no pattern


def test_a_pattern_below_a_folder_with_brackets(folder, monkeypatch):
    (folder / "below").rename(folder / "album [2020]")
    assert names(folder, expand(f"{folder}/album [2020]/*.jfif")) == ["album [2020]/c.jfif"]
    assert names(folder, expand(f"{folder}/album [[]*/**/?")) == ["album [2020]/deeper/d"]
    monkeypatch.chdir(folder)
    assert expand("album [2020]/*.jfif") == ["album [2020]/c.jfif"] and expand("a.*") == ["a.png"]
    assert expand("/*[x]nowhere") == ["/*[x]nowhere"]


def test_a_folder_that_cannot_be_read_is_named_and_the_others_are_read(folder, closed):
    closed(folder / "below" / "deeper")
    found = expand(folder)
    assert names(folder, found) == ["[odd].jpg", "a.png", "b.jpg", "below/c.jfif", "below/deeper"]
    with pytest.raises(ImageError, match=r"below/deeper is a folder that cannot be read\."):
        read_image(found[-1])
    closed(folder)
    assert expand(folder) == [folder]
    with pytest.raises(ImageError, match=r"is a folder that cannot be read\."):
        read_image(folder)


def test_a_folder_without_pictures_is_named(tmp_path):
    (tmp_path / "table.parquet").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="is a folder without pictures in it"):
        read_image(expand(str(tmp_path))[0])


def test_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert names(folder, expand("~/below")) == ["below/c.jfif", "below/deeper/d"]
    assert names(folder, expand("~/*.png")) == ["a.png"]


def test_what_stands_for_nothing_stays_and_is_complained_about_later(tmp_path):
    for source in (tmp_path, str(tmp_path / "*.jpg"), str(tmp_path / "absent.jpg"), b"bytes", None, 7, "data:,*"):
        assert expand(source) == [source]
    assert name_of("data:image/png;base64,AAAA") == name_of(b"bytes") == "image"
    assert name_of("https://example.org//a.jpg") == "https://example.org//a.jpg"
