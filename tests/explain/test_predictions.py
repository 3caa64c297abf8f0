"""An explanation changes no prediction: every released model, every method, synthetic faces and two portraits."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from ferlib.detection.crop import crop_face
from ferlib.detection.faces import detect_faces
from ferlib.explain.attention import attention_layers, predict_with_attention
from ferlib.explain.cam import FORMULAS, _gradients, first_component, predict_with_cam
from ferlib.explain.embed import extract_features
from ferlib.explain.map_tools import enlarge_map, to_unit_range
from ferlib.explain.methods import explain, methods_of
from ferlib.models.base import FaceModel
from ferlib.models.preprocess import Preprocess
from ferlib.models.registry import create_model, load_model, released_models
from ferlib.predict import Predictor


@pytest.fixture(scope="module")
def faces(portrait, astronaut) -> torch.Tensor:
    """Seven synthetic faces, one of each expression, and the two portraits, (9, 3, 48, 48) uint8."""
    drawn = load_file(released_models()["convcut_ferplus"] / "golden.safetensors")["faces"]
    photographed = [crop_face(image, detect_faces(image)[0], 48) for image in (portrait, astronaut)]
    return torch.from_numpy(np.concatenate([drawn, photographed])).permute(0, 3, 1, 2)


@pytest.fixture(
    scope="module",
    params=[
        name if name in ("convcut_ferplus", "ivsa_fer2013") else pytest.param(name, marks=pytest.mark.slow)
        for name in released_models()
    ],
)
def released(request) -> FaceModel:
    return load_model(request.param)


def scores(logits: torch.Tensor) -> torch.Tensor:
    return logits.softmax(dim=1)


def some(faces: torch.Tensor, method: str) -> torch.Tensor:
    return faces[[3, 8]] if method == "scorecam" else faces  # a prediction a channel


def test_no_method_changes_a_score(released, faces):
    for method in methods_of(released):
        x = Preprocess.of(released.config)(some(faces, method))
        with torch.inference_mode():
            expected = scores(released(x))
        found = scores(explain(released, x, method)[0])
        assert (found - expected).abs().max() <= 1e-6, method


def test_features_are_those_the_answer_is_made_of(released, faces):
    with torch.inference_mode():
        expected = scores(released(Preprocess.of(released.config)(faces))).numpy()
        features, probabilities = extract_features(released, faces, batch_size=len(faces))
        again = scores(released.classifier(torch.from_numpy(features))).numpy()
    assert np.abs(probabilities - expected).max() <= 1e-6 and np.abs(again - expected).max() <= 1e-6


@pytest.mark.parametrize("name", sorted(released_models()))
def test_nor_does_the_predictor(name, portrait, astronaut):
    """As people ask it: with explanation PyTorch answers, without, where there is one, the exported model."""
    predictor = Predictor.load(name)
    photo = np.concatenate([portrait[:512], astronaut], axis=1)
    plain = predictor.predict(photo).faces
    for method in {"gradcam", "gradient", "attention"} & set(methods_of(predictor.model)):
        for before, after in zip(plain, predictor.predict(photo, explain=method).faces, strict=True):
            assert after.scores == pytest.approx(before.scores, abs=1e-6)


def test_inference_mode_outside_changes_nothing(released, faces):
    """Neither for a model made before it, nor for images, classes and a model made inside it."""
    name = next(name for name in released_models() if load_model(name).config == released.config)
    for method in methods_of(released):
        x = Preprocess.of(released.config)(faces[[0, 8]])
        logits, maps = explain(released, x, method, 1)
        with torch.inference_mode():
            inside = Preprocess.of(released.config)(faces[[0, 8]])
            found = [explain(released, x, method, 1), explain(released, inside, method, torch.tensor([1, 1]))]
            if method == "gradcam":
                found.append(explain(Predictor(load_model(name)).model, inside, method, 1))
        for again in found:
            assert (scores(again[0]) - scores(logits)).abs().max() <= 1e-5, method
            assert (again[1] - maps).abs().max() <= 1e-4, method
        with torch.no_grad():
            assert (explain(released, x, method, 1)[1] - maps).abs().max() <= 1e-4, method


@pytest.fixture(scope="module")
def pair() -> tuple[FaceModel, FaceModel]:
    """One network twice: it looks at one side of a face, and at both."""
    found = []
    for mirror in (False, True):
        torch.manual_seed(0)
        model = create_model(
            "convcut",
            backbone="test_convnext",
            keep_stages=2,
            input_size=64,
            detail_layers=1,
            width=16,
            flip_tta=mirror,
        )
        model.classifier.get_parameter("weight").data *= 100
        found.append(model.eval())
    return found[0], found[1]


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", [*FORMULAS, "eigencam", "scorecam"])
def test_a_map_of_both_sides_is_the_mean_of_the_networks_own_two(pair, noise, method):
    """By hand from the network that knows one side; and a mirrored picture has the mirrored map."""
    one, both = pair
    logits, heat = predict_with_cam(both, noise, method, 2)
    raw = []
    for side in (noise, noise.flip(-1)):
        a = one.forward_features(side).detach().requires_grad_()
        score = one.forward_head(a)[:, 2].sum()
        (g,) = torch.autograd.grad(score, a)
        a = a.detach()
        if method in FORMULAS:
            raw.append(FORMULAS[method](a, g))
        elif method == "scorecam":
            masks = torch.nn.functional.interpolate(a, (64, 64), mode="bilinear", align_corners=True)
            masks = masks - masks.amin(dim=(2, 3), keepdim=True)
            masks = masks / (masks.amax(dim=(2, 3), keepdim=True) + 1e-8)
            with torch.no_grad():
                weights = torch.stack([one(side * masks[:, [c]])[:, 2] for c in range(masks.shape[1])], dim=1)
            raw.append((weights.softmax(dim=1)[:, :, None, None] * a).sum(dim=1))
        else:
            raw.append(a)
    if method == "eigencam":
        component = first_component(torch.cat(raw, dim=-1))
        raw = [component[..., : raw[0].shape[-1]], component[..., raw[0].shape[-1] :]]
    expected = to_unit_range(((raw[0] + raw[1].flip(-1)) / 2).relu())
    expected = to_unit_range(enlarge_map(expected, noise.shape[-2:]))
    assert expected.amax(dim=(1, 2)).min() > 0.99  # else nothing is compared
    assert (heat - expected).abs().max() < 1e-3
    assert not torch.allclose(heat, predict_with_cam(one, noise, method, 2)[1], atol=1e-2)
    mirrored = predict_with_cam(both, noise.flip(-1), method, 2)
    assert torch.allclose(mirrored[0], logits, atol=1e-4) and (mirrored[1].flip(-1) - heat).abs().max() < 1e-3


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam"])
def test_linear_formulas_explain_the_mean_logit_itself(pair, noise, method):
    """The sum of the formulas with the gradients of the mean logit over both sides' features."""
    both = pair[1]
    features = [both.forward_features(side).detach().requires_grad_() for side in both.sides(noise)]
    mean = sum(both.forward_head(side)[:, 2] for side in features) / 2
    gradients = torch.autograd.grad(mean.sum(), features)
    parts = [FORMULAS[method](a.detach(), g) for a, g in zip(features, gradients, strict=True)]
    expected = to_unit_range(enlarge_map(to_unit_range((parts[0] + parts[1].flip(-1)).relu()), noise.shape[-2:]))
    assert (predict_with_cam(both, noise, method, 2)[1] - expected).abs().max() < 1e-4


def test_hirescam_of_a_linear_head_adds_up_to_the_logit(noise):
    """Draelos and Carin's property holds for the mean of both sides too."""
    model = create_model("linear_probe", backbone="test_convnext", keep_stages=2, input_size=64, flip_tta=True).eval()
    with torch.no_grad():
        features = [model.forward_features(side) for side in model.sides(noise)]
    logits, gradients = _gradients(model, features, 4)
    total = sum(FORMULAS["hirescam"](*pair).sum(dim=(1, 2)) for pair in zip(features, gradients, strict=True)) / 2
    assert torch.allclose(total.detach(), logits[:, 4] - model.classifier.bias[4], atol=1e-4)


def test_attention_of_both_sides_is_the_mean_of_the_networks_own_two(pair, noise):
    one, both = pair
    (name,) = attention_layers(both)
    found = predict_with_attention(both, noise)[1][name]
    sides = [predict_with_attention(one, side)[1][name] for side in (noise, noise.flip(-1))]
    assert torch.allclose(found, (sides[0] + sides[1].flip(-1)) / 2, atol=1e-6)
    assert not torch.allclose(found, sides[0], atol=1e-6)
