"""A landmark-free POSTER++ (Mao et al. 2023): maps of two depths of a backbone as tokens of a small transformer.

    maps at strides s and s/2 -> tokens of both, two transformer blocks -> mean of the tokens -> linear layer

Left out of POSTER++: the landmark network and its stream, and with it the window cross-attention whose queries are
landmark features; the third of its three scales; its IR-50 backbone pretrained on faces, and training by
sharpness-aware minimisation. Left is the end of it, a two-block transformer over tokens of several depths; theirs has
learned positions and is read by a class token and a squeeze-and-excitation layer, ours has fixed positions and the mean
of its tokens. QCS (Wang et al. 2025) starts from the same; the training method `qcs` is for this model.

The shallower map has four times as many positions; every 2x2 block of them is one token (see `Backbone`), so both
depths give equally many.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ferlib.models.backbone import Backbone
from ferlib.models.heads import Head, HeadModel
from ferlib.models.tokens import Blocks, TokenConfig, Tokens


@dataclass(frozen=True)
class TwoDepthViTConfig(TokenConfig):
    """Settings of the two-depth ViT."""

    architecture: str = "two_depth_vit"


class TwoDepthHead(Head):
    """The head; its details are the tokens that the vector is the mean of, (B, 2·h·w, D), the deeper map's first.

    Args:
        depths: channels of the two maps, see `Backbone.depths`.
        config: the model's.
    """

    def __init__(self, depths: tuple[int, ...], config: TwoDepthViTConfig):
        super().__init__()
        self.width, self.depths = config.width, depths
        self.tokens = nn.ModuleList(Tokens(channels, config.width) for channels in depths)
        self.blocks = Blocks(config.width, config.depth, config.heads)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        maps = features.split(self.depths, dim=1)
        tokens = torch.cat([embed(one) for embed, one in zip(self.tokens, maps, strict=True)], dim=1)
        tokens = self.blocks(tokens)
        return tokens.mean(dim=1), tokens


class TwoDepthViT(HeadModel):
    """A transformer over two depths of a backbone.

    Args:
        config: how it is built.
        backbone_weights: pretrained weights of the backbone, see `Backbone.load`, or None for random ones.
    """

    config: TwoDepthViTConfig

    def __init__(self, config: TwoDepthViTConfig, backbone_weights: str | Path | None = None):
        backbone = Backbone(config.backbone, config.keep_stages, two_depths=True)
        super().__init__(config, backbone, backbone_weights, TwoDepthHead(backbone.depths, config))
