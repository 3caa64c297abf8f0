"""Data sets that do not fit memory: the same faces and the same training, read from a file as they are asked for."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from ferlib.data import image_files
from ferlib.data.dataset import FaceDataset
from ferlib.data.duplicates import duplicate_report, find_flaws
from ferlib.data.folder import load_folder
from ferlib.data.stored_pixels import StoredPixels, blocks
from ferlib.errors import UserError
from ferlib.evaluation.evaluate import evaluate
from ferlib.images import ImageError, read_image
from ferlib.models.registry import create_model
from ferlib.training.features import FeatureCache
from ferlib.training.loop import fit
from ferlib.training.recipes import Recipe

ARRAY = np.random.default_rng(0).integers(256, size=(50, 3, 6, 5), dtype=np.uint8)


@pytest.fixture
def stored(tmp_path):
    np.save(tmp_path / "pixels.npy", ARRAY)
    return StoredPixels(tmp_path / "pixels.npy")


@pytest.fixture
def photos(tmp_path):
    """60 synthetic photos of two classes, 40 of them twice in the folder."""
    rng = np.random.default_rng(0)
    for name in ("happiness", "anger"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(30):
            noise = rng.integers(256, size=(12, 12, 3), dtype=np.uint8)
            face = np.kron(noise, np.ones((4, 4, 1), np.uint8)) // (1 + (name == "anger"))
            for copy in "ab" if number < 20 else "a":
                Image.fromarray(face).save(tmp_path / "photos" / name / f"{number}{copy}.png")
    return tmp_path / "photos"


@pytest.fixture
def both(photos, tmp_path, monkeypatch):
    """The same folder in memory and in a file."""
    monkeypatch.setenv("FERLIB_CACHE", str(tmp_path / "cache"))
    whole = load_folder(photos, 32)
    monkeypatch.setattr(image_files, "MOST_IN_MEMORY", 1000)
    lazy = load_folder(photos, 32)
    assert isinstance(whole.pixels, torch.Tensor) and isinstance(lazy.pixels, StoredPixels)
    return whole, lazy


@pytest.mark.parametrize(
    "index",
    [
        7,
        -1,
        slice(3, 9),
        slice(None),
        slice(0, 0),
        slice(None, None, 7),
        [4, 5, 6, 2, 2, 49, 0],
        torch.tensor([9, 8, 7]),
        np.arange(50) % 3 == 0,
    ],
)
def test_indexing_is_a_tensors(stored, index):
    expected = torch.from_numpy(ARRAY)[index]
    found = stored[index]
    assert found.dtype == torch.uint8 and torch.equal(found, expected)
    part = stored.subset(np.array([40, 3, 4, 5, 41]))
    assert part.shape == (5, 3, 6, 5) and torch.equal(part[1:4], torch.from_numpy(ARRAY[3:6]))


def test_blocks_are_all_of_it(stored, monkeypatch):
    monkeypatch.setattr("ferlib.data.stored_pixels.BLOCK", 8)
    assert [len(block) for block in blocks(stored)] == [8] * 6 + [2]
    assert torch.equal(torch.cat(list(blocks(stored))), torch.from_numpy(ARRAY))


def test_damaged_files_are_refused(stored):
    whole = stored.path.read_bytes()
    for text in (whole[:-1], whole[:20], b"", b"nonsense" * 20):
        stored.path.write_bytes(text)
        with pytest.raises((ValueError, OSError), match=r"cut short|magic|EOF|not an array|reading"):
            StoredPixels(stored.path)
    stored.path.write_bytes(whole[:-1])
    with pytest.raises(OSError, match="cut short"):
        stored[:]


def test_a_split_reads_nothing(both, monkeypatch):
    whole, lazy = both
    monkeypatch.setattr(StoredPixels, "_read", None)
    for split in ("train", "validation", "test"):
        assert len(lazy.split(split)) == len(whole.split(split))
    assert repr(lazy) == repr(whole).replace("notes: 1", "notes: 2")  # one more: where the pixels are read from
    assert isinstance(lazy.of_classes(["anger"]).pixels, StoredPixels)


def test_the_same_faces_flaws_and_figures(both):
    whole, lazy = both
    assert torch.equal(lazy.pixels[:], whole.pixels) and lazy.frame.equals(whole.frame)
    told = f"the pixels, 0.0 GB, are read from {lazy.pixels.path}"
    assert [note for note in lazy.notes if note not in whole.notes] == [told]
    assert torch.equal(lazy[5][0], whole[5][0]) and lazy[5][1] == whole[5][1]
    assert duplicate_report(lazy, near=True) == duplicate_report(whole, near=True)
    assert duplicate_report(lazy).repeated == 40 and find_flaws(lazy).equals(find_flaws(whole))
    model = create_model("linear_probe", backbone="test_convnext", input_size=32, classes=whole.classes, keep_stages=2)
    assert evaluate(model, lazy, clean=True) == evaluate(model, whole, clean=True)
    assert FeatureCache.build(model, lazy).path == FeatureCache.build(model, whole).path  # one cache for both


@pytest.mark.parametrize("freeze", [True, False])
def test_training_is_the_same(both, tmp_path, freeze):
    histories = []
    for name, data in zip(("whole", "lazy"), both, strict=True):
        torch.manual_seed(0)
        settings = {"backbone": "test_convnext", "input_size": 32, "keep_stages": 2, "freeze_backbone": freeze}
        model = create_model("linear_probe", classes=data.classes, **settings)
        history = fit(model, data, Recipe(model.config, epochs=2, batch_size=8), tmp_path / name)
        histories.append(history.drop(columns=["seconds", "train_seconds"]))
    assert histories[0].equals(histories[1])


def test_pictures_are_decoded_once(both, photos, monkeypatch):
    _, lazy = both
    read = []
    monkeypatch.setattr(image_files, "read_image", lambda path: read.append(path))
    assert torch.equal(load_folder(photos, 32).pixels[:], lazy.pixels[:]) and not read


def test_broken_pictures_are_named_and_may_be_left_out(both, photos):
    _, lazy = both
    (photos / "anger" / "5a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"5a\.png cannot be used"):
        load_folder(photos, 32)
    with pytest.raises(UserError, match=r"5a\.png cannot be used"):  # also when the others are in the cache
        load_folder(photos, 32)
    data = load_folder(photos, 32, skip_broken=True)
    kept = lazy.frame["file"] != "anger/5a.png"
    assert any("5a.png" in note for note in data.notes) and len(data) == len(lazy) - 1
    assert torch.equal(data.pixels[:], lazy.pixels[:][torch.tensor(kept.to_numpy())])


def test_a_picture_that_can_be_read_by_now_is_back(both, photos, monkeypatch):
    """Its file is as it was: the right to read it was missing, or a package for its format."""
    _, lazy = both
    pixels = lazy.pixels[:]
    lazy.pixels.path.unlink()

    def refusing(path):
        if path == photos / "anger" / "5a.png":
            raise ImageError("No permission to read it.")
        return read_image(path)

    with monkeypatch.context() as patch:
        patch.setattr(image_files, "read_image", refusing)
        for _ in range(2):
            assert len(load_folder(photos, 32, skip_broken=True)) == len(lazy) - 1
    again = load_folder(photos, 32)
    assert again.notes == lazy.notes and again.frame.equals(lazy.frame) and torch.equal(again.pixels[:], pixels)


def test_a_link_into_a_closed_folder_is_one_broken_picture(both, photos, barred):
    _, lazy = both
    (photos / "anger" / "link.png").symlink_to("nowhere")
    barred(photos / "anger" / "link.png")
    with pytest.raises(UserError, match=r"link\.png cannot be used: No permission"):
        load_folder(photos, 32)
    assert len(load_folder(photos, 32, skip_broken=True)) == len(lazy)


def test_a_file_that_is_lost_or_cut_is_made_again(both, photos):
    _, lazy = both
    pixels = lazy.pixels[:]
    lazy.pixels.path.write_bytes(lazy.pixels.path.read_bytes()[:-1])
    assert torch.equal(load_folder(photos, 32).pixels[:], pixels)
    lazy.pixels.path.unlink()
    assert torch.equal(load_folder(photos, 32).pixels[:], pixels)


def test_too_small_a_disk_is_said_before_the_work(both, photos, monkeypatch):
    _, lazy = both
    lazy.pixels.path.unlink()
    monkeypatch.setattr(image_files.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(OSError, match=r"the pictures need .* GB"):
        load_folder(photos, 32)
    assert not list(lazy.pixels.path.parent.glob("*.partial"))


def test_a_subset_of_a_tensor_stays_one(both):
    whole, _ = both
    assert isinstance(whole.subset([0, 1]).pixels, torch.Tensor) and isinstance(whole, FaceDataset)


def test_of_several_processes_one_decodes(photos, tmp_path):
    """As under `accelerate launch`, where each of eight would else write a file of its own."""
    code = (
        "import sys; from pathlib import Path; from ferlib.data import image_files; from ferlib.data.folder import "
        "load_folder; image_files.MOST_IN_MEMORY = 1000; read = image_files.read_image; seen = []; "
        "image_files.read_image = lambda path: (seen.append(path), read(path))[1]; "
        "data = load_folder(Path(sys.argv[1]), 32); print(len(seen), int(data.pixels[:].sum()))"
    )
    environment = os.environ | {"FERLIB_CACHE": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(photos)]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=120)[0].split() for process in running]
    assert sorted(int(read) for read, _ in answers) == [0, 100] and answers[0][1] == answers[1][1]
