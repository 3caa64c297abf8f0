"""Purity of batches: chosen company, the attention's shares, and the controls, checked by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from ferlib.data.dataset import DataError
from ferlib.evaluation.batches import ordered_batches
from ferlib.experiments import purity
from ferlib.experiments.prediction_logger import SORTED, LoggedRun
from ferlib.models.base import evaluating
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import create_model

pytestmark = pytest.mark.filterwarnings("ignore:batch attention mixes")
SMALL = {"backbone": "test_convnext", "keep_stages": 2, "input_size": 64, "width": 32}


@pytest.fixture(scope="module")
def attending(synthetic_faces):
    torch.manual_seed(0)
    return create_model("convcut_batch", classes=synthetic_faces.classes, grey=True, **SMALL).eval()


def test_a_batch_has_as_many_of_the_own_class_as_asked_for():
    labels = np.repeat([0, 1, 2], [40, 20, 10])  # ten faces fill no batch
    for own in (1, 5, 16):
        members = purity.batches_with_own_class(labels, np.random.default_rng(0), own)
        assert members[:, 0].tolist() == list(range(60))
        assert all(len(set(batch)) == 16 for batch in members)
        assert ((labels[members] == labels[members[:, :1]]).sum(axis=1) == own).all()


def test_a_foreign_face_stands_among_fifteen_of_one_other_class():
    labels = np.repeat([0, 1, 2], [40, 20, 15])
    members = purity.batches_of_another_class(labels, np.random.default_rng(0))
    assert members[:, 0].tolist() == list(range(60))
    for face, *others in members:
        assert len({face, *others}) == 16 and set(labels[others]) == {1 - labels[face]}


def test_a_face_among_others_gets_what_the_network_gives_it_in_that_batch(attending, synthetic_faces):
    """The reader computes everything before the attention once; the network itself computes it in every batch."""
    part = synthetic_faces.split("test")
    reader = purity.BatchReader(attending, part)
    labels = part.labels().numpy()
    members = purity.batches_with_own_class(labels, np.random.default_rng(0), 4, 8)
    asked = reader.predict_first(members)
    with evaluating(attending), torch.inference_mode():
        for row in range(0, len(members), 40):
            logits = attending(Preprocess.of(attending.config)(part.pixels[torch.from_numpy(members[row])]))
            assert asked.predicted[row] == logits[0].argmax()
    assert (asked.on_itself < asked.on_class).all() and (asked.on_class < 1).all()

    batches = ordered_batches(labels, "sorted", 16)
    read = reader.predict_all(batches)
    rolled = reader.predict_first(np.stack([np.roll(batches[0], -i) for i in range(16)]))
    assert (read.predicted[batches[0]] == rolled.predicted).all()
    assert read.on_class[batches[0]] == pytest.approx(rolled.on_class, abs=1e-6)
    single = reader.predict_all(ordered_batches(labels, "single"))
    assert (single.on_itself == 1).all() and (single.on_class == 1).all()


def test_random_labels_are_dealt_within_a_split(synthetic_faces):
    relabelled = purity.with_random_labels(synthetic_faces)
    for split in ("train", "validation", "test"):
        true, drawn = synthetic_faces.split(split).frame["label"], relabelled.split(split).frame["label"]
        assert sorted(true) == sorted(drawn) and (true.to_numpy() != drawn.to_numpy()).mean() > 0.6
    assert relabelled.name != synthetic_faces.name and relabelled.pixels is synthetic_faces.pixels


def test_networks_are_taken_apart(attending, synthetic_faces):
    plain = create_model("convcut_none", classes=synthetic_faces.classes, grey=True, **SMALL).eval()
    relabelled = purity.with_random_labels(synthetic_faces)
    labels = {split: relabelled.split(split).labels().numpy() for split in ("validation", "test")}
    said = {(split, str(SORTED)): np.stack([own, (own + 1) % 7]).astype(np.uint8) for split, own in labels.items()}
    misled = LoggedRun(pd.DataFrame(), said, labels)
    found = purity.measure_purity({0: attending}, [plain], {0: misled}, synthetic_faces, relabelled, resamples=20)
    assert [point["own"] for point in found["curve"]] == list(range(1, 17))
    shares = [point["on_class"] for point in found["curve"]]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    assert found["controls"].keys() == purity.CONTROLS.keys()
    assert found["controls"]["trained on random labels"]["accuracy"]["value"] == 1  # of its first epoch, seen on test
    assert 0 <= found["foreign"]["their label"] <= 1 - found["foreign"]["accuracy"]["value"]
    entry = {"table": "purity", "data": "x", "model": "convcut", "backbone": {"name": "y"}, "seeds": [0]} | found
    assert purity.purity_table([entry])["own"].tolist() == list(range(1, 17))


def test_classes_that_fill_no_batch_are_refused(synthetic_faces):
    few = synthetic_faces.subset(np.flatnonzero(synthetic_faces.frame["label"] == 0))
    with pytest.raises(DataError, match="fewer than two classes have 16 test faces"):
        purity.check_purity(few)


def test_a_network_that_sees_faces_alone_has_no_company(synthetic_faces):
    plain = create_model("convcut_none", classes=synthetic_faces.classes, grey=True, **SMALL)
    with pytest.raises(DataError, match="no attention over the batch"):
        purity.BatchReader(plain, synthetic_faces.split("test"))
