"""Tokens of a feature map, and a small transformer over them: the building blocks of APViT, VTFF and the two-depth ViT.

Notation: B images, N tokens of D numbers. Positions are told by fixed sines and cosines (Dosovitskiy et al. 2021 learn
them), so that a head takes maps of any size and what it gives does not hang on a table of one size.
"""

from dataclasses import dataclass

import torch
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor, nn

from ferlib.errors import UserError
from ferlib.models.heads import HeadConfig
from ferlib.models.layers import TokenLinear
from ferlib.utils.validation import check_range


@dataclass(frozen=True)
class TokenConfig(HeadConfig):
    """Settings shared by the heads that are transformers.

    Attributes:
        width: D of the tokens.
        depth: transformer blocks.
        heads: attention heads a block.
    """

    width: int = 256
    depth: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 1, 4096, "width", "heads")
        check_range(self, 1, 64, "depth")
        if self.width % self.heads or self.width % 4:
            raise UserError(f"width must be a multiple of 4 and of heads, not {self.width} with {self.heads} heads")


class Tokens(nn.Module):
    """A map's positions as tokens, (B, C, h, w) -> (B, h·w, D): a linear map, and where the position lies."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.project = nn.Conv2d(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        places = build_sincos2d_pos_embed([height, width], self.project.out_channels, device=x.device)
        return self.project(x).flatten(2).transpose(1, 2) + places.to(x.dtype)


class ClassToken(nn.Module):
    """A learned token put before the others, (B, N, D) -> (B, 1 + N, D)."""

    def __init__(self, width: int):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.cat([self.token.expand(tokens.shape[0], -1, -1), tokens], dim=1)


class SelfAttention(nn.Module):
    """Multi-head self-attention, (B, N, D) -> (B, N, D) and its weights (B, heads, N, N), whose rows sum to 1.

    Written out, as the weights are needed and ONNX has no backward pass of PyTorch's fused one.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.queries_keys_values = TokenLinear(width, 3 * width)
        self.project = TokenLinear(width, width)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        split = self.queries_keys_values(tokens).unflatten(2, (3, self.heads, -1))  # (B, N, 3, heads, D/heads)
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, D/heads) each
        weights = (self.scale * queries @ keys.mT).softmax(dim=-1)
        return self.project((weights @ values).transpose(1, 2).flatten(2)), weights


class Block(nn.Module):
    """A pre-norm transformer block with a hidden layer of 4D, (B, N, D) -> (B, N, D) and its attention weights."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.mlp = nn.Sequential(TokenLinear(width, 4 * width), nn.GELU(), TokenLinear(4 * width, width))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        attended, weights = self.attention(self.before_attention(tokens))
        tokens = tokens + attended
        return tokens + self.mlp(self.before_mlp(tokens)), weights


class Blocks(nn.Module):
    """Transformer blocks and a last layer norm, (B, N, D) -> (B, N, D)."""

    def __init__(self, width: int, depth: int, heads: int):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens, _ = block(tokens)
        return self.norm(tokens)


def keep_largest(tokens: Tensor, scores: Tensor, fraction: float) -> Tensor:
    """The tokens with the largest scores, (B, N, D) and (B, N) -> (B, k, D), the best first.

    k is `fraction` of N, rounded, one at least: a number that the content does not change.
    """
    chosen = scores.topk(max(round(fraction * scores.shape[1]), 1), dim=1).indices
    return tokens.gather(1, chosen.unsqueeze(2).expand(-1, -1, tokens.shape[2]))
