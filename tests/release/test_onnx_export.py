"""Exported files against PyTorch, run by onnxruntime: every released model and every architecture of the zoo."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from torch import Tensor, nn

from ferlib.explain import CAMS, METHODS
from ferlib.explain.cam import predict_with_cam
from ferlib.models.base import FaceModel, ModelConfig
from ferlib.models.convcut import ConvCutConfig
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import MODELS, create_model, list_models, load_model, released_models
from ferlib.release.onnx_export import TOLERANCE, export_onnx, largest_difference
from ferlib.synthetic.render import sample_faces

SIDE = 96  # pixels
SPREAD = 1000 * TOLERANCE
SMALL_TRUNK = {"backbone": "test_convnext", "keep_stages": 2}  # a ConvNeXt small enough to be exported in seconds
pytestmark = [pytest.mark.filterwarnings("ignore:batch attention mixes"), pytest.mark.usefixtures("narrow_vgg")]


def small(name: str) -> FaceModel:
    """A model of this name, small enough for a test, untrained but able to tell one image from another.

    Fresh weights give nearly the same logits for every image, and comparing those would say nothing about the layers
    below. So the batch norms get the statistics of some images, and the logits a spread over images far above the
    tolerance. It is not made larger because such a network, Inception v3 above all, also spreads rounding: with logits
    twenty times as far apart, PyTorch in float32 is 7e-4 from PyTorch in float64.
    """
    config = MODELS[name].config
    settings: dict[str, Any] = {}
    if config.input_size > SIDE:
        settings["input_size"] = SIDE
    if isinstance(config, ConvCutConfig):
        settings |= SMALL_TRUNK | ({"keep_stages": 3} if config.cut == "published" else {})
    torch.manual_seed(0)
    model = create_model(name, **settings).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.train().momentum = 1.0
    with torch.no_grad():
        model(blobs(model.config, 8))
        model.classifier.get_parameter("weight").mul_(SPREAD / spread(model.eval()))
    return model


def spread(model: FaceModel) -> Tensor:
    """Standard deviation of a logit over images, each alone: the mean over the classes."""
    with torch.no_grad():
        return torch.cat([model(image) for image in blobs(model.config, 5).split(1)]).std(dim=0).mean()


def blobs(config: ModelConfig, batch: int) -> Tensor:
    """Model inputs (batch, channels, input_size, input_size), as different from each other as photos are."""
    values = torch.randn(batch, config.channels, 4, 4, generator=torch.Generator().manual_seed(3))
    blobs = F.interpolate(values, (config.input_size, config.input_size), mode="bilinear")
    brightest = 1 / min(config.std or (1,))  # of white, as the model sees it
    return blobs * max(1, brightest / 10)


ALWAYS = ("convcut_ferplus", "ivsa", "pattlite_none")  # of every kind one: the others are exported by the slow tests


@pytest.fixture(
    scope="module",
    params=[
        name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted([*list_models(), *released_models()])
    ],
)
def exported(request, tmp_path_factory):
    """A model, its file, alone in a folder, and onnxruntime's session with it."""
    name = request.param
    model = load_model(name) if name in released_models() else small(name)
    path = export_onnx(model, tmp_path_factory.mktemp(name) / "model.onnx")
    yield model, path, onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    path.unlink()  # pytest keeps folders


class Tiny(FaceModel):
    """Exported in half a second. `fault` is what its `forward` does wrong."""

    def __init__(self, fault: str | None = None):
        super().__init__()
        self.config, self.fault = ModelConfig("tiny", ("a", "b"), input_size=8), fault
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.9))
        self.classifier = nn.Linear(4, 2)
        self.stem[1].get_buffer("running_mean").fill_(0.5)

    def forward_features(self, x: Tensor) -> Tensor:
        if self.fault == "raises":
            raise ValueError("no such luck")
        if self.fault == "one batch size":
            x = x.reshape(7, 3, 8, 8)
        return self.stem(x)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        y = features.mean(dim=(2, 3))
        return y if pre_logits else self.classifier(y)


def half_trained(fault: str | None = None) -> Tiny:
    """In training, but for a stem that is frozen and in evaluation mode."""
    model = Tiny(fault).train()
    model.stem.eval().requires_grad_(False)
    return model


def state(model: nn.Module) -> list:
    tensors = [(name, value.tolist()) for name, value in model.state_dict().items()]
    modes = [module.training for module in model.modules()]
    return [tensors, modes, [parameter.requires_grad for parameter in model.parameters()]]


@pytest.mark.parametrize("batch", [1, 5])
def test_logits_and_heat_maps_are_those_of_pytorch(exported, batch):
    model, _, session = exported
    images = blobs(model.config, batch)
    expected, maps = (tensor.numpy() for tensor in predict_with_cam(model, images))
    with torch.inference_mode():
        assert np.abs(model(images).numpy() - expected).max() <= 1e-6
    logits, heat = session.run(["logits", "heatmap"], {"image": images.numpy()})
    assert logits.shape == expected.shape == (batch, len(model.config.classes))
    assert np.abs(logits - expected).max() <= TOLERANCE
    assert heat.shape == maps.shape == (batch, *images.shape[2:])
    with torch.inference_mode():
        positions = model.forward_features(images[:1])[0, 0].numel()
    assert np.abs(heat - maps).max() <= 10 * TOLERANCE
    assert maps.max() == pytest.approx(1 if positions > 1 else 0)  # a single position has no map
    assert spread(model) > 0.9 * SPREAD  # or the agreement says nothing


