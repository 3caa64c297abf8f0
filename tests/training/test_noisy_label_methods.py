"""SCN, LTNet and the label bank: against naive versions, by what they must do, and over a resume."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from small_runs import SMALL, recipe, train
from torch import nn

from ferlib.evaluation.evaluate import predict_dataset
from ferlib.models.registry import build_model, load_model
from ferlib.training.methods import Batch, Outputs, TrainedNetwork, TrainingSet, create_method
from ferlib.training.methods.ltnet import LEAST, annotator_loss, near_identity, read_matrices, row_stochastic
from ferlib.training.methods.neighbour_labels import neighbour_mean
from ferlib.training.recipes import RECIPES

STATE = {"scn": "labels", "neighbour_labels": "bank", "ltnet": "confusion.second"}
SETTINGS = {
    "scn": {"threshold": 0.0, "relabel_from": 0.0},
    "neighbour_labels": {"bank_momentum": 0.5},
    "ltnet": {"warm_up": 0.3},
}
FINETUNE = {"freeze_backbone": False, "augment": "flip_affine", "batch_size": 32, "input_size": 32}


@pytest.fixture(scope="module")
def faces(synthetic_faces):
    """The synthetic faces, and what a second annotator says of most: six of the classes, the last two swapped."""
    rng, names = np.random.default_rng(0), synthetic_faces.classes
    said = synthetic_faces.frame["label"].map(dict(enumerate([*names[:5], names[6], names[5]])))
    said = said.where((rng.random(len(said)) < 0.9) & (said != names[0]))
    data = synthetic_faces.subset(np.arange(len(said)))
    data.frame["annotator_second"] = pd.Categorical(said, categories=names[1:])
    return data


@pytest.fixture(scope="module")
def part(faces):
    return faces.split("train")


@pytest.fixture
def network(part):
    """A small head over feature maps, without dropout, that is sure of its answers."""
    model = build_model(RECIPES["convcut"].override(SMALL | {"classes": part.classes}).config)
    nn.init.normal_(model.classifier.weight)
    return TrainedNetwork(model, cached=True).eval()


def made(name, part, network, **settings):
    return create_method(name, part, network.model, settings)


def batch_of(part, network, rows, progress=0.5) -> Batch:
    maps = 3 * torch.randn(len(rows), network.model.backbone.channels, 8, 8)
    return Batch((maps,), part.labels()[rows], rows, progress)


# SCN


def naive_scn(out, importance, stored, share, margin, threshold, low_only):
    """Loss and new labels of a batch, face by face in numpy."""
    f, z = out.vector.double().numpy(), out.logits.double().numpy()
    u, b = importance.weight.detach().double().numpy()[0], float(importance.bias.detach())
    a = [1 / (1 + np.exp(-(u @ face + b))) for face in f]
    p = [np.exp(w * row) / np.exp(w * row).sum() for w, row in zip(a, z, strict=True)]
    loss = np.mean([-np.log(row[y]) for row, y in zip(p, stored, strict=True)])
    ranked = sorted(range(len(a)), key=lambda i: -a[i])
    high, low = ranked[: int(len(a) * share)], ranked[int(len(a) * share) :]
    if low:
        loss += max(0, margin - (np.mean([a[i] for i in high]) - np.mean([a[i] for i in low])))
    new = list(stored)
    for i in low if low_only else ranked:
        if p[i].max() - p[i][stored[i]] > threshold:
            new[i] = int(p[i].argmax())
    return loss, new


@pytest.mark.parametrize(("low_only", "share", "margin"), [(False, 0.7, 0.15), (True, 0.4, 0.9), (False, 1.0, 0.3)])
def test_scn_is_the_naive_one(part, network, low_only, share, margin):
    method = made("scn", part, network, low_only=low_only, share=share, margin=margin, threshold=0.1)
    nn.init.normal_(method.importance.weight)
    rows = torch.randperm(len(part))[:20]
    batch = batch_of(part, network, rows)
    stored = (method.labels[rows] + torch.arange(20) % 2) % len(part.classes)  # half were changed before
    method.labels[rows] = stored
    others = method.labels.clone()
    with torch.no_grad():
        loss, labels = naive_scn(
            network(batch.views[0]), method.importance, stored.tolist(), share, margin, 0.1, low_only
        )
    found, _ = method.step(network, batch)
    assert float(found.detach()) == pytest.approx(loss, rel=1e-5)
    assert method.labels[rows].tolist() == labels and labels != stored.tolist()
    others[rows] = method.labels[rows]
    assert torch.equal(others, method.labels)  # no other face was touched
    found.backward()
    assert method.importance.weight.grad.abs().sum() > 0


def test_scn_alone_is_weighted_cross_entropy_and_changes_nothing_before_its_time(part, network):
    method = made("scn", part, network, share=1.0, margin=0.0, threshold=0.0, relabel_from=0.6)
    batch = batch_of(part, network, torch.arange(12), progress=0.59)
    out = network(batch.views[0])
    weights = method.importance(out.vector).sigmoid()
    loss, logits = method.step(network, batch)
    assert torch.allclose(loss, nn.functional.cross_entropy(weights * out.logits, batch.targets))
    assert torch.equal(method.labels, part.labels())
    method.step(network, Batch(batch.views, batch.targets, batch.rows, 0.6))
    assert torch.equal(method.labels[:12], logits.argmax(dim=1))  # with threshold 0, whatever is most probable


@pytest.mark.parametrize("settings", [{}, FINETUNE], ids=["cached", "fine-tuned"])
def test_scn_changes_labels_of_training_faces_alone(faces, tmp_path, settings):
    before = faces.frame.copy()
    _, history = train(recipe(faces, method="scn", epochs=2, **SETTINGS["scn"], **settings), faces, tmp_path)
    state = load_file(tmp_path / "last.safetensors")
    given = faces.split("train").labels()
    assert len(state["method.labels"]) == len(given) and (state["method.labels"] != given).any()
    pd.testing.assert_frame_equal(faces.frame, before)
    judged = faces.split("validation")  # by the labels that were given
    hits = predict_dataset(load_model(tmp_path / "best"), judged).argmax(axis=1) == judged.labels().numpy()
    assert hits.mean() == pytest.approx(history["accuracy"].max())


# The label bank


def test_bank_is_the_naive_mean_over_the_nearest(part, network):
    method = made("neighbour_labels", part, network, neighbours=3, bank_momentum=0.8, bank_weight=0.7)
    rows = torch.randperm(len(part))[:15]
    expected, losses = nn.functional.one_hot(part.labels(), len(part.classes)).double().numpy(), []
    for _ in range(2):  # the second goes on from the bank of the first
        batch = batch_of(part, network, rows)
        with torch.no_grad():
            out = network(batch.views[0])
        f, p = out.vector.double().numpy(), out.logits.double().softmax(dim=1).numpy()
        new = expected.copy()
        for i, row in enumerate(rows.tolist()):
            cosine = {j: f[i] @ f[j] / np.linalg.norm(f[i]) / np.linalg.norm(f[j]) for j in range(15) if j != i}
            nearest = sorted(cosine, key=lambda j: -cosine[j])[:3]
            new[row] = 0.8 * expected[row] + 0.2 * sum(p[j] for j in nearest) / 3
        expected = new
        with_labels = -np.log(p[range(15), part.labels()[rows].numpy()]).mean()
        losses.append(with_labels - 0.7 * (expected[rows] * np.log(p)).sum(axis=1).mean())
        found, _ = method.step(network, batch)
        assert float(found.detach()) == pytest.approx(losses[-1], rel=1e-5)
        assert np.allclose(method.bank.numpy(), expected, atol=1e-6)
        assert torch.allclose(method.bank.sum(dim=1), torch.ones(len(part)), atol=1e-6)


# LTNet


def naive_ltnet(logits, matrices, labels):
    """-Σ_j log Σ_y p_y T_j[y, ỹ_j], mean over faces, in loops."""
    total = 0.0
    for n, z in enumerate(logits):
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        for matrix, said in zip(matrices, labels, strict=True):
            if said[n] >= 0:
                total -= np.log(sum(p[y] * matrix[y][said[n]] for y in range(len(p))))
    return total / len(logits)


def test_ltnet_is_the_naive_one_with_both_annotators(part, network):
    method = made("ltnet", part, network)
    with torch.no_grad():
        for matrix in method.confusion.values():
            matrix.add_(0.3 * torch.randn_like(matrix))  # as an optimiser may leave it: negative entries, any sums
    rows = torch.randperm(len(part))[:30]
    batch = batch_of(part, network, rows)
    matrices = []
    for matrix in method.confusion.values():
        raised = [[entry if entry > 0 else LEAST for entry in row] for row in matrix.detach().double().tolist()]
        matrices.append([[entry / sum(row) for entry in row] for row in raised])
    codes = part.frame["annotator_second"].cat.codes.to_numpy()[rows]
    assert (codes == -1).any() and len(matrices[1][0]) == 6 and len(matrices[1]) == 7
    with torch.no_grad():
        logits = network(batch.views[0]).logits.double().numpy()
    found, _ = method.step(network, batch)
    expected = naive_ltnet(logits, matrices, [part.labels()[rows].tolist(), codes])
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)
    for matrix, found in zip(matrices, method.matrices().values(), strict=True):
        assert np.allclose(found, matrix, atol=1e-6) and np.allclose(found.sum(axis=1), 1, atol=1e-6)


def test_ltnet_with_matrices_near_the_identity_is_cross_entropy(part, network):
    method = made("ltnet", part, network, other_annotators=False, diagonal=1.0, warm_up=0.0)
    assert list(method.confusion) == ["own"]
    batch = batch_of(part, network, torch.arange(25))
    found, logits = method.step(network, batch)
    gap = found - nn.functional.cross_entropy(logits, batch.targets)
    assert float(gap.detach().abs()) < 30 * LEAST
    late = made("ltnet", part, network, warm_up=0.6)
    found, logits = late.step(network, batch)
    assert torch.equal(found, nn.functional.cross_entropy(logits, batch.targets))


def test_a_matrix_starts_where_the_names_agree():
    matrix = near_identity(("a", "b", "c"), ("b", "a"), 0.9)
    assert torch.allclose(matrix, torch.tensor([[0.1, 0.9], [0.9, 0.1], [0.5, 0.5]]), atol=1e-6)
    assert torch.allclose(row_stochastic(torch.tensor([[-3.0, 2.0]])), torch.tensor([[LEAST, 2.0]]) / (2 + LEAST))


def test_ltnet_finds_how_annotators_err(part, network):
    """Points of three classes, labels drawn by known matrices: learnt again, and the latent truth is the truth."""
    truth = torch.arange(3000) % 3
    points = nn.functional.one_hot(truth, 3) * 3.0 + 0.5 * torch.randn(3000, 3)
    flips = [
        torch.tensor([[0.7, 0.3, 0.0], [0.1, 0.8, 0.1], [0.0, 0.2, 0.8]]),
        torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.6, 0.4], [0.2, 0.1, 0.7]]),
    ]
    said = [torch.multinomial(flip[truth], 1).squeeze(1) for flip in flips]
    frame = pd.DataFrame({"label": said[0], "split": "train", "group": -1, "row": range(3000)})
    frame["annotator_other"] = pd.Categorical.from_codes(said[1], ["a", "b", "c"])
    data = type(part)("toy", ("a", "b", "c"), frame, torch.zeros(3000, 1, 1, 1, dtype=torch.uint8))
    layer = nn.Linear(3, 3)
    method = made("ltnet", data, network, warm_up=0.3, diagonal=0.9)
    optimizer = torch.optim.Adam([*layer.parameters(), *method.parameters()], lr=0.02)
    for step in range(600):
        rows = torch.randperm(3000)[:256]
        batch = Batch((points[rows],), said[0][rows], rows, step / 600)
        loss, _ = method.step(lambda view: Outputs(layer(view), view, view), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for found, flip in zip(method.matrices().values(), flips, strict=True):
        assert np.abs(found - flip.numpy()).max() < 0.08
    assert (layer(points).argmax(dim=1) == truth).double().mean() > 0.97


def test_annotators_without_a_label_count_nothing():
    logits, matrix = torch.randn(4, 3), near_identity(("a", "b", "c"), ("a", "b", "c"), 0.8)
    labels = torch.tensor([0, -1, 2, -1])
    alone = annotator_loss(logits[[0, 2]], matrix, labels[[0, 2]])
    assert torch.allclose(annotator_loss(logits, matrix, labels), alone / 2)


def test_matrices_are_read_from_a_run(faces, tmp_path):
    train(recipe(faces, method="ltnet", epochs=2, warm_up=0.5, lr=0.01), faces, tmp_path / "ltnet")
    found = read_matrices(tmp_path / "ltnet" / "last.safetensors")
    assert {name: matrix.shape for name, matrix in found.items()} == {"own": (7, 7), "second": (7, 6)}
    assert all(np.allclose(matrix.sum(axis=1), 1, atol=1e-6) for matrix in found.values())
    assert np.abs(found["own"] - near_identity(faces.classes, faces.classes, 0.95).numpy()).max() > 0.001
    train(recipe(faces, epochs=1), faces, tmp_path / "plain")
    with pytest.raises(ValueError, match="is not of a run with the method ltnet"):
        read_matrices(tmp_path / "plain" / "last.safetensors")


# All three


@pytest.mark.parametrize("extra", [{}, FINETUNE | {"sam_rho": 0.05}], ids=["cached", "fine-tuned with SAM"])
@pytest.mark.parametrize("name", STATE)
def test_what_a_method_has_learnt_survives_a_resume(faces, tmp_path, name, extra):
    plan = recipe(faces, method=name, epochs=2, **SETTINGS[name], **extra)
    whole, _ = train(plan, faces, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(plan, faces, tmp_path / "cut", observe=lambda model: stop_after_one(tmp_path / "cut"))
    rest, history = train(plan, faces, tmp_path / "cut", resume=True)
    assert len(history) == 2
    assert all(torch.equal(value, rest.state_dict()[key]) for key, value in whole.state_dict().items())
    one, other = (load_file(tmp_path / run / "last.safetensors") for run in ("whole", "cut"))
    assert one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())
    fresh = create_method(name, faces.split("train"), whole, SETTINGS[name]).state_dict()[STATE[name]]
    assert not torch.equal(one[f"method.{STATE[name]}"], fresh)


def stop_after_one(folder):
    """Interrupts a run in its second epoch."""
    if (folder / "last.safetensors").exists():
        raise KeyboardInterrupt
    return {}


def test_combinations_without_sense_are_refused(faces):
    for name in STATE:
        for settings in ({"targets": "soft"}, {"teacher": "convcut_ferplus"}):
            with pytest.raises(ValueError, match=f"the method {name} needs one true class a face"):
                recipe(faces, method=name, **settings)
    for settings, message in (
        ({"method": "neighbour_labels", "batch_size": 8}, "neighbour_labels needs a batch of at least 9 faces"),
        ({"method": "neighbour_labels", "neighbours": 0}, "neighbours must be at least 1"),
        ({"method": "scn", "batch_size": 1}, "scn needs a batch of at least 2 faces"),
        ({"method": "scn", "share": 0.0}, "share must be above 0"),
        ({"method": "scn", "relabel_from": 1.5}, "relabel_from must be at least 0 and at most 1"),
        ({"method": "ltnet", "diagonal": -0.1}, "diagonal must be at least 0"),
        ({"sam_rho": 0.0}, "sam_rho must be above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe(faces, **settings)
    assert recipe(faces, method="scn", batch_size=1, share=1.0).batch_size == 1


def test_vector_size_is_that_of_the_vector(part, network):
    vectors = network(torch.randn(2, network.model.backbone.channels, 8, 8)).vector
    counts = np.bincount(part.labels())
    assert TrainingSet(part, part.labels().numpy(), counts, network.model).vector_size == vectors.shape[1]


def test_neighbours_are_the_same_in_half_precision():
    """Vectors after a ReLU all point in about the same direction: their cosines differ in the third digit."""
    vectors, values = torch.randn(64, 32) + 8, torch.eye(64)
    with torch.autocast("cpu", torch.bfloat16):
        found = neighbour_mean(vectors, values, 8)
    assert torch.equal(found, neighbour_mean(vectors, values, 8))
