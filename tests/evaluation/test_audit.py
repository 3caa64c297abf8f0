"""The audit flags what mixes the faces of a batch and nothing else; duplicates and selection are counted by hand."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ferlib.data import duplicates
from ferlib.data.dataset import DataError, FaceDataset
from ferlib.errors import UserError
from ferlib.evaluation import audit as audits
from ferlib.evaluation.audit import TOLERANCE, audit, audit_batches, audit_duplicates, mixes_neighbours, selection_bias
from ferlib.evaluation.batches import ordered_batches, pixel_logits
from ferlib.evaluation.evaluate import evaluate, predict_dataset
from ferlib.evaluation.external_model import ExternalModel
from ferlib.models.base import ModelConfig
from ferlib.models.baselines import Baseline
from ferlib.models.convcut import ConvCut
from ferlib.models.ivsa import IVSA
from ferlib.models.pattlite import PAttLite
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import MODELS, create_model, list_models, load_model
from ferlib.training.logit_shift import output_layer

MIXING = {"convcut_batch", "convcut_published", "pattlite_published"}
SMALL: dict[type, dict[str, Any]] = {
    ConvCut: {"backbone": "tf_efficientnet_lite0", "input_size": 64, "width": 32},
    PAttLite: {"input_size": 96, "width": 32},
    Baseline: {"input_size": 48},
    IVSA: {"widths": (16, 32, 48, 64), "hidden": 50},
}
pytestmark = [pytest.mark.filterwarnings("ignore:batch attention mixes"), pytest.mark.usefixtures("narrow_vgg")]


@pytest.fixture(scope="module")
def faces(synthetic_faces):
    """30 drawn test faces, and 12 of the other splits."""
    split = synthetic_faces.frame["split"].to_numpy()
    counts = {"train": 8, "validation": 4, "test": 30}
    rows = [np.flatnonzero(split == name) for name in counts]
    evenly = [own[:: len(own) // count][:count] for own, count in zip(rows, counts.values(), strict=True)]
    return synthetic_faces.subset(np.concatenate(evenly))


def telling(name: str, faces) -> nn.Module:
    """An untrained model of this name whose answers differ from face to face, as a trained one's do.

    Batch norms get the statistics of the faces, and the logits of single faces a mean of 0 and a spread of 3.
    """
    torch.manual_seed(0)
    model = create_model(name, classes=faces.classes, **SMALL.get(MODELS[name].model, {})).eval()
    x = Preprocess.of(model.config)(faces.pixels)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = None
    with torch.no_grad():
        model(x)
        model.eval()
        alone = torch.cat([model(image[None]) for image in x])
        scale, last = 3 / alone.std(dim=0).max(), output_layer(model)
        last.weight *= scale
        last.bias.sub_(alone.mean(dim=0)).mul_(scale)
    return model


@pytest.mark.parametrize("name", list_models())
def test_flags_attention_across_the_batch_and_passes_every_other_model(name, faces):
    model = telling(name, faces)
    report = audit(model, faces, batch_sizes=(1, 3, 16))
    single, *others = report.batches
    assert (single.batch_order, single.batch_size, single.furthest) == ("single", 1, 0)
    assert [(row.batch_order, row.batch_size) for row in others] == [
        (order, size) for order in ("sorted", "shuffled") for size in (3, 16)
    ]
    if name in MIXING:
        assert not report.passed and report.depends_on_neighbours and report.deterministic and report.alone
        assert max(row.changed for row in others) > 0.1 and max(row.moved for row in others) > 0.5
        assert "fails: its predictions depend on their neighbours" in report.verdict
    else:
        assert report.passed and not report.depends_on_neighbours
        assert max(row.furthest for row in others) < TOLERANCE / 10  # far below the tolerance
        assert max(row.changed for row in others) == max(row.moved for row in others) == 0
        assert "passes" in report.verdict
    logits = pixel_logits(model, faces.split("test"))
    alone = torch.cat([logits(torch.tensor([row])) for row in range(0, report.faces, 3)]).softmax(dim=1)
    assert alone.std(dim=0).max() > 0.05  # not one answer for all: passing means something


def test_the_released_model_passes(faces):
    report = audit(load_model("convcut_ferplus"), faces, batch_sizes=(8,))
    assert report.passed and report.batches[0].accuracy > 0.3  # of seven classes


class BatchStatistics(nn.Module):
    """A network whose batch norm uses the statistics of the batch, evaluation mode or not."""

    def __init__(self, spatial: bool):
        super().__init__()
        self.conv, self.linear, self.spatial = nn.Conv2d(3, 8, 3), nn.Linear(8, 7), spatial

    def forward(self, x):
        y = self.conv(x)
        y = F.batch_norm(y, None, None, training=True).relu() if self.spatial else y.relu()
        y = y.mean(dim=(2, 3))
        return 5 * self.linear(y if self.spatial else F.batch_norm(y, None, None, training=True))


class Noisy(nn.Module):
    """Dropout that does not ask for the mode: F.dropout's default is to drop."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 7)

    def forward(self, x):
        return 20 * self.linear(F.dropout(x.mean(dim=(2, 3))))


