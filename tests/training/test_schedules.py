"""Learning rates told from the history, against PyTorch's stateful schedulers and by hand."""

import pytest
import torch

from ferlib.training.schedules import epochs_without_gain, plateau_factor, schedule, two_phases


def test_schedules():
    assert schedule("constant", 0.9) == 1
    shares = [schedule("onecycle", i / 100) for i in range(101)]
    assert max(shares) == shares[30] == pytest.approx(1) and shares[100] == pytest.approx(0)
    assert shares[:31] == sorted(shares[:31]) and shares[30:] == sorted(shares[30:], reverse=True)


def test_plateau_lowers_the_rate_after_five_epochs_without_a_new_best():
    assert plateau_factor([]) == 1
    assert plateau_factor([0.5, 0.6, 0.6, 0.5, 0.4, 0.3]) == 1  # four since the best
    assert plateau_factor([0.5, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2]) == 0.75
    assert plateau_factor([0.5] + [0.4] * 10) == 0.75**2
    assert plateau_factor([0.5] + [0.4] * 5 + [0.6] + [0.4] * 4) == 0.75
    assert schedule("plateau", 0.9, [0.5] + [0.4] * 5) == 0.75


def test_plateau_is_pytorchs():
    generator = torch.Generator().manual_seed(0)
    scores = (torch.rand(80, generator=generator) * torch.linspace(0.2, 1, 80)).tolist()
    for factor, patience, gain in ((0.75, 5, 0.0), (0.1, 3, 0.003)):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
        official = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", factor=factor, patience=patience - 1, threshold=gain, threshold_mode="abs", eps=0
        )
        for count in range(1, 81):
            official.step(scores[count - 1])
            rate = optimizer.param_groups[0]["lr"]
            assert plateau_factor(scores[:count], factor, patience, gain) == pytest.approx(rate)


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
