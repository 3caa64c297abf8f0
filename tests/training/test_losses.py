"""Losses against naive loops written from the formulas, and the remedies made of them inside the training loop."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ferlib.data.dataset import DataError
from ferlib.models.zoo import build_model
from ferlib.training import loop, losses
from ferlib.training.features import FeatureCache
from ferlib.training.recipes import RECIPES, Recipe
from ferlib.training.remedies import REMEDIES, create_remedy, output_layer, shifted

COUNTS = [400, 90, 7, 30]
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(9, 4, generator=GENERATOR, dtype=torch.float64) * 3
HARD = torch.tensor([0, 1, 2, 3, 0, 0, 1, 2, 0])
SOFT = torch.rand(9, 4, generator=GENERATOR, dtype=torch.float64)
SOFT = SOFT / SOFT.sum(dim=1, keepdim=True)
TARGETS = {"hard": HARD, "soft": SOFT}
SMALL = {"trunk": "tf_efficientnet_lite0", "keep_stages": 2, "width": 32, "input_size": 64, "grey": True}


def softmax(z: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in z)
    return [math.exp(v) / total for v in z]


def shares(kind: str) -> list[list[float]]:
    """Targets as distributions."""
    return SOFT.tolist() if kind == "soft" else [[float(c == y) for c in range(4)] for y in HARD.tolist()]


def mean_loss(kind: str, term, shift=(0, 0, 0, 0)) -> float:
    """Mean over the batch of Σ_c t_c · term(c, p_c) with p the softmax of z + shift."""
    total = 0.0
    for z, t in zip(LOGITS.tolist(), shares(kind), strict=True):
        p = softmax([a + b for a, b in zip(z, shift, strict=True)])
        total += sum(t[c] * term(c, p[c]) for c in range(4))
    return total / len(LOGITS)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_losses_are_their_formulas(kind):
    targets = TARGETS[kind]
    weights = [0.5, 1.5, 7.0, 2.0]
    assert losses.cross_entropy(LOGITS, targets).item() == pytest.approx(mean_loss(kind, lambda c, p: -math.log(p)))
    weighted = losses.cross_entropy(LOGITS, targets, torch.tensor(weights, dtype=torch.float64))
    assert weighted.item() == pytest.approx(mean_loss(kind, lambda c, p: -weights[c] * math.log(p)))
    for gamma in (0.0, 0.5, 2.0):
        naive = mean_loss(kind, lambda c, p, gamma=gamma: -((1 - p) ** gamma) * math.log(p))
        assert losses.focal(LOGITS, targets, gamma).item() == pytest.approx(naive)
    prior = [math.log(n / sum(COUNTS)) for n in COUNTS]
    for tau in (1.0, 0.3):
        naive = mean_loss(kind, lambda c, p: -math.log(p), [tau * v for v in prior])
        found = losses.logit_adjusted(LOGITS, targets, torch.tensor(prior, dtype=torch.float64), tau)
        assert found.item() == pytest.approx(naive)


def test_ldam_is_its_formula():
    constant = 0.5 * min(COUNTS) ** 0.25
    margins = [constant / n**0.25 for n in COUNTS]
    assert losses.ldam_margins(np.array(COUNTS)) == pytest.approx(margins)
    total = 0.0
    for z, y in zip(LOGITS.tolist(), HARD.tolist(), strict=True):
        others = sum(math.exp(z[c]) for c in range(4) if c != y)
        total -= math.log(math.exp(z[y] - margins[y]) / (math.exp(z[y] - margins[y]) + others))
    found = losses.ldam(LOGITS, HARD, torch.tensor(margins, dtype=torch.float64))
    assert found.item() == pytest.approx(total / len(LOGITS))


def test_focal_stays_finite_for_sure_predictions():
    logits = torch.tensor([[200.0, 0.0], [200.0, 0.0]], requires_grad=True)
    loss = losses.focal(logits, torch.tensor([0, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(100) and logits.grad.isfinite().all()


def remedy(name: str):
    labels = np.repeat(np.arange(4), COUNTS)
    return REMEDIES[name](labels, np.array(COUNTS)).double()


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_remedies_minimise_what_their_names_say(kind):
    total = sum(COUNTS)

    def cui(beta):
        raw = [(1 - beta) / (1 - beta**n) for n in COUNTS]
        scale = total / sum(w * n for w, n in zip(raw, COUNTS, strict=True))
        return [w * scale for w in raw]

    balanced, class_balanced = [total / (4 * n) for n in COUNTS], cui(0.999)
    prior = [math.log(n / total) for n in COUNTS]
    plain = mean_loss(kind, lambda c, p: -math.log(p))
    smooth = sum(-math.log(p) for z in LOGITS.tolist() for p in softmax(z)) / 4 / len(LOGITS)
    expected = {
        "none": plain,
        "sampler": plain,
        "soft_labels": plain,
        "logit_adjusted_posthoc": plain,
        "weights": mean_loss(kind, lambda c, p: -balanced[c] * math.log(p)),
        "class_balanced": mean_loss(kind, lambda c, p: -class_balanced[c] * math.log(p)),
        "focal": mean_loss(kind, lambda c, p: -((1 - p) ** 2) * math.log(p)),
        "logit_adjusted": mean_loss(kind, lambda c, p: -math.log(p), prior),
        "label_smoothing": 0.9 * plain + 0.1 * smooth,
    }
    assert expected.keys() == REMEDIES.keys() - {"ldam"}
    for name, value in expected.items():
        assert remedy(name).loss(LOGITS, TARGETS[kind], 0.5).item() == pytest.approx(value, rel=1e-6), name


def test_tau_scales_the_logit_adjustments():
    labels, counts = np.repeat(np.arange(4), COUNTS), np.array(COUNTS)
    prior = [0.3 * math.log(n / sum(COUNTS)) for n in COUNTS]
    loss = REMEDIES["logit_adjusted"](labels, counts, 0.3).double().loss(LOGITS, TARGETS["hard"], 0.5)
    assert loss.item() == pytest.approx(mean_loss("hard", lambda c, p: -math.log(p), prior), rel=1e-6)
    shift = REMEDIES["logit_adjusted_posthoc"](labels, counts, 0.3).logit_shift
    assert shift.tolist() == pytest.approx([-value for value in prior], rel=1e-6)


def test_ldam_switches_its_weights_on_late():
    ldam = remedy("ldam")
    margins = torch.tensor(losses.ldam_margins(np.array(COUNTS)))
    raw = [1 / sum(0.9999**i for i in range(n)) for n in COUNTS]
    weights = (
        torch.tensor(raw, dtype=torch.float64) * sum(COUNTS) / sum(w * n for w, n in zip(raw, COUNTS, strict=True))
    )
    for progress, expected in ((0.0, None), (0.799, None), (0.8, weights), (0.999, weights)):
        found = ldam.loss(LOGITS, HARD, progress)
        assert found.item() == pytest.approx(losses.ldam(LOGITS, HARD, margins, expected).item(), rel=1e-6)


def test_sampler_draws_all_classes_equally_often():
    labels = torch.tensor(np.repeat(np.arange(4), COUNTS))
    torch.manual_seed(0)
    faces = sum(COUNTS)
    orders = torch.stack([remedy("sampler").order(faces) for _ in range(100)])
    found = torch.bincount(labels[orders].flatten(), minlength=4) / orders.numel()
    assert found.tolist() == pytest.approx([0.25] * 4, abs=4 * math.sqrt(0.25 * 0.75 / orders.numel()))
    within = torch.bincount(orders.flatten(), minlength=faces)[-30:] / orders.numel()  # one class's faces, evenly
    assert within.min() > 0.6 * 0.25 / 30 and within.max() < 1.4 * 0.25 / 30
    assert sorted(remedy("weights").order(faces).tolist()) == list(range(faces))


def test_shift_lasts_as_long_as_the_with():
    model = build_model(RECIPES["convcut"].override(SMALL | {"classes": ("a", "b", "c")}).config).eval()
    features = torch.rand(2, model.trunk.channels, 8, 8)
    before, shift = output_layer(model).bias.detach().clone(), torch.tensor([1.0, 0.1, -1e8])
    with torch.inference_mode():
        plain = model.forward_head(features)
        with shifted(model, shift):
            assert torch.allclose(model.forward_head(features), plain + shift)
        with pytest.raises(KeyboardInterrupt), shifted(model, shift):
            raise KeyboardInterrupt
        with shifted(model, None):
            assert torch.equal(model.forward_head(features), plain)
    assert torch.equal(output_layer(model).bias, before)


def test_a_model_without_an_output_bias_is_refused():
    model = build_model(RECIPES["convcut"].override(SMALL).config)
    model.classifier = nn.Sequential(nn.ReLU(), nn.Linear(32, 8))
    assert output_layer(model) is model.classifier[1]
    model.classifier = nn.Linear(32, 8, bias=False)
    with pytest.raises(ValueError, match="ConvCut has no `classifier` ending in a linear layer with a bias"):
        output_layer(model)


@pytest.fixture(scope="module")
def faces(drawn_faces):
    """All drawn faces but most of two classes' training faces."""
    frame = drawn_faces.frame
    rare = (frame["split"] == "train") & frame["label"].isin([2, 5])
    return drawn_faces.subset(~(rare & (frame.groupby(["split", "label"]).cumcount() >= 6)).to_numpy())


