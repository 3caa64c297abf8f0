"""The CAM family against pytorch-grad-cam on every model, and its manners."""

import gc
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam as reference
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction
from torch import nn

from ferlib.explain import CAMS
from ferlib.explain.cam import first_component, predict_with_cam
from ferlib.models.registry import MODELS, create_model, list_models


class SignedEigenCAM(reference.EigenCAM):
    """Theirs keeps the sign that the decomposition happens to give; their signed projection settles it."""

    def get_cam_image(self, input_tensor, target_layer, target_category, activations, grads, eigen_smooth):
        return get_2d_projection_with_sign_correction(activations)


STATM = Path("/proc/self/statm")
THEIRS = {
    "gradcam": reference.GradCAM,
    "gradcam++": reference.GradCAMPlusPlus,
    "hirescam": reference.HiResCAM,
    "layercam": reference.LayerCAM,
    "eigencam": SignedEigenCAM,
    "scorecam": reference.ScoreCAM,
}
# the same architectures, narrow or on a small backbone, so that all of them run in seconds
SMALL: dict[str, dict[str, Any]] = {
    "convcut": {"backbone": "tf_efficientnet_lite0", "input_size": 64, "detail_layers": 1},
    "linear_probe": {"backbone": "tf_efficientnet_lite0", "input_size": 64},
    "ivsa": {"widths": (8, 16, 16, 16), "hidden": 16},
    "pattlite": {"input_size": 64},
    "inception_v3": {"input_size": 139},
}


def small(name: str, freeze_backbone: bool = False):
    """A model with random weights, its batch norms fitted to noise and its logits large: else nearly all is zero.

    (pytorch-grad-cam adds 1e-7 to every map's maximum, which must stay small beside it.)
    """
    torch.manual_seed(1)
    kind = name.split("_")[0] if name.split("_")[0] in SMALL else name
    settings = SMALL.get(kind, SMALL.get(name, {"input_size": 64}))
    if hasattr(MODELS[name].config, "freeze_backbone"):
        settings = settings | {"freeze_backbone": freeze_backbone}
    model = create_model(name, **settings)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d)):
        norm.train().momentum = None  # averages of all it sees
    with torch.no_grad():
        model(images(model, 4))
        model.classifier.get_parameter("weight").mul_(100)
    return model.eval()


def images(model, count: int = 2) -> torch.Tensor:
    side = model.config.input_size
    return torch.randn(count, model.config.channels, side, side, generator=torch.Generator().manual_seed(0))


def theirs(model, x, method, targets) -> np.ndarray:
    with THEIRS[method](model, [model.cam_layer]) as cam:
        cam.batch_size = 64
        return cam(x, [ClassifierOutputTarget(int(target)) for target in targets])


@pytest.mark.filterwarnings("ignore:batch attention")
@pytest.mark.usefixtures("narrow_vgg")
@pytest.mark.parametrize("name", list_models())
def test_every_model_agrees_with_pytorch_grad_cam(name):
    model = small(name)
    x = images(model)
    for chosen in (None, 2):
        for method in ("gradcam", "gradcam++", "hirescam", "layercam", "eigencam"):
            logits, maps = predict_with_cam(model, x, method, chosen)
            targets = logits.argmax(dim=1) if chosen is None else torch.full((2,), chosen)
            assert torch.allclose(logits, model(x), atol=1e-5)
            assert maps.shape == (2, *x.shape[-2:])
            assert np.abs(maps.numpy() - theirs(model, x, method, targets)).max() < 1e-4, method


@pytest.mark.parametrize("name", ["convcut", "ivsa"])
def test_score_cam_agrees_with_pytorch_grad_cam(name):
    model = small(name)
    x = images(model)
    logits, maps = predict_with_cam(model, x, "scorecam", torch.tensor([0, 3]))
    assert torch.allclose(logits, model(x), atol=1e-5)
    assert np.abs(maps.numpy() - theirs(model, x, "scorecam", (0, 3))).max() < 1e-4


