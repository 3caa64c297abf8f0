"""Models, data sets and recipes of one's own, known by name."""

import json

import pytest
import torch
from torch import nn

from ferlib.data import registry as data_registry
from ferlib.data.registry import find_dataset, load_dataset, register_dataset
from ferlib.models.base import FaceModel, ModelConfig
from ferlib.models.registry import MODELS, create_model, load_model, register_model
from ferlib.training.phases import phases
from ferlib.training.recipes import RECIPES


class Tiny(FaceModel):
    """Three layers."""

    def __init__(self, config: ModelConfig, backbone_weights: None = None):
        super().__init__()
        self.config = config
        self.conv = nn.Conv2d(config.channels, 4, 3)
        self.classifier = nn.Linear(4, len(config.classes))

    def forward_features(self, x):
        return self.conv(x).relu()

    def forward_head(self, features, pre_logits=False):
        pooled = features.mean(dim=(2, 3))
        return pooled if pre_logits else self.classifier(pooled)

    @property
    def cam_layer(self):
        return self.conv


@pytest.fixture
def tiny():
    register_model("tiny", Tiny, ModelConfig("tiny", input_size=16), "for this test")
    yield "tiny"
    del MODELS["tiny"]


def test_a_model_of_ones_own_is_created_saved_and_loaded(tiny, tmp_path):
    model = create_model(tiny, input_size=24).eval()
    model.save_pretrained(str(tmp_path))
    again = load_model(tmp_path)
    x = torch.randn(2, 3, 24, 24)
    assert isinstance(again, Tiny) and torch.equal(again(x), model(x))
    register_model(tiny, Tiny, ModelConfig("tiny", input_size=16), "for this test")  # the same once more is no mistake
    with pytest.raises(ValueError, match="there is a model convcut already"):
        register_model("convcut", Tiny, ModelConfig("convcut"))
    with pytest.raises(ValueError, match="calls itself tiny"):
        register_model("other", Tiny, ModelConfig("tiny"))


def test_a_data_set_of_ones_own_is_found_and_loaded(synthetic_faces, tmp_path, monkeypatch):
    monkeypatch.setattr(data_registry, "SOURCES", dict(data_registry.SOURCES))
    register_dataset("mine", lambda folder: synthetic_faces, needs=("faces.csv",), how_to_get="ask me")
    with pytest.raises(ValueError, match=r"mine was not found .* ask me"):
        load_dataset("mine", tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "faces.csv").touch()
    assert load_dataset("mine", tmp_path) is synthetic_faces
    with pytest.raises(ValueError, match="has a loader of its own"):
        load_dataset("mine", tmp_path, skip_broken=True)
    with pytest.raises(ValueError, match="there is a data set ferplus already"):
        register_dataset("ferplus", lambda folder: synthetic_faces)


def test_a_data_set_without_files_of_its_own_is_its_folder(synthetic_faces, tmp_path, monkeypatch):
    monkeypatch.setattr(data_registry, "SOURCES", dict(data_registry.SOURCES))
    monkeypatch.setenv("FERLIB_DATA", str(tmp_path / "first"))
    monkeypatch.setenv("FERLIB_CACHE", str(tmp_path / "second"))
    (tmp_path / "first").mkdir()
    register_dataset("mine", lambda folder: synthetic_faces)
    with pytest.raises(ValueError, match="mine was not found"):
        load_dataset("mine")
    (tmp_path / "second" / "data" / "mine").mkdir(parents=True)
    assert find_dataset("mine") == tmp_path / "second" / "data" / "mine"
    assert find_dataset("mine", tmp_path / "first") == tmp_path / "first"  # a root that is given may be the set itself
    assert load_dataset("mine") is synthetic_faces


def test_a_recipe_comes_from_a_file(tmp_path):
    file = tmp_path / "recipe.json"
    for name in ("convcut_ferplus", "ivsa"):
        file.write_text(json.dumps(RECIPES[name].to_json()))
        assert phases(str(file)) == phases(name)
    file.write_text('{"config": {"architecture": "ivsa", "hidden": 8}, "epochs": 3, "average": 0.9}')
    (recipe,) = phases(str(file), {"lr": 0.5})
    assert (recipe.config.hidden, recipe.epochs, recipe.ema_decay, recipe.lr) == (8, 3, 0.9, 0.5)
    for text in ("nonsense", '{"epoch": 3}', '{"config": {"architecture": "unknown"}}', "[]"):
        file.write_text(text)
        with pytest.raises(ValueError, match="is not a recipe"):
            phases(str(file))
