"""IVSA (Huang, Yang, Zhong, Zhang 2022): an improved VGG with a Salient Attention Block after every stage.

    face 48 px, grey -> crop 40 px -> 4 x [conv, BN, GELU, conv, BN, GELU -> max-pool -> attention] -> 3 dense -> logits

The stages are eq. 1 and 2, the block eq. 3 to 9 (`SalientAttentionBlock` in attention_blocks.py), the classifier eq.
10. The paper contradicts itself in several places; every one is a field of `IVSAConfig`. What it leaves open: the
number of stages and their widths (figure 1; 64-128-256-512 as in its reference [21]), where dropout stands (before the
second and third dense layer here), the activations between the dense layers (GELU here; eq. 10 prints none, which would
make the three a single linear map).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from ferlib import labels
from ferlib.errors import UserError
from ferlib.models.attention_blocks import CBAM, SalientAttentionBlock
from ferlib.models.base import FaceModel, ModelConfig

BLOCKS = ("sab", "sab_channel", "sab_spatial", "cbam", "none")
FER2013_MEAN, FER2013_STD = (0.5077,), (0.2550,)  # of the training rows' pixels, in 0..1


@dataclass(frozen=True)
class IVSAConfig(ModelConfig):
    """Settings of IVSA.

    Attributes:
        block: after every stage: "sab" (Salient Attention Block), "cbam" or "none" (the paper's table III), or
            "sab_channel" or "sab_spatial", one of its two gates.
        block_place: "after" the stage's max-pooling ("at the end of each stage") or "before" it.
        kernel: of the spatial attention: 3 (text) or 7 (eq. 8).
        combine: of mean and maximum in the spatial attention: "concat" (text) or "sum" (eq. 8).
        sum_pools: of the channel attention: "before" the MLP (text) or "after" it (figure 2).
        l2: which L2 pooling, "l2" (norm) or "rms"; the paper only names it.
        rescale: of the channel weights by γ: "literal" (eq. 5, shrinks activations to about 1/C), "normalised" (times
            C) or "none".
        gamma: whose γ: "stage" (the stage's last batch norm), "own" (one inside the block, as in NAM) or "both" (the
            stage's, and one over the positions).
        widths: channels of the stages.
        hidden: width of the first two dense layers.
        dropout: fraction of their outputs zeroed in training.
    """

    architecture: str = "ivsa"
    classes: tuple[str, ...] = labels.FER2013
    input_size: int = 40
    downscale_to: int | None = 48
    centre_crop: bool = True
    grey: bool = True
    mean: tuple[float, ...] = FER2013_MEAN
    std: tuple[float, ...] = FER2013_STD
    block: str = "sab"
    block_place: str = "after"
    kernel: int = 7
    combine: str = "concat"
    sum_pools: str = "before"
    l2: str = "l2"
    rescale: str = "normalised"
    gamma: str = "stage"
    widths: tuple[int, ...] = (64, 128, 256, 512)
    hidden: int = 1000
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block not in BLOCKS:
            raise UserError(f"block must be one of {', '.join(BLOCKS)}, not {self.block!r}")
        if self.block_place not in ("after", "before"):
            raise UserError(f"block_place must be 'after' or 'before', not {self.block_place!r}")
        if self.input_size < 2 ** len(self.widths):
            raise UserError(f"{len(self.widths)} stages need an input of at least {2 ** len(self.widths)} px")


class Convolutions(nn.Sequential):
    """A stage's two convolution modules (eq. 1): 3x3 convolution, batch norm, GELU, twice; the size stays."""

    def __init__(self, channels: int, width: int):
        modules: list[nn.Module] = []
        for inputs in (channels, width):
            modules += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.GELU()]
        super().__init__(*modules)

    @property
    def gamma(self) -> Tensor:
        """γ of the last batch norm, (width,)."""
        return cast(nn.BatchNorm2d, self[4]).weight


class Reduction(nn.Module):
    """End of a stage: 2x2 max-pooling (eq. 2) and attention, (B, C, H, W) -> (B, C, H/2, W/2)."""

    def __init__(self, width: int, side: int, config: IVSAConfig):
        super().__init__()
        self.place, self.pool = config.block_place, nn.MaxPool2d(2)
        self.block: nn.Module | None = None
        if config.block == "cbam":
            self.block = CBAM(width)
        elif config.block.startswith("sab"):
            self.block = SalientAttentionBlock(
                width,
                config.kernel,
                config.combine,
                config.sum_pools,
                config.l2,
                config.rescale,
                config.gamma,
                parts=config.block.removeprefix("sab_") if config.block != "sab" else "both",
                side=side if config.block_place == "before" else side // 2,
            )

    def forward(self, x: Tensor, gamma: Tensor) -> Tensor:
        """X (B, C, H, W), gamma (C,) of the stage's last batch norm."""
        if self.place == "before":
            return self.pool(self.attend(x, gamma))
        return self.attend(self.pool(x), gamma)

    def attend(self, x: Tensor, gamma: Tensor) -> Tensor:
        """The attention block alone."""
        if isinstance(self.block, SalientAttentionBlock):
            return self.block(x, gamma)
        return x if self.block is None else self.block(x)


class IVSA(FaceModel):
    """IVSA.

    The feature map that Grad-CAM looks at is that of the last convolutions, before their pooling: (B, 512, 5, 5) for
    40 px. After it 2 x 2 positions would be left. Inputs of other sizes are pooled to that 2 x 2 before the classifier.

    Args:
        config: how it is built.
        backbone_weights: must be None; nothing in IVSA is pretrained.
    """

    config: IVSAConfig

    def __init__(self, config: IVSAConfig, backbone_weights: str | Path | None = None):
        super().__init__()
        if backbone_weights is not None:
            raise UserError("IVSA is trained from scratch and has no backbone to load weights into")
        self.config = config
        inputs = (config.channels, *config.widths)
        self.convolutions = nn.ModuleList(
            Convolutions(channels, width) for channels, width in zip(inputs, config.widths, strict=False)
        )
        self.reductions = nn.ModuleList(
            Reduction(width, config.input_size >> stage, config) for stage, width in enumerate(config.widths)
        )
        side = config.input_size >> len(config.widths)  # 2 for 40 px
        self.fit = nn.AdaptiveAvgPool2d(side)
        self.hidden = nn.Sequential(
            nn.Flatten(),
            nn.Linear(config.widths[-1] * side**2, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )
        self.classifier = nn.Linear(config.hidden, len(config.classes))

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised images (B, 1, H, W) -> the last convolutions' map (B, 512, H/8, W/8)."""
        for convolutions, reduction in zip(self.convolutions[:-1], self.reductions[:-1], strict=True):
            x = reduction(convolutions(x), convolutions.gamma)
        return self.convolutions[-1](x)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """The last map (B, 512, h, w) -> logits (B, classes), or the vector (B, hidden) before the last layer."""
        x = self.reductions[-1](features, self.convolutions[-1].gamma)
        y = self.hidden(self.fit(x))
        return y if pre_logits else self.classifier(y)

    @property
    def cam_layer(self) -> nn.Module:
        return self.convolutions[-1]
