"""VTFF's fusion of a picture and its texture.

Ma, Sun, Li, "Facial Expression Recognition with Visual Transformers and Attentional Selective Fusion" (TAC 2021).

    image and its local binary patterns -> a backbone each, maps a and b -> U = W₁ a + W₂ b, g = global(U) + local(U)
    -> x = σ(g) b + (1 - σ(g)) a -> tokens, transformer blocks, class token -> linear layer

`global` is pooling and a bottleneck, one number a channel; `local` a bottleneck of 1x1 convolutions, one number an
element. The patterns are made inside the model from its normalised input, so it is fed like every other.

There is no official code, and two re-implementations by others differ from ours in the gate: their `local` gives one
number a position, batch norms follow its convolutions, `global` and `local` end in a sigmoid each, and their
bottlenecks are an eighth as wide as the map, ours a quarter. Departures we know of: patterns are repeated to three
channels and normalised like a picture; both backbones start from the same pretrained weights; the transformer is small
and random at the start. No gradient goes through the patterns, so saliency maps of this model show the picture's stream
alone.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ferlib.errors import UserError
from ferlib.models.backbone import OWN, Backbone
from ferlib.models.base import Normalisation
from ferlib.models.heads import Head, HeadModel
from ferlib.models.lbp import local_binary_patterns
from ferlib.models.pretrained import load_timm_weights
from ferlib.models.tokens import Blocks, ClassToken, TokenConfig, Tokens
from ferlib.runtime.preprocess import GREY_WEIGHTS
from ferlib.utils.validation import check_range


@dataclass(frozen=True)
class VTFFConfig(TokenConfig):
    """Settings of VTFF.

    Attributes:
        reduction: of channels in the bottlenecks of the gate.
    """

    architecture: str = "vtff"
    reduction: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 1, 64, "reduction")


class TwoStreamBackbone(Backbone):
    """Two backbones of one kind, for the image and for its patterns: (B, 3, H, W) -> (B, 2C, h, w), a before b.

    Args:
        name, keep_stages: see `Backbone`.
        normalisation: mean and std of the input.
    """

    def __init__(self, name: str, keep_stages: int, normalisation: Normalisation):
        super().__init__(name, keep_stages)
        self.texture = Backbone(name, keep_stages)
        self.normalisation = normalisation
        self.depths = (*self.depths, *self.texture.depths)
        self.channels = sum(self.depths)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super().forward(x), self.texture(self.patterns(x))], dim=1)

    @torch.no_grad()
    def patterns(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> their local binary patterns as images, repeated and normalised alike."""
        mean, std = (x.new_tensor(values).view(1, 3, 1, 1) for values in self.normalisation)
        red, green, blue = (x * std + mean).unbind(1)
        grey = GREY_WEIGHTS[0] * red + GREY_WEIGHTS[1] * green + GREY_WEIGHTS[2] * blue
        codes = local_binary_patterns((255 * grey).round())
        return (codes.unsqueeze(1) / 255 - mean) / std

    @property
    def last_stage(self) -> nn.Sequential:
        """None that would make the map alone: always a `UserError`."""
        raise UserError(
            "a map of two streams is not made by the last stage of one backbone; take another model than vtff"
        )

    def load(self, weights: str | Path) -> None:
        """Load pretrained weights into both, see `Backbone.load`; a model with two streams gives each its own."""
        super().load(weights)
        load_timm_weights(self.texture.net.model, weights, ("backbone.texture.net.model.", OWN))


class Gate(nn.Module):
    """The fusion of two maps, (B, C, h, w) twice -> (B, C, h, w): at every element a mean of the two.

    Args:
        channels: C.
        reduction: of channels in the bottlenecks.
    """

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.image, self.texture = (nn.Conv2d(channels, channels, 1, bias=False) for _ in range(2))
        narrow = max(channels // reduction, 1)
        self.overall, self.local = (
            nn.Sequential(nn.Conv2d(channels, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, channels, 1)) for _ in range(2)
        )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        joint = self.image(a) + self.texture(b)
        gate = (self.overall(joint.mean(dim=(2, 3), keepdim=True)) + self.local(joint)).sigmoid()
        return gate * b + (1 - gate) * a


class FusionHead(Head):
    """The head; its details are the tokens at the end, (B, 1 + h·w, D), the class token first.

    Args:
        channels: C of one of the two maps.
        config: the model's.
    """

    def __init__(self, channels: int, config: VTFFConfig):
        super().__init__()
        self.width = config.width
        self.gate = Gate(channels, config.reduction)
        self.tokens, self.class_token = Tokens(channels, config.width), ClassToken(config.width)
        self.blocks = Blocks(config.width, config.depth, config.heads)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.blocks(self.class_token(self.tokens(self.gate(*features.chunk(2, dim=1)))))
        return tokens[:, 0], tokens


class VTFF(HeadModel):
    """VTFF on two backbones.

    Args:
        config: how it is built.
        backbone_weights: pretrained weights of both backbones, see `Backbone.load`, or None for random ones.
    """

    config: VTFFConfig

    def __init__(self, config: VTFFConfig, backbone_weights: str | Path | None = None):
        mean, std = config.own_normalisation()
        backbone = TwoStreamBackbone(config.backbone, config.keep_stages, (config.mean or mean, config.std or std))
        super().__init__(config, backbone, backbone_weights, FusionHead(backbone.texture.channels, config))
