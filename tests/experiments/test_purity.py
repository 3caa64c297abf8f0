"""Purity of batches: chosen company, the attention's shares, and the controls, checked by hand."""

import numpy as np
import pytest
import torch

from ferlib.data.dataset import DataError
from ferlib.evaluation.batches import ordered_batches
from ferlib.experiments import purity
from ferlib.experiments.prediction_logger import SORTED, WatchedRun
from ferlib.models.base import evaluating
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import create_model

pytestmark = pytest.mark.filterwarnings("ignore:batch attention mixes")
SMALL = {"backbone": "test_convnext", "keep_stages": 2, "input_size": 64, "width": 32}


@pytest.fixture(scope="module")
def attending(synthetic_faces):
    torch.manual_seed(0)
    return create_model("convcut_batch", classes=synthetic_faces.classes, grey=True, **SMALL).eval()


def test_company_has_as_many_of_the_own_class_as_asked_for():
    labels = np.repeat([0, 1, 2], [40, 20, 10])
    for own in (1, 5, 16):
        members = purity.companies(labels, np.random.default_rng(0), own, 16)
        assert (members[labels == 2] == -1).all()  # ten faces fill no batch
        for face, batch in enumerate(members[:60]):
            assert batch[0] == face and len(set(batch)) == 16
            assert (labels[batch] == labels[face]).sum() == own


def test_a_foreign_face_stands_among_fifteen_of_one_other_class():
    labels = np.repeat([0, 1, 2], [40, 20, 15])
    members = purity.foreign_companies(labels, np.random.default_rng(0), 16)
    assert (members[60:] == -1).all()
    for face, batch in enumerate(members[:60]):
        assert batch[0] == face and len(set(batch)) == 16
        assert set(labels[batch[1:]]) == {1 - labels[face]}


def test_a_face_among_others_gets_what_the_network_gives_it_in_that_batch(attending, synthetic_faces):
    """The reader computes everything before the attention once; the network itself computes it in every batch."""
    part = synthetic_faces.split("test")
    reader = purity.BatchReader(attending, part)
    labels = part.labels().numpy()
    members = purity.companies(labels, np.random.default_rng(0), 4, 8)
    asked = reader.ask(members)
    with evaluating(attending), torch.inference_mode():
        for face in np.flatnonzero(members[:, 0] >= 0)[::40]:
            logits = attending(Preprocess.of(attending.config)(part.pixels[torch.from_numpy(members[face])]))
            assert asked.predicted[face] == logits[0].argmax()
    kept = members[:, 0] >= 0
    assert (asked.on_itself[kept] < asked.on_class[kept]).all() and (asked.on_class[kept] < 1).all()

    batches = ordered_batches(labels, "sorted", 16)
    read = reader.read(batches)
    whole = reader.ask(np.stack([np.roll(batches[0], -i) for i in range(16)]))
    assert (read.predicted[batches[0]] == whole.predicted).all()
    assert read.on_class[batches[0]] == pytest.approx(whole.on_class, abs=1e-6)
    single = reader.read(ordered_batches(labels, "single"))
    assert (single.on_itself == 1).all() and (single.on_class == 1).all()


def test_random_labels_are_dealt_within_a_split(synthetic_faces):
    dealt = purity.random_labels(synthetic_faces)
    for split in ("train", "validation", "test"):
        true, drawn = synthetic_faces.split(split).frame["label"], dealt.split(split).frame["label"]
        assert sorted(true) == sorted(drawn) and (true.to_numpy() != drawn.to_numpy()).mean() > 0.6
    assert dealt.name != synthetic_faces.name and dealt.pixels is synthetic_faces.pixels


def test_networks_are_taken_apart(attending, synthetic_faces):
    plain = create_model("convcut_none", classes=synthetic_faces.classes, grey=True, **SMALL).eval()
    dealt = purity.random_labels(synthetic_faces)
    labels = {split: dealt.split(split).labels().numpy() for split in ("validation", "test")}
    said = {(split, str(SORTED)): np.stack([own, (own + 1) % 7]).astype(np.uint8) for split, own in labels.items()}
    deceived = WatchedRun(None, said, labels)
    found = purity.take_apart({0: attending}, [plain], {0: deceived}, synthetic_faces, dealt, resamples=20)
    assert [point["own"] for point in found["curve"]] == list(range(1, 17))
    shares = [point["on_class"] for point in found["curve"]]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    assert found["controls"]["trained on random labels"]["accuracy"]["value"] == 1  # of its first epoch, seen on test
    assert 0 <= found["foreign"]["their label"] <= 1 - found["foreign"]["accuracy"]["value"]
    entry = {"table": "purity", "data": "x", "model": "convcut", "backbone": {"name": "y"}, "seeds": [0]} | found
    assert purity.purity_table([entry])["own"].tolist() == list(range(1, 17))


def test_a_network_that_sees_faces_alone_has_no_company(synthetic_faces):
    plain = create_model("convcut_none", classes=synthetic_faces.classes, grey=True, **SMALL)
    with pytest.raises(DataError, match="no attention over the batch"):
        purity.BatchReader(plain, synthetic_faces.split("test"))
