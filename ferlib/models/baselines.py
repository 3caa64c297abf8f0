"""The general networks that IVSA's table I compares with: VGG, ResNet-18, GoogLeNet and Inception v3.

VGG-16 with batch norm (Simonyan, Zisserman 2015, configuration D), ResNet-18 (He et al. 2016), GoogLeNet (Szegedy et
al. 2015) and Inception v3 (Szegedy et al. 2016), both without auxiliary classifiers. GoogLeNet is torchvision's, the
others timm's; all layers are theirs but the last. The whole network is trained, from random weights or from ImageNet.

Table I quotes each number from another paper, with that paper's changes to the network and its training; these here
are the networks as first published, so the numbers need not agree. Dropout in the registry is torchvision's. Faces
smaller than a network can take are enlarged inside the model.
"""

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, cast

import timm
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import GoogLeNet

from ferlib.errors import UserError
from ferlib.models.base import FaceModel, ModelConfig, Normalisation
from ferlib.models.layers import global_average_pool
from ferlib.models.pretrained import (
    NoPretrainedWeights,
    State,
    load_timm_weights,
    load_weights_file,
    timm_normalisation,
)

# smallest side in pixels that each can take, as torchvision documents it (`min_size`)
SMALLEST = {"vgg16": 32, "resnet18": 1, "googlenet": 15, "inception_v3": 75}
TIMM_NAMES = {"vgg16": "vgg16_bn", "resnet18": "resnet18", "inception_v3": "inception_v3"}


@dataclass(frozen=True)
class BaselineConfig(ModelConfig):
    """Settings of a baseline network.

    Attributes:
        backbone: "vgg16", "resnet18", "googlenet" or "inception_v3".
        dropout: fraction of the vector before the classifier zeroed in training; in VGG also between its dense layers.
    """

    architecture: str = "resnet18"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    backbone: str = "resnet18"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.backbone not in SMALLEST:
            raise UserError(f"backbone must be one of {', '.join(SMALLEST)}, not {self.backbone!r}")
        if self.channels != 3:
            raise UserError("the baselines take three channels, like their weights; a grey face is repeated")

    def own_normalisation(self) -> Normalisation:
        """timm's; of GoogLeNet, whose weights torchvision takes from TensorFlow, pixels in -1..1."""
        half = (0.5, 0.5, 0.5)
        return timm_normalisation(TIMM_NAMES[self.backbone]) if self.backbone in TIMM_NAMES else (half, half)


class TimmBackbone(nn.Module):
    """A timm network without its last layer, (B, 3, H, W) -> its last map (B, C, h, w).

    VGG's two dense layers belong to it and work on that map; timm resizes a map smaller than their 7 x 7.
    """

    def __init__(self, config: BaselineConfig):
        super().__init__()
        net = timm.create_model(TIMM_NAMES[config.backbone], num_classes=0, drop_rate=config.dropout)
        self.net = cast(Any, net)  # not every module has timm's methods
        self.width: int = self.net.head_hidden_size

    def forward(self, x: Tensor) -> Tensor:
        return self.net.forward_features(x)

    def pool(self, features: Tensor) -> Tensor:
        """The last map (B, C, h, w) -> the vector (B, width) before the classifier."""
        return self.net.forward_head(features, pre_logits=True)

    def load(self, weights: str | Path) -> None:
        """Load pretrained weights, "imagenet" or a .safetensors file; RuntimeError where they are not to be had."""
        load_timm_weights(self.net, weights, ["backbone.net."], translate=dense_as_convolutions)


class GoogLeNetBackbone(nn.Module):
    """torchvision's GoogLeNet without its last layer, (B, 3, H, W) -> its last map (B, 1024, h, w)."""

    width = 1024

    def __init__(self, config: BaselineConfig):
        super().__init__()
        # drawn as PyTorch draws them: torchvision's older way, 0.01 wide, leaves no signal before training
        whole = GoogLeNet(aux_logits=False, init_weights=False)
        head = ("avgpool", "dropout", "fc")
        self.net = nn.Sequential()
        for name, part in whole.named_children():  # in the order in which it runs them
            if name not in head:
                self.net.add_module(name, part)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def pool(self, features: Tensor) -> Tensor:
        """The last map (B, 1024, h, w) -> the vector (B, 1024) before the classifier."""
        return self.dropout(global_average_pool(features))

    def load(self, weights: str | Path) -> None:
        """Load a .safetensors file with torchvision's names; RuntimeError for "imagenet", which the hub lacks."""
        if weights == "imagenet":
            raise NoPretrainedWeights(
                "the Hugging Face hub has no ImageNet weights of GoogLeNet", "torchvision's, saved as safetensors,"
            )
        load_weights_file(self.net, Path(weights), ["backbone.net."])


def dense_as_convolutions(state: State) -> State:
    """VGG's dense layers under the names and in the shapes that timm gives them; torchvision's files say `classifier`.

    `classifier.0.weight` (4096, 512·7·7) becomes `pre_logits.fc1.weight` (4096, 512, 7, 7), `classifier.3` `fc2`.
    """
    out = dict(state)
    for theirs, ours, side in (("classifier.0", "pre_logits.fc1", 7), ("classifier.3", "pre_logits.fc2", 1)):
        if f"{theirs}.weight" in state:
            weight = out.pop(f"{theirs}.weight")
            out[f"{ours}.weight"] = weight.unflatten(1, (-1, side, side))
            out[f"{ours}.bias"] = out.pop(f"{theirs}.bias")
    return out


def enlarge(x: Tensor, smallest: int) -> Tensor:
    """Images (B, C, H, W), enlarged in proportion (bilinear) where a side is below `smallest`; else unchanged."""
    height, width = x.shape[-2:]
    scale = smallest / min(height, width)
    if scale <= 1:
        return x
    return F.interpolate(x, (ceil(height * scale), ceil(width * scale)), mode="bilinear", align_corners=False)


class Baseline(FaceModel):
    """A general network with a classifier for expressions.

    Args:
        config: how it is built.
        backbone_weights: pretrained weights of all but the classifier: "imagenet" (downloaded by timm; GoogLeNet has
            none there), a .safetensors file with timm's or torchvision's parameter names, or None for random ones.
    """

    has_backbone = True
    config: BaselineConfig

    def __init__(self, config: BaselineConfig, backbone_weights: str | Path | None = None):
        super().__init__()
        self.config = config
        self.backbone = (GoogLeNetBackbone if config.backbone == "googlenet" else TimmBackbone)(config)
        if backbone_weights is not None:
            self.backbone.load(backbone_weights)
        self.classifier = nn.Linear(self.backbone.width, len(config.classes))

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> last map (B, C, H/32, W/32), rounded as the network does."""
        return self.backbone(enlarge(x, SMALLEST[self.config.backbone]))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Last map (B, C, h, w) -> logits (B, classes), or the vector (B, D) before the classifier."""
        y = self.backbone.pool(features)
        return y if pre_logits else self.classifier(y)

    @property
    def cam_layer(self) -> nn.Module:
        return self.backbone
