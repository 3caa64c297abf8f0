"""The frozen-feature cache."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from ferlib.data.dataset import FaceDataset
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import create_model
from ferlib.training.batch_sources import uses_cache
from ferlib.training.features import FeatureCache
from ferlib.utils import cache


@pytest.fixture
def faces(synthetic_faces, tmp_path, monkeypatch):
    monkeypatch.setenv("FERLIB_CACHE", str(tmp_path))
    return synthetic_faces.subset(range(10))


def small(**settings):
    torch.manual_seed(0)
    settings = {"backbone": "tf_efficientnet_lite0", "input_size": 64, "grey": True} | settings
    return create_model("convcut_none", **settings).eval()


def test_holds_both_views_to_half_precision(faces):
    model = small()
    features = FeatureCache.build(model, faces, batch_size=4)
    assert features.maps.dtype == torch.float16 and len(features) == 10
    rows = torch.tensor([7, 0, 7])
    x = Preprocess.of(model.config)(faces.pixels)
    with torch.inference_mode():
        plain, mirrored = model.forward_features(x), model.forward_features(x.flip(-1))
    found = features.read(rows, torch.tensor([0, 0, 1]))
    assert torch.allclose(found, torch.stack([plain[7], plain[0], mirrored[7]]), rtol=2**-10, atol=1e-3)


def test_is_built_once_and_keyed_by_content(faces, monkeypatch):
    path = FeatureCache.build(small(), faces).path
    written = path.stat().st_mtime_ns
    assert FeatureCache.build(small(width=32), faces).path == path  # another head: the same features
    assert path.stat().st_mtime_ns == written
    both = FeatureCache.build(small(two_depths=True), faces)  # the same weights
    assert both.path != path and both.maps.shape[2] > FeatureCache(path).maps.shape[2]
    assert FeatureCache.build(small(input_size=96), faces).path != path
    assert FeatureCache.build(small(), faces.subset(range(9))).path != path
    other = small()
    with torch.no_grad():
        next(other.backbone.parameters()).add_(1e-3)
    assert FeatureCache.build(other, faces).path != path
    padded = small(backbone="efficientnet_lite0")  # the same parameters, another way to pad
    padded.backbone.load_state_dict(small().backbone.state_dict())
    assert FeatureCache.build(padded, faces).path != path


def test_faces_that_are_cropped_at_random_are_not_read_from_it():
    """`augmentation` crops at random where a model sees the middle of a face, with a flip too."""
    whole, middle = small().config, small(downscale_to=72, centre_crop=True).config
    assert uses_cache(whole, "flip") and uses_cache(whole, "none") and uses_cache(middle, "none")
    assert not uses_cache(middle, "flip")


def test_on_a_device_it_reads_the_same(faces):
    features = FeatureCache.build(small(), faces)
    rows, flips = torch.tensor([3, 9, 3]), torch.tensor([1, 0, 0])
    moved = features.to(torch.device("cpu"))
    assert torch.equal(moved.read(rows, flips), features.read(rows, flips)) and moved.path == features.path


def test_the_size_is_said_before_it_is_built(faces, capsys):
    FeatureCache.build(small(), faces)
    assert "computing the features of 10 faces of synthetic: 0 MB" in capsys.readouterr().out
    FeatureCache.build(small(), faces)
    assert capsys.readouterr().out == ""


def test_an_interrupted_build_leaves_nothing_behind(faces, monkeypatch):
    model = small()
    calls = []

    def fail_at_third(x):
        calls.append(len(x))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return type(model).forward_features(model, x)

    monkeypatch.setattr(model, "forward_features", fail_at_third, raising=False)
    with pytest.raises(KeyboardInterrupt):
        FeatureCache.build(model, faces, batch_size=4)
    assert not list((cache.cache_dir() / "features").iterdir())


def test_of_two_that_want_the_same_cache_one_builds_it(faces, monkeypatch):
    calls, forward = [], type(small()).forward_features

    def counted(model, x):
        calls.append(len(x))
        return forward(model, x)

    monkeypatch.setattr(type(small()), "forward_features", counted)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda model: FeatureCache.build(model, faces, batch_size=4), (small(), small()))
    assert first.path == second.path and torch.equal(first.maps, second.maps)
    assert sum(calls) == 2 * len(faces) + 2 * 2  # each face and its mirror image once; one face by both, for the shape
    model = small()
    with torch.inference_mode():
        expected = forward(model, Preprocess.of(model.config)(faces.pixels))
    found = first.read(torch.arange(10), torch.zeros(10, dtype=torch.int64))
    assert torch.allclose(found, expected, rtol=2**-10, atol=1e-3)


def test_data_of_another_name_take_the_same_cache(faces):
    renamed = FaceDataset("faces_with_other_labels", faces.classes, faces.frame, faces.pixels)
    assert FeatureCache.build(small(), renamed).path == FeatureCache.build(small(), faces).path


def test_a_damaged_file_is_built_again(faces):
    model = small()
    whole = FeatureCache.build(model, faces)
    values = whole.maps.clone()
    for content in (b"", whole.path.read_bytes()[:-1000]):
        whole.path.unlink()
        whole.path.write_bytes(content)
        assert torch.equal(FeatureCache.build(model, faces).maps, values)


def test_a_full_disk_is_seen_before_anything_is_written(faces, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"the feature cache needs .* GB, but .* GB free"):
        FeatureCache.build(small(), faces)
    assert not list((cache.cache_dir() / "features").iterdir())
