"""The loop that asks a model about many faces."""

import torch

from ferlib.models.inference import run_batches, run_model
from ferlib.models.registry import create_model


def test_answers_are_those_of_all_faces_at_once():
    model = create_model("ivsa", widths=(4, 4, 4, 4), hidden=8).train()
    frozen = model.classifier
    frozen.eval()
    faces, seen = torch.randn(7, model.config.channels, 40, 40), []

    def ask(x):
        assert torch.is_inference_mode_enabled() and not any(module.training for module in model.modules())
        seen.append(len(x))
        return model(x)

    answers = run_model(model, ask, faces, batch_size=3)
    assert seen == []  # nothing is computed before it is asked for
    found = torch.cat(list(answers))
    assert seen == [3, 3, 1]
    assert model.training and not frozen.training  # as they were
    torch.testing.assert_close(found, model.eval()(faces))
    assert not found.is_inference()  # what is made of it may be trained on


def test_modes_are_put_back_between_batches_and_after_errors():
    model = create_model("ivsa", widths=(4, 4, 4, 4), hidden=8).train()
    faces = torch.randn(4, model.config.channels, 40, 40)
    answers = run_model(model, model, faces, batch_size=2)
    next(answers)
    assert model.training and not torch.is_inference_mode_enabled()
    broken = run_model(model, lambda x: x / None, faces)
    try:
        next(broken)
    except TypeError:
        assert model.training
    else:
        raise AssertionError("the error was swallowed")


def test_batches_may_be_positions():
    rows = [torch.tensor([3, 0]), torch.tensor([2, 1])]
    assert torch.cat(list(run_batches(lambda places: 10 * places, rows))).tolist() == [30, 0, 20, 10]
