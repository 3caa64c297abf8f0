"""Losses, and what each method minimises, against naive loops written from the formulas."""

import math
from typing import Any, cast

import numpy as np
import pytest
import torch

from ferlib.training import losses
from ferlib.training.methods import METHODS, TrainingSet, imbalance, method_settings

COUNTS = [400, 90, 7, 30]
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(9, 4, generator=GENERATOR, dtype=torch.float64) * 3
HARD = torch.tensor([0, 1, 2, 3, 0, 0, 1, 2, 0])
SOFT = torch.rand(9, 4, generator=GENERATOR, dtype=torch.float64)
SOFT = SOFT / SOFT.sum(dim=1, keepdim=True)
TARGETS = {"hard": HARD, "soft": SOFT}


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
    half = torch.tensor([[200.0, 0.0]], requires_grad=True)
    losses.focal(half, torch.tensor([0]), gamma=0.5).backward()
    assert half.grad.isfinite().all()


UNUSED = cast(Any, None)  # losses ask for neither the faces nor the network


def method(name: str, **settings: float):
    labels, chosen = np.repeat(np.arange(4), COUNTS), method_settings(name, settings)
    return METHODS[name](TrainingSet(UNUSED, labels, np.array(COUNTS), UNUSED, chosen)).double()


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_methods_minimise_what_their_names_say(kind):
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
        "plain": plain,
        "sampler": plain,
        "soft_labels": plain,
        "logit_adjusted_posthoc": plain,
        "weights": mean_loss(kind, lambda c, p: -balanced[c] * math.log(p)),
        "class_balanced": mean_loss(kind, lambda c, p: -class_balanced[c] * math.log(p)),
        "focal": mean_loss(kind, lambda c, p: -((1 - p) ** 2) * math.log(p)),
        "logit_adjusted": mean_loss(kind, lambda c, p: -math.log(p), prior),
        "label_smoothing": 0.9 * plain + 0.1 * smooth,
    }
    ours = {name for name, kind in METHODS.items() if kind.__module__ == imbalance.__name__}
    assert expected.keys() == ours - {"ldam"} | {"plain"}
    for name, value in expected.items():
        assert method(name).loss(LOGITS, TARGETS[kind], 0.5).item() == pytest.approx(value, rel=1e-6), name


def test_tau_scales_the_logit_adjustments():
    prior = [0.3 * math.log(n / sum(COUNTS)) for n in COUNTS]
    loss = method("logit_adjusted", tau=0.3).loss(LOGITS, TARGETS["hard"], 0.5)
    assert loss.item() == pytest.approx(mean_loss("hard", lambda c, p: -math.log(p), prior), rel=1e-6)
    shift = method("logit_adjusted_posthoc", tau=0.3).logit_shift
    assert shift.tolist() == pytest.approx([-value for value in prior], rel=1e-6)


def test_ldam_switches_its_weights_on_late():
    ldam = method("ldam")
    margins = torch.tensor(losses.ldam_margins(np.array(COUNTS)))
    raw = [1 / sum(0.9999**i for i in range(n)) for n in COUNTS]
    weights = (
        torch.tensor(raw, dtype=torch.float64) * sum(COUNTS) / sum(w * n for w, n in zip(raw, COUNTS, strict=True))
    )
    for progress, expected in ((0.0, None), (0.799, None), (0.8, weights), (0.999, weights)):
        found = ldam.loss(LOGITS, HARD, progress)
        assert found.item() == pytest.approx(losses.ldam(LOGITS, HARD, margins, expected).item(), rel=1e-6)
