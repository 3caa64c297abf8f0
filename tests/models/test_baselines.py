"""VGG, ResNet-18, GoogLeNet and Inception v3: against torchvision's own, at any size, from any weights file."""

import time

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from ferlib.models.backbone import parameter_count
from ferlib.models.baselines import SMALLEST, Baseline, BaselineConfig, dense_as_convolutions, enlarge
from ferlib.models.registry import create_model

NAMES = sorted(SMALLEST)
THOUSAND = tuple(f"class {i}" for i in range(1000))


@pytest.fixture(scope="module", params=NAMES)
def model(request) -> Baseline:
    """Every baseline, random weights, in evaluation mode; built once for all tests of this file."""
    torch.manual_seed(0)
    model = create_model(request.param).eval()
    assert isinstance(model, Baseline)
    return model


def torchvisions(name: str) -> nn.Module:
    """torchvision's network of this name with all its parts and 1000 classes, random weights, in evaluation mode."""
    torch.manual_seed(1)
    if name == "resnet18":
        return torchvision.models.resnet18().eval()
    if name == "vgg16":
        return torchvision.models.vgg16_bn(init_weights=False).eval()
    return getattr(torchvision.models, name)(aux_logits=True, init_weights=False).eval()


def test_published_sizes():
    """With 1000 classes, as torchvision documents them; Inception v3's include its auxiliary classifier."""
    auxiliary = (768 * 128 + 2 * 128) + (25 * 128 * 768 + 2 * 768) + (768 * 1000 + 1000)
    published = {
        "vgg16": 138_365_992,
        "resnet18": 11_689_512,
        "googlenet": 6_624_904,
        "inception_v3": 27_161_264 - auxiliary,
    }
    for name in NAMES:
        with torch.device("meta"):
            model = Baseline(BaselineConfig(name, backbone=name, classes=THOUSAND))
        assert parameter_count(model) == published[name]


@pytest.mark.parametrize("size", [(48, 48), (75, 75), (224, 224), (1, 1), (31, 50)])
def test_any_picture_size(model, size):
    with torch.no_grad():
        features = model.forward_features(torch.randn(2, 3, *size))
        logits = model.forward_head(features)
    assert features.ndim == 4 and features.isfinite().all()
    assert logits.shape == (2, 8) and logits.isfinite().all()
    if size == (224, 224):
        assert features.shape[2:] == ((5, 5) if model.config.backbone == "inception_v3" else (7, 7))


def test_a_batch_of_one_can_be_trained_on(model):
    side = 224 if model.config.backbone == "inception_v3" else 48
    model.train()
    assert model(torch.randn(1, 3, side, side)).isfinite().all()
    if model.config.backbone == "inception_v3":  # a 1 x 1 map of one face has no variance
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            model(torch.randn(1, 3, 48, 48))
    model.eval()


def test_dropout_is_on_in_training_only(model):
    features = torch.rand(2, *model.forward_features(torch.randn(2, 3, 75, 75)).shape[1:])
    with torch.no_grad():
        assert torch.equal(model.forward_head(features), model.forward_head(features))
        model.train()
        same = torch.equal(model.forward_head(features), model.forward_head(features))
        model.eval()
    assert same == (model.config.dropout == 0)


