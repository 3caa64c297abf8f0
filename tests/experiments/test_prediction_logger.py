"""Watching a run: what it says of every batching is what naive prediction from pixels says."""

import numpy as np
import pandas as pd
import pytest
import torch

from ferlib.evaluation.batches import ordered_batches, pixel_logits, predict_batches
from ferlib.evaluation.evaluate import predict_dataset
from ferlib.experiments.prediction_logger import SINGLE, Batching, LoggedRun, PredictionLogger, attending_logits
from ferlib.models.base import evaluating
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import create_model
from ferlib.training.features import FeatureCache, feature_logits

SMALL = {"backbone": "tf_efficientnet_lite0", "keep_stages": 2, "width": 16, "input_size": 48, "grey": True}
BATCHINGS = (Batching("sorted", 4), Batching("shuffled", 4), SINGLE)


def network(name, faces, **settings):
    torch.manual_seed(3)
    model = create_model(name, **SMALL | {"classes": faces.classes} | settings)
    with torch.no_grad():
        model.train()
        for _ in range(20):  # batch norms learn what they see, so that faces differ and mixing changes classes
            model(Preprocess.of(model.config)(faces.pixels[:48]))
        scores = model.eval()(Preprocess.of(model.config)(faces.pixels[:48]))
        model.classifier.bias.sub_(scores.mean(dim=0))
    return model


@pytest.mark.filterwarnings("ignore:batch attention mixes")
@pytest.mark.parametrize("name", ["convcut_batch", "convcut_published", "pattlite_published", "convcut"])
def test_predictions_are_those_of_the_whole_model_batch_by_batch(synthetic_faces, tmp_path, name):
    model = network(name, synthetic_faces, **({"cut": "stage"} if name.startswith("pattlite") else {}))
    logger = PredictionLogger(synthetic_faces, tmp_path, BATCHINGS, seed=5)
    row = logger(model)
    run = logger.run(pd.DataFrame([row]))
    differing = 0
    for split in ("validation", "test"):
        part = synthetic_faces.split(split)
        labels = part.frame["label"].to_numpy()
        cache = FeatureCache.build(model, part)
        for batching in BATCHINGS:
            predicted = np.full(len(part), -1)
            for rows in ordered_batches(labels, batching.batch_order, batching.size, seed=5):
                with torch.no_grad():
                    maps = cache.read(torch.from_numpy(rows), torch.zeros(len(rows), dtype=torch.int64))
                    predicted[rows] = model.forward_head(maps).argmax(dim=1)
            assert (run.predicted[split, str(batching)][0] == predicted).mean() > 0.995  # ties by rounding
            assert row[f"{split} {batching}"] == pytest.approx((predicted == labels).mean(), abs=0.005)
        differing += int((run.predicted[split, "sorted 4"] != run.predicted[split, "single"]).sum())
    assert (differing > 0) == (name != "convcut")


@pytest.mark.filterwarnings("ignore:batch attention mixes")
def test_the_short_way_gives_the_same_logits_and_leaves_the_model_as_it_was(synthetic_faces):
    model, part = network("pattlite_published", synthetic_faces, cut="stage"), synthetic_faces.split("test")
    parts = dict(model.named_modules())
    with evaluating(model):
        cache = FeatureCache.build(model, part)
        batches = ordered_batches(part.labels(), "shuffled", 7, seed=2)
        short = predict_batches(attending_logits(model, cache), batches)
        np.testing.assert_allclose(short, predict_batches(feature_logits(model, cache), batches), atol=1e-5)
        np.testing.assert_allclose(short, predict_batches(pixel_logits(model, part), batches), atol=0.02)
    assert dict(model.named_modules()) == parts


def test_best_epoch_is_the_last_of_the_best():
    predicted = np.array([[0, 1, 1], [0, 0, 1], [1, 0, 0], [0, 0, 1]], np.uint8)
    run = LoggedRun(pd.DataFrame(), {("test", "single"): predicted}, {"test": np.array([0, 0, 1])})
    assert run.accuracy("test", SINGLE) == pytest.approx([2 / 3, 1, 1 / 3, 1])
    assert run.best_epoch("test", SINGLE) == 3


@pytest.mark.filterwarnings("ignore:batch attention mixes")
def test_batch_attention_over_pixels(synthetic_faces, tmp_path):
    model = network("pattlite_published", synthetic_faces, cut="stage")
    cached, uncached = (
        PredictionLogger(synthetic_faces, tmp_path / str(way), BATCHINGS, cached=way)(model) for way in (True, False)
    )
    for name, value in cached.items():
        assert uncached[name] == pytest.approx(value, abs=0.03), name


def test_pixels_where_nothing_is_cached(synthetic_faces, tmp_path):
    torch.manual_seed(0)
    sizes = {"widths": (4, 4, 8, 8), "hidden": 8}
    model = create_model("ivsa_plain", classes=synthetic_faces.classes, **sizes).eval()
    row = PredictionLogger(synthetic_faces, tmp_path, cached=False)(model)
    part = synthetic_faces.split("test")
    expected = predict_dataset(model, part).argmax(axis=1)
    assert (
        row["test single"] == row["test sorted 16"] == pytest.approx((expected == part.frame["label"]).mean(), abs=0.01)
    )


@pytest.mark.filterwarnings("ignore:batch attention mixes")
def test_the_batch_norm_before_the_classifier_is_part_of_what_is_predicted(synthetic_faces):
    settings = {"backbone": "test_convnext", "keep_stages": 2, "input_size": 64, "width": 16, "head_norm": True}
    model = create_model("convcut_batch", classes=synthetic_faces.classes, grey=True, **settings).eval()
    torch.nn.init.uniform_(model.head_norm.running_mean)
    torch.nn.init.uniform_(model.head_norm.weight)
    part = synthetic_faces.split("test")
    rows = torch.arange(12)
    with torch.inference_mode():
        found = attending_logits(model, FeatureCache.build(model, part))(rows)
        assert torch.allclose(found, model(Preprocess.of(model.config)(part.pixels[rows])), atol=1e-2)
