"""Conv-cut (Nan, Liu, Qian, Song 2025): a truncated frozen trunk, Detail Extraction and self-attention.

    image -> trunk, cut after a stage -> Detail Extraction (Algorithm 1) -> attention (eq. 2), pooling (eq. 1) -> logits

The paper leaves open over what the attention runs. Four readings are offered (`ATTENTIONS` in layers.py):

- "token" (default): over the positions of one image, before pooling, with Q, K, V of eq. 2;
- "channel": over the channels of one image, Algorithm 1 taken literally with Y in R^C;
- "batch": over the images of the batch, which is what the published code computes, and what makes its predictions
  depend on their neighbours (see ferlib.evaluation);
- "none".
"""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from ferlib.errors import UserError
from ferlib.models.layers import DetailExtraction, TokenAttention, global_average_pool, pooled_attention
from ferlib.models.trunk import Trunk, TrunkModel, TrunkModelConfig


@dataclass(frozen=True)
class ConvCutConfig(TrunkModelConfig):
    """How a Conv-cut is built. The defaults are the paper's, read honestly.

    Attributes:
        trunk: a timm model name.
        keep_stages: trunk stages kept, 2, 3 or 4 (4: not truncated). The paper says both "truncating the third and
            fourth stages" (2) and "the first three stages retained" (3).
        two_depths: the map of the stage before goes along, see `Trunk`; our addition, not the paper's.
        freeze_trunk: the trunk is not trained and stays in evaluation mode.
        detail_layers: separable convolutions in Detail Extraction, 0 to 3.
        detail_norm: "before" (Algorithm 1) or "after" (published code).
        width: channels of Detail Extraction.
        bottleneck: size of a dense layer with batch norm before the attention (published code: 32), or None.
        attention: "token", "channel", "batch" or "none".
        learned_scale: a learned scalar in place of 1/√d in batch attention (published code).
        dropout: spatial dropout in Detail Extraction.
    """

    architecture: str = "convcut"
    two_depths: bool = False
    detail_layers: int = 2
    detail_norm: str = "before"
    width: int = 256
    bottleneck: int | None = None
    learned_scale: bool = False
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention == "token" and self.bottleneck is not None:
            raise UserError("token attention runs before pooling and takes no bottleneck")


class ConvCut(TrunkModel):
    """Conv-cut.

    Args:
        config: how it is built.
        trunk_weights: pretrained weights of the trunk: "imagenet" (downloaded by timm), a .safetensors file, or None
            for random ones.
    """

    config: ConvCutConfig

    def __init__(self, config: ConvCutConfig, trunk_weights: str | Path | None = None):
        super().__init__(config, Trunk(config.trunk, config.keep_stages, config.two_depths), trunk_weights)
        self.detail = DetailExtraction(
            self.trunk.channels, config.width, config.detail_layers, config.detail_norm, config.dropout
        )
        dim = self.detail.out_channels
        self.token_attention = TokenAttention(dim) if config.attention == "token" else nn.Identity()
        if config.bottleneck is not None:
            narrow = config.bottleneck
            self.bottleneck = nn.Sequential(nn.Linear(dim, narrow), nn.ReLU(), nn.BatchNorm1d(narrow))
            dim = narrow
        else:
            self.bottleneck = nn.Identity()
        self.pooled_attention = pooled_attention(config.attention, dim, config.learned_scale)
        self.classifier = nn.Linear(dim, len(config.classes))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Trunk map (B, C, h, w) -> logits (B, classes), or the vector (B, D) before the classifier."""
        details = self.token_attention(self.detail(features))  # (B, width, h', w')
        y = self.pooled_attention(self.bottleneck(global_average_pool(details)))  # (B, D)
        return y if pre_logits else self.classifier(y)