def recipe(faces, **settings) -> Recipe:
    return RECIPES["convcut"].override(SMALL | {"classes": faces.classes, "epochs": 2} | settings)


def train(plan, faces, out, **options):
    torch.manual_seed(plan.seed)
    model = build_model(plan.config)
    return model, loop.fit(model, faces, plan, out, **options)


@pytest.mark.parametrize("name", [name for name in REMEDIES if name != "soft_labels"])
def test_every_remedy_trains(faces, tmp_path, name):
    _, history = train(recipe(faces, remedy=name, epochs=1), faces, tmp_path)
    assert math.isfinite(history["train_loss"].iloc[0])


def test_post_hoc_shift_is_in_what_is_kept_and_not_in_the_training_state(faces, tmp_path):
    plain, _ = train(recipe(faces, epochs=1), faces, tmp_path / "none")
    adjusted, history = train(recipe(faces, epochs=1, remedy="logit_adjusted_posthoc"), faces, tmp_path / "post")
    states = [load_file(tmp_path / name / "last.safetensors") for name in ("none", "post")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())

    part, validation = faces.split("train"), faces.split("validation")
    counts = torch.bincount(part.labels(), minlength=len(faces.classes))
    prior = (counts / counts.sum()).log()
    rows = torch.arange(len(validation))
    x = FeatureCache.build(plain, validation).read(rows, torch.zeros_like(rows))
    with torch.inference_mode():
        expected, found = plain.forward_head(x) - prior, adjusted.eval().forward_head(x)
    assert torch.allclose(found, expected, atol=1e-5)
    hits = (expected.argmax(dim=1) == validation.labels()).double()
    assert history["accuracy"].iloc[0] == pytest.approx(float(hits.mean()))
    again = type(plain).from_pretrained(str(tmp_path / "post" / "best"))
    assert all(torch.equal(value, adjusted.state_dict()[key]) for key, value in again.state_dict().items())


