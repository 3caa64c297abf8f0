"""Cutting a test set into batches, and predicting along them from pixels and from cached maps."""

import numpy as np
import pytest
import torch

from ferlib.errors import UserError
from ferlib.evaluation.batches import BATCH_ORDERS, ordered_batches, pixel_logits, predict_batches
from ferlib.evaluation.evaluate import predict_dataset
from ferlib.models.base import evaluating
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import create_model
from ferlib.training.features import FeatureCache, feature_logits

SMALL = {"backbone": "test_convnext", "keep_stages": 2, "input_size": 64, "width": 16}


@pytest.fixture(scope="module")
def faces(synthetic_faces):
    return synthetic_faces.subset(np.random.default_rng(1).permutation(len(synthetic_faces))[:50])


@pytest.fixture(scope="module")
def batch_model():
    torch.manual_seed(0)
    model = create_model("convcut_batch", **SMALL, classes=tuple("abcdefg")).eval()
    with torch.no_grad():  # random weights hardly attend; these do
        model.detail.blocks[1].pointwise.weight *= 30
        model.classifier.weight *= 10
    return model


@pytest.mark.parametrize("batch_order", BATCH_ORDERS)
@pytest.mark.parametrize("batch_size", [1, 7, 16, 64])
def test_every_face_stands_in_one_batch(batch_order, batch_size):
    labels = np.random.default_rng(0).integers(0, 4, 50)
    batches = ordered_batches(labels, batch_order, batch_size)
    assert sorted(np.concatenate(batches)) == list(range(50))
    size = 1 if batch_order == "single" else batch_size
    assert [len(batch) for batch in batches] == [size] * (50 // size) + ([50 % size] if 50 % size else [])
    assert all(batch.dtype == np.int64 for batch in batches)


def test_compositions_by_hand():
    labels = [2, 0, 1, 0, 2]
    assert [batch.tolist() for batch in ordered_batches(labels, "sorted", 2)] == [[1, 3], [2, 0], [4]]
    assert [batch.tolist() for batch in ordered_batches(labels, "stored", 3)] == [[0, 1, 2], [3, 4]]
    assert [batch.tolist() for batch in ordered_batches(labels, "single", 3)] == [[0], [1], [2], [3], [4]]
    one, same, other = (np.concatenate(ordered_batches(range(99), "shuffled", 8, seed)).tolist() for seed in (1, 1, 2))
    assert one == same != other
    assert ordered_batches([], "sorted") == []
    with pytest.raises(ValueError, match="batch_order must be one of"):
        ordered_batches(labels, "reversed")
    with pytest.raises(ValueError, match="batch_size"):
        ordered_batches(labels, "stored", 0)


def test_probabilities_come_back_in_the_order_of_the_data_set():
    table = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 3)))
    labels = np.random.default_rng(1).integers(0, 3, 50)
    for batch_order in BATCH_ORDERS:
        found = predict_batches(lambda rows: table[rows], ordered_batches(labels, batch_order, 8))
        np.testing.assert_allclose(found, table.softmax(dim=1).numpy(), atol=1e-15)
        assert found.dtype == np.float64


def test_not_a_number_of_one_face_is_an_error():
    table = torch.zeros(50, 3)
    table[31, 1] = torch.nan
    with pytest.raises(UserError, match="not numbers"):
        predict_batches(lambda rows: table[rows], ordered_batches(range(50), "stored", 8))


@pytest.mark.filterwarnings("ignore:batch attention")
def test_pixels_and_cached_maps_agree_and_the_batch_matters(faces, batch_model):
    cache = FeatureCache.build(batch_model, faces)
    labels = faces.frame["label"].to_numpy()
    found = {}
    for batch_order in BATCH_ORDERS:
        batches = ordered_batches(labels, batch_order, 16)
        pixels = predict_batches(pixel_logits(batch_model, faces), batches)
        maps = predict_batches(feature_logits(batch_model, cache), batches)
        np.testing.assert_allclose(pixels, maps, atol=0.02)  # the maps are kept in half precision
        found[batch_order] = pixels
    with torch.inference_mode():  # one batch, put together by hand
        order = np.argsort(labels, kind="stable")[:16]
        first = predict_batches(pixel_logits(batch_model, faces.subset(order)), [np.arange(16)])
    np.testing.assert_allclose(found["sorted"][order], first, atol=1e-6)
    for batch_order in ("sorted", "shuffled", "stored"):
        assert np.abs(found[batch_order] - found["single"]).max() > 0.05


def test_faces_are_asked_alone_where_neighbours_count(faces):
    """If no order is named; also for the temperature and the prediction sets of a released model."""
    model = create_model("convcut_batch", backbone="test_convnext", keep_stages=2, input_size=64, width=16, grey=True)
    few = faces.subset(range(12))
    alone = np.concatenate([predict_dataset(model, few.subset([row])) for row in range(12)])
    np.testing.assert_allclose(predict_dataset(model, few), alone, atol=1e-6)
    assert np.abs(predict_dataset(model, few, batch_order="stored") - alone).max() > 1e-4


def test_ten_crops_are_the_mean_of_the_crops(faces):
    model = create_model("ivsa", widths=(8, 8, 8, 8), hidden=8, classes=faces.classes).eval()
    few = faces.subset(range(5))
    preprocess = Preprocess.of(model.config)
    with torch.inference_mode():
        crops = [model(crop).double().softmax(dim=1) for crop in preprocess.ten_crops(few.pixels)]
    np.testing.assert_allclose(predict_dataset(model, few, ten_crop=True), torch.stack(crops).mean(dim=0), atol=1e-6)


def test_modes_are_restored_even_after_an_error():
    model = create_model("convcut", **SMALL)  # its frozen backbone is always in evaluation mode
    model.train()
    before = [module.training for module in model.modules()]
    assert True in before and False in before
    with pytest.raises(RuntimeError, match="inside"), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise RuntimeError("inside")
    assert [module.training for module in model.modules()] == before
