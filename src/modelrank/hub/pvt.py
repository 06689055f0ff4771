"""Pyramid Vision Transformer, first version (Wang et al., ICCV 2021): torchvision and timm only have the second.

Parameters have the names of the published checkpoints. Eval-time network: the stochastic depth of the original recipe
is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

WIDTHS, HEADS, EXPANSIONS, REDUCTIONS = (64, 128, 320, 512), (1, 2, 5, 8), (8, 8, 4, 4), (8, 4, 2, 1)
EPSILON = 1e-6  # of the blocks' normalisation; that of patches and reduced keys has PyTorch's default


class Attention(nn.Module):
    """Self-attention whose keys and values come from a map reduced by a strided convolution. B x T x D -> B x T x D."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.sr = nn.Conv2d(width, width, reduction, reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(width) if reduction > 1 else None

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        source = x
        if self.sr is not None and self.norm is not None:
            source = self.norm(self.sr(x.mT.unflatten(2, size)).flatten(2).mT)
        q = self.q(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(source).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, expansion: int, reduction: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, EPSILON), Attention(width, heads, reduction)
        self.norm2, self.mlp = nn.LayerNorm(width, EPSILON), Mlp(width, expansion * width)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = x + self.attn(self.norm1(x), size)
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """B x C x H x W -> B x (H / patch)(W / patch) x width."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj, self.norm = nn.Conv2d(channels, width, patch, patch), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        x = self.proj(x)
        return self.norm(x.flatten(2).mT), (x.shape[2], x.shape[3])


class PyramidVisionTransformer(nn.Module):
    """Images B x 3 x S x S -> logits B x outputs; S any multiple of 32, position embeddings resized from 224 px.

    The class token joins in the last of the four stages; its 512 values are the penultimate features.
    """

    def __init__(self, depths: Sequence[int], outputs: int = 1000) -> None:
        super().__init__()
        for i, width in enumerate(WIDTHS):
            grid = 224 // 4 // 2**i
            embed = PatchEmbed(WIDTHS[i - 1] if i else 3, width, 2 if i else 4)
            blocks = [Block(width, HEADS[i], EXPANSIONS[i], REDUCTIONS[i]) for _ in range(depths[i])]
            setattr(self, f"patch_embed{i + 1}", embed)
            setattr(self, f"pos_embed{i + 1}", nn.Parameter(torch.zeros(1, grid**2 + (i == 3), width)))
            setattr(self, f"block{i + 1}", nn.ModuleList(blocks))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTHS[-1]))
        self.norm = nn.LayerNorm(WIDTHS[-1], EPSILON)
        self.head = nn.Linear(WIDTHS[-1], outputs)
        for name, parameter in self.named_parameters():
            if "pos_embed" in name or name == "cls_token":
                nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(len(WIDTHS)):
            x, size = getattr(self, f"patch_embed{i + 1}")(x)
            positions = getattr(self, f"pos_embed{i + 1}")
            if i < 3:
                x = x + _resized(positions, size)
            else:
                positions = torch.cat([positions[:, :1], _resized(positions[:, 1:], size)], dim=1)
                x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + positions
            for block in getattr(self, f"block{i + 1}"):
                x = block(x, size)
            if i < 3:
                x = x.mT.unflatten(2, size)
        return self.head(self.norm(x)[:, 0])


def _resized(positions: Tensor, size: tuple[int, int]) -> Tensor:
    side = round(positions.shape[1] ** 0.5)
    if size == (side, side):
        return positions
    return interpolate(positions.mT.unflatten(2, (side, side)), size=size, mode="bilinear").flatten(2).mT
