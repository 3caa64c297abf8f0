"""Which mean and std a model is fed with: those its backbone was pretrained with, in numbers, wherever they stand."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from ferlib.errors import RunError
from ferlib.models.base import IMAGENET_MEAN, IMAGENET_STD
from ferlib.models.convcut import ConvCutConfig
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import MODELS, create_model, load_model, released_models

HALF = (0.5, 0.5, 0.5)
LITE0 = {"backbone": "tf_efficientnet_lite0", "input_size": 64}


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "mobilenetv1_100", "convnext_nano", "resnet18"])
def test_a_backbone_is_fed_as_its_weights_in_timm_were_trained(backbone):
    with torch.device("meta"):
        config = create_model("linear_probe", backbone=backbone).config
        source = timm.create_model(backbone).pretrained_cfg
    assert (config.mean, config.std) == (source["mean"], source["std"])
    assert config.mean == (HALF if backbone in ("tf_efficientnet_lite0", "mobilenetv1_100") else IMAGENET_MEAN)


@pytest.mark.parametrize("name", MODELS)
def test_every_built_model_has_numbers(name):
    with torch.device("meta"):
        config = create_model(name).config
    assert len(config.mean) == len(config.std) == config.channels
    if name in ("googlenet", "inception_v3"):  # TensorFlow's
        assert (config.mean, config.std) == (HALF, HALF)


def test_given_numbers_stay_and_all_are_saved(tmp_path):
    given = create_model("linear_probe", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), **LITE0)
    assert (given.config.mean, given.config.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    create_model("linear_probe", **LITE0).save_pretrained(str(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["mean"] == [0.5, 0.5, 0.5]
    assert load_model(tmp_path).config.std == HALF


@pytest.mark.parametrize("name", sorted(released_models()))
def test_released_models_keep_what_they_were_trained_with(name):
    folder = released_models()[name]
    saved = json.loads((folder / "config.json").read_text())
    config = load_model(name).config
    assert [config.mean, config.std] == [tuple(saved["mean"]), tuple(saved["std"])]


def test_a_weights_file_says_how_it_was_trained(tmp_path):
    model = create_model("linear_probe", **LITE0)
    state = {key.removeprefix("net.model."): value for key, value in model.backbone.state_dict().items()}
    path = tmp_path / "noted.safetensors"
    save_file(state, path, {"mean": "[0.485, 0.458, 0.408]", "std": "[0.004, 0.004, 0.004]"})
    config = create_model("linear_probe", backbone_weights=path, **LITE0).config
    assert (config.mean, config.std) == ((0.485, 0.458, 0.408), (0.004, 0.004, 0.004))
    assert create_model("linear_probe", backbone_weights=path, mean=HALF, std=HALF, **LITE0).config.mean == HALF
    save_file(state, path)
    assert create_model("linear_probe", backbone_weights=path, **LITE0).config.mean == HALF
    save_file(state, path, {"mean": "[1, 2", "std": "[1]"})
    with pytest.raises(RuntimeError, match="are no lists of numbers"):
        create_model("linear_probe", backbone_weights=path, **LITE0)


def test_a_backbone_that_comes_from_a_model_is_fed_as_that_model():
    """By a released model's name, its folder or its file: the backbone of the released one knows ImageNet's numbers."""
    folder = released_models()["convcut_ferplus"]
    state = load_model("convcut_ferplus").state_dict()
    for weights in ("convcut_ferplus", folder, folder / "model.safetensors"):
        model = create_model("linear_probe", backbone_weights=weights, **LITE0)
        assert (model.config.mean, model.config.std) == (IMAGENET_MEAN, IMAGENET_STD)
        assert all(torch.equal(value, state[f"backbone.{key}"]) for key, value in model.backbone.state_dict().items())


@pytest.mark.parametrize("grey", [False, True])
def test_weights_of_another_kind_of_network_are_refused_as_that(grey):
    with pytest.raises(RunError, match=r"lacks .* backbone parameters"):
        create_model("convcut", backbone_weights="ivsa_fer2013", grey=grey)


def test_one_of_the_two_and_an_unbuilt_config_are_refused():
    with pytest.raises(ValueError, match="both mean and std, or neither"):
        ConvCutConfig(mean=HALF)
    with pytest.raises(ValueError, match="build the model first"):
        Preprocess.of(ConvCutConfig())
