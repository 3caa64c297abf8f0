"""Training methods inside the loop: what they draw, shift, keep and refuse; and one of somebody's own."""

import math
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_runs import SMALL, recipe, train, train_in_two_parts
from torch import nn

from ferlib.data.dataset import DataError
from ferlib.models.registry import build_model
from ferlib.training import loop
from ferlib.training.features import FeatureCache
from ferlib.training.logit_shift import output_layer, shifted
from ferlib.training.methods import METHODS, Method, TrainingSet, create_method, register_method
from ferlib.training.recipes import RECIPES, Recipe
from ferlib.training.several_processes import average_gradients, share_rows


def test_sampler_draws_all_classes_equally_often():
    counts = np.array([400, 90, 7, 30])
    labels = np.repeat(np.arange(4), counts)
    sampler, weights = (METHODS[name](TrainingSet(None, labels, counts, None)) for name in ("sampler", "weights"))
    labels, faces = torch.tensor(labels), len(labels)
    torch.manual_seed(0)
    orders = torch.stack([sampler.order(faces) for _ in range(100)])
    found = torch.bincount(labels[orders].flatten(), minlength=4) / orders.numel()
    assert found.tolist() == pytest.approx([0.25] * 4, abs=4 * math.sqrt(0.25 * 0.75 / orders.numel()))
    within = torch.bincount(orders.flatten(), minlength=faces)[-30:] / orders.numel()  # one class's faces, evenly
    assert within.min() > 0.6 * 0.25 / 30 and within.max() < 1.4 * 0.25 / 30
    assert sorted(weights.order(faces).tolist()) == list(range(faces))


def test_shift_lasts_as_long_as_the_with():
    model = build_model(RECIPES["convcut"].override(SMALL | {"classes": ("a", "b", "c")}).config).eval()
    features = torch.rand(2, model.backbone.channels, 8, 8)
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
def faces(synthetic_faces):
    """All synthetic faces but most of two classes' training faces."""
    frame = synthetic_faces.frame
    rare = (frame["split"] == "train") & frame["label"].isin([2, 5])
    return synthetic_faces.subset(~(rare & (frame.groupby(["split", "label"]).cumcount() >= 6)).to_numpy())


# settings of methods that do not fit Conv-cut with a frozen backbone
PROBE = {"detail_layers": 0, "attention": "none"}
TRAINED = {"freeze_backbone": False, "batch_size": 32}
NEEDS = {"eac": PROBE | TRAINED, "mek": PROBE, "dmue": TRAINED}


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("soft_labels", "ddamfn", "qcs")])
def test_every_method_trains(faces, tmp_path, name):
    _, history = train(recipe(faces, method=name, epochs=1, **NEEDS.get(name, {})), faces, tmp_path)
    assert math.isfinite(history["train_loss"].iloc[0])


@pytest.fixture(scope="module")
def fewer_faces(faces):
    """A third of them."""
    return faces.subset(np.arange(len(faces)) % 3 == 0)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("eac", PROBE | TRAINED | {"augment": "flip_affine"}),
        ("eac", PROBE | TRAINED | {"noisy": True}),
        ("mek", PROBE),
        ("mek", PROBE | TRAINED),
        ("dmue", TRAINED | {"weight_decay": 0.01}),
        ("mixup", {}),
        ("mixup", TRAINED | {"augment": "flip_affine"}),
    ],
)
def test_methods_go_on_bit_for_bit(fewer_faces, tmp_path, name, settings):
    plan = recipe(fewer_faces, method=name, epochs=2, **settings)
    whole, _ = train(plan, fewer_faces, tmp_path / "whole")
    rest, history = train_in_two_parts(plan, fewer_faces, tmp_path / "parts")
    assert len(history) == 2
    states = [load_file(tmp_path / run / "last.safetensors") for run in ("whole", "parts")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert all(torch.equal(value, rest.state_dict()[key]) for key, value in whole.state_dict().items())


def test_post_hoc_shift_is_in_what_is_kept_and_not_in_the_training_state(faces, tmp_path):
    plain, _ = train(recipe(faces, epochs=1), faces, tmp_path / "none")
    adjusted, history = train(recipe(faces, epochs=1, method="logit_adjusted_posthoc"), faces, tmp_path / "post")
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


def test_impossible_methods_are_refused_before_any_work(faces, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="method must be one of plain, sampler"):
        recipe(faces, method="prayer")
    with pytest.raises(ValueError, match="the method ldam needs one true class a face"):
        recipe(faces, method="ldam", targets="soft")
    with pytest.raises(ValueError, match="method must be one of"):
        create_method("prayer", faces, None)

    monkeypatch.setattr(FeatureCache, "build", lambda *arguments, **options: pytest.fail("work was done"))
    out = tmp_path / "run"
    with pytest.raises(DataError, match="has no votes"):
        train(recipe(faces, method="soft_labels"), faces, out)
    frame = faces.frame
    without = faces.subset(~((frame["split"] == "train") & (frame["label"] == 5)).to_numpy())
    for name in ("sampler", "weights", "class_balanced", "ldam", "logit_adjusted", "logit_adjusted_posthoc"):
        with pytest.raises(ValueError, match=f"{name} goes by class sizes, but .* no training faces of"):
            train(recipe(faces, method=name), without, out)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "output_layer", lambda model: (_ for _ in ()).throw(ValueError("no bias")))
        with pytest.raises(ValueError, match="no bias"):
            train(recipe(faces, method="logit_adjusted_posthoc"), faces, out)
    assert not out.exists()


