"""Deletion, insertion and ROAD against cases with a known answer and pytorch-grad-cam's imputation."""

import copy

import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from torch import nn

from ferlib.explain.faithfulness import (
    area_under,
    control_maps,
    deletion_curve,
    fill_in,
    insertion_curve,
    randomised,
    rank_correlations,
    ranks,
    road,
    target_probabilities,
)
from ferlib.explain.heat_maps import predicted_classes
from ferlib.explain.methods import explain
from ferlib.models.base import ModelConfig
from ferlib.models.preprocess import Preprocess, resize


class Corner(nn.Module):
    """Class 1 is as likely as the upper left corner is bright, compared with the rest of the picture."""

    config = ModelConfig("corner", ("dark", "bright"), input_size=16, downscale_to=16, mean=(0.0,) * 3, std=(1.0,) * 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        signal = 8 * (x[:, :, :4, :4].mean(dim=(1, 2, 3)) - x[:, :, 8:, 8:].mean(dim=(1, 2, 3)))
        return torch.stack([-signal, signal], dim=1)


@pytest.fixture
def corner():
    """The model, two faces with a bright corner, and a map that is right."""
    faces = torch.full((2, 1, 16, 16), 0.2)
    faces[:, :, :4, :4] = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.7
    right = torch.zeros(2, 16, 16)
    right[:, :4, :4] = 1
    return Corner(), faces, right, torch.tensor([1, 1])


def test_ranks_sort_and_break_ties_at_random():
    maps = torch.tensor([[[0.1, 0.9], [0.5, 0.3]]])
    assert ranks(maps).tolist() == [[[3, 0], [1, 2]]]
    flat = ranks(torch.zeros(1, 8, 8)).flatten()
    assert sorted(flat.tolist()) == list(range(64)) and flat.tolist() != list(range(64))


def test_maps_of_another_side_are_scaled_to_the_faces(corner):
    model, faces, right, targets = corner
    small = right[:, ::2, ::2]
    for judge in (deletion_curve, insertion_curve, road):
        assert torch.equal(
            judge(model, faces, small, targets), judge(model, faces, resize(small[None], 16)[0], targets)
        )


def test_curves_equal_a_naive_loop(corner):
    model, faces, _, targets = corner
    maps = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(1))
    curve = deletion_curve(model, faces, maps, targets, steps=4)
    for i in range(2):
        for step in range(5):
            picture = faces[i].clone()
            for pixel in maps[i].flatten().argsort(descending=True)[: 64 * step]:
                picture[0, pixel // 16, pixel % 16] = faces[i].mean()
            expected = target_probabilities(model, picture[None], targets[:1])[0]
            assert curve[i, step] == pytest.approx(float(expected), abs=1e-6)


def test_the_right_map_beats_the_wrong_one(corner):
    model, faces, right, targets = corner
    for wrong in (1 - right, control_maps("centre", 2, 16), control_maps("random", 2, 16)):
        assert (area_under(deletion_curve(model, faces, right, targets))
                < area_under(deletion_curve(model, faces, wrong, targets))).all()  # fmt: skip
        assert (area_under(insertion_curve(model, faces, right, targets))
                > area_under(insertion_curve(model, faces, wrong, targets))).all()  # fmt: skip
        assert (road(model, faces, right, targets) > road(model, faces, wrong, targets)).all()
    assert road(model, faces, right, targets).min() > 0.1
    opposite = road(model, faces, 1 - right, targets)
    assert torch.allclose(opposite, -road(model, faces, right, targets), atol=0.05)


def test_curves_end_where_they_should(corner):
    model, faces, right, targets = corner
    whole = target_probabilities(model, faces, targets)
    assert torch.allclose(deletion_curve(model, faces, right, targets)[:, 0], whole)
    assert torch.allclose(insertion_curve(model, faces, right, targets)[:, -1], whole)
    assert deletion_curve(model, faces, right, targets)[:, -1].tolist() == pytest.approx([0.5, 0.5])  # all grey


def test_area():
    assert area_under(torch.tensor([[0.0, 1.0], [1.0, 1.0]])).tolist() == [0.5, 1]
    assert area_under(torch.tensor([[0.0, 0.5, 0.0]])).tolist() == [0.25]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_filling_in_agrees_with_pytorch_grad_cam(share):
    rng = np.random.default_rng(0)
    face = rng.random((3, 12, 12)).astype(np.float32)
    gone = rng.random((12, 12)) < share
    gone[3:7, 3:7] = True
    expected = NoisyLinearImputer(noise=0.0)(torch.tensor(face), torch.tensor(1.0 - gone))
    filled = fill_in(face, gone, noise=0.0)
    np.testing.assert_allclose(filled, expected, atol=1e-5)
    np.testing.assert_array_equal(filled[:, ~gone], face[:, ~gone])
    assert np.abs(fill_in(face, gone) - filled)[:, gone].std() == pytest.approx(0.006, abs=0.004)
    np.testing.assert_array_equal(fill_in(face, np.zeros_like(gone)), face)


def test_controls():
    centre, random = control_maps("centre", 2, 48), control_maps("random", 2, 48)
    for maps in (centre, random):
        assert maps.shape == (2, 48, 48) and maps.min() == 0 and maps.max() == 1
    assert (
        centre[0, 24, 24] == 1
        and torch.allclose(centre, centre.flip(1), atol=1e-6)
        and torch.equal(centre[0], centre[1])
    )
    assert not torch.equal(random[0], random[1]) and torch.equal(random, control_maps("random", 2, 48))
    with pytest.raises(ValueError, match="unknown control"):
        control_maps("left", 1, 8)


def test_rank_correlation_equals_scipys():
    from scipy.stats import spearmanr

    first, second = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    expected = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(rank_correlations(first, second), expected)
    assert rank_correlations(first, torch.zeros_like(first)).tolist() == [0, 0, 0]


def test_a_classifier_of_several_layers_is_randomised_too(tiny):
    model, faces = copy.deepcopy(tiny), torch.rand(2, 1, 48, 48)
    model.classifier = nn.Sequential(nn.Dropout(0.1), model.classifier)
    other = randomised(model, "classifier", faces)
    changed = {name for name, value in other.state_dict().items() if not torch.equal(value, model.state_dict()[name])}
    assert changed == {"classifier.1.weight", "classifier.1.bias"}
    model.classifier = nn.Sequential(nn.Dropout(0.1))
    with pytest.raises(ValueError, match="no layer of this model's classifier"):
        randomised(model, "classifier", faces)


def test_faces_are_scored_alone_where_others_would_change_the_answer(corner):
    model, faces, _, _ = corner

    class Company(Corner):
        mixes_batch = True

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * len(x)

    targets = torch.tensor([1, 0])
    assert torch.equal(target_probabilities(Company(), faces, targets), target_probabilities(model, faces, targets))
    assert torch.equal(predicted_classes(Company(), faces), predicted_classes(model, faces))


def test_randomising_changes_what_it_says(tiny):
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    faces = torch.rand(6, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    x = Preprocess.of(tiny.config).normalise(faces)
    for part in ("classifier", "all"):
        other = randomised(tiny, part, faces)
        changed = {name for name, value in other.state_dict().items() if not torch.equal(value, before[name])}
        assert (changed == {"classifier.weight", "classifier.bias"}) == (part == "classifier")
        first, second = (explain(model, x, "gradcam", 1)[1] for model in (tiny, other))
        assert rank_correlations(first, second).mean() < 0.9
        assert not other.training
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())
