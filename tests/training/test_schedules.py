"""Learning rates told from the history, against PyTorch's stateful schedulers and by hand."""

import pytest
import torch

from ferlib.errors import UserError
from ferlib.evaluation.kept_epoch import epochs_without_gain, recorded_gain
from ferlib.training.schedules import schedule, torch_plateau, two_phases


def test_schedules():
    assert schedule("constant", 0.9) == 1
    shares = [schedule("onecycle", i / 100) for i in range(101)]
    assert max(shares) == shares[30] == pytest.approx(1) and shares[100] == pytest.approx(0)
    assert shares[:31] == sorted(shares[:31]) and shares[30:] == sorted(shares[30:], reverse=True)


def test_plateau_lowers_the_rate_after_six_epochs_without_a_new_best():
    """PyTorch's patience of 5: five are borne, the sixth is not; and less than 0.01 % more is no new best."""
    assert torch_plateau([]) == 1
    assert torch_plateau([0.5, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2]) == 1  # five since the best
    assert torch_plateau([0.5, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]) == 0.75
    assert torch_plateau([0.5] + [0.4] * 12) == 0.75**2
    assert torch_plateau([0.5] + [0.4] * 5 + [0.6] + [0.4] * 5) == 1
    assert torch_plateau([0.5] + [0.50004] * 6) == 0.75 and torch_plateau([0.5] + [0.50006] * 6) == 1
    assert schedule("plateau", 0.9, [0.5] + [0.4] * 5) == 1 and schedule("plateau", 0.9, [0.5] + [0.4] * 6) == 0.75


@pytest.mark.parametrize("seed", range(8))
def test_plateau_is_pytorchs_step_by_step(seed):
    """Scores that rise, stall, fall, and creep up by about the threshold."""
    generator = torch.Generator().manual_seed(seed)
    steps = (
        torch.rand(120, generator=generator)
        * torch.tensor([2e-2, 2e-4, 1e-4, 0.0, -1e-4, -1e-2])[torch.randint(6, (120,), generator=generator)]
    )
    scores = (0.5 + steps.cumsum(0)).double().tolist()
    for settings in ({}, {"factor": 0.1, "patience": 3, "threshold": 3e-3}):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
        official = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", eps=0, **({"factor": 0.75, "patience": 5} | settings)
        )
        rates = []
        for count in range(1, 121):
            official.step(scores[count - 1])
            rates.append(optimizer.param_groups[0]["lr"])
            assert torch_plateau(scores[:count], **settings) == pytest.approx(rates[-1], rel=1e-12), count
        assert rates[-1] < 1  # else nothing is compared


def test_keras_plateau_is_pytorchs_with_kerass_constants():
    generator = torch.Generator().manual_seed(0)
    scores = (torch.rand(40, generator=generator) * torch.linspace(0.2, 1, 40)).tolist()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
    official = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.1, patience=2, threshold=0.003, threshold_mode="abs", min_lr=1e-3, eps=0
    )
    for count in range(1, 41):
        official.step(scores[count - 1])
        assert schedule("keras_plateau", 0.5, scores[:count]) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert schedule("keras_plateau", 0.5, [0.5] * 40) == 1e-3


def test_inverse_time():
    assert [schedule("inverse_time", 0.9, [0.1] * done, first_epoch=7) for done in (0, 1)] == pytest.approx(
        [80 / 87, 80 / 88]
    )


def test_two_phases():
    rising = [0.1, 0.2, 0.3, 0.4]
    assert two_phases([]) == two_phases(rising) == two_phases([*rising, 0.402, 0.402]) == 1
    assert two_phases([*rising, 0.4, 0.4, 0.4]) == pytest.approx(0.1)  # three epochs without 0.003 more
    assert two_phases([*rising, 0.4, 0.4, 0.4, 0.5, 0.6]) == pytest.approx(0.1)
    stalled = [*rising, 0.4, 0.4, 0.4, 0.4, 0.4]
    assert two_phases(stalled) == pytest.approx(0.01 / (1 + 9 / 80))
    assert two_phases([*stalled, 0.9]) == pytest.approx(0.01 / (1 + 10 / 80))  # there is no way back
    assert schedule("two_phases", 0.1, stalled) == two_phases(stalled)


def test_epochs_without_gain():
    assert epochs_without_gain([0.2, 0.1, 0.2, 0.3, 0.3]) == [0, 1, 2, 0, 1]
    assert epochs_without_gain([0.2, 0.201, 0.206], least_gain=0.005) == [0, 1, 0]
    assert epochs_without_gain([]) == []


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"least_gain": "much"}'])
def test_a_damaged_recipe_is_told(tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(UserError, match=r"recipe\.json is not a recipe"):
        recorded_gain(tmp_path / "recipe.json")
