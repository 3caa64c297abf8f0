"""Fixtures shared by all tests. Tests run offline, on the CPU, and keep their files to themselves."""

import atexit
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# before anything imports the hub's client or onnxruntime, or asks for the cache
os.environ["HF_HUB_OFFLINE"] = os.environ["ORT_DISABLE_TELEMETRY"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: with several threads each they stall one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["FERLIB_CACHE"] = tempfile.mkdtemp(prefix="ferlib-tests-")

import numpy as np
import pytest
import torch

from ferlib.data.dataset import FaceDataset
from ferlib.data.synthetic import load_synthetic

atexit.register(shutil.rmtree, os.environ["FERLIB_CACHE"], ignore_errors=True)


@pytest.fixture(autouse=True)
def same_draw() -> None:
    """Models that a test makes start from the same random weights in every run."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real data sets; tests that use it carry the mark `data`."""
    root = os.environ.get("FERLIB_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("the real data sets are not here: $FERLIB_DATA is not set")
    return Path(root)


@pytest.fixture(autouse=True)
def skipped_without_data(request: pytest.FixtureRequest) -> None:
    """A test that carries the mark `data` is skipped where there is none, also one that forgot to ask for it."""
    if request.node.get_closest_marker("data"):
        request.getfixturevalue("data_root")


@pytest.fixture(scope="session")
def synthetic_faces() -> FaceDataset:
    """420 synthetic faces of seven expressions, 48x48 grey, split by person."""
    return load_synthetic(60)


@pytest.fixture
def few_faces(synthetic_faces: FaceDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data set "synthetic" is `synthetic_faces`, not 1,400 that are drawn anew for every command."""
    monkeypatch.setattr("ferlib.data.registry.load_synthetic", lambda: synthetic_faces)


@pytest.fixture(scope="module")
def narrow_vgg() -> Iterator[None]:
    """While a file's tests run, VGG's first dense layer has 64 channels in place of 4,096.

    It is nine tenths of the network's 134 M parameters, and of the time of a test; the layers are the same.
    """
    import timm

    create = timm.create_model

    def narrow(name: str, **settings: Any) -> torch.nn.Module:
        return create(name, **(settings | ({"mlp_ratio": 1 / 64} if name == "vgg16_bn" else {})))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", narrow)
        yield


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """Grace Hopper, public domain, (600, 512, 3) uint8; her face, frontal, is some 200 pixels wide."""
    import matplotlib.cbook

    from ferlib.images import read_image

    return read_image(Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """Eileen Collins, public domain, (512, 512, 3) uint8; her face, frontal, is some 100 pixels wide."""
    import skimage.data

    return skimage.data.astronaut()


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a folder one that may not be read, for whoever runs the tests: a superuser may read all."""
    folders: set[str] = set()
    scandir, access = os.scandir, os.access

    def refusing(path: str | os.PathLike = ".") -> Iterator[os.DirEntry]:
        if os.fspath(path) in folders:
            raise PermissionError(errno.EACCES, "you may not", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    monkeypatch.setattr(os, "access", lambda path, *rest: os.fspath(path) not in folders and access(path, *rest))
    return lambda folder: folders.add(os.fspath(folder))


@pytest.fixture
def barred(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a link one into a folder that may not be entered, for whoever runs the tests."""
    links: set[str | bytes | int] = set()
    stat = os.stat

    def refusing(path: str | bytes | os.PathLike | int, **how: Any) -> os.stat_result:
        if how.get("follow_symlinks", True) and (path if isinstance(path, int) else os.fspath(path)) in links:
            raise PermissionError(errno.EACCES, "you may not", path)
        return stat(path, **how)

    monkeypatch.setattr(os, "stat", refusing)
    return lambda link: links.add(os.fspath(link))