@pytest.mark.parametrize(
    "name", [*(name for name in NAMES if name != "vgg16"), pytest.param("vgg16", marks=pytest.mark.slow)]
)
def test_a_torchvision_file_gives_torchvisions_network(name, tmp_path):
    theirs = torchvisions(name)
    for norm in (module for module in theirs.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.train().momentum = None
    with torch.no_grad():
        theirs(torch.randn(4, 3, 150, 150))  # statistics with which something is left after twenty layers
    theirs.eval()
    path = tmp_path / "weights.safetensors"
    save_file(theirs.state_dict(), path)
    ours = create_model(name, classes=THOUSAND, backbone_weights=path).eval()
    last = theirs.classifier[-1] if name == "vgg16" else theirs.fc
    ours.classifier.load_state_dict(last.state_dict())
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = theirs(x)
        assert expected.std(dim=0).max() > 1e-2
        assert torch.allclose(ours(x), expected, atol=1e-4)
    path.unlink()


def test_weights_are_loaded_strictly_except_for_the_classifier(tmp_path):
    state = torchvisions("resnet18").state_dict()
    save_file(state, tmp_path / "whole.safetensors")
    model = create_model("resnet18", backbone_weights=tmp_path / "whole.safetensors")
    assert all(torch.equal(value, state[key]) for key, value in model.backbone.net.state_dict().items())
    assert model.classifier.weight.shape == (8, 512)
    model.save_pretrained(str(tmp_path))
    again = create_model("resnet18", backbone_weights=tmp_path / "model.safetensors")
    assert all(torch.equal(value, state[key]) for key, value in again.backbone.net.state_dict().items())
    del state["layer1.0.conv1.weight"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(RuntimeError, match=r"lacks 1 of .* layer1.0.conv1.weight"):
        create_model("resnet18", backbone_weights=tmp_path / "part.safetensors")
    for other in ("googlenet", "inception_v3"):
        with pytest.raises(RuntimeError, match="lacks"):
            create_model(other, backbone_weights=tmp_path / "whole.safetensors")


@pytest.mark.parametrize("name", ["resnet18", "inception_v3"])
def test_pretrained_weights_fail_quickly_offline(name):
    start = time.perf_counter()
    with pytest.raises(RuntimeError, match=r"could not be downloaded.*backbone_weights=.*pretrained=False"):
        create_model(name, pretrained=True)
    assert time.perf_counter() - start < 5


def test_googlenet_has_no_weights_on_the_hub():
    with pytest.raises(RuntimeError, match=r"no ImageNet weights of GoogLeNet.*backbone_weights=.*pretrained=False"):
        create_model("googlenet", pretrained=True)


def test_vggs_dense_layers_become_convolutions():
    dense = nn.Linear(3 * 49, 5)
    hidden = nn.Linear(5, 4)
    state = {"features.0.weight": torch.ones(1)}
    state |= {f"classifier.0.{key}": value for key, value in dense.state_dict().items()}
    state |= {f"classifier.3.{key}": value for key, value in hidden.state_dict().items()}
    ours = dense_as_convolutions(state)
    assert set(ours) == {"features.0.weight"} | {f"pre_logits.fc{i}.{p}" for i in (1, 2) for p in ("weight", "bias")}
    x = torch.randn(2, 3, 7, 7)
    y = nn.functional.conv2d(x, ours["pre_logits.fc1.weight"], ours["pre_logits.fc1.bias"])
    y = nn.functional.conv2d(y, ours["pre_logits.fc2.weight"], ours["pre_logits.fc2.bias"])
    assert torch.allclose(y.flatten(1), hidden(dense(x.flatten(1))), atol=1e-5)


def test_small_pictures_are_enlarged_in_proportion():
    x = torch.rand(2, 3, 4, 6)
    assert enlarge(x, 4) is x
    out = enlarge(x, 10)
    assert out.shape == (2, 3, 10, 15)
    for i, j in ((0, 0), (3, 7), (5, 9), (9, 14)):  # bilinear by hand; pixels have their values at their centres
        row, column = (min(max((k + 0.5) * 0.4 - 0.5, 0), n - 1) for k, n in ((i, 4), (j, 6)))
        top, left = int(row), int(column)
        down, right = min(top + 1, 3), min(left + 1, 5)
        a, b = row - top, column - left
        upper = (1 - b) * x[..., top, left] + b * x[..., top, right]
        lower = (1 - b) * x[..., down, left] + b * x[..., down, right]
        assert torch.allclose(out[..., i, j], (1 - a) * upper + a * lower, atol=1e-6)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="backbone must be one of"):
        create_model("resnet18", backbone="alexnet")
    with pytest.raises(ValueError, match="three channels"):
        create_model("vgg16", grey=True, mean=(0.5,), std=(0.5,))
