"""DDAMFN's head on any backbone (Zhang et al. 2023, "A Dual-Direction Attention Mixed Feature Network", Electronics).

    map x -> two coordinate-attention heads -> y, the larger of the two at every element -> x·y -> depthwise convolution
    over the whole map -> linear layer

A head is coordinate attention (Hou et al. 2021) whose pooling along rows and columns is learned: depthwise
convolutions as long as the map. Training adds 0.1 / mean squared difference of the two heads' maps, so that they look
at different places: the training method `ddamfn`.

Departures: the authors' backbone, a mixed feature network trained on faces, is left out, so this is their head on
another's; `squeeze` is theirs for its 512 channels, a 32nd of them, whatever the backbone has. A batch norm follows
every depthwise convolution, as in the linear blocks of MobileFaceNet.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ferlib.models.backbone import Backbone
from ferlib.models.heads import Head, HeadConfig, HeadModel
from ferlib.utils.validation import check_range


@dataclass(frozen=True)
class DDAMFNConfig(HeadConfig):
    """Settings of DDAMFN's head.

    Attributes:
        heads: attention heads.
        squeeze: channels of the joint 1x1 convolution of an attention head.
    """

    architecture: str = "ddamfn"
    heads: int = 2
    squeeze: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 2, 64, "heads")
        check_range(self, 1, 4096, "squeeze")


def depthwise(channels: int, kernel: tuple[int, int]) -> nn.Sequential:
    """A depthwise convolution without padding and a batch norm, (B, C, H, W) -> (B, C, H - kernel + 1, ...)."""
    convolution = nn.Conv2d(channels, channels, kernel, groups=channels, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels))


class CoordinateAttention(nn.Module):
    """An attention head, (B, C, S, S) -> weights (B, C, S, S) in 0..1: that of the row times that of the column.

    Args:
        channels: C.
        side: S.
        squeeze: channels of the joint convolution.
    """

    def __init__(self, channels: int, side: int, squeeze: int):
        super().__init__()
        self.along_rows, self.along_columns = depthwise(channels, (1, side)), depthwise(channels, (side, 1))
        self.joint = nn.Sequential(nn.Conv2d(channels, squeeze, 1), nn.BatchNorm2d(squeeze), nn.Hardswish())
        self.rows, self.columns = (nn.Conv2d(squeeze, channels, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[2]
        rows, columns = self.along_rows(x), self.along_columns(x)  # (B, C, S, 1), (B, C, 1, S)
        both = self.joint(torch.cat([rows, columns.mT], dim=2))  # (B, squeeze, 2S, 1)
        rows, columns = both[:, :, :side], both[:, :, side:].mT
        return self.rows(rows).sigmoid() * self.columns(columns).sigmoid()


class DualDirectionHead(Head):
    """The head; its details are the attention heads' maps, (B, heads, C, S, S).

    Args:
        channels: C of the map, and of the vector.
        side: S, that of the map at the model's input size, a part of a position counted whole; a map of another size
            is resized to it (bilinear).
        heads, squeeze: see `DDAMFNConfig`.
    """

    def __init__(self, channels: int, side: int, heads: int, squeeze: int):
        super().__init__()
        self.width, self.side = channels, side
        self.attention = nn.ModuleList(CoordinateAttention(channels, side, squeeze) for _ in range(heads))
        self.whole = depthwise(channels, (side, side))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        x, size = features, (self.side, self.side)
        if x.shape[-2:] != size:
            x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        maps = torch.stack([head(x) for head in self.attention], dim=1)
        return self.whole(x * maps.amax(dim=1)).flatten(1), maps


class DDAMFN(HeadModel):
    """DDAMFN's head on a backbone.

    Args:
        config: how it is built.
        backbone_weights: pretrained weights of the backbone, see `Backbone.load`, or None for random ones.
    """

    config: DDAMFNConfig

    def __init__(self, config: DDAMFNConfig, backbone_weights: str | Path | None = None):
        backbone = Backbone(config.backbone, config.keep_stages)
        side = -(-config.input_size // backbone.stride)
        head = DualDirectionHead(backbone.channels, side, config.heads, config.squeeze)
        super().__init__(config, backbone, backbone_weights, head)

    @property
    def needs_two(self) -> bool:
        return True
