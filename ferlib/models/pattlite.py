"""PAtt-Lite (Ngwe, Lim, Lee, Ong, Alqahtani 2024): a truncated frozen MobileNetV1, patch extraction and attention.

    image -> MobileNetV1, cut in block 9 -> patch extraction -> pooling -> dense 32 -> attention -> logits

What the paper says, what the authors' notebook (github.com/JLREx/PAtt-Lite) does, and what we do:

- Backbone. Paper: a truncated MobileNetV1, 1.10 M parameters in all. Notebook: `layers[-29]`, which is inside block 9,
  after its depthwise half; 1.10 M with Keras's counting (batch-norm statistics included). We: `cut="published"`, the
  same; `cut="stage"` is timm's map at stride 16, two and a half blocks deeper: 1.91 M.
- Patches. Paper: a block in place of the cut layers. Notebook: separable convolutions k4 s4 "same" and k2 s2 "valid",
  a 1x1 convolution, 256 channels and ReLU each. We: the same; what "valid" would reduce to nothing is padded.
- Attention. Paper: a classifier with dot-product self-attention. Notebook: Keras's `Attention(use_scale=True)` of a
  vector x (B, 32) with itself, after a dense layer: over the batch, with a learned scalar. We: "batch", the same;
  "channel" and "token", over one image; "none".
- Training. Notebook: backbone frozen, Adam 1e-3; then all again at 1e-5 with dropout 0.2 after the patches, the pooling
  and the attention. We: the first step's model, dropout 0.1 after the pooling. Our batch norm has PyTorch's constants.

The authors concede the error of the attention in their README. Their second step unfreezes "the last 59" layers of the
truncated backbone. It has 59 in versions of Keras whose MobileNet starts with a layer `conv1_pad`, so all are trained;
in later ones it has 58, the index becomes -1, and all but its last ReLU stay frozen.

The readings of the attention are those of Conv-cut (`ATTENTIONS` in layers.py). "token", our honest one, runs over the
positions of one image after the patch extraction, with learned Q, K and V, where the others run after the dense layer.
There are 2 x 2 positions at 224 px and a single one below 193 px, where it is a linear map and nothing more.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from ferlib.errors import UserError
from ferlib.models.backbone import AttentionModel, AttentionModelConfig, Backbone
from ferlib.models.layers import SeparableConv2d, TokenAttention, global_average_pool, pooled_attention


@dataclass(frozen=True)
class PAttLiteConfig(AttentionModelConfig):
    """Settings of PAtt-Lite.

    Attributes:
        backbone: a timm model name.
        keep_stages: backbone stages kept, 2 or 3 (stride 8 or 16); the published cut is in the third.
        cut: "published" (inside MobileNetV1's block 9) or "stage" (any backbone's map after `keep_stages`).
        freeze_backbone: the backbone is not trained and stays in evaluation mode.
        width: channels of the patch extraction.
        bottleneck: size of the dense layer with batch norm.
        attention: "token", "channel", "batch" or "none".
        dropout: fraction of the pooled vector zeroed in training.
    """

    architecture: str = "pattlite"
    backbone: str = "mobilenetv1_100"
    cut: str = "published"
    width: int = 256
    bottleneck: int = 32
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cut == "published" and not self.backbone.startswith("mobilenetv1_"):
            raise UserError(f"the published cut is inside a block of MobileNetV1; for {self.backbone} give cut=stage")


def cut_inside_block_9(backbone: Backbone) -> None:
    """Remove what lies behind the depthwise half of block 9 from a MobileNetV1 backbone; the map keeps its size.

    Keras's `layers[-29]` counts back over block 13 (6 layers), block 12 (7, with its padding), 11 and 10 (6 each), and
    block 9's ReLU, batch norm and pointwise convolution. timm's blocks 6 to 11 are its stage 3; no `feature_info` names
    a place inside a block.
    """
    stage = cast(nn.Sequential, cast(nn.ModuleList, backbone.net.model.blocks)[3])
    del stage[4:]
    stage[3].conv_pw, stage[3].bn2 = nn.Identity(), nn.Identity()


class PatchExtraction(nn.Sequential):
    """The authors' patch extraction, (B, C, H, W) -> (B, width, h, w): 14 x 14 -> 4 x 4 -> 2 x 2.

    Separable convolution 4x4 stride 4 "same", separable convolution 2x2 stride 2 "valid", convolution 1x1, a ReLU after
    each.
    """

    def __init__(self, channels: int, width: int = 256):
        super().__init__(
            SeparableConv2d(channels, width, 4, stride=4),
            nn.ReLU(),
            SeparableConv2d(width, width, 2, stride=2),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = self
        x = first(x)
        # "valid" drops an incomplete patch, unless nothing would be left: then the layer pads
        x = x[:, :, : max(x.shape[2] // 2 * 2, 1), : max(x.shape[3] // 2 * 2, 1)]
        for layer in rest:
            x = layer(x)
        return x


class PAttLite(AttentionModel):
    """PAtt-Lite.

    Args:
        config: how it is built.
        backbone_weights: pretrained weights of the backbone: "imagenet" (downloaded by timm), a .safetensors file, or
            None for random ones.
    """

    config: PAttLiteConfig

    def __init__(self, config: PAttLiteConfig, backbone_weights: str | Path | None = None):
        backbone = Backbone(config.backbone, config.keep_stages)
        if config.cut == "published":
            cut_inside_block_9(backbone)
        super().__init__(config, backbone, backbone_weights)
        self.patches = PatchExtraction(self.backbone.channels, config.width)
        self.token_attention = TokenAttention(config.width) if config.attention == "token" else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.bottleneck = nn.Sequential(
            nn.Linear(config.width, config.bottleneck), nn.ReLU(), nn.BatchNorm1d(config.bottleneck)
        )
        self.pooled_attention = pooled_attention(config.attention, config.bottleneck, learned_scale=True)
        self.classifier = nn.Linear(config.bottleneck, len(config.classes))

    @property
    def needs_two(self) -> bool:
        return True

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Backbone map (B, C, h, w) -> logits (B, classes), or the vector (B, bottleneck) before the classifier.

        Raises:
            UserError: a batch of one in training mode.
        """
        if self.training:
            self.check_batch(len(features))
        patches = self.token_attention(self.patches(features))  # (B, width, h', w')
        y = self.bottleneck(self.dropout(global_average_pool(patches)))  # (B, bottleneck)
        y = self.pooled_attention(y)
        return y if pre_logits else self.classifier(y)
