"""Small models for the tests of explanations."""

import copy

import pytest
import torch

from ferlib.models.base import FaceModel
from ferlib.models.ivsa import IVSA
from ferlib.models.registry import create_model


@pytest.fixture(scope="session")
def tiny() -> FaceModel:
    """An IVSA of the smallest kind with random weights, in evaluation mode, frozen in its first stages."""
    torch.manual_seed(3)
    model = create_model("ivsa", widths=(8, 16, 16, 16), hidden=16)
    assert isinstance(model, IVSA)
    model.convolutions[0].requires_grad_(False)
    with torch.no_grad():
        for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)):
            norm.momentum = None
        model(torch.randn(8, 1, 40, 40))
        model.classifier.get_parameter("weight").mul_(20)
    return model.eval()


@pytest.fixture(scope="session")
def exact(tiny, noise) -> tuple[FaceModel, torch.Tensor]:
    """Network and pictures in double precision, for two ways to one gradient.

    In single precision a value close to a ReLU's zero, or two close values below max-pooling, may fall to either side
    as the number of pictures or threads changes the order of a sum, and the gradient then jumps.
    """
    return copy.deepcopy(tiny).double(), noise.double()


@pytest.fixture(scope="session")
def noise() -> torch.Tensor:
    """Three pictures for it, (3, 1, 40, 40)."""
    return torch.randn(3, 1, 40, 40, generator=torch.Generator().manual_seed(0))