def test_soft_labels_mean_soft_targets(faces):
    plain = recipe(faces)
    assert plain.target_kind == "hard" and plain.override({"targets": "soft"}).target_kind == "soft"
    soft = plain.override({"method": "soft_labels"})
    assert soft.target_kind == "soft" and soft.override({"method": "plain"}).target_kind == "hard"


class Agreement(Method):
    """A method of somebody's own: two views of every face, a learned weight on their disagreement, and a count."""

    views = 2

    def __init__(self, training):
        super().__init__(training)
        self.weight = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("seen", torch.zeros(len(training.labels)))

    def step(self, network, batch):
        first, second = (network(view).logits.float() for view in batch.views)
        self.seen[batch.rows] += 1
        gap = (first.softmax(dim=1) - second.softmax(dim=1)).square().mean()
        return self.loss(first, batch.targets, batch.progress) + self.weight.abs() * (gap + 0.01), first


@pytest.fixture
def agreement(monkeypatch):
    monkeypatch.setitem(METHODS, "agreement", Agreement)
    return "agreement"


@pytest.mark.parametrize("settings", [{}, {"freeze_backbone": False, "augment": "flip_affine", "batch_size": 32}])
def test_a_method_of_ones_own_trains_and_goes_on_bit_for_bit(faces, tmp_path, agreement, settings):
    plan = recipe(faces, method=agreement, epochs=2, **settings)
    whole, _ = train(plan, faces, tmp_path / "whole")
    rest, history = train_in_two_parts(plan, faces, tmp_path / "parts")
    assert len(history) == 2
    assert all(torch.equal(value, rest.state_dict()[key]) for key, value in whole.state_dict().items())
    states = [load_file(tmp_path / name / "last.safetensors") for name in ("whole", "parts")]
    assert states[0]["method.weight"] != 0.5 and states[0]["method.seen"].sum() > 0
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_a_parameter_that_no_process_uses_keeps_no_gradient():
    """Of two processes one uses the first parameter, both the second, none the third."""
    methods = [nn.ParameterList(nn.Parameter(torch.ones(2)) for _ in range(3)) for _ in range(2)]
    given = [[None, torch.tensor([4.0, 2.0]), None], [torch.tensor([6.0, 2.0]), torch.tensor([0.0, 4.0]), None]]
    for method, gradients in zip(methods, given, strict=True):
        for parameter, gradient in zip(method, gradients, strict=True):
            parameter.grad = gradient
    of_other = iter([torch.tensor([1.0, 1.0, 0.0]), *given[1]])

    def reduce(tensor, how):
        total = tensor + next(of_other)
        return total / 2 if how == "mean" else total

    average_gradients(methods[0], SimpleNamespace(device="cpu", reduce=reduce))
    found = [None if parameter.grad is None else parameter.grad.tolist() for parameter in methods[0]]
    assert found == [[3.0, 1.0], [2.0, 3.0], None]


def test_a_name_is_not_given_twice(agreement):
    assert register_method("agreement", Agreement) is Agreement
    with pytest.raises(ValueError, match="there is a training method focal already"):
        register_method("focal", Agreement)


def test_settings_of_a_method_are_set_by_name_and_kept_with_the_run(faces):
    plan = recipe(faces, method="logit_adjusted")
    assert plan.method_settings == {"tau": 1.0}
    mild = plan.override({"tau": 0.2, "epochs": 3})
    assert (mild.method_settings, mild.epochs) == ({"tau": 0.2}, 3)
    assert mild.override({"epochs": 4}).method_settings == {"tau": 0.2}
    assert mild.override({"method": "logit_adjusted_posthoc"}).method_settings == {"tau": 1.0}
    assert mild.override({"method": "plain"}).method_settings == {}
    for settings, message in (
        ({"method": "plain", "tau": 0.2}, "no setting tau"),
        ({"tau": -1.0}, "tau must be at least 0"),
        ({"tau": "much"}, "tau must be a number"),
    ):
        with pytest.raises(ValueError, match=message):
            plan.override(settings)
    with pytest.raises(ValueError, match="the method plain has no setting tau; it has none"):
        create_method("plain", faces, None, {"tau": 0.2})


def test_no_setting_of_a_method_has_the_name_of_another_setting():
    taken = {field.name for field in fields(Recipe)}
    for entry in RECIPES.values():
        taken |= {field.name for field in fields(entry.config)}
    for name, method in METHODS.items():
        assert not taken & {field.name for field in fields(method.Settings)}, name


def test_of_a_method_only_its_own_rows_are_exchanged_between_processes():
    """A part's batch norm may happen to have as many channels as there are faces."""

    class Rows(Method):
        def __init__(self):
            nn.Module.__init__(self)
            self.register_buffer("seen", torch.zeros(6))
            self.part = nn.BatchNorm1d(6)

    def doubled(rows, how):
        return 2 * rows

    method = Rows()
    method.seen += 1
    other = SimpleNamespace(num_processes=2, process_index=1, device=torch.device("cpu"), reduce=doubled)
    share_rows(method, torch.tensor([[0, 1], [2, 3], [5, 4]]), 6, other)
    assert method.seen.tolist() == [0, 2, 0, 2, 2, 0]
    assert method.part.running_var.tolist() == [1] * 6
