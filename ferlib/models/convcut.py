"""Conv-cut (Nan, Liu, Qian, Song 2025): a truncated frozen backbone, Detail Extraction and self-attention.

    image -> backbone, cut after a stage -> Detail Extraction (Algorithm 1) -> attention (eq. 2), pooling (eq. 1) ->
    logits

The paper leaves open over what the attention runs. Four readings are offered (`ATTENTIONS` in layers.py):

- "token" (default): over the positions of one image, before pooling, with Q, K, V of eq. 2;
- "channel": over the channels of one image, Algorithm 1 taken literally with Y in R^C;
- "batch": over the images of the batch, which is what the published code computes, and what makes its predictions
  depend on their neighbours (see ferlib.evaluation);
- "none".

`convcut_published` is that code: the backbone cut inside a block (`cut_inside_stage_3`), two separable convolutions
with a ReLU each, pooling, a dense layer of 32 with batch norm, Keras's `Attention(use_scale=True)` of the vector with
itself, dropout after pooling and attention. Its training has two phases, with different dropout, and a layer norm in
the first only: see `ferlib.training.phases`. Ours differs in PyTorch's ways to draw weights, in its constants of batch
norm and Adam, and in a third dropout: Algorithm 1's spatial one, at the end of Detail Extraction, is not in that code.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from timm.models import is_model_in_modules
from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn

from ferlib.errors import UserError
from ferlib.models.backbone import AttentionModel, AttentionModelConfig, Backbone
from ferlib.models.layers import DetailExtraction, TokenAttention, global_average_pool, pooled_attention


@dataclass(frozen=True)
class ConvCutConfig(AttentionModelConfig):
    """Settings of Conv-cut. The defaults are the paper's, with attention inside one image.

    Attributes:
        backbone: a timm model name.
        keep_stages: backbone stages kept, 2, 3 or 4 (4: not truncated). The paper says both "truncating the third and
            fourth stages" (2) and "the first three stages retained" (3).
        cut: "stage" (the map after `keep_stages`) or "published": inside the fourth block from the end of ConvNeXt's
            third stage, as the authors' code cuts ConvNeXt-Base. No such block is in other backbones: there it is
            "stage".
        two_depths: the map of the stage before goes along, see `Backbone`; our addition, not the paper's.
        freeze_backbone: the backbone is not trained and stays in evaluation mode.
        detail_layers: separable convolutions in Detail Extraction, 0 to 3.
        detail_norm: "before" (Algorithm 1), "after" or "none" (published code, first and second phase).
        width: channels of Detail Extraction.
        bottleneck: size of a dense layer with batch norm before the attention (published code: 32), or None.
        attention: "token", "channel", "batch" or "none".
        head_norm: a batch norm between attention and classifier. Neither Algorithm 1 nor the code has it; with it, the
            published figure comes about on small backbones.
        learned_scale: a learned scalar in place of 1/√d in batch attention (published code).
        dropout: spatial dropout in Detail Extraction.
        head_dropout: fraction of the vector zeroed in training after pooling and after the attention (published code).
    """

    architecture: str = "convcut"
    two_depths: bool = False
    detail_layers: int = 2
    detail_norm: str = "before"
    width: int = 256
    bottleneck: int | None = None
    learned_scale: bool = False
    dropout: float = 0.1
    head_dropout: float = 0.0
    head_norm: bool = False

    def __post_init__(self) -> None:
        named = isinstance(self.backbone, str)  # else it is refused below
        if self.cut == "published" and named and not is_model_in_modules(self.backbone, {"convnext"}):
            object.__setattr__(self, "cut", "stage")
        super().__post_init__()
        if self.cut == "published" and self.two_depths:
            raise UserError("two_depths takes the maps after two stages; give cut=stage")
        if self.attention == "token" and self.bottleneck is not None:
            raise UserError("token attention runs before pooling and takes no bottleneck")


class HalfBlock(nn.Module):
    """The first half of a ConvNeXt block: depthwise convolution and layer norm, without the residual; same shape."""

    def __init__(self, block: ConvNeXtBlock):
        super().__init__()
        self.conv_dw, self.norm = block.conv_dw, block.norm
        self.channels_first = block.use_conv_mlp  # what its norm takes

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_dw(x)
        return self.norm(x) if self.channels_first else self.norm(x.movedim(1, -1)).movedim(-1, 1)


def cut_inside_stage_3(backbone: Backbone) -> None:
    """Remove what lies behind the first half of the fourth block from the end of a ConvNeXt backbone's third stage.

    Keras's `layers[-57]` is that in ConvNeXt-Base: the layer norm in the 24th of 27 blocks. 51.64 M parameters are left
    of the 60.12 M of three stages; the map keeps its size. Other ConvNeXts are cut at the block with the same place
    from the end. No `feature_info` names a place inside a block.
    """
    blocks = cast(nn.Sequential, cast(nn.Sequential, backbone.net.model.stages)[2].blocks)
    if len(blocks) < 4:
        raise UserError(f"a third stage of {len(blocks)} blocks has no fourth from the end; give cut=stage")
    blocks[-4] = HalfBlock(cast(ConvNeXtBlock, blocks[-4]))
    del blocks[-3:]


class ConvCut(AttentionModel):
    """Conv-cut.

    Args:
        config: how it is built.
        backbone_weights: pretrained weights of the backbone: "imagenet" (downloaded by timm), a .safetensors file, or
            None for random ones.
    """

    config: ConvCutConfig

    def __init__(self, config: ConvCutConfig, backbone_weights: str | Path | None = None):
        backbone = Backbone(config.backbone, config.keep_stages, config.two_depths)
        if config.cut == "published":
            cut_inside_stage_3(backbone)
        super().__init__(config, backbone, backbone_weights)
        self.detail = DetailExtraction(
            self.backbone.channels, config.width, config.detail_layers, config.detail_norm, config.dropout
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
        if config.head_norm:
            self.head_norm = nn.BatchNorm1d(dim)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = nn.Linear(dim, len(config.classes))

    @property
    def needs_two(self) -> bool:
        return self.config.bottleneck is not None or self.config.head_norm

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Backbone map (B, C, h, w) -> logits (B, classes), or the vector (B, D) before the classifier.

        Raises:
            UserError: a batch of one in training mode, where the config asks for a batch norm after the pooling.
        """
        if self.training:
            self.check_batch(len(features))
        details = self.token_attention(self.detail(features))  # (B, width, h', w')
        y = self.bottleneck(self.dropout(global_average_pool(details)))  # (B, D)
        y = self.dropout(self.head_norm(self.pooled_attention(y)))
        return y if pre_logits else self.classifier(y)