def test_the_file_is_whole_valid_and_says_how_to_use_it(exported):
    model, path, session = exported
    assert list(path.parent.iterdir()) == [path]
    onnx.checker.check_model(path, full_check=True)
    (image,), (logits, heat) = session.get_inputs(), session.get_outputs()
    config = model.config
    assert (image.name, image.shape) == ("image", ["batch", config.channels, config.input_size, config.input_size])
    assert (logits.name, logits.shape) == ("logits", ["batch", len(config.classes)])
    assert (heat.name, heat.shape) == ("heatmap", ["batch", config.input_size, config.input_size])
    meta = session.get_modelmeta()
    read = {key: json.loads(value) for key, value in meta.custom_metadata_map.items()}
    preprocess = Preprocess.of(config)
    assert read.keys() == {"architecture", "classes", "temperature", "preprocessing", "mixes_batch", "methods"}
    assert read["architecture"] == config.architecture and tuple(read["classes"]) == config.classes
    assert read["temperature"] == config.temperature
    assert read["mixes_batch"] == (config.architecture in ("convcut_batch", "convcut_published", "pattlite_published"))
    assert set(CAMS) < set(read["methods"]) <= set(METHODS)
    assert read["preprocessing"] == json.loads(json.dumps(asdict(preprocess)))
    assert all(f"`{key}`" in meta.description for key in read["preprocessing"])


def test_the_file_says_nothing_of_the_machine_it_was_made_on(exported):
    _, path, _ = exported
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()
    assert b"site-packages" not in path.read_bytes()


@pytest.mark.parametrize("exported", sorted(released_models()), indirect=True)
def test_a_released_file_gives_the_golden_probabilities_by_its_own_metadata(exported, request):
    _, _, session = exported
    golden = load_file(released_models()[request.node.callspec.params["exported"]] / "golden.safetensors")
    meta = session.get_modelmeta().custom_metadata_map
    settings, temperature = json.loads(meta["preprocessing"]), json.loads(meta["temperature"])
    pixels = torch.from_numpy(golden["faces"]).permute(0, 3, 1, 2)
    (logits,) = session.run(["logits"], {"image": Preprocess(**settings)(pixels).contiguous().numpy()})
    probabilities = (torch.from_numpy(logits) / temperature).softmax(dim=1).numpy()
    assert np.abs(probabilities - golden["probabilities"]).max() <= TOLERANCE


def test_a_model_in_training_is_exported_as_in_evaluation_and_stays_in_training(tmp_path):
    model = half_trained()
    before = state(model)
    path = export_onnx(model, tmp_path / "made" / "on the way" / "tiny.onnx")
    faces, _, _ = sample_faces(1)
    assert largest_difference(model, path, faces) <= TOLERANCE
    assert state(model) == before


def test_a_difference_is_found(tmp_path):
    model = half_trained()
    path = export_onnx(model, tmp_path / "tiny.onnx")
    with torch.no_grad():
        model.classifier.bias[1] += 0.25
    for grey in (True, False):
        faces, _, _ = sample_faces(1, grey=grey)
        assert largest_difference(model, path, faces) == pytest.approx(0.25, abs=1e-5)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raises", r"tiny cannot be expressed in ONNX \(no such luck\)$"),
        ("one batch size", "tiny takes batches of one size only"),
    ],
)
def test_a_model_that_cannot_be_exported_leaves_no_trace(tmp_path, fault, message):
    path = tmp_path / "tiny.onnx"
    path.write_text("an older file")
    model = half_trained(fault)
    before = state(model)
    with pytest.raises(RuntimeError, match=message):
        export_onnx(model, path)
    assert state(model) == before
    assert path.read_text() == "an older file" and list(tmp_path.iterdir()) == [path]


def test_paths_that_cannot_be_written_are_refused_before_the_work(tmp_path):
    file = tmp_path / "file"
    file.write_text("not a folder")
    model = half_trained("raises")  # would be another error
    with pytest.raises(OSError, match=r"is a folder; the name of a file is needed"):
        export_onnx(model, tmp_path)
    with pytest.raises(OSError, match=r"tiny\.onnx cannot be written \(.*file"):
        export_onnx(model, file / "tiny.onnx")
    with pytest.raises(OSError, match=r"tiny\.onnx cannot be written \(.*file"):
        export_onnx(model, file / "folder" / "tiny.onnx")
    assert list(tmp_path.iterdir()) == [file]


def test_a_damaged_or_missing_file_is_refused(tmp_path):
    path = export_onnx(Tiny(), tmp_path / "tiny.onnx")
    path.write_bytes(path.read_bytes()[:200])
    faces, _, _ = sample_faces(1)
    for damaged in (path, tmp_path / "absent.onnx"):
        with pytest.raises(ValueError, match=f"{damaged.name} is not a readable ONNX file"):
            largest_difference(Tiny(), damaged, faces)
