"""DMUE's pieces and its whole loss against loops over the formulas; what its branches see, and what is saved."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_runs import recipe, train
from torch import nn

from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import build_model, create_model
from ferlib.training.batch_sources import PixelSource
from ferlib.training.features import FeatureCache
from ferlib.training.methods import Batch, TrainedNetwork, create_method, dmue

FACES, CLASSES = 9, 4
LABELS = torch.tensor([0, 1, 2, 0, 0, 1, 3, 3, 2])


@pytest.fixture
def draw():
    return torch.Generator().manual_seed(0)


def softmax(z):
    total = sum(math.exp(v) for v in z)
    return [math.exp(v) / total for v in z]


def test_ramps():
    for end in (10 / 36, 0.5, 1.0):
        assert dmue.ramp_up(0.0, end) == pytest.approx(math.exp(-5))
        assert dmue.ramp_up(0.5 * end, end) == pytest.approx(math.exp(-5 / 4))
        assert dmue.ramp_up(end, end) == dmue.ramp_up(1.0, end) == 1
        assert dmue.ramp_down(0.0, end) == dmue.ramp_down(0.7 * end, end) == dmue.ramp_down(end, end) == 1
    assert dmue.ramp_down(0.5, 0.25) == pytest.approx(math.exp(-((1 - 0.5) ** 2)))
    assert dmue.ramp_down(1.0, 0.25) == pytest.approx(math.exp(-((1 - 0.25) ** 2)))
    assert dmue.ramp_down(0.3, 0.25) > dmue.ramp_down(0.6, 0.25) > dmue.ramp_down(1.0, 0.25)


def naive_soft(z, c):
    """p̃ with 0 at c, of one face."""
    sharpened = [p ** (1 / 1.2) for p in softmax(z)]
    rest = [p / sum(sharpened) for p in sharpened]
    return [*rest[:c], 0.0, *rest[c:]]


@pytest.mark.parametrize("c", range(CLASSES))
def test_an_answer_of_a_branch_leaves_its_class_out(c, draw):
    z = 2 * torch.randn(FACES, CLASSES - 1, generator=draw, dtype=torch.float64)
    found = dmue.other_classes(z, c)
    assert found.numpy() == pytest.approx(np.array([naive_soft(row, c) for row in z.tolist()]))
    assert (found[:, c] == 0).all()
    others = [k for k in range(CLASSES) if k != c]
    assert dmue.without_class(torch.tensor(others), c).tolist() == list(range(CLASSES - 1))


def test_the_soft_loss_is_its_formula(draw):
    z = torch.randn(FACES, CLASSES, generator=draw, dtype=torch.float64)
    soft = torch.rand(FACES, CLASSES, generator=draw, dtype=torch.float64)
    total = 0.0
    for row, target, y in zip(z.tolist(), soft.tolist(), LABELS.tolist(), strict=True):
        p = softmax(row)
        total += sum(((p[k] if k != y else 0) - target[k]) ** 2 for k in range(CLASSES))
    assert dmue.soft_loss(z, LABELS, soft).item() == pytest.approx(total / FACES / CLASSES)


def naive_similarities(rows):
    """Row-normalised inner products."""
    products = [[sum(a * b for a, b in zip(one, other, strict=True)) for other in rows] for one in rows]
    return [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in products]


def naive_auxiliary(answers, labels):
    terms = []
    for c, z in enumerate(answers):
        if z is not None:
            kept = [y for y in labels if y != c]
            losses = [-math.log(softmax(row)[y if y < c else y - 1]) for row, y in zip(z, kept, strict=True)]
            terms.append(sum(losses) / len(losses))
    return sum(terms) / len(terms)


def naive_similarity_loss(answers, vectors, labels):
    terms = []
    for c, z in enumerate(answers):
        if z is not None:
            ours = naive_similarities(z)
            theirs = naive_similarities([v for v, y in zip(vectors, labels, strict=True) if y != c])
            squares = [
                (a - b) ** 2 for one, two in zip(ours, theirs, strict=True) for a, b in zip(one, two, strict=True)
            ]
            terms.append(sum(squares) / len(squares))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("resting", [None, 1])
def test_the_branches_losses_are_their_formulas(draw, resting):
    answers = [
        None if c == resting else torch.randn(int((c != LABELS).sum()), 3, generator=draw, dtype=torch.float64)
        for c in range(CLASSES)
    ]
    vectors = torch.randn(FACES, 5, generator=draw, dtype=torch.float64)
    lists = [None if z is None else z.tolist() for z in answers]
    assert dmue.auxiliary_loss(answers, LABELS).item() == pytest.approx(naive_auxiliary(lists, LABELS.tolist()))
    expected = naive_similarity_loss(lists, vectors.tolist(), LABELS.tolist())
    assert dmue.similarity_loss(answers, vectors, LABELS).item() == pytest.approx(expected)


def naive_class_similarity(vectors, labels, classes):
    rows = []
    for one in vectors:
        means = {}
        for c in sorted(set(labels)):
            cosines = [
                sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)
                for other, y in zip(vectors, labels, strict=True)
                if y == c
            ]
            means[c] = sum(cosines) / len(cosines)
        low, high = min(means.values()), max(means.values())
        rows.append([(means[c] - low) / (high - low) if c in means else 0.0 for c in range(classes)])
    return rows


@pytest.mark.parametrize("classes", [CLASSES, CLASSES + 1])
def test_similarity_to_the_classes_is_its_formula(draw, classes):
    vectors = torch.randn(FACES, 5, generator=draw)
    found = dmue.class_similarity(vectors, LABELS, classes)
    expected = naive_class_similarity(vectors.tolist(), LABELS.tolist(), classes)
    assert found.numpy() == pytest.approx(np.array(expected), abs=1e-5)
    alone = dmue.class_similarity(vectors, torch.zeros(FACES, dtype=torch.long), classes)
    assert (alone == 0).all()


def naive_confidence(module, similarity, labels):
    first, prelu, last = module.layers
    found = []
    for row, y in zip(similarity, labels, strict=True):
        x = [*row, *(float(k == y) for k in range(len(row)))]
        hidden = [
            sum(w * v for w, v in zip(weights, x, strict=True)) + b
            for weights, b in zip(first.weight.tolist(), first.bias.tolist(), strict=True)
        ]
        hidden = [v if v > 0 else prelu.weight.item() * v for v in hidden]
        z = sum(w * v for w, v in zip(last.weight[0].tolist(), hidden, strict=True)) + last.bias.item()
        found.append(1 / (1 + math.exp(-z)))
    return found


@pytest.fixture
def setting(synthetic_faces):
    """Model in training mode, method, network and a batch of pixels."""
    plan = recipe(synthetic_faces, freeze_backbone=False, detail_layers=0, attention="none", dropout=0.0)
    model, split = build_model(plan.config).train(), synthetic_faces.split("train")
    method = create_method("dmue", split, model, {"ramp": 0.5, "soft_weight": 0.6, "similarity_weight": 7.0}).train()
    source = PixelSource(split, Preprocess.of(model.config), "none", torch.device("cpu"))
    rows = torch.from_numpy(np.flatnonzero(split.frame.groupby("label").cumcount() < 3))  # three of every class
    order = rows.view(1, -1)
    views = next(iter(source.training_batches(order, slice(None))))
    return (
        model,
        method,
        TrainedNetwork(model, False, stage_input=True),
        Batch(views, split.labels()[rows], rows, 0.7),
    )


def watch(module: nn.Module, seen: list) -> None:
    """Keep mode, input and output of every call."""
    module.register_forward_hook(lambda part, given, out: seen.append((part.training, given[0], out)))


def test_a_step_minimises_the_formula(setting):
    model, method, network, batch = setting
    outputs, calls = [], [[] for _ in method.branches]
    network.register_forward_hook(lambda part, given, out: outputs.append(out))
    for branch, seen in zip(method.branches, calls, strict=True):
        watch(branch, seen)
    loss, logits = method.step(network, batch)

    labels, answers, soft = batch.targets.tolist(), [], {}
    for c, seen in enumerate(calls):
        # a branch is trained on the faces of the other classes alone, and asked, outside training, about its own
        (training, others, z), (asking, own, p) = seen
        assert training and torch.equal(others, outputs[0].stage_input[batch.targets != c])
        assert not asking and torch.equal(own, outputs[0].stage_input[batch.targets == c]) and not p.requires_grad
        answers.append(z.tolist())
        soft |= dict(zip((n for n, y in enumerate(labels) if y == c), p.tolist(), strict=True))
    vectors, z, classes = outputs[0].vector.tolist(), logits.tolist(), len(calls)
    scale = naive_confidence(method.confidence, naive_class_similarity(vectors, labels, classes), labels)
    target = np.mean([-math.log(softmax([s * v for v in row])[y]) for s, row, y in zip(scale, z, labels, strict=True)])
    distance = 0.0
    for n, y in enumerate(labels):
        p, wanted = softmax(z[n]), naive_soft(soft[n], y)
        distance += sum(((p[k] if k != y else 0) - wanted[k]) ** 2 for k in range(classes)) / classes / len(labels)
    similarity = naive_similarity_loss(answers, vectors, labels)
    expected = target + 0.6 * distance + 7 * similarity  # r↑ is 1
    expected += math.exp(-((1 - 0.5 / 0.7) ** 2)) * naive_auxiliary(answers, labels)
    assert min(distance, similarity) > 1e-5
    assert loss.item() == pytest.approx(expected, rel=1e-4)

    loss.backward()
    assert all(parameter.grad is not None for part in (method, model) for parameter in part.parameters())


def test_branches_start_as_copies_of_the_last_stage(setting):
    model, method, _, _ = setting
    stage = model.backbone.last_stage.state_dict()
    assert len(method.branches) == len(model.config.classes)
    for branch in method.branches:
        assert all(torch.equal(value, stage[key]) for key, value in branch.stage.state_dict().items())
        assert not {id(each) for each in branch.parameters()} & {id(each) for each in model.parameters()}
        assert branch.classifier.out_features == len(model.config.classes) - 1


def test_a_batch_of_one_class_trains_the_other_branches(setting):
    _, method, network, batch = setting
    loss, _ = method.step(network, Batch(batch.views, torch.full_like(batch.targets, 2), batch.rows, 0.0))
    loss.backward()
    assert loss.isfinite()
    trained = [branch.classifier.weight.grad is not None for branch in method.branches]
    assert trained == [c != 2 for c in range(len(trained))]


def test_classes_are_drawn_alike_unless_told_otherwise(synthetic_faces):
    frame = synthetic_faces.frame
    faces = synthetic_faces.subset(((frame["label"] != 3) | (frame.groupby("label").cumcount() < 20)).to_numpy())
    split = faces.split("train")
    model = build_model(recipe(faces, freeze_backbone=False).config)
    method = create_method("dmue", split, model)
    labels = split.labels()
    found = torch.stack([labels[method.order(len(split))] for _ in range(60)]).flatten()
    fractions = torch.bincount(found) / len(found)
    assert fractions.tolist() == pytest.approx([1 / 7] * 7, abs=0.02)
    assert sorted(create_method("dmue", split, model, {"balanced": False}).order(9).tolist()) == list(range(9))


def test_the_target_branch_alone_is_saved(synthetic_faces, tmp_path):
    plan = recipe(synthetic_faces, method="dmue", freeze_backbone=False, batch_size=64, epochs=1, ema_decay=0.9)
    model, _ = train(plan, synthetic_faces, tmp_path)
    best = load_file(tmp_path / "best" / "model.safetensors")
    assert best.keys() == build_model(plan.config).state_dict().keys() == model.state_dict().keys()
    last = load_file(tmp_path / "last.safetensors")
    assert sum(key.startswith("method.branches.6.") for key in last) > 10  # there to go on from


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "dmue trains the backbone, but it is frozen"),
        ({"freeze_backbone": False, "two_depths": True}, r"take a model of one \(two_depths=false\)"),
        ({"freeze_backbone": False, "backbone": "resnet18"}, "resnet18 keeps its stages in no list"),
    ],
)
def test_models_that_do_not_fit_are_refused_before_any_work(synthetic_faces, tmp_path, monkeypatch, settings, message):
    monkeypatch.setattr(FeatureCache, "build", lambda *arguments, **options: pytest.fail("work was done"))
    with pytest.raises(ValueError, match=message):
        train(recipe(synthetic_faces, method="dmue", **settings), synthetic_faces, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_combinations_that_make_no_sense_are_refused(synthetic_faces):
    with pytest.raises(ValueError, match=r"copies the last stage of a timm backbone, .*; ivsa has none"):
        create_method("dmue", synthetic_faces, create_model("ivsa"))
    two_streams = create_model("vtff", backbone="test_convnext", keep_stages=2, input_size=64, freeze_backbone=False)
    with pytest.raises(ValueError, match="take another model than vtff"):
        create_method("dmue", synthetic_faces, two_streams)
    for settings, message in (
        ({"targets": "soft"}, "the method dmue needs one true class a face"),
        ({"teacher": "convcut_ferplus"}, "the method dmue needs one true class a face"),
        ({"ramp": 0.0}, "ramp must be above 0"),
        ({"ramp": 1.5}, "ramp must be at least 0 and at most 1"),
        ({"soft_weight": -1.0}, "soft_weight must be at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe(synthetic_faces, method="dmue", **settings)
