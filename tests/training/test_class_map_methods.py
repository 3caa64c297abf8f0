"""EAC and MEK, which compare the class maps of a face and of its mirror image, against loops over their formulas."""

import math

import numpy as np
import pytest
import torch
from small_runs import recipe, train

from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import build_model
from ferlib.training.batch_sources import FeatureSource, PixelSource, create_source
from ferlib.training.features import FeatureCache
from ferlib.training.methods import Batch, TrainedNetwork, create_method
from ferlib.training.methods.eac import map_gap

PROBE = {"detail_layers": 0, "attention": "none", "freeze_backbone": False}
FACES = 6


@pytest.fixture
def setting(synthetic_faces):
    """Model, network and one batch with its second view the mirror image of the first; nothing moves in the network."""
    model = build_model(recipe(synthetic_faces, **PROBE).config).eval()
    train_split = synthetic_faces.split("train")
    source = PixelSource(train_split, Preprocess.of(model.config), "none", torch.device("cpu"))
    views = next(iter(source.training_batches(torch.arange(0, 4 * FACES, 4).view(1, -1), slice(None), 2, True)))
    labels = train_split.labels()[torch.arange(0, 4 * FACES, 4)]
    return model, train_split, TrainedNetwork(model, cached=False), Batch(views, labels, torch.arange(FACES), 0.0)


def naive_maps(features, weight):
    """Class maps by loops, (B, classes, h, w)."""
    faces, channels, height, width = features.shape
    maps = np.zeros((faces, len(weight), height, width))
    for n in range(faces):
        for c in range(len(weight)):
            for i in range(height):
                for j in range(width):
                    maps[n, c, i, j] = sum(weight[c, k] * features[n, k, i, j] for k in range(channels))
    return maps


def naive_gaps(network, views, weight):
    """Mean over the positions of the squared difference to the mirror image's map turned back, (B, classes)."""
    with torch.no_grad():
        one, two = (naive_maps(network(view).features.double().numpy(), weight) for view in views)
    faces, classes, height, width = one.shape
    gaps = np.zeros((faces, classes))
    for n in range(faces):
        for c in range(classes):
            squares = [
                (one[n, c, i, j] - two[n, c, i, width - 1 - j]) ** 2 for i in range(height) for j in range(width)
            ]
            gaps[n, c] = sum(squares) / len(squares)
    return gaps


def naive_cross_entropy(logits, targets):
    """Mean over the faces of -Σ_k t_k log p_k."""
    total = 0.0
    for z, t in zip(logits, targets, strict=True):
        normaliser = sum(math.exp(v) for v in z)
        total -= sum(share * math.log(math.exp(v) / normaliser) for v, share in zip(z, t, strict=True))
    return total / len(logits)


def weight_of(model):
    return model.classifier.weight.detach().double().numpy()


def test_eac_is_its_formula(setting):
    model, faces, network, batch = setting
    method = create_method("eac", faces, model, {"erasing": 0.0, "consistency": 3.0})
    loss, logits = method.step(network, batch)
    gaps = naive_gaps(network, batch.views, weight_of(model))
    hot = np.eye(len(faces.classes))[batch.targets.numpy()]
    expected = naive_cross_entropy(logits.detach().double().numpy(), hot) + 3 * gaps.mean()
    assert gaps.mean() > 1e-6  # else the second term is not tested
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_symmetric_map_costs_nothing():
    half = torch.randn(2, 3, 4, 3)
    symmetric = torch.cat([half, half.flip(-1)], dim=-1)
    assert map_gap(symmetric, symmetric).abs().max() == 0
    maps = torch.randn(2, 3, 4, 6)
    assert map_gap(maps, maps.flip(-1)).abs().max() == 0  # it turned with its face
    assert map_gap(maps, maps).min() > 0


def gradients(method, model, network, batch):
    """Of the classifier's weight and of the backbone's first layer, after one step."""
    model.zero_grad()
    method.step(network, batch)[0].backward()
    return model.classifier.weight.grad.clone(), next(model.backbone.parameters()).grad.clone()


def test_the_consistency_moves_the_backbone_and_not_the_classifier(setting):
    model, faces, network, batch = setting
    found = {}
    for name in ("eac", "mek"):
        for consistency in (0.0, 50.0):
            settings = {"consistency": consistency} | ({"erasing": 0.0} if name == "eac" else {})
            found[name, consistency] = gradients(create_method(name, faces, model, settings), model, network, batch)
    for name in ("eac", "mek"):
        assert torch.equal(found[name, 0.0][0], found[name, 50.0][0])
        assert not torch.allclose(found[name, 0.0][1], found[name, 50.0][1])


def test_behind_a_frozen_backbone_the_consistency_of_mek_moves_the_classifier(setting):
    model, faces, network, batch = setting
    learning = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        found = []
        for consistency in (0.0, 50.0):
            model.zero_grad()
            create_method("mek", faces, model, {"consistency": consistency}).step(network, batch)[0].backward()
            found.append(model.classifier.weight.grad.clone())
    finally:
        for parameter in learning:
            parameter.requires_grad_()
    assert learning and not torch.allclose(*found)


def test_eac_erases_before_the_mirroring_or_in_both_views(setting):
    model, faces, network, batch = setting
    seen = []

    def watched(view):
        seen.append(view)
        return network(view)

    for noisy in (False, True):
        method = create_method("eac", faces, model, {"erasing": 1.0, "noisy": noisy})
        method.step(watched, batch)
    clean, clean_mirror, first, second = seen
    for view, whole in zip(seen, batch.views * 2, strict=True):
        erased = (view != whole).any(dim=1).float().mean(dim=(1, 2))  # fraction of a face
        assert ((erased > 0.01) & (erased < 0.26)).all() and (view[view != whole] == 0).all()
    assert torch.equal(clean_mirror, clean.flip(-1))
    assert not torch.equal(second, first.flip(-1))
    seen.clear()
    half = create_method("eac", faces, model)
    for _ in range(20):
        half.step(watched, batch)
    fraction = np.mean([(view != batch.views[0]).flatten(1).any(dim=1).float().mean() for view in seen[::2]])
    assert fraction == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / (20 * FACES)))


