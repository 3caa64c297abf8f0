"""The training loop."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from small_runs import SMALL, recipe, train
from torch import nn

from ferlib.data.dataset import DataError
from ferlib.errors import UserError
from ferlib.evaluation.batches import ordered_batches, pixel_logits, predict_batches
from ferlib.evaluation.evaluate import predict_dataset
from ferlib.evaluation.kept_epoch import best_epoch
from ferlib.models.base import evaluating
from ferlib.models.preprocess import Preprocess
from ferlib.training import batch_sources
from ferlib.training.checkpoint import RunFolder
from ferlib.training.precision import is_strided_depthwise, precision_of, slow_convolutions_in_float32
from ferlib.training.recipes import RECIPES
from ferlib.training.schedules import torch_plateau

FINETUNE = {"freeze_backbone": False, "augment": "flip_affine", "optimizer": "adamw", "schedule": "onecycle"}


@pytest.fixture(scope="module")
def faces(synthetic_faces):
    return synthetic_faces


@pytest.mark.parametrize(
    "settings",
    [{"lr": 1e-2, "epochs": 12}, FINETUNE | {"lr": 3e-3, "epochs": 8, "augment": "flip"}],
    ids=["cached head", "fine-tuned"],
)
def test_loss_falls_and_the_best_epoch_is_kept(faces, tmp_path, settings):
    plan = recipe(faces, attention="none", **settings)
    model, history = train(plan, faces, tmp_path)
    assert history["train_loss"].iloc[-1] < 0.9 * history["train_loss"].iloc[0]
    best = history["accuracy"].idxmax()
    again = type(model).from_pretrained(str(tmp_path / "best"))
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())
    validation = faces.split("validation")
    hits = predict_dataset(model, validation).argmax(axis=1) == validation.labels().numpy()
    assert hits.mean() == pytest.approx(history["accuracy"][best], abs=0.02)  # cache is half precision
    assert json.loads((tmp_path / "recipe.json").read_text())["lr"] == plan.lr


@pytest.mark.parametrize(
    "settings",
    [{}, FINETUNE | {"ema_decay": 0.9}, {"method": "sampler"}, {"method": "ldam"}],
    ids=["cached head", "fine-tuned and averaged", "sampler", "ldam"],
)
def test_a_resumed_run_ends_where_the_uninterrupted_one_does(faces, tmp_path, monkeypatch, settings):
    plan = recipe(faces, **settings)
    whole, whole_history = train(plan, faces, tmp_path / "whole")
    saves, save = [], RunFolder.save_last

    def stop_after_second(*arguments):
        save(*arguments)
        saves.append(arguments)
        if len(saves) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "save_last", stop_after_second)
        train(plan, faces, tmp_path / "cut")
    resumed, history = train(plan, faces, tmp_path / "cut", resume=True)
    assert_equal_states(whole.state_dict(), resumed.state_dict())
    assert_equal_states(*(load_file(tmp_path / run / "last.safetensors") for run in ("whole", "cut")))
    assert history["train_loss"].tolist() == whole_history["train_loss"].tolist()


def assert_equal_states(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_another_recipe_does_not_go_on_with_a_run(faces, tmp_path):
    train(recipe(faces, epochs=1), faces, tmp_path)
    with pytest.raises(ValueError, match=r"with another recipe: width 32 there, 16 here, lr 0.001 there, 0.01 here"):
        train(recipe(faces, epochs=1, lr=0.01, width=16), faces, tmp_path, resume=True)


def test_observations_stand_in_the_history_and_may_select(faces, tmp_path):
    seen = []

    def observe(model):
        assert not model.training
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        return {"backwards": -len(seen)}

    model, history = train(recipe(faces), faces, tmp_path, select_by="backwards", observe=observe)
    assert history["backwards"].tolist() == [-1, -2, -3]
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in seen[0].items())


def test_a_run_is_not_overwritten(faces, tmp_path):
    plan = recipe(faces, epochs=1)
    train(plan, faces, tmp_path)
    with pytest.raises(FileExistsError, match="already holds a run"):
        train(plan, faces, tmp_path)


def test_data_that_does_not_fit_is_refused(faces, tmp_path):
    with pytest.raises(DataError, match="has the classes"):
        train(recipe(faces, classes=("a", "b")), faces, tmp_path)
    with pytest.raises(DataError, match="0 validation faces"):
        train(recipe(faces), faces.split("train"), tmp_path)
    with pytest.raises(DataError, match="no votes"):
        train(recipe(faces, targets="soft"), faces, tmp_path)


def test_what_is_lower_in_a_better_model_chooses_no_epoch(faces, tmp_path):
    with pytest.raises(ValueError, match="ece is lower where a model is better"):
        train(recipe(faces), faces, tmp_path / "run", select_by="ece")
    with pytest.raises(ValueError, match="select_by must be one of accuracy, balanced_accuracy, macro_f1"):
        train(recipe(faces), faces, tmp_path / "run", select_by="macro-f1")
    for name in ("ece", "train_loss"):
        with pytest.raises(ValueError, match=f"{name} is lower where a model is better"):
            train(recipe(faces), faces, tmp_path / "run", select_by=name, observe=lambda model: {"x": 1.0})
    assert not (tmp_path / "run").exists()


def test_a_name_that_nobody_observes_is_said_after_the_first_epoch(faces, tmp_path):
    expected = "select_by must be one of accuracy, balanced_accuracy, macro_f1, x, not 'macro-f1'"
    with pytest.raises(UserError, match=expected):
        train(recipe(faces), faces, tmp_path / "run", select_by="macro-f1", observe=lambda model: {"x": 1.0})


def test_too_few_faces_for_a_method_are_refused(faces, tmp_path):
    one = faces.subset(np.flatnonzero((faces.frame["split"] != "train") | ~faces.frame["split"].duplicated()))
    assert len(one.split("train")) == 1
    with pytest.raises(ValueError, match="the method scn needs 2 faces in a batch of a process, not 1"):
        train(recipe(faces, method="scn"), one, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("settings", [{"bottleneck": 8, "attention": "batch"}, {"head_norm": True}])
def test_a_batch_of_one_face_is_refused_where_a_batch_norm_needs_two(faces, tmp_path, settings):
    with pytest.raises(UserError, match="convcut has a batch norm after its pooling and needs at least two faces"):
        train(recipe(faces, batch_size=1, **settings), faces, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_batch_of_one_face_is_refused_where_the_map_is_one_position(faces, tmp_path):
    alone = recipe(faces, batch_size=1, freeze_backbone=False, keep_stages=4, input_size=32)
    with pytest.raises(UserError, match="one position at 32 px, and needs at least two faces"):
        train(alone, faces, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_recipe_alone_says_how_is_computed(faces, tmp_path, monkeypatch):
    """`accelerate launch` and its settings leave their wishes in the environment."""
    _, plain = train(recipe(faces, optimizer="sgd"), faces, tmp_path / "plain")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    AcceleratorState._reset_state(reset_partial_state=True)
    _, launched = train(recipe(faces, optimizer="sgd"), faces, tmp_path / "launched")
    AcceleratorState._reset_state(reset_partial_state=True)
    assert launched["train_loss"].tolist() == plain["train_loss"].tolist()


def test_a_loss_that_explodes_is_said(faces, tmp_path):
    with pytest.raises(RuntimeError, match="lower the learning rate"):
        train(recipe(faces, lr=1e30, optimizer="sgd"), faces, tmp_path)


def test_ivsa_trains_and_is_judged_on_crops(faces, tmp_path):
    sizes = {"classes": faces.classes, "widths": (8, 16, 24, 32), "hidden": 32}
    plan = RECIPES["ivsa"].override(sizes | {"epochs": 8, "lr": 0.05, "batch_size": 16})
    model, history = train(plan, faces, tmp_path / "whole")
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert (history["lr"] == [0.05 * torch_plateau(history["accuracy"][:i]) for i in range(8)]).all()
    test = faces.split("test")
    one, ten = (predict_dataset(model, test, ten_crop=ten_crop) for ten_crop in (False, True))
    preprocess = Preprocess.of(model.config)
    with torch.inference_mode():
        crops = [model(crop).double().softmax(dim=1) for crop in preprocess.ten_crops(test.pixels)]
        centre = model(preprocess(test.pixels)).double().softmax(dim=1)
    assert np.allclose(one, centre, atol=1e-6) and np.allclose(ten, sum(crops) / 10, atol=1e-6)
    assert np.abs(one - ten).max() > 1e-4


def test_the_averaged_model_is_the_one_kept(faces, tmp_path, monkeypatch):
    plan = recipe(faces, ema_decay=0.8, epochs=2, detail_norm="after", dropout=0.0)
    model, history = train(plan, faces, tmp_path / "averaged")
    assert best_epoch(history) == 1, "the comparison is with the end of the run"
    states, optimizer_step = [], torch.optim.Adam.step

    def record(self, *arguments, **options):
        optimizer_step(self, *arguments, **options)
        states.append([value.detach().clone() for group in self.param_groups for value in group["params"]])

    monkeypatch.setattr(torch.optim.Adam, "step", record)
    train(replace(plan, ema_decay=None), faces, tmp_path / "plain")
    average = states[0]
    for step, values in enumerate(states):
        decay = min(0.8, 1 - (1 + step - 1) ** (-2 / 3)) if step > 1 else 0.0
        average = [decay * old + (1 - decay) * new for old, new in zip(average, values, strict=True)]
    found = [value for value in model.parameters() if value.requires_grad]
    assert len(states) == 2 * (238 // 16)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(found, average, strict=True))


def test_a_run_ends_when_validation_stalls(faces, tmp_path):
    values = iter([0.1, 0.3, 0.2, 0.3, 0.9])
    options = {"select_by": "score", "observe": lambda model: {"score": next(values)}}
    _, history = train(recipe(faces, epochs=9, patience=2), faces, tmp_path, **options)
    assert history["score"].tolist() == [0.1, 0.3, 0.2, 0.3]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["epochs"] == 4 and metrics["best"]["epoch"] == 3 and metrics["protocol"] == "honest"


def test_the_published_protocol_chooses_on_class_sorted_test_batches(faces, tmp_path):
    plan = RECIPES["convcut_published"].override(SMALL | {"classes": faces.classes, "epochs": 2, "augment": "flip"})
    seen = []

    def observe(model):
        test = faces.split("test")
        batches = ordered_batches(test.labels().numpy(), "sorted", plan.batch_size)
        with evaluating(model):
            probabilities = predict_batches(pixel_logits(model, test), batches)
        seen.append((probabilities.argmax(axis=1) == test.labels().numpy()).mean())
        return {}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # batch attention says what it is
        _, history = train(plan, faces, tmp_path, observe=observe)
        honest = replace(plan, protocol="honest")
        model, alone = train(honest, faces, tmp_path / "honest")
    assert history["accuracy"].tolist() == pytest.approx(seen, abs=0.02)  # the cache is half precision
    validation = faces.split("validation")
    with evaluating(model):
        singles = predict_batches(pixel_logits(model, validation), ordered_batches(validation.labels(), "single"))
    hits = (singles.argmax(axis=1) == validation.labels().numpy()).mean()
    assert alone["accuracy"].max() == pytest.approx(hits, abs=0.02)


def test_bfloat16_computes_nearly_the_same(faces, tmp_path):
    _, exact = train(recipe(faces), faces, tmp_path / "exact")
    _, history = train(recipe(faces, precision="bfloat16"), faces, tmp_path / "rounded")
    assert history["train_loss"].tolist() != exact["train_loss"].tolist()
    assert history["train_loss"].tolist() == pytest.approx(exact["train_loss"].tolist(), rel=0.01)
    precisions = [
        json.loads((tmp_path / name / "environment.json").read_text())[0]["precision"] for name in ("exact", "rounded")
    ]
    assert precisions == ["float32", "bfloat16"]
    assert all(
        value.dtype != torch.bfloat16 for value in load_file(tmp_path / "rounded/best/model.safetensors").values()
    )


def test_bfloat16_on_a_processor_without_its_instructions_is_warned_of(faces, monkeypatch):
    """On one such, a step of training took thirteen times as long."""
    plan, cpu = recipe(faces, precision="bfloat16"), torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False})
    with pytest.warns(UserWarning, match="precision=float32"):
        assert precision_of(plan, cpu) == "bfloat16"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert precision_of(replace(plan, precision="auto"), cpu) == "float32"
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
        assert precision_of(plan, cpu) == "bfloat16"


def test_a_gpu_that_only_pretends_to_know_bfloat16_is_not_given_it(faces, monkeypatch):
    auto, gpu = recipe(faces, precision="auto"), torch.device("cuda")
    for knows in (True, False):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True, knows=knows: knows or including_emulation
        )
        assert precision_of(auto, gpu) == ("bfloat16" if knows else "float32")
    with pytest.warns(UserWarning, match="precision=float32"):
        assert precision_of(replace(auto, precision="bfloat16"), gpu) == "bfloat16"


def test_strided_depthwise_convolutions_stay_in_float32_in_a_bfloat16_training_on_a_cpu(faces):
    """A CPU takes many times as long for their gradients in bfloat16."""
    network = nn.Sequential(nn.Conv2d(8, 8, 3, 2, groups=8), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1))
    x, plan, cpu = torch.rand(2, 8, 9, 9), recipe(faces, precision="bfloat16"), torch.device("cpu")
    exact = network[0](x)
    with torch.autocast("cpu", torch.bfloat16):
        assert (network[0](x) - exact).abs().max() > 1e-4
        with slow_convolutions_in_float32(network, plan, cpu):
            assert torch.equal(network[0](x), exact)
            assert network(x).dtype == torch.bfloat16
            assert network[0](x.bfloat16()).dtype == torch.bfloat16
            assert network[1](x).dtype == torch.bfloat16
        with slow_convolutions_in_float32(network, replace(plan, precision="float32"), cpu):
            assert network[0](x).dtype == torch.bfloat16
    assert not any("forward" in vars(layer) for layer in network)


def test_slow_convolutions_are_found_in_real_backbones():
    """timm's tf_ networks have a class of their own for convolutions with a stride."""
    for name in ("mobilenetv1_100", "tf_efficientnet_lite0"):
        network = timm.create_model(name).eval()
        slow = [module for module in network.modules() if is_strided_depthwise(module)]
        assert len(slow) == 4, name
        x = torch.rand(1, slow[-1].in_channels, 8, 8)
        exact = slow[-1](x)
        plan = replace(RECIPES["convcut_ferplus"], precision="bfloat16")
        with torch.autocast("cpu", torch.bfloat16), slow_convolutions_in_float32(network, plan, torch.device("cpu")):
            assert torch.equal(slow[-1](x), exact)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_step_computes_the_same(faces, tmp_path):
    plan = recipe(faces, dropout=0.0, epochs=2)
    _, plain = train(plan, faces, tmp_path / "plain")
    _, compiled = train(replace(plan, compile="default"), faces, tmp_path / "compiled")
    assert compiled["train_loss"].tolist() == pytest.approx(plain["train_loss"].tolist(), rel=1e-3)


def test_pixels_are_augmented_many_steps_at_once(faces, monkeypatch):
    preprocess = Preprocess(64, None, True, (0.5,), (0.5,))
    source = batch_sources.PixelSource(faces, preprocess, "none", torch.device("cpu"))
    order = torch.randperm(len(faces))[:96].view(6, 16)
    calls, augment = [], source.augment.forward
    monkeypatch.setattr(source.augment, "forward", lambda x: calls.append(len(x)) or augment(x))
    monkeypatch.setattr(batch_sources, "CHUNK_CPU", 4 * 48 * 48 * 8 * 4)  # faces of four steps of eight
    batches = [view for (view,) in source.training_batches(order, slice(1, None, 2))]  # the second of two processes
    assert calls == [32, 16]
    assert all(torch.equal(x, source.inputs(rows[1::2])) for x, rows in zip(batches, order, strict=True))


def test_curves_for_tensorboard(faces, tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    _, history = train(recipe(faces), faces, tmp_path)
    curves = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(curves.Tags()["scalars"]) == set(history.columns) - {"epoch"}
    losses = [event.value for event in curves.Scalars("train_loss")]
    assert losses == pytest.approx(history["train_loss"].tolist())