@pytest.mark.slow
def test_the_released_model_agrees_with_pytorch_grad_cam(portrait, astronaut):
    from ferlib.detection.crop import crop_face
    from ferlib.detection.faces import detect_faces
    from ferlib.predict import Predictor

    predictor = Predictor.load()
    crops = [crop_face(image, detect_faces(image)[0], 48) for image in (portrait, astronaut)]
    x = predictor.preprocess(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2))
    for method in CAMS:
        logits, maps = predict_with_cam(predictor.model, x, method)
        assert maps.amax(dim=(1, 2)).min() > 0.99
        expected = theirs(predictor.model, x, method, logits.argmax(dim=1))
        assert np.abs(maps.numpy() - expected).max() < 1e-4, method


def test_random_models_give_maps_that_are_not_empty():
    """The comparisons above would hold for zeros too."""
    model = small("convcut")
    for method in CAMS:
        _, maps = predict_with_cam(model, images(model), method)
        assert maps.amax(dim=(1, 2)).max() > 0.99, method


@pytest.mark.parametrize("method", CAMS)
def test_works_on_a_frozen_backbone_and_leaves_no_trace(method):
    frozen, free = small("convcut", freeze_backbone=True), small("convcut")
    x = images(frozen)
    with torch.inference_mode():
        before = frozen(x)
    logits, maps = predict_with_cam(frozen, x, method)
    assert torch.allclose(maps, predict_with_cam(free, x, method)[1], atol=1e-6)
    assert torch.allclose(logits, before, atol=1e-6) and not maps.requires_grad
    assert all(parameter.grad is None for parameter in frozen.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in frozen.modules())


def modes(model) -> list[bool]:
    return [module.training for module in model.modules()]


def test_modes_and_gradients_are_restored_after_success_and_failure():
    model = small("convcut").train()
    model.detail.eval()  # a part of it in another mode than the rest
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    mixed, statistics = modes(model), {name: value.clone() for name, value in model.named_buffers()}
    predict_with_cam(model, images(model))
    assert modes(model) == mixed
    with pytest.raises(ValueError, match=r"targets must lie in 0\.\.7"):
        predict_with_cam(model, images(model), targets=8)
    with pytest.raises(RuntimeError):
        predict_with_cam(model, torch.zeros(1, 7, 64, 64))
    assert modes(model) == mixed
    assert all((parameter.grad == 1).all() for parameter in model.parameters())
    assert all(torch.equal(value, statistics[name]) for name, value in model.named_buffers())


def test_bad_requests():
    model = small("ivsa")
    with pytest.raises(ValueError, match="unknown method 'voodoo'"):
        predict_with_cam(model, images(model), "voodoo")
    with pytest.raises(ValueError, match="2 class indices"):
        predict_with_cam(model, images(model), targets=torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match=r"0\.\.6"):
        predict_with_cam(model, images(model), "scorecam", targets=-1)


@pytest.mark.parametrize("method", CAMS)
def test_maps_do_not_depend_on_neighbours(method):
    model = small("convcut").double()  # in single precision a sum's order may move a value over a ReLU's zero
    x = images(model, 4).double()
    together = predict_with_cam(model, x, method)[1]
    assert torch.allclose(predict_with_cam(model, x[2:3], method)[1], together[2:3], atol=1e-5)


def test_first_component_is_that_of_a_naive_decomposition():
    features = torch.randn(2, 5, 3, 4, dtype=torch.double)
    for image, found in zip(features.numpy(), first_component(features).numpy(), strict=True):
        tokens = image.reshape(5, 12).T
        values, vectors = np.linalg.eigh(np.cov(tokens.T))
        expected = (tokens - tokens.mean(axis=0)) @ vectors[:, values.argmax()]
        expected *= np.sign(expected[np.abs(expected).argmax()])
        np.testing.assert_allclose(found.ravel(), expected, atol=1e-5)


def test_a_thousand_calls_leave_nothing_behind():
    model = small("ivsa", freeze_backbone=True)
    x = images(model, 1)

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    def resident() -> int:
        """Bytes in memory now; where the system does not say, the most there ever were."""
        if STATM.exists():
            return int(STATM.read_text().split()[1]) * resource.getpagesize()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    for _ in range(50):  # the allocator warms up
        predict_with_cam(model, x)
    before, memory = tensors(), resident()
    for _ in range(1000):
        predict_with_cam(model, x)
    assert tensors() <= before
    assert resident() - memory < 20e6
    assert not any(module._forward_hooks for module in model.modules())
