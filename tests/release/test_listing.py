"""The list of models: its figures against other sources, and what it does with bad files."""

import json
import shutil
import warnings

import pytest
import torch
from torch import Tensor, nn

from ferlib.models import registry
from ferlib.models.base import FaceModel, ModelConfig
from ferlib.models.layers import BatchAttention
from ferlib.models.profile import count_flops
from ferlib.models.registry import create_model, list_models, load_model, released_models
from ferlib.names import display_name
from ferlib.release import listing
from ferlib.release.listing import TestFigures, model_rows, read_figures
from ferlib.runtime import released


class TwoLayers(FaceModel):
    """3x3 convolution to 5 channels of 6x6, then 180 x 2 dense."""

    def __init__(self):
        super().__init__()
        self.config = ModelConfig("two", ("a", "b"), input_size=8)
        self.convolution, self.classifier = nn.Conv2d(3, 5, 3), nn.Linear(180, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.convolution(x).relu().flatten(1))


@pytest.fixture(scope="module")
def rows():
    return {row.name: row for row in model_rows()}


def test_flops_are_two_a_multiply_add():
    model = TwoLayers().train()
    assert count_flops(model) == 2 * (6 * 6 * 5 * 3 * 3 * 3 + 180 * 2)
    assert model.training and model.classifier.weight.device.type == "cpu"


def test_flops_of_resnet_18_are_those_torchvision_publishes():
    with torch.device("meta"):
        model = create_model("resnet18", classes=tuple(map(str, range(1000))))
    assert count_flops(model) == pytest.approx(2 * 1.814e9, rel=1e-3)  # 1.814 G multiply-adds


def test_released_models_come_first_then_all_architectures(rows):
    assert list(rows) == [*released_models(), *list_models()]
    assert [row.trained for row in rows.values()] == [True] * len(released_models()) + [False] * len(list_models())
    for row in rows.values():
        assert row.parameters > 0 and row.flops > row.parameters and row.about
        assert (row.licence is not None) == (row.test is not None) == row.trained


@pytest.mark.parametrize("name", sorted(released_models()))
def test_a_released_model_is_described_by_its_own_folder(rows, name):
    row, model = rows[name], load_model(name)
    assert row.parameters == sum(value.numel() for value in model.parameters())
    assert row.input_size == model.config.input_size
    card = (released_models()[name] / "README.md").read_text()
    assert f"\nlicense: {row.licence}\n" in card
    assert f"| accuracy | {row.test.accuracy:.4f} (" in card
    assert f"| balanced accuracy | {row.test.balanced_accuracy:.4f} (" in card
    assert (
        f"{row.test.faces:,} faces" in card
        and f" of {display_name(row.test.data)}, the epoch chosen on its validation split" in card
    )


def test_architectures_have_their_default_settings(rows):
    assert rows["convcut"].parameters == 60_528_008 and rows["convcut"].input_size == 224
    assert rows["ivsa"].input_size == 40


def test_batch_attention_keeps_its_warning(monkeypatch):
    monkeypatch.setattr(BatchAttention, "_warned", False)
    with torch.device("meta"):
        model = create_model("convcut_batch", backbone="test_convnext")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        count_flops(model)
    assert BatchAttention._warned is False


def test_a_folder_without_card_or_report_is_listed_without_them(tmp_path, monkeypatch):
    source = released_models()["convcut_ferplus"]
    (tmp_path / "bare").mkdir()
    for file in ("config.json", "model.safetensors"):
        shutil.copyfile(source / file, tmp_path / "bare" / file)
    monkeypatch.setattr(released, "WEIGHTS", tmp_path)
    monkeypatch.setattr(listing, "MODELS", {"convcut": registry.MODELS["convcut"]})
    bare, _ = model_rows()
    assert (bare.name, bare.trained, bare.licence, bare.test) == ("bare", True, None, None)


def test_reports(tmp_path):
    path = tmp_path / "report.json"
    assert read_figures(path) is None
    report = json.loads((released_models()["convcut_ferplus"] / "report.json").read_text())
    report |= {
        "faces": 12,
        "metrics": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}, "balanced_accuracy": {"value": 0.25}},
    }
    path.write_text(json.dumps(report))
    assert read_figures(path) == TestFigures("ferplus", "test", 12, 0.5, 0.25)
    listed = json.dumps(report | {"metrics": []})
    for damaged in ("{", "{}", "[]", '{"metrics": {"accuracy": {"value": 1}}}', listed):
        path.write_text(damaged)
        with pytest.raises(ValueError, match=r"report\.json is not a report of `ferlib evaluate`"):
            read_figures(path)
