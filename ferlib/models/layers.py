"""The building blocks of Conv-cut and PAtt-Lite, each readable alone; IVSA's are in attention_blocks.py.

Notation: B images, C channels, H x W positions, N = H·W tokens.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

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