def test_mek_smooths_soft_targets_with_all_their_digits(setting):
    model, faces, _, _ = setting
    method = create_method("mek", faces, model)
    logits, targets = torch.randn(5, 7), torch.rand(5, 7).softmax(dim=1)
    with torch.autocast("cpu", torch.bfloat16):
        found = method.loss(logits, targets, 0.0)
    assert torch.equal(found, method.loss(logits, targets, 0.0))


def first_of_each(faces, counts):
    """A split with so many faces of every class."""
    return faces.subset(
        (faces.frame.groupby("label").cumcount() < faces.frame["label"].map(dict(enumerate(counts)))).to_numpy()
    )


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_mek_is_its_formula(setting, kind):
    model, faces, network, batch = setting
    counts = np.array([30, 20, 3, 25, 9, 30, 17])
    few = first_of_each(faces, counts)
    soft = torch.rand(FACES, len(counts)).softmax(dim=1)
    batch = Batch(batch.views, soft if kind == "soft" else batch.targets, batch.rows, 0.0)
    method = create_method("mek", few, model, {"consistency": 0.7, "smoothing": 0.4})
    loss, logits = method.step(network, batch)

    w = [counts.sum() / (len(counts) * n) for n in counts]
    given = soft.double().numpy() if kind == "soft" else np.eye(len(counts))[batch.targets.numpy()]
    targets = np.zeros_like(given)
    for n in range(FACES):
        for y in range(len(counts)):
            for k in range(len(counts)):
                others = sum(w[j] for j in range(len(counts)) if j != y)
                targets[n, k] += given[n, y] * (0.6 if k == y else 0.4 * w[k] / others)
    assert targets.sum(axis=1) == pytest.approx([1] * FACES)
    gaps = naive_gaps(network, batch.views, weight_of(model))
    consistency = sum(w[c] * gaps[n, c] for n in range(FACES) for c in range(len(counts))) / FACES
    expected = naive_cross_entropy(logits.detach().double().numpy(), targets) + 0.7 * consistency
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_mek_with_equal_classes_and_no_smoothing_is_eac(setting):
    model, faces, network, batch = setting
    mek = create_method(
        "mek", first_of_each(faces, [20] * len(faces.classes)), model, {"consistency": 0.5, "smoothing": 0.0}
    )
    eac = create_method("eac", faces, model, {"consistency": 0.5 * len(faces.classes), "erasing": 0.0})
    assert mek.step(network, batch)[0].item() == pytest.approx(eac.step(network, batch)[0].item(), rel=1e-6)


def test_the_second_view_is_the_mirror_image_of_the_first(synthetic_faces):
    model = build_model(recipe(synthetic_faces).config)
    split, order = synthetic_faces.split("train"), torch.arange(24).view(3, 8)
    pixels = PixelSource(split, Preprocess.of(model.config), "flip_affine", torch.device("cpu"))
    for first, second in pixels.training_batches(order, slice(None), 2, mirrored=True):
        assert torch.equal(second, first.flip(-1))
    drawn = next(iter(pixels.training_batches(order, slice(None), 2)))
    assert not torch.equal(drawn[1], drawn[0].flip(-1))

    cached = create_source(model, split, "flip", torch.device("cpu"))
    assert isinstance(cached, FeatureSource)
    sides = {flip: cached.cache.read(order[0], torch.full_like(order[0], flip)) for flip in (0, 1)}
    first, second = next(iter(cached.training_batches(order, slice(None), 2, mirrored=True)))
    for row in range(8):
        plain = torch.equal(first[row], sides[0][row])
        assert torch.equal(first[row], sides[0 if plain else 1][row])
        assert torch.equal(second[row], sides[1 if plain else 0][row])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "eac"}, "the method eac needs logits that are a linear layer of the mean-pooled feature map"),
        ({"method": "mek"}, "the method mek needs logits that are a linear layer of the mean-pooled feature map"),
        ({"method": "mek", **PROBE, "attention": "channel"}, "which convcut as it is set does not give"),
        ({"method": "mek", **PROBE, "attention": "batch"}, "which convcut as it is set does not give"),
        ({"method": "mek", **PROBE, "head_norm": True}, "which convcut as it is set does not give"),
        ({"method": "mek", **PROBE, "two_depths": True}, "which convcut as it is set does not give"),
        ({"method": "eac", **PROBE, "freeze_backbone": True}, "eac trains the backbone, but it is frozen"),
    ],
)
def test_models_that_do_not_fit_are_refused_before_any_work(synthetic_faces, tmp_path, monkeypatch, settings, message):
    monkeypatch.setattr(FeatureCache, "build", lambda *arguments, **options: pytest.fail("work was done"))
    with pytest.raises(ValueError, match=message):
        train(recipe(synthetic_faces, **settings), synthetic_faces, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_settings_that_make_no_sense_are_refused(synthetic_faces):
    for method, settings, message in (
        ("eac", {"noisy": True, "erasing": 0.0}, "give an erasing above 0"),
        ("eac", {"erasing": 1.5}, "erasing must be at least 0 and at most 1"),
        ("eac", {"consistency": -1.0}, "consistency must be at least 0"),
        ("mek", {"smoothing": 1.5}, "smoothing must be at least 0 and at most 1"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe(synthetic_faces, method=method, **settings)
