"""Choosing classes and scaling maps."""

import pytest
import torch

from ferlib.explain.map_tools import chosen_classes, enlarge_map, to_unit_range


def test_unit_range():
    maps = torch.stack([torch.arange(4.0).view(2, 2), torch.full((2, 2), 7.0)])
    assert to_unit_range(maps)[0].flatten().tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert to_unit_range(maps)[1].eq(0).all()


def test_chosen_classes():
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 1.0]])
    assert chosen_classes(logits, None).tolist() == [1, 0]
    assert chosen_classes(logits, 2).tolist() == [2, 2]
    assert chosen_classes(logits, torch.tensor([0, 2])).tolist() == [0, 2]
    with torch.inference_mode():
        predicted = logits.argmax(dim=1)
    assert not chosen_classes(logits, predicted).is_inference()
    for wrong in (3, -1, torch.tensor([1]), torch.tensor([0.0, 1.0])):
        with pytest.raises(ValueError, match="targets must"):
            chosen_classes(logits, wrong)


def test_enlarging_keeps_corners_where_they_are():
    large = enlarge_map(torch.tensor([[[0.0, 1.0], [2.0, 3.0]]]), torch.Size((4, 4)))
    assert large.shape == (1, 4, 4)
    assert large[0, 0, 0] == 0 and large[0, -1, -1] == 3 and large[0, 1, 1] == pytest.approx(0.75)
