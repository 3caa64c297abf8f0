"""Training methods made for one model: DDAMFN's loss and QCS's quadruplets."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_runs import recipe, train
from torch import nn

from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import MODELS
from ferlib.training import loop
from ferlib.training.features import FeatureCache
from ferlib.training.methods import Batch, TrainedNetwork, create_method
from ferlib.training.methods.base import model_in
from ferlib.training.methods.ddamfn import difference
from ferlib.training.methods.qcs import cross_weights, quadruplets
from ferlib.training.recipes import RECIPES, Recipe

SMALL = {"backbone": "test_convnext", "keep_stages": 2, "input_size": 32}
NARROW = SMALL | {"width": 16, "heads": 2}


def plan_of(faces, name: str, **settings) -> Recipe:
    """A rival's recipe for these faces, with a small network and two epochs."""
    small = SMALL if name == "ddamfn" else NARROW
    return RECIPES[name].override(small | {"classes": faces.classes, "epochs": 2, "batch_size": 16} | settings)


@pytest.mark.parametrize("name", ["ddamfn", "apvit", "two_depth_vit", "vtff", "qcs"])
@pytest.mark.parametrize("frozen", [True, False])
def test_rivals_train_and_go_on_bit_for_bit(synthetic_faces, tmp_path, name, frozen):
    """Whole from pixels; frozen from the cache of feature maps, which holds all that the head needs."""
    settings = {"freeze_backbone": True, "augment": "flip"} if frozen else {}
    plan = plan_of(synthetic_faces, name, **settings)
    whole, history = train(plan, synthetic_faces, tmp_path / "whole")
    assert history["train_loss"].map(math.isfinite).all()

    def stop_after_one(model):
        if (tmp_path / "parts" / "last.safetensors").exists():
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        train(plan, synthetic_faces, tmp_path / "parts", observe=stop_after_one)
    rest, history = train(plan, synthetic_faces, tmp_path / "parts", resume=True)
    assert len(history) == 2
    assert all(torch.equal(value, rest.state_dict()[key]) for key, value in whole.state_dict().items())
    states = [load_file(tmp_path / run / "last.safetensors") for run in ("whole", "parts")]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize("name", ["ddamfn", "two_depth_vit", "vtff"])
def test_a_cached_map_gives_the_answer_of_the_pixels(synthetic_faces, tmp_path, name):
    plan = plan_of(synthetic_faces, name, freeze_backbone=True, augment="flip", epochs=1)
    model, _ = train(plan, synthetic_faces, tmp_path)
    part = synthetic_faces.split("validation").subset(np.arange(4))
    rows = torch.arange(4)
    maps = FeatureCache.build(model, part).read(rows, torch.zeros_like(rows))
    x = Preprocess.of(model.config)(part.pixels)
    with torch.inference_mode():
        assert torch.allclose(model.forward_head(maps), model(x), atol=0.02)  # half precision


@pytest.mark.parametrize(("method", "model"), [("ddamfn", "ddamfn"), ("qcs", "two_depth_vit")])
def test_a_method_made_for_one_model_is_refused_for_others(synthetic_faces, tmp_path, monkeypatch, method, model):
    monkeypatch.setattr(FeatureCache, "build", lambda *arguments, **options: pytest.fail("work was done"))
    with pytest.raises(ValueError, match=f"the method {method} is for the .* of the model {model}, not for convcut"):
        train(recipe(synthetic_faces, method=method), synthetic_faces, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_ddamfn_compares_faces_of_a_batch(synthetic_faces):
    with pytest.raises(ValueError, match="the method ddamfn needs a batch of at least 2 faces"):
        plan_of(synthetic_faces, "ddamfn", batch_size=1)


def built(faces, name: str, **settings):
    """A rival's small model in training mode, and the method of its recipe."""
    torch.manual_seed(0)
    plan = plan_of(faces, name, **settings)
    model = MODELS[plan.config.architecture].model(plan.config).train()
    return model, create_method(plan.method, faces.split("train"), model, plan.method_settings)


def test_ddamfn_adds_a_tenth_over_the_difference_of_its_heads(synthetic_faces):
    model, method = built(synthetic_faces, "ddamfn")
    x, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 2, 1, 2])
    loss, logits = method.step(TrainedNetwork(model, cached=False), Batch((x,), labels, torch.arange(4), 0.0))
    _, maps = model.forward_details(model.forward_features(x))
    total = 0.0
    for one, other in zip(maps[:, 0].flatten().tolist(), maps[:, 1].flatten().tolist(), strict=True):
        total += (one - other) ** 2
    mean = total / maps[:, 0].numel()
    entropy = (
        sum(-math.log(float(row.softmax(0)[label])) for row, label in zip(logits.detach(), labels, strict=True)) / 4
    )
    assert loss.item() == pytest.approx(entropy + 0.1 / mean, rel=1e-3)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_ddamfn_drives_its_heads_apart(synthetic_faces):
    x, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 3
    apart = {}
    for diversity in (0.0, 0.1):
        model, method = built(synthetic_faces, "ddamfn", diversity=diversity)
        network, optimizer = TrainedNetwork(model, cached=False), torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(15):
            loss, _ = method.step(network, Batch((x,), labels, torch.arange(8), 0.0))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        apart[diversity] = float(difference(network(x).details.detach()))
    assert apart[0.1] > 2 * apart[0.0]