def test_impossible_remedies_are_refused_before_any_work(faces, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="remedy must be one of none, sampler"):
        recipe(faces, remedy="prayer")
    with pytest.raises(ValueError, match="the remedy ldam needs one true class a face"):
        recipe(faces, remedy="ldam", targets="soft")
    with pytest.raises(ValueError, match="remedy must be one of"):
        create_remedy("prayer", faces)

    monkeypatch.setattr(FeatureCache, "build", lambda *arguments, **options: pytest.fail("work was done"))
    out = tmp_path / "run"
    with pytest.raises(DataError, match="has no votes"):
        train(recipe(faces, remedy="soft_labels"), faces, out)
    frame = faces.frame
    without = faces.subset(~((frame["split"] == "train") & (frame["label"] == 5)).to_numpy())
    for name in ("sampler", "weights", "class_balanced", "ldam", "logit_adjusted", "logit_adjusted_posthoc"):
        with pytest.raises(ValueError, match=f"{name} goes by class sizes, but .* no training faces of"):
            train(recipe(faces, remedy=name), without, out)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "output_layer", lambda model: (_ for _ in ()).throw(ValueError("no bias")))
        with pytest.raises(ValueError, match="no bias"):
            train(recipe(faces, remedy="logit_adjusted_posthoc"), faces, out)
    assert not out.exists()


def test_soft_labels_mean_soft_targets(faces):
    plain = recipe(faces)
    assert plain.target_kind == "hard" and plain.override({"targets": "soft"}).target_kind == "soft"
    soft = plain.override({"remedy": "soft_labels"})
    assert soft.target_kind == "soft" and soft.override({"remedy": "none"}).target_kind == "hard"
