"""The building blocks of Conv-cut, PAtt-Lite and IVSA, each readable alone.

Notation: B images, C channels, H x W positions, N = H·W tokens. Conv-cut's blocks come first, then the attention blocks
of CBAM (Woo et al. 2018) and IVSA (Huang et al. 2022).
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ferlib.errors import UserError

ATTENTIONS = ("none", "batch", "channel", "token")


def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zero-pad (B, C, H, W) so that a convolution gives ceil(H / stride) x ceil(W / stride), as Keras's "same".

    Half of the zeros go to each side, an odd one to the end: 14 positions in patches of 4 get one zero on each side.
    """
    down, right = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
    return F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2)) if down or right else x


class SeparableConv2d(nn.Module):
    """Depthwise then pointwise convolution with "same" padding, (B, C, H, W) -> (B, out, ceil(H/s), ceil(W/s))."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.depthwise = nn.Conv2d(channels, channels, kernel, stride, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(pad_same(x, self.kernel, self.stride)))


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of every position, (B, C, H, W) -> (B, C, H, W), with ConvNeXt's ε of 1e-6."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class DetailExtraction(nn.Module):
    """Detail Extraction, the convolutions of Conv-cut's Algorithm 1, (B, C, H, W) -> (B, width, h, w).

    norm -> separable conv 4x4 stride 4 -> separable conv 2x2 stride 2 -> spatial dropout. Pooling and attention follow
    in the model. `layers` keeps the first 0 to 3 convolutions (paper's Table 3); the third, 1x1, is PAtt-Lite's.
    With 0 layers only the spatial dropout is left. Any map size works; incomplete patches are padded with zeros.

    Algorithm 1 names no activation, which would make the block linear; the authors' code has a ReLU after each of its
    two convolutions, and so have we, after each of up to three. The norm of Algorithm 1 is a batch norm before the
    convolutions. The code has a layer norm after them, and that in the first phase of training only ("after"); in the
    second, and in evaluation, there is none ("none"). Its second convolution leaves out an incomplete patch where ours
    completes it; at 224 px there is none.

    Args:
        channels: C of the backbone's map.
        width: output channels.
        layers: number of separable convolutions, 0 to 3.
        norm: "before" (batch norm, Algorithm 1), "after" (layer norm, the code's first phase) or "none" (its second).
        dropout: fraction of channels zeroed in training.
    """

    KERNELS = (4, 2, 1)  # kernel = stride

    def __init__(self, channels: int, width: int = 256, layers: int = 2, norm: str = "before", dropout: float = 0.1):
        super().__init__()
        if layers not in range(len(self.KERNELS) + 1):
            raise UserError(f"detail_layers must be 0 to {len(self.KERNELS)}, not {layers!r}")
        if norm not in ("before", "after", "none"):
            raise UserError(f"norm must be 'before', 'after' or 'none', not {norm!r}")
        self.out_channels = width if layers else channels
        blocks: list[nn.Module] = []
        if layers and norm == "before":
            blocks.append(nn.BatchNorm2d(channels))
        for i, kernel in enumerate(self.KERNELS[:layers]):
            blocks += [SeparableConv2d(width if i else channels, width, kernel, stride=kernel), nn.ReLU()]
        if layers and norm == "after":
            blocks.append(ChannelLayerNorm(width))
        blocks.append(nn.Dropout2d(dropout))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


def global_average_pool(x: Tensor) -> Tensor:
    """Eq. 1 of Conv-cut: (B, C, H, W) -> (B, C)."""
    return x.mean(dim=(2, 3))


class BatchAttention(nn.Module):
    """Algorithm 1's softmax(Y Yᵀ / √d) Y with Y (B, C), as the published code computes it: **across the batch**.

    Every image becomes a mixture of the images that happen to stand in the same batch, so a prediction depends on its
    neighbours, and with class-sorted batches the label leaks in. For a single image it is the identity. Kept to
    reproduce and audit the published protocol; warns once when it is used for evaluation.

    Args:
        dim: C, used for the scale 1/√C.
        learned_scale: one learned scalar, starting at 1, in place of 1/√C (the published code).
    """

    _warned = False

    def __init__(self, dim: int, learned_scale: bool = False):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(())) if learned_scale else dim**-0.5

    def forward(self, y: Tensor) -> Tensor:
        if not self.training and not BatchAttention._warned:
            BatchAttention._warned = True
            warnings.warn("batch attention mixes the images of a batch: predictions depend on their neighbours",
                          stacklevel=2)  # fmt: skip
        return self.weights(y) @ y

    def weights(self, y: Tensor) -> Tensor:
        """Attention of every image to every other: vectors (…, B, C) -> (…, B, B), each row sums to 1."""
        return torch.softmax(y @ y.mT * self.scale, dim=-1)


@contextmanager
def unwarned() -> Iterator[None]:
    """Inside, batch attention keeps its only warning for a real evaluation."""
    warned, BatchAttention._warned = BatchAttention._warned, True
    try:
        yield
    finally:
        BatchAttention._warned = warned


class ChannelAttention(nn.Module):
    """Algorithm 1 read literally for one image, Y in R^C: softmax(Y Yᵀ / √C) Y over the channels, (B, C) -> (B, C)."""

    def forward(self, y: Tensor) -> Tensor:
        scores = y.unsqueeze(2) * y.unsqueeze(1) / y.shape[1] ** 0.5  # (B, C, C)
        return (torch.softmax(scores, dim=-1) @ y.unsqueeze(2)).squeeze(2)


def pooled_attention(reading: str, dim: int, learned_scale: bool) -> nn.Module:
    """Attention layer over pooled vectors, (B, C) -> (B, C): over the batch, over channels, or the identity.

    Args:
        reading: one of `ATTENTIONS`; "token" runs before pooling.
        dim: C.
        learned_scale: see `BatchAttention`.
    """
    if reading == "batch":
        return BatchAttention(dim, learned_scale)
    if reading == "channel":
        return ChannelAttention()
    if reading in ("none", "token"):
        return nn.Identity()
    raise UserError(f"attention must be one of {', '.join(ATTENTIONS)}, not {reading!r}")


class TokenLinear(nn.Linear):
    """A linear layer for every token, (B, N, C) -> (B, N, D). `F.linear` itself would fix B when it is exported."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens @ self.weight.T + self.bias


class TokenAttention(nn.Module):
    """Eq. 2 of Conv-cut over the positions of one image: softmax(Q Kᵀ / √C) V, (B, C, H, W) -> (B, C, H, W).

    Q, K and V are learned linear maps of the tokens, one head. `weights` gives the attention matrix itself.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.query, self.key, self.value = (TokenLinear(dim, dim) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)  # (B, N, C)
        attended = self._weights(tokens) @ self.value(tokens)
        return attended.transpose(1, 2).unflatten(2, x.shape[-2:])

    def weights(self, x: Tensor) -> Tensor:
        """Attention of every position (rows) to every position (columns), rows sum to 1: (B, C, H, W) -> (B, N, N)."""
        return self._weights(x.flatten(2).transpose(1, 2))

    def _weights(self, tokens: Tensor) -> Tensor:
        scores = self.query(tokens) @ self.key(tokens).transpose(1, 2)
        return torch.softmax(scores / tokens.shape[-1] ** 0.5, dim=-1)


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