def external(model, faces, **settings):
    return ExternalModel(model, ModelConfig("theirs", faces.classes, input_size=32, **settings))


def test_flags_batch_norm_that_uses_the_statistics_of_the_batch(faces):
    torch.manual_seed(0)
    model = external(BatchStatistics(spatial=True), faces).eval()
    report = audit(model, faces, batch_sizes=(4, 16))
    assert report.alone and report.depends_on_neighbours and not report.passed
    report = audit(external(BatchStatistics(spatial=False), faces), faces, batch_sizes=(4, 16))
    assert not report.alone and report.depends_on_neighbours and not report.passed
    assert "cannot predict a face alone" in report.verdict
    assert {row.batch_order for row in report.batches} == {"sorted", "shuffled"}
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["batches"][0]["moved"] is None


def test_a_model_that_needs_company_is_judged_where_a_last_batch_has_one_face(faces):
    """FERPlus's test faces are one more than a multiple of four, of sixteen and of 32."""
    torch.manual_seed(0)
    model = external(BatchStatistics(spatial=False), faces).eval()
    part = faces.split("test")
    assert len(part) % 29 == 1
    report = audit(model, faces, batch_sizes=(29,))
    assert not report.alone and {row.batch_order for row in report.batches} == {"sorted", "shuffled"}
    found = predict_dataset(model, part, 29, batch_order="sorted")
    order = ordered_batches(part.labels().numpy(), "sorted", 30)[0]
    logits = pixel_logits(model, part)(torch.from_numpy(order))
    assert found[order] == pytest.approx(logits.detach().double().softmax(dim=1).numpy(), abs=1e-6)
    with pytest.raises(UserError, match=r"cannot predict a face alone .* --protocol published"):
        mixes_neighbours(pixel_logits(model, part), part.labels().numpy())


def test_flags_a_batch_norm_left_in_training_mode(faces):
    """The bug as it happens: a backbone that is switched to training mode in its forward pass."""

    class Forgotten(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
            self.linear = nn.Linear(8, 7)

        def forward(self, x):
            self.net[1].train()
            return 5 * self.linear(self.net(x).flatten(1))

    torch.manual_seed(0)
    model = external(Forgotten(), faces)
    model.model.linear.eval()
    before = [module.training for module in model.modules()]
    report = audit(model, faces, batch_sizes=(16,))
    assert report.depends_on_neighbours
    assert [module.training for module in model.modules()] == before


def test_a_random_model_fails_for_what_it_is(faces):
    report = audit(external(Noisy(), faces), faces, batch_sizes=(16,))
    assert not report.passed and not report.deterministic and not report.depends_on_neighbours
    assert "another answer the second time" in report.verdict


def test_ties_are_no_dependence():
    """Rounding decides between two equal classes; a dependence that is small but real is found all the same."""
    labels = np.arange(60) % 2
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(60, 2)))

    def tied(rows):
        return torch.zeros(len(rows), 2, dtype=torch.double) + 1e-7 * len(rows) * noise[rows]

    def drifting(rows):  # by more than the tolerance, but never enough for another class
        return torch.tensor([[5.0, 0.0]]) + torch.tensor([[0.5, 0.0]]) * (len(rows) > 1) + torch.zeros(len(rows), 1)

    rows, alone = audit_batches(tied, labels, (16,))
    assert (alone.argmax(axis=1) == 0).any() and (alone.argmax(axis=1) == 1).any()
    flipped = [row.accuracy for row in rows]
    assert all(row.moved == row.changed == 0 and row.furthest < TOLERANCE for row in rows), flipped
    rows, _ = audit_batches(drifting, labels, (16,))
    assert rows[1].moved == 1 and rows[1].changed == 0
    assert mixes_neighbours(drifting, labels) and not mixes_neighbours(tied, labels)


