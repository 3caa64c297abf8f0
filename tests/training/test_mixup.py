"""mixup: against a naive version, by what must come of it, and over a resume with soft targets."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from scipy.stats import beta, kstest
from small_runs import recipe, train, train_in_two_parts
from torch import nn

from ferlib.data.dataset import FaceDataset
from ferlib.training.methods import Batch, Outputs, create_method
from ferlib.training.methods.mixup import draw_share
from ferlib.training.sam import sharpness_aware

FINETUNE = {"freeze_backbone": False, "augment": "flip_affine", "batch_size": 32, "input_size": 32}


@pytest.fixture(scope="module")
def voted_faces(synthetic_faces):
    """A third of the synthetic faces, with votes: seven people of ten for the label, three for the class after it."""
    faces = synthetic_faces.subset(np.arange(len(synthetic_faces)) % 3 == 0)
    labels, names = faces.frame["label"], faces.classes
    votes = {f"votes_{name}": 7 * (labels == i) + 3 * (labels == (i - 1) % len(names)) for i, name in enumerate(names)}
    return FaceDataset("voted", names, faces.frame.assign(**votes), faces.pixels)


class Linear(nn.Module):
    """A network of one layer that remembers what it was given."""

    def __init__(self, inputs: int, classes: int):
        super().__init__()
        self.layer = nn.Linear(inputs, classes)
        self.given: list[torch.Tensor] = []

    def forward(self, view):
        self.given.append(view.detach().clone())
        vector = view.flatten(1)
        return Outputs(self.layer(vector), vector, view)


def made(faces, alpha):
    return create_method("mixup", faces.split("train"), None, {"alpha": alpha})


def blend_of(faces: int) -> torch.Tensor:
    """Views (B, 1, 1, B), each with a one in its own place: of a blend one reads what went into it."""
    return torch.eye(faces)[:, None, None]


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_the_loss_is_the_naive_one(synthetic_faces, kind, alpha):
    faces, classes = 9, 7
    network, method = Linear(faces, classes), made(synthetic_faces, alpha)
    labels = torch.arange(faces) % classes
    targets = labels if kind == "hard" else torch.rand(faces, classes).softmax(dim=1)
    loss, logits = method.step(network, Batch((blend_of(faces),), targets, torch.arange(faces), 0.5))
    shares = network.given[0].flatten(1)
    assert torch.allclose(shares.sum(dim=0), torch.ones(faces)) and torch.allclose(shares.sum(dim=1), torch.ones(faces))
    weight, bias = network.layer.weight.detach().double().numpy(), network.layer.bias.detach().double().numpy()
    total = 0.0
    for face, row in enumerate(shares.double().numpy()):
        z = weight @ row + bias
        log_p = z - math.log(sum(math.exp(value) for value in z))
        assert logits[face].tolist() == pytest.approx(z.tolist(), rel=1e-5)
        assert row[face] >= 0.5 and np.count_nonzero(row) <= 2
        for other, share in enumerate(row):
            target = np.eye(classes)[labels[other]] if kind == "hard" else targets[other].double().numpy()
            total -= share * (target @ log_p) / faces
    assert loss.item() == pytest.approx(total, rel=1e-5)
    loss.backward()
    assert network.layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("alpha", [0.2, 1.0, 100.0])
def test_shares_are_drawn_from_the_beta_distribution(alpha):
    drawn = [draw_share(alpha) for _ in range(2000)]
    assert min(drawn) >= 0.5
    assert kstest(drawn, lambda x: beta.cdf(x, alpha, alpha) - beta.cdf(1 - x, alpha, alpha)).pvalue > 0.01


def test_every_face_meets_every_other(synthetic_faces):
    faces, network, method = 5, Linear(5, 7), made(synthetic_faces, 1.0)
    batch = Batch((blend_of(faces),), torch.arange(faces), torch.arange(faces), 0.5)
    for _ in range(100):
        method.step(network, batch)
    shares = torch.stack(network.given).flatten(2)  # (steps, B, B)
    assert ((shares > 0).sum(dim=0) > 5).all()
    assert len({round(float(step.max(dim=1).values.min()), 5) for step in shares}) > 80  # a share of its own a step


def test_with_the_smallest_alpha_most_steps_are_plain(synthetic_faces):
    network, method, plain = Linear(6, 7), made(synthetic_faces, 0.01), create_method("plain", synthetic_faces, None)
    batch = Batch((torch.randn(6, 1, 2, 3),), torch.arange(6), torch.arange(6), 0.5)
    found = [method.step(network, batch)[0].item() for _ in range(100)]
    expected = plain.step(network, batch)[0].item()
    assert 60 < sum(loss == pytest.approx(expected, abs=1e-4) for loss in found) < 100


def test_between_two_faces_the_answer_goes_from_one_to_the_other(synthetic_faces):
    """Plain training has one step in between; mixup a line, as the paper wants it."""
    labels = torch.arange(32) % 2
    views = torch.randn(32, 1, 1, 2) * 0.1 + F.one_hot(labels, 2)[:, None, None] * 2
    share = torch.linspace(0.1, 0.9, 9)
    between = share[:, None] * torch.tensor([0.0, 2.0]) + (1 - share[:, None]) * torch.tensor([2.0, 0.0])

    def gap(method) -> float:
        """Mean distance of a trained network's probabilities from the shares."""
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Flatten(), nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
        optimizer = torch.optim.Adam(layers.parameters(), lr=0.02)
        for _ in range(300):
            loss, _ = method.step(lambda x: Outputs(layers(x), x, x), Batch((views,), labels, torch.arange(32), 0.5))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float((layers(between).softmax(dim=1)[:, 1] - share).abs().mean().detach())

    assert gap(made(synthetic_faces, 1.0)) < 0.1 < gap(create_method("plain", synthetic_faces, None))


def test_both_passes_of_sam_see_the_same_blends(synthetic_faces):
    network, method = Linear(6, 7), made(synthetic_faces, 1.0)
    batch = Batch((blend_of(6),), torch.arange(6), torch.arange(6), 0.5)

    def passes():
        loss, logits = method.step(network, batch)
        loss.backward()
        return loss, logits

    sharpness_aware(passes, network, 0.05)
    assert len(network.given) == 2 and torch.equal(*network.given)


@pytest.mark.parametrize("settings", [{}, FINETUNE], ids=["cached", "pixels"])
def test_soft_targets_go_on_bit_for_bit(voted_faces, tmp_path, settings):
    plan = recipe(voted_faces, method="mixup", alpha=1.0, targets="soft", epochs=2, **settings)
    whole, history = train(plan, voted_faces, tmp_path / "whole")
    rest, _ = train_in_two_parts(plan, voted_faces, tmp_path / "parts")
    assert history["train_loss"].map(math.isfinite).all()
    assert all(torch.equal(value, rest.state_dict()[key]) for key, value in whole.state_dict().items())
    states = [load_file(tmp_path / run / "last.safetensors") for run in ("whole", "parts")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_what_mixup_cannot_do_is_refused(synthetic_faces):
    for alpha in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"alpha must be at least 0\.01 and at most 100"):
            recipe(synthetic_faces, method="mixup", alpha=alpha)
    with pytest.raises(ValueError, match="mixup needs a batch of at least 2 faces"):
        recipe(synthetic_faces, method="mixup", batch_size=1)
