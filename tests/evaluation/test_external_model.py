"""Models that users bring."""

import pytest
import torch
from torch import nn

from ferlib.evaluation.external_model import ExternalModel, call_for_model, with_config
from ferlib.labels import SYNTHETIC
from ferlib.models.base import FaceModel

SOURCE = """
from torch import nn
from ferlib.models.registry import create_model

def plain():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(7)).train()

def ours():
    return create_model("linear_probe", backbone="test_convnext", keep_stages=2, input_size=32)

def nothing():
    return "a model"

def broken():
    return absent.thing
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "their_models.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)


def loaded(name, classes, settings=None):
    return with_config(call_for_model(name), name, classes, settings)


def test_a_plain_module_gets_documented_defaults():
    model = loaded("their_models:plain", SYNTHETIC)
    assert isinstance(model, ExternalModel) and not any(part.training for part in model.modules())
    assert (model.config.classes, model.config.input_size, model.config.grey) == (SYNTHETIC, 224, False)
    model = loaded("their_models:plain", SYNTHETIC, {"input_size": 8, "grey": True, "mean": [0.5], "std": [0.2]})
    assert (model.config.input_size, model.config.channels) == (8, 1)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 7)


def test_a_config_of_ours_is_taken_as_it_is():
    model = loaded("their_models:ours", SYNTHETIC)
    assert isinstance(model, FaceModel) and model.config.input_size == 32
    with pytest.raises(ValueError, match="brings a config of its own, so input_size"):
        loaded("their_models:ours", SYNTHETIC, {"input_size": 64})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent_module:plain", "not a MODULE:CALLABLE"),
        ("their_models:absent", "not a MODULE:CALLABLE"),
        ("their_models:nothing", "must return a torch.nn.Module, not str"),
    ],
)
def test_what_cannot_be_loaded_is_said(name, message):
    with pytest.raises(ValueError, match=message):
        loaded(name, SYNTHETIC)


def test_errors_inside_are_the_users_own():
    with pytest.raises(NameError, match="absent"):
        loaded("their_models:broken", SYNTHETIC)


def test_impossible_settings_are_said():
    with pytest.raises(ValueError, match="no setting colour; a model has classes"):
        loaded("their_models:plain", SYNTHETIC, {"colour": 1})


@pytest.mark.parametrize("wrong", [nn.Linear(4, 3), nn.LSTM(4, 7)])
def test_outputs_that_are_no_logits_are_said(wrong):
    model = ExternalModel(nn.Sequential(nn.Flatten(), wrong), loaded("their_models:plain", SYNTHETIC).config)
    with pytest.raises(ValueError, match=r"must give logits of shape \(2, 7\)"):
        model(torch.zeros(2, 1, 2, 2))
