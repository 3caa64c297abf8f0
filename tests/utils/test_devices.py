"""One place decides where models run, and what is done with a model is done where it is: on a fake device."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from fake_device import FAKE, FarTensor, fake_device

from ferlib.cli import main
from ferlib.evaluation.audit import audit
from ferlib.evaluation.evaluate import evaluate, predict_dataset
from ferlib.experiments.prediction_logger import BATCHINGS, PredictionLogger
from ferlib.explain.embed import extract_features
from ferlib.explain.faithfulness import deletion_curve, insertion_curve, randomised, road
from ferlib.explain.methods import explain, methods_of
from ferlib.models.base import FaceModel, to_device
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import create_model
from ferlib.release import calibration
from ferlib.training import loop
from ferlib.training.distillation import distillation_targets
from ferlib.training.features import FeatureCache
from ferlib.training.recipes import RECIPES
from ferlib.utils.devices import choose_device, device_of

SMALL: dict[str, Any] = {"backbone": "test_convnext", "keep_stages": 2, "width": 16, "input_size": 64, "grey": True}


@pytest.fixture
def faces(synthetic_faces, tmp_path, monkeypatch):
    monkeypatch.setenv("FERLIB_CACHE", str(tmp_path / "cache"))
    return synthetic_faces


def network(faces, name: str = "convcut_none", **settings: Any) -> FaceModel:
    torch.manual_seed(0)
    return create_model(name, classes=faces.classes, **(SMALL | settings))


def test_the_accelerator_is_chosen_where_there_is_one(monkeypatch):
    accelerator: list[torch.device | None] = [None]
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: accelerator[0])
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert choose_device() == choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="there is no cuda here; there is only the CPU"):
        choose_device("cuda")
    accelerator[0] = torch.device("cuda")
    assert choose_device() == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cpu") == torch.device("cpu") and choose_device("cuda:1") == torch.device("cuda:1")
    for name, message in (("mps", "no mps here; there is cuda"), ("cuda:2", "there are 2"), ("gpu", "is no device")):
        with pytest.raises(ValueError, match=message):
            choose_device(name)


def test_the_fake_device_is_as_strict_as_a_real_one(monkeypatch):
    here = torch.ones(3)
    with fake_device(monkeypatch) as device:
        there = here.to(device)
        assert isinstance(there, FarTensor) and there.device == FAKE and (there + 1).cpu().sum() == 6
        with pytest.raises(RuntimeError, match="same device"):
            here + there
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()


def test_a_cache_is_built_where_the_model_is_and_leaves_it_as_it_was(faces, monkeypatch):
    model, part = network(faces).train(), faces.subset(range(10))
    expected = FeatureCache.build(model, part)
    assert model.training and model.detail.training and not model.backbone.training
    values = expected.maps.clone()
    expected.path.unlink()
    with fake_device(monkeypatch) as device:
        to_device(model, device)
        cache = FeatureCache.build(model, part)
        assert device_of(model) == device and model.training
        assert torch.equal(cache.maps, values)


@pytest.mark.filterwarnings("ignore:batch attention mixes")
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", ["convcut_none", "convcut_batch"])
def test_watching_leaves_the_model_where_it_is_trained(faces, tmp_path, monkeypatch, name, cached):
    """And sees there what it sees on the CPU, in the second epoch too."""
    model = network(faces, name)
    here = [PredictionLogger(faces, tmp_path / "here", BATCHINGS[:2], cached=cached)(model) for _ in range(2)]
    with fake_device(monkeypatch) as device:
        to_device(model, device)
        logger = PredictionLogger(faces, tmp_path / "there", BATCHINGS[:2], cached=cached)
        there = []
        for _ in range(2):
            there.append(logger(model))
            assert {value.device for value in model.state_dict().values()} == {device}
            model.train()(torch.zeros(2, 3, 64, 64, device=device)).sum().backward()  # the next step works
    assert there == here


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
def test_a_watched_training_runs_on_the_device(faces, tmp_path, monkeypatch):
    """As `ferlib reproduce` trains: it failed at the second epoch."""
    recipe = RECIPES["convcut"].override(SMALL | {"classes": faces.classes, "epochs": 2, "attention": "none"})
    logger = PredictionLogger(faces, tmp_path / "seen", BATCHINGS[:1])
    seen = []

    def observe(model: FaceModel) -> dict[str, float]:
        seen.append(logger(model))
        assert {value.device for value in model.state_dict().values()} == {FAKE}
        return seen[-1]

    class OnFake(loop.Accelerator):
        """Accelerate knows real devices only."""

        device = FAKE

        def __init__(self, cpu: bool, **options):
            assert not cpu  # one function decides for the loop too
            super().__init__(cpu=True, **options)

        def reduce(self, tensor, reduction):
            return tensor

    monkeypatch.setattr(loop, "Accelerator", OnFake)
    monkeypatch.setattr(torch, "autocast", lambda *_, **options: nullcontext())  # for real devices only
    monkeypatch.setattr(loop.RunFolder, "save_last", lambda *_: None)  # safetensors reads memory, and finds none
    monkeypatch.setattr(
        loop.RunFolder, "save_best", lambda self, model, _: on_cpu(model).save_pretrained(str(self.best))
    )
    model = network(faces)
    with fake_device(monkeypatch):
        history = loop.fit(model, faces, recipe, tmp_path / "run", observe=observe)
    assert len(history) == len(seen) == 2 and history["train_loss"].is_monotonic_decreasing


def on_cpu(model: FaceModel) -> FaceModel:
    copied = type(model)(model.config)
    copied.load_state_dict({name: value.cpu() for name, value in model.state_dict().items()})
    return copied.to("cpu")


def test_evaluation_audit_and_embedding_run_where_the_model_is(faces, monkeypatch):
    model = network(faces, input_size=40, downscale_to=48, centre_crop=True, flip_tta=True).eval()
    part = faces.split("test")
    expected = evaluate(model, faces), audit(model, faces, batch_sizes=(4,)), extract_features(model, part.pixels)
    crops = predict_dataset(model, part, ten_crop=True)
    with fake_device(monkeypatch) as device:
        to_device(model, device)
        found = evaluate(model, faces), audit(model, faces, batch_sizes=(4,)), extract_features(model, part.pixels)
        assert predict_dataset(model, part, ten_crop=True) == pytest.approx(crops, abs=1e-5)
        assert device_of(model) == device
    assert found[0]["confusion"] == expected[0]["confusion"] and found[1].verdict == expected[1].verdict
    assert all(np.allclose(*pair, atol=1e-5) for pair in zip(found[2], expected[2], strict=True))


def test_explanations_and_what_judges_them_run_where_the_model_is(faces, monkeypatch):
    model = network(faces, "convcut", detail_layers=1).eval()
    preprocess, pixels, targets = Preprocess.of(model.config), faces.pixels[:3], torch.tensor([1, 2, 3])
    small, x = preprocess.scale(pixels), preprocess(pixels)
    maps = {method: explain(model, x, method, targets) for method in methods_of(model)}
    heat = torch.rand(3, *small.shape[-2:], generator=torch.Generator().manual_seed(0))
    judges = (deletion_curve, insertion_curve, road)
    scores = [judge(model, small, heat, targets) for judge in judges]
    random = randomised(model, "all", small).state_dict()
    with fake_device(monkeypatch) as device:
        to_device(model, device)
        for method, expected in maps.items():
            for near, far in zip(expected, explain(model, x, method, targets), strict=True):
                assert far.device == device and (far.cpu() - near).abs().max() < 1e-3, method
        for judge, near in zip(judges, scores, strict=True):
            assert torch.allclose(judge(model, small, heat, targets), near, atol=1e-5)
        copied = randomised(model, "all", small)
        assert device_of(copied) == device_of(model) == device
        assert all(torch.allclose(value.cpu(), random[name]) for name, value in copied.state_dict().items())


@pytest.mark.usefixtures("few_faces")
def test_teachers_and_what_the_commands_load_go_to_the_device(faces, tmp_path, monkeypatch, capsys):
    network(faces).save_pretrained(str(tmp_path / "model"))
    part, used = faces.split("validation"), []
    expected = distillation_targets(part.labels(), part, tmp_path / "model", 0.5)
    temperature, *_ = calibration.calibrate(tmp_path / "model", faces)
    forward = FaceModel.forward
    monkeypatch.setattr(FaceModel, "forward", lambda self, x: used.append(x.device) or forward(self, x))
    with fake_device(monkeypatch):
        assert torch.allclose(distillation_targets(part.labels(), part, tmp_path / "model", 0.5), expected, atol=1e-5)
        assert calibration.calibrate(tmp_path / "model", faces)[0] == pytest.approx(temperature, rel=1e-2)
        assert main(["evaluate", str(tmp_path / "model"), "--data", "synthetic"]) == 0
    assert set(used) == {FAKE}
    calibration.calibrate(tmp_path / "model", faces, device="cpu")
    assert used[-1] == torch.device("cpu")
    assert main(["evaluate", str(tmp_path / "model"), "--data", "synthetic", "--device", "cuda:7"]) == 1
    assert "there is no cuda:7 here" in capsys.readouterr().err
