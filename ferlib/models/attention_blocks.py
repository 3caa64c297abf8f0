"""The attention blocks of CBAM (Woo et al. 2018) and IVSA (Huang et al. 2022), each readable alone.

Notation: B images, C channels, H x W positions.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ferlib.errors import UserError


def channel_pools(x: Tensor, names: tuple[str, ...]) -> Tensor:
    """Pool every channel of (B, C, H, W) over its positions in several ways, -> (B, len(names), C).

    "avg" is the mean, "max" the maximum, "l2" the L2 norm √Σx² (as the pooling layers of that name compute it), "rms"
    the same of the mean, √(Σx²/HW), which does not grow with the map.
    """
    pools = {
        "avg": lambda: x.mean(dim=(2, 3)),
        "max": lambda: x.amax(dim=(2, 3)),
        "l2": lambda: x.square().sum(dim=(2, 3)).clamp_min(1e-12).sqrt(),
        "rms": lambda: x.square().mean(dim=(2, 3)).clamp_min(1e-12).sqrt(),
    }
    return torch.stack([pools[name]() for name in names], dim=1)


class ChannelGate(nn.Module):
    """Channel attention of CBAM (its eq. 2) and of IVSA: a weight in 0..1 a channel, (B, C, H, W) -> (B, C, 1, 1).

    CBAM: σ(MLP(avg) + MLP(max)). IVSA: W_c = σ(MLP(avg + max + L2)), one more pooling, and summed *before* the MLP in
    the text; its figure 2 draws them as in CBAM, where the MLP is shared and its outputs are summed. The MLP is
    C -> C / reduction -> C with a ReLU and no biases, as in CBAM's equation.

    Args:
        channels: C.
        pools: which poolings, see `channel_pools`.
        sum_pools: "before" or "after" the MLP.
        reduction: of the MLP's middle layer. CBAM's is 16; IVSA gives none.
    """

    def __init__(
        self, channels: int, pools: tuple[str, ...] = ("avg", "max"), sum_pools: str = "after", reduction: int = 16
    ):
        super().__init__()
        if sum_pools not in ("before", "after"):
            raise UserError(f"sum_pools must be 'before' or 'after', not {sum_pools!r}")
        self.pools, self.sum_pools = pools, sum_pools
        middle = max(channels // reduction, 1)
        self.mlp = nn.Sequential(
            nn.Linear(channels, middle, bias=False), nn.ReLU(), nn.Linear(middle, channels, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        pooled = channel_pools(x, self.pools)  # (B, pools, C)
        if self.sum_pools == "before":
            scores = self.mlp(pooled.sum(dim=1))
        else:
            scores = self.mlp(pooled).sum(dim=1)
        return torch.sigmoid(scores)[:, :, None, None]


class SpatialGate(nn.Module):
    """Spatial attention of CBAM (its eq. 3) and of IVSA (eq. 7 and 8): a weight for every position, -> (B, 1, H, W).

    σ(conv(mean over the channels, maximum over the channels)). CBAM concatenates the two and uses a 7x7 kernel. IVSA's
    text concatenates and says 3x3; its eq. 8 adds them and says 7x7.

    Args:
        kernel: side of the convolution, odd.
        combine: "concat" or "sum".
    """

    def __init__(self, kernel: int = 7, combine: str = "concat"):
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise UserError(f"kernel must be odd, not {kernel!r}")
        if combine not in ("concat", "sum"):
            raise UserError(f"combine must be 'concat' or 'sum', not {combine!r}")
        self.combine = combine
        self.conv = nn.Conv2d(2 if combine == "concat" else 1, 1, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)  # (B, 2, H, W)
        if self.combine == "sum":
            pooled = pooled.sum(dim=1, keepdim=True)
        return torch.sigmoid(self.conv(pooled))


class CBAM(nn.Module):
    """Convolutional Block Attention Module (Woo et al. 2018, eq. 1): channel gate, then spatial gate, same shape."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.channel = ChannelGate(channels, reduction=reduction)
        self.spatial = SpatialGate(7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.channel(x) * x
        return self.spatial(x) * x


RESCALES = ("none", "literal", "normalised")
GAMMAS = ("stage", "own", "both")


def channel_importance(gamma: Tensor, rescale: str) -> Tensor:
    """IVSA's eq. 5, from NAM (Liu et al. 2021): how important a batch norm holds each channel, (C,) -> (C,).

    γ is the batch norm's learned factor. "literal" is `|γ| / Σ|γ|` as printed; the numbers sum to 1, so multiplying by
    them shrinks the activations to about 1/C. "normalised" is C times that, mean 1. "none" gives ones. The absolute
    value is NAM's code; IVSA prints γ, which could be negative or sum to zero.
    """
    if rescale == "none":
        return torch.ones_like(gamma)
    importance = gamma.abs() / gamma.abs().sum().clamp_min(1e-12)
    return importance * len(gamma) if rescale == "normalised" else importance


class SalientAttentionBlock(nn.Module):
    """IVSA's Salient Attention Block, (B, C, H, W) -> same: eq. 3 with W'_c of eq. 5, then eq. 4.

    A channel gate over three poolings, its weights multiplied by the importance of the channels to a batch norm, then a
    spatial gate.

    Args:
        channels: C.
        kernel: of the spatial gate: 3 (text) or 7 (eq. 8).
        combine: in the spatial gate: "concat" (text) or "sum" (eq. 8).
        sum_pools: in the channel gate: "before" (text) or "after" (figure 2) the MLP.
        l2: "l2" (norm) or "rms": which L2 pooling.
        rescale: see `channel_importance`.
        gamma: whose γ: "stage" (of the stage's last batch norm, handed to `forward`), "own" (a batch norm of the block
            itself, through which its input goes first, as in NAM), or "both" (the stage's for the channels, and for
            the positions that of a batch norm over positions, NAM's second half: figure 2 speaks of γ for "the weight
            factors", eq. 5 of the channels alone).
        parts: "both" gates, or the "channel" or "spatial" one alone.
        reduction: of the channel gate.
        side: H = W of the map; needed where `gamma` is "both". Maps of other sizes are given these importances resized.
    """

    def __init__(
        self,
        channels: int,
        kernel: int = 7,
        combine: str = "concat",
        sum_pools: str = "before",
        l2: str = "l2",
        rescale: str = "normalised",
        gamma: str = "stage",
        parts: str = "both",
        reduction: int = 16,
        side: int | None = None,
    ):
        super().__init__()
        for name, value, allowed in (
            ("l2", l2, ("l2", "rms")),
            ("rescale", rescale, RESCALES),
            ("gamma", gamma, GAMMAS),
            ("parts", parts, ("both", "channel", "spatial")),
        ):
            if value not in allowed:
                raise UserError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        if gamma == "both" and side is None:
            raise UserError("gamma='both' needs the side of the map")
        self.rescale, self.side = rescale, side
        self.norm = nn.BatchNorm2d(channels) if gamma == "own" else None
        self.channel = ChannelGate(channels, ("avg", "max", l2), sum_pools, reduction) if parts != "spatial" else None
        self.spatial = SpatialGate(kernel, combine) if parts != "channel" else None
        self.position_norm = nn.BatchNorm1d(side**2) if gamma == "both" and side and self.spatial else None

    def forward(self, x: Tensor, gamma: Tensor) -> Tensor:
        """X (B, C, H, W); gamma (C,), the γ of the stage's last batch norm, unused where the block has its own."""
        if self.norm is not None:
            x, gamma = self.norm(x), self.norm.weight
        if self.channel is not None:
            x = self.channel(x) * channel_importance(gamma, self.rescale)[:, None, None] * x  # W'_c, (B, C, 1, 1)
        if self.spatial is None:
            return x
        weights = self.spatial(x)  # (B, 1, H, W)
        if self.position_norm is not None:
            x, importance = self._by_position(x)
            weights = weights * importance
        return weights * x

    def _by_position(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, H, W), each position normalised over images and channels, and the positions' importance (H, W)."""
        norm, side = cast(nn.BatchNorm1d, self.position_norm), cast(int, self.side)
        importance = channel_importance(norm.weight, self.rescale).view(1, 1, side, side)
        if x.shape[-2:] == (side, side):
            return norm(x.flatten(2).transpose(1, 2)).transpose(1, 2).view_as(x), importance
        return x, F.interpolate(importance, x.shape[-2:], mode="bilinear", align_corners=False)