def test_three_heads_are_compared_in_pairs():
    maps = torch.randn(2, 3, 4, 5, 5, dtype=torch.double)
    pairs = [(maps[:, i] - maps[:, j]).square().mean() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert float(difference(maps)) == pytest.approx(float(sum(pairs)) / 3)


@pytest.mark.parametrize("counts", [[10, 10, 10], [40, 7, 2, 3], [2, 2], [5, 3, 3, 2, 9], [100, 31, 60, 8]])
def test_quadruplets_are_two_and_two(counts):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    met, seen = set(), torch.zeros(len(labels), dtype=torch.bool)
    for seed in range(30):
        torch.manual_seed(seed)
        rows = quadruplets(labels)
        one, two, three, four = labels[rows].unbind(1)
        assert (one == two).all() and (three == four).all() and (one != three).all()
        assert len(rows.flatten().unique()) == rows.numel()
        pairs = sorted(count // 2 for count in counts)
        most = min(sum(pairs), 2 * sum(pairs[:-1]))  # a class has no more than all others
        assert len(rows) == most // 2
        seen[rows.flatten()] = True
        met |= {frozenset(pair) for pair in zip(one.tolist(), three.tolist(), strict=True)}
    assert seen.all()
    if max(counts) <= sum(counts) / 2:
        assert len(met) == math.comb(len(counts), 2)  # every class has met every other


def test_an_epoch_is_as_long_as_ever_and_comes_back(synthetic_faces):
    _, method = built(synthetic_faces, "qcs")
    labels = synthetic_faces.split("train").labels()
    torch.manual_seed(5)
    order = method.order(len(labels))
    assert len(order) == len(labels) // 4 * 4
    of_four = labels[order].view(-1, 4)
    assert (of_four[:, 0] == of_four[:, 1]).all() and (of_four[:, 0] != of_four[:, 2]).all()
    torch.manual_seed(5)
    assert torch.equal(method.order(len(labels)), order)


def cosine(a, b) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_eight_cross_entropies_by_hand(synthetic_faces):
    model, method = built(synthetic_faces, "qcs", sharpness=3.0)
    labels = torch.tensor([1, 1, 0, 0, 2, 2, 1, 1])
    x = torch.randn(8, 3, 32, 32)
    loss, logits = method.step(TrainedNetwork(model, cached=False), Batch((x,), labels, torch.arange(8), 0.0))
    with torch.no_grad():
        vector, tokens = model.forward_details(model.forward_features(x))
    faces = tokens.double().tolist()
    weight, bias = model.classifier.weight.double().tolist(), model.classifier.bias.double().tolist()

    def entropy(mean: list[float], label: int) -> float:
        z = [sum(w * v for w, v in zip(row, mean, strict=True)) + b for row, b in zip(weight, bias, strict=True)]
        return math.log(sum(math.exp(value) for value in z)) - z[label]

    plain = refined = 0.0
    for face, tokens_of in enumerate(faces):
        first = face // 4 * 4
        place = face - first
        positive, negative = faces[first + (1, 0, 3, 2)[place]], faces[first + (2, 3, 0, 1)[place]]
        scores = []
        for token in tokens_of:
            like = sum(cosine(token, other) for other in positive) / len(positive)
            unlike = sum(1 - cosine(token, other) for other in negative) / len(negative)
            scores.append(math.exp(3 * (like + unlike)))
        shares = [score / sum(scores) for score in scores]
        mean = [sum(column) / len(tokens_of) for column in zip(*tokens_of, strict=True)]
        weighted = [sum(s * v for s, v in zip(shares, column, strict=True)) for column in zip(*tokens_of, strict=True)]
        plain += entropy(mean, int(labels[face])) / 8
        refined += entropy(weighted, int(labels[face])) / 8
    assert abs(plain - refined) > 1e-4
    assert loss.item() == pytest.approx(plain + refined, rel=1e-4)
    assert torch.allclose(logits, model.classifier(vector), atol=1e-5)


def test_a_token_that_is_only_its_own_class_weighs_most():
    basis = torch.eye(4)
    own, negative = basis[None, :3], basis[None, [2, 3, 3]]
    weights = cross_weights(own, basis[None, [0, 0, 3]], negative, 5.0)[0]
    assert weights.sum() == pytest.approx(1) and weights.tolist() == sorted(weights.tolist(), reverse=True)
    assert weights[0] > 2 * weights[1] > 2 * weights[2]
    assert cross_weights(own, negative, own, 0.0)[0].tolist() == pytest.approx([1 / 3] * 3)


def test_weights_of_a_token_keep_their_digits_in_half_precision():
    tokens = [torch.randn(2, 16, 8) + 4 for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16):
        found = cross_weights(*tokens, 10.0)
    assert torch.equal(found, cross_weights(*tokens, 10.0))


def test_what_qcs_cannot_do_is_refused(synthetic_faces, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="qcs needs a batch_size that is a multiple of 4"):
        plan_of(synthetic_faces, "qcs", batch_size=18)
    with pytest.raises(ValueError, match="the method qcs needs one true class a face"):
        plan_of(synthetic_faces, "qcs", targets="soft")
    frame = synthetic_faces.frame
    rare = (frame["split"] == "train") & (frame["label"] == 5)
    single = synthetic_faces.subset(~(rare & (frame.groupby(["split", "label"]).cumcount() > 0)).to_numpy())
    with pytest.raises(ValueError, match="there is a single training face of"):
        train(plan_of(single, "qcs"), single, tmp_path / "run")
    monkeypatch.setattr(loop.Accelerator, "num_processes", 2)  # which would share a quadruplet
    with pytest.raises(ValueError, match="qcs needs its faces in one process, not in 2"):
        train(plan_of(synthetic_faces, "qcs"), synthetic_faces, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_model_is_found_in_a_compiled_network():
    model = nn.Linear(2, 2)
    network = TrainedNetwork(model, cached=True)
    assert model_in(network) is model and model_in(torch.compile(network)) is model
