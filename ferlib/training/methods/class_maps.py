"""Class activation maps (Zhou et al. 2016) of the network in training, for the methods that compare them."""

from typing import cast

import torch
from torch import Tensor, nn

from ferlib.errors import UserError
from ferlib.models.base import FaceModel, evaluating
from ferlib.models.layers import unwarned
from ferlib.utils.devices import device_of


class ClassMaps:
    """Maps M_c = Σ_k W_ck F_k of every class, (B, K, h, w) -> (B, classes, h, w): no bias, no ReLU.

    They say where a class comes from only if the logits are a linear layer of the pooled map. The weights are the
    model's; this is no module, so that they do not become a method's own. They get no gradient from the maps, as in the
    papers, unless the backbone is frozen and there is nothing else to move.

    Attributes:
        backbone_learns: the model's backbone is trained.

    Args:
        model: whose classifier weighs the map.
        method: name of the method, for the error.

    Raises:
        UserError: something else than mean pooling stands between the model's map and its linear classifier.
    """

    def __init__(self, model: FaceModel, method: str):
        if not pools_alone(model):
            raise UserError(
                f"the method {method} needs logits that are a linear layer of the mean-pooled feature map, which "
                f"{model.config.architecture} as it is set does not give; take linear_probe, or convcut with "
                "detail_layers=0 attention=none, of one depth (two_depths=false)"
            )
        self.classifier = cast(nn.Linear, model.classifier)
        self.backbone_learns = any(parameter.requires_grad for parameter in model.cam_layer.parameters())

    def __call__(self, features: Tensor) -> Tensor:
        """The maps, in float32."""
        weight = self.classifier.weight.detach() if self.backbone_learns else self.classifier.weight
        with torch.autocast(features.device.type, enabled=False):
            return torch.einsum("ck,bkhw->bchw", weight.float(), features.float())


def pools_alone(model: FaceModel) -> bool:
    """True if, outside training, the model's logits are a linear layer of the mean over its feature map's positions.

    False of a map of two depths: positions of the early one lie in its channels, where a mirror image has them changed.
    """
    if getattr(model.config, "two_depths", False):
        return False
    parts = (model.cam_layer, model.classifier)
    known = {id(parameter) for part in parts for parameter in part.parameters()}
    if not isinstance(model.classifier, nn.Linear) or any(id(each) not in known for each in model.parameters()):
        return False
    side, channels = model.config.input_size, model.config.channels
    images = torch.linspace(-1, 1, 2 * channels * side * side, device=device_of(model)).sin()
    with torch.no_grad(), evaluating(model), unwarned():
        features = model.forward_features(images.view(2, channels, side, side))
        vector = model.forward_head(features, pre_logits=True)
    pooled = features.mean(dim=(2, 3))
    return vector.shape == pooled.shape and torch.allclose(vector, pooled, rtol=1e-3, atol=1e-5)