def test_shares_are_counted_by_hand():
    """Each face is called the class of the first face of its batch."""
    labels = np.array([0, 0, 0, 1, 1, 2])

    def first(rows):
        return 10 * torch.eye(3)[torch.tensor(labels)[rows[:1]]].expand(len(rows), -1)

    rows, alone = audit_batches(first, labels, (2, 4))
    np.testing.assert_array_equal(alone.argmax(axis=1), labels)
    found = {(row.batch_order, row.batch_size): row for row in rows}
    for size, right in ((2, 4), (4, 4)):  # 00 01 12 and 0001 12: in both, two faces are not first or like the first
        row = found["sorted", size]
        assert row.accuracy == pytest.approx(right / 6) and row.changed == row.moved == pytest.approx(1 - right / 6)
    assert found["single", 1].accuracy == 1


def test_not_a_number_is_an_error():
    with pytest.raises(ValueError, match="not numbers"):
        audit_batches(lambda rows: torch.full((len(rows), 3), float("nan")), np.zeros(5, int), (2,))


class Failing(nn.Module):
    """A model that mixes the faces of a batch, and fails in some way where a certain face is among them."""

    def __init__(self, face: torch.Tensor, fail):
        super().__init__()
        self.face, self.fail = face.float().mean() / 255, fail

    def forward(self, x):
        levels = x.mean(dim=(1, 2, 3))
        logits = 9 * x.flatten(1)[:, :7] + levels.mean()
        return self.fail(logits) if ((levels - self.face).abs() < 1e-6).any() else logits * len(x)


def outside_the_64(dataset: FaceDataset, fail) -> ExternalModel:
    """A model that fails on one face, which the quick test of neighbours does not see."""
    labels, side = dataset.split("test").labels().numpy(), dataset.pixels.shape[-1]
    row = next(row for row in range(len(labels)) if row not in ordered_batches(labels, "shuffled", 64)[0])
    model = Failing(dataset.split("test").pixels[row], fail)
    return ExternalModel(model, ModelConfig("theirs", dataset.classes, side, grey=True, mean=(0.0,), std=(1.0,)))


@pytest.mark.parametrize("protocol", ["honest", "published"])
def test_one_face_without_numbers_is_one_sentence(synthetic_faces, protocol):
    model = outside_the_64(synthetic_faces, lambda logits: logits * torch.nan)
    with pytest.raises(UserError, match="gives probabilities that are not numbers"):
        evaluate(model, synthetic_faces, protocol=protocol)


def test_another_error_of_a_face_alone_is_told_as_it_is(synthetic_faces):
    def broken(logits):
        raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match=r"^out of order"):
        evaluate(outside_the_64(synthetic_faces, broken), synthetic_faces)


def test_an_error_of_the_model_is_not_mistaken_for_a_wish_for_neighbours():
    def broken(rows):
        raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        audit_batches(broken, np.zeros(5, int), (2,))


def test_duplicates_by_hand(faces):
    pixels, frame = faces.pixels.clone(), faces.frame.copy()
    test = np.flatnonzero(frame["split"] == "test")
    train = np.flatnonzero(frame["split"] == "train")
    pixels[test[:3]] = pixels[train[:3]]  # three test faces stand in training
    frame.loc[test[:3], "label"] = frame.loc[train[:3], "label"].to_numpy()
    pixels[test[4]] = 7  # and one is blank
    dataset = FaceDataset("planted", faces.classes, frame, pixels)
    inside = (frame["split"] == "test").to_numpy()
    right = np.arange(len(test)) % 2 == 0
    right[:3] = True
    found = audit_duplicates(dataset, inside, right)
    assert (found.in_train, found.left_out, found.accuracy_on_them) == (3, 4, 1.0)
    others = np.delete(right, [0, 1, 2, 4])
    assert found.accuracy == right.mean() and found.accuracy_without == others.mean()
    report = audit(external(BatchStatistics(spatial=True), faces), dataset, batch_sizes=(4,))
    assert "3 of the faces also stand in training, and without all 4 flawed ones" in report.verdict


def all_flawed(faces: FaceDataset) -> FaceDataset:
    """Each test face is a copy of a training face."""
    train = faces.split("train")
    rows = np.r_[np.arange(len(train)), np.arange(len(train))]
    frame = train.frame.iloc[rows].reset_index(drop=True)
    frame.loc[len(train) :, "split"] = "test"
    return FaceDataset("copied", faces.classes, frame, train.pixels[torch.from_numpy(rows)])


