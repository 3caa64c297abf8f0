"""Every explanation through one door."""

from torch import Tensor

from ferlib.errors import UserError
from ferlib.explain import CAMS, METHODS
from ferlib.explain.attention import attention_layers, attention_map, predict_with_attention
from ferlib.explain.cam import predict_with_cam
from ferlib.explain.map_tools import Targets
from ferlib.explain.saliency import input_gradients, integrated_gradients, saliency_map, smooth_gradients
from ferlib.models.base import FaceModel
from ferlib.utils.devices import device_of

_GRADIENTS = {
    "gradient": input_gradients,
    "smoothgrad": smooth_gradients,
    "integrated_gradients": integrated_gradients,
}


def methods_of(model: FaceModel) -> tuple[str, ...]:
    """Those of `METHODS` that the model allows: "attention" only where it has some over positions."""
    return METHODS if attention_layers(model) else tuple(name for name in METHODS if name != "attention")


def explain(model: FaceModel, x: Tensor, method: str, targets: Targets = None) -> tuple[Tensor, Tensor]:
    """Logits (B, classes) of normalised images (B, C, H, W), and maps (B, H, W) in 0..1 of what they rest on.

    Args:
        model: any model; left as it was.
        x: normalised images; the answer comes where the model is.
        method: one of `methods_of(model)`.
        targets: class to explain: (B,), one for all, or None for the predicted ones. Attention knows none.

    Raises:
        ValueError: unknown method or class, or one that the model does not have.
    """
    x = x.to(device_of(model))
    if method in CAMS:
        return predict_with_cam(model, x, method, targets)
    if method in _GRADIENTS:
        logits, attributions = _GRADIENTS[method](model, x, targets)
        return logits, saliency_map(attributions)
    if method == "attention":
        logits, maps = predict_with_attention(model, x)
        return logits, attention_map(maps, x.shape[-2:])
    raise UserError(f"unknown explanation {method!r}, expected one of {', '.join(METHODS)}")
