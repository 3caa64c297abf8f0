"""APViT's attentive pooling on a small token head (Xue et al. 2022, "Vision Transformer with Attentive Pooling", TAC).

    map -> tokens -> APP keeps the positions with the largest Σ_k |F_k| -> transformer blocks with a class token; in the
    later half of them ATP keeps the tokens that the class token attends to -> class token -> linear layer

Attentive patch pooling (APP) keeps 160 of 196 positions, attentive token pooling (ATP) 90 % of the tokens that enter a
block; neither has parameters. How many are kept depends on the size of the map alone, so the graph is the same for
every face.

Departures: the authors' ViT is pretrained, with eight blocks of 768, and its positions are learned. Ours is small and
starts from random weights: it says what the pooling gives, not what their network gives. APP ranks positions by the
backbone's map; in their code, by that map after its projection to the transformer's width. Of a small map it drops few
positions: 3 of 16 at 112 px and stride 32. ATP ranks tokens by the mean of the class token's attention over the heads,
and rounds their number; they take the sum before the softmax, and round down.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, cat, nn

from ferlib.models.backbone import Backbone
from ferlib.models.heads import Head, HeadModel
from ferlib.models.tokens import Block, ClassToken, TokenConfig, Tokens, keep_largest
from ferlib.utils.validation import check_range


@dataclass(frozen=True)
class APViTConfig(TokenConfig):
    """Settings of APViT's head.

    Attributes:
        depth: transformer blocks (paper: 8); in the later half of them, tokens are left out.
        kept_positions: fraction of the map's positions that APP keeps.
        kept_tokens: fraction of its tokens, the class token aside, that ATP keeps after a block's attention.
    """

    architecture: str = "apvit"
    depth: int = 4
    kept_positions: float = 160 / 196
    kept_tokens: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 0, 1, "kept_positions", "kept_tokens")


class AttentivePooling(Head):
    """The head; its details are the tokens left at the end, (B, n, D), the class token first.

    Args:
        channels: C of the map.
        config: the model's.
    """

    def __init__(self, channels: int, config: APViTConfig):
        super().__init__()
        self.width, self.kept_positions, self.kept_tokens = config.width, config.kept_positions, config.kept_tokens
        self.tokens, self.class_token = Tokens(channels, config.width), ClassToken(config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        strength = features.abs().sum(dim=1).flatten(1)  # Σ_k |F_k|, (B, h·w)
        tokens = self.class_token(keep_largest(self.tokens(features), strength, self.kept_positions))
        for number, block in enumerate(self.blocks):
            tokens, weights = block(tokens)
            if number >= len(self.blocks) // 2:
                attended = weights[:, :, 0, 1:].mean(dim=1)  # by the class token, (B, n)
                tokens = cat([tokens[:, :1], keep_largest(tokens[:, 1:], attended, self.kept_tokens)], dim=1)
        tokens = self.norm(tokens)
        return tokens[:, 0], tokens


class APViT(HeadModel):
    """APViT's head on a backbone.

    Args:
        config: how it is built.
        backbone_weights: pretrained weights of the backbone, see `Backbone.load`, or None for random ones.
    """

    config: APViTConfig

    def __init__(self, config: APViTConfig, backbone_weights: str | Path | None = None):
        backbone = Backbone(config.backbone, config.keep_stages)
        super().__init__(config, backbone, backbone_weights, AttentivePooling(backbone.channels, config))