def test_where_all_faces_are_flawed_none_is_left(faces):
    dataset, model = all_flawed(faces), external(BatchStatistics(spatial=True), faces)
    verdict = audit(model, dataset, batch_sizes=(4,)).verdict
    assert "all of them are flawed, so that none is left" in verdict and "nan" not in verdict
    for measure in (evaluate, audit):
        with pytest.raises(
            DataError, match=r"nothing of the test split of copied is left when it is cleaned \(--clean"
        ):
            measure(model, dataset, clean=True)
        with pytest.raises(DataError, match="has no faces in its validation split"):
            measure(model, dataset, "validation", clean=True)


def test_a_cleaned_audit_is_of_what_a_cleaned_evaluation_measures(faces, monkeypatch):
    pixels, frame = faces.pixels.clone(), faces.frame.copy()
    test, train = (np.flatnonzero(frame["split"] == name) for name in ("test", "train"))
    pixels[test[:3]] = pixels[train[:3]]
    dataset, model = FaceDataset("planted", faces.classes, frame, pixels), external(BatchStatistics(True), faces)
    searched = []
    search = duplicates.find_duplicates
    for module in (duplicates, audits):
        monkeypatch.setattr(module, "find_duplicates", lambda *given: searched.append(1) or search(*given))
    report = audit(model, dataset, clean=True, batch_sizes=(4,))
    assert len(searched) == 1
    assert report.faces == evaluate(model, dataset, clean=True)["faces"] == len(test) - 3
    assert (report.duplicates.in_train, report.duplicates.left_out) == (0, 0)
    assert report.duplicates.accuracy == report.duplicates.accuracy_without == report.batches[0].accuracy


def test_selection_by_hand():
    history = pd.DataFrame({"accuracy": [0.5, 0.7, 0.7, 0.6], "test_accuracy": [0.4, 0.6, 0.5, 0.65]})
    found = selection_bias(history)
    assert (found.epochs, found.epoch, found.accuracy) == (4, 3, 0.5)  # the last of equals, as in training
    assert (found.claimed_epoch, found.claimed) == (4, 0.65)
    assert found.bias == pytest.approx(0.15)
    with pytest.raises(ValueError, match="no column sorted"):
        selection_bias(history, test="sorted")
    history = pd.DataFrame({"accuracy": [0.6, 0.7, 0.702], "test_accuracy": [0.5, 0.64, 0.62]})
    assert [selection_bias(history, least_gain=gain).epoch for gain in (0, 0.003)] == [3, 2]
    assert selection_bias(history, least_gain=0.003).bias == 0


def test_classes_may_be_left_out(faces):
    known = tuple(name for name in faces.classes if name != "fear")
    model = ExternalModel(nn.Sequential(nn.Flatten(), nn.LazyLinear(6)), ModelConfig("six", known, input_size=8))
    with pytest.raises(DataError, match="does not know fear"):
        audit(model, faces)
    report = audit(model, faces, without=["fear"], batch_sizes=(8,))
    assert report.passed and report.faces < len(faces.split("test"))
    with pytest.raises(DataError, match="no faces"):
        audit(model, faces.split("train"), without=["fear"])


def test_a_model_that_needs_company_is_refused_in_words(faces):
    model = external(BatchStatistics(spatial=False), faces)
    with pytest.raises(UserError, match=r"cannot predict a face alone \(Expected more than 1 value"):
        evaluate(model, faces)
    published = evaluate(model, faces, protocol="published")
    assert published["faces"] == len(faces.split("test")) and "answered together" in published["notes"][0]
    alone = external(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7)), faces)
    assert "notes" not in evaluate(alone, faces, protocol="published")


def test_honest_evaluation_of_a_mixing_model_is_one_face_at_a_time(faces):
    model = telling("convcut_batch", faces)
    test = faces.split("test")
    report = audit(model, faces, batch_sizes=(64,))
    by_hand = {row.batch_order: row.accuracy for row in report.batches}
    honest, published = (evaluate(model, faces, protocol=name) for name in ("honest", "published"))
    assert honest["metrics"]["accuracy"]["value"] == by_hand["single"]
    assert published["metrics"]["accuracy"]["value"] == by_hand["sorted"]
    assert published["metrics"] != honest["metrics"]
    assert "notes" not in honest and "answered together" in published["notes"][0]
    assert "every face alone" in honest["protocol"] and "class by class" in published["protocol"]
    assert honest["faces"] == len(test)
    with pytest.raises(ValueError, match="protocol must be one of"):
        evaluate(model, faces, protocol="mine")


@pytest.mark.parametrize("sizes", [(), (1,)])
def test_an_audit_without_company_is_none(faces, sizes):
    with pytest.raises(UserError, match="batches of two faces or more"):
        audit(telling("convcut", faces), faces, batch_sizes=sizes)
