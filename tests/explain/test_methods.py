"""All explanations through one door."""

import pytest
import torch

from ferlib.explain import METHODS
from ferlib.explain.methods import explain, methods_of
from ferlib.models.registry import create_model


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_the_prediction_and_a_map_of_the_input(exact, method):
    model, x = exact
    logits, maps = explain(model, x, method)
    with torch.no_grad():
        assert torch.allclose(logits, model(x), atol=1e-8)
    assert maps.shape == (3, 40, 40) and maps.min() >= 0
    assert maps.amax(dim=(1, 2)).max() == pytest.approx(1)
    other = explain(model, x, method, logits.argmin(dim=1))[1]
    knows_targets = method not in ("attention", "eigencam")
    assert torch.equal(maps, other) != knows_targets
    alone = explain(model, x[1:2], method)[1]
    assert torch.allclose(alone, maps[1:2], atol=1e-5)  # eigencam decomposes in single precision


def test_which_methods_a_model_has(tiny):
    assert methods_of(tiny) == METHODS
    plain = create_model("ivsa_plain", widths=(8, 8, 8, 8), hidden=8)
    assert set(METHODS) - set(methods_of(plain)) == {"attention"}


def test_unknown(tiny, noise):
    with pytest.raises(ValueError, match="unknown explanation 'voodoo'"):
        explain(tiny, noise, "voodoo")
