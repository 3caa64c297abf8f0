"""SAM: against a naive step in two passes, and by what must change once a step alone."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from small_runs import recipe, train
from torch import nn

from ferlib.training.methods import METHODS, Method
from ferlib.training.sam import sharpness_aware

FINETUNE = {"freeze_backbone": False, "augment": "flip_affine", "batch_size": 32, "input_size": 32}


class Net(nn.Module):
    """A tiny network with batch norm and dropout, whose answer depends on how often it was asked before."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
        self.unused = nn.Parameter(torch.ones(2))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x):
        self.passes += 1
        return self.layers(x) * self.passes.clone()


def passes_of(net, x, y):
    def passes():
        logits = net(x)
        loss = nn.functional.cross_entropy(logits, y)
        loss.backward()
        return loss, logits

    return passes


def test_gradients_are_those_of_a_naive_step():
    net, x, y = Net(), torch.randn(12, 5), torch.arange(12) % 3
    naive, rho = copy.deepcopy(net), 0.3
    torch.manual_seed(1)
    loss, logits = sharpness_aware(passes_of(net, x, y), net, rho)
    drawn = torch.rand(3)

    torch.manual_seed(1)
    first = nn.functional.cross_entropy(naive(x), y)
    assert torch.equal(torch.rand(3), drawn)  # the generator stands where one pass leaves it
    parameters = [p for name, p in naive.named_parameters() if name.startswith("layers")]
    gradients = torch.autograd.grad(first, parameters)
    norm = sum(float(g.square().sum()) for g in gradients) ** 0.5
    statistics = {name: value.clone() for name, value in naive.named_buffers()}
    naive.passes.zero_()  # the second pass finds what the first one found
    before = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p, g in zip(parameters, gradients, strict=True):
            p += rho * g / norm
    moved = sum(float((p.detach() - b).square().sum()) for p, b in zip(parameters, before, strict=True)) ** 0.5
    assert moved == pytest.approx(rho, rel=1e-4)
    torch.manual_seed(1)
    expected = torch.autograd.grad(nn.functional.cross_entropy(naive(x), y), parameters)

    assert torch.equal(loss, first.detach()) and not loss.requires_grad and logits.shape == (12, 3)
    found = [p for name, p in net.named_parameters() if name.startswith("layers")]
    for p, b, g, e in zip(found, before, gradients, expected, strict=True):
        assert torch.equal(p, b) and torch.allclose(p.grad, e, atol=1e-6)
        assert not torch.allclose(p.grad, g, atol=1e-4) or g.abs().max() < 1e-4
    assert net.unused.grad is None and net.frozen.grad is None
    assert all(torch.equal(value, statistics[name]) for name, value in net.named_buffers()) and net.passes == 1


def test_without_a_gradient_nothing_breaks():
    net = nn.Linear(2, 2)
    nn.init.zeros_(net.weight)

    def passes():
        out = net(torch.zeros(1, 2))
        loss = 0 * out.sum()
        loss.backward()
        return loss, out

    sharpness_aware(passes, net, 0.05)
    assert torch.equal(net.weight, torch.zeros(2, 2)) and torch.equal(net.weight.grad, torch.zeros(2, 2))


class Counting(Method):
    """Plain training with a learnt scale of the logits, and a count of the faces that were seen."""

    def __init__(self, training):
        super().__init__(training)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("seen", torch.zeros(len(training.labels)))

    def step(self, network, batch):
        logits = network(batch.views[0]).logits.float() * self.scale
        self.seen[batch.rows] += 1
        return self.loss(logits, batch.targets, batch.progress), logits


@pytest.mark.parametrize(
    ("settings", "precision"), [({}, "bfloat16"), (FINETUNE, "float32")], ids=["cached", "fine-tuned"]
)
def test_a_run_with_no_radius_is_the_plain_run(synthetic_faces, tmp_path, monkeypatch, settings, precision):
    monkeypatch.setitem(METHODS, "counting", Counting)
    plan = recipe(
        synthetic_faces, method="counting", epochs=2, max_grad_norm=0.5, precision=precision, dropout=0.3, **settings
    )
    states, histories = {}, {}
    for name, rho in (("plain", None), ("none", 1e-30), ("sam", 0.05)):
        _, histories[name] = train(plan.override({"sam_rho": rho}), synthetic_faces, tmp_path / name)
        states[name] = load_file(tmp_path / name / "last.safetensors")
    assert all(torch.equal(value, states["none"][key]) for key, value in states["plain"].items())
    assert histories["plain"]["train_loss"].tolist() == histories["none"]["train_loss"].tolist()
    assert torch.equal(states["sam"]["method.seen"], states["plain"]["method.seen"])  # once a step
    assert states["sam"]["method.scale"] != states["plain"]["method.scale"]
    counts = [key for key in states["sam"] if key.endswith("num_batches_tracked")]
    assert counts and all(torch.equal(states["sam"][key], states["plain"][key]) for key in counts)
