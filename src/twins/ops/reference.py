"""The plain form of every sublayer: what the paper says, step by step, and the truth the quick forms are held to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .geometry import pad_to_kernel, window_overhang


def patch_embed(x_BHWC: Tensor, proj: nn.Conv2d, norm: nn.Module) -> Tensor:
    x_BCHW = pad_to_kernel(x_BHWC, proj.kernel_size).permute(0, 3, 1, 2)
    return norm(proj(x_BCHW).permute(0, 2, 3, 1))


def peg(x_BHWC: Tensor, conv: nn.Conv2d) -> Tensor:
    x_BCHW = x_BHWC.permute(0, 3, 1, 2)
    return (conv(x_BCHW) + x_BCHW).permute(0, 2, 3, 1)


def window_attention(
    x_BHWC: Tensor,
    norm: nn.Module,
    qkv: nn.Module,
    proj: nn.Module,
    heads: int,
    window: int,
    padding: str,
    dropout: float = 0.0,
) -> Tensor:
    B, H, W, C = x_BHWC.shape
    below, beside, masked = window_overhang(H, W, window, padding)
    x = F.pad(norm(x_BHWC), (0, 0, 0, beside, 0, below))
    rows, columns = (H + below) // window, (W + beside) // window

    def to_windows(map_BHWX: Tensor) -> Tensor:
        grid = map_BHWX.unflatten(2, (columns, window)).unflatten(1, (rows, window))
        return grid.transpose(2, 3).flatten(3, 4).flatten(0, 2)  # (windows, tokens, X)

    q, k, v = to_windows(qkv(x)).unflatten(2, (3, heads, C // heads)).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-2, -1) * (C // heads) ** -0.5
    if masked:
        real = F.pad(x.new_ones(B, H, W, 1), (0, 0, 0, beside, 0, below))
        scores = scores.masked_fill(to_windows(real)[:, None, None, :, 0] == 0, float("-inf"))
    y = (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)

    y = y.unflatten(0, (B, rows, columns)).unflatten(3, (window, window)).transpose(2, 3)
    y = y.flatten(3, 4).flatten(1, 2)[:, :H, :W]
    return F.dropout(proj(y), dropout)


def subsampled_attention(
    x_BHWC: Tensor,
    norm: nn.Module,
    q: nn.Module,
    kv: nn.Module,
    proj: nn.Module,
    heads: int,
    sr: nn.Conv2d | None,
    sr_norm: nn.Module | None,
    dropout: float = 0.0,
) -> Tensor:
    B, H, W, C = x_BHWC.shape
    x = norm(x_BHWC)
    summary = x if sr is None or sr_norm is None else patch_embed(x, sr, sr_norm)

    queries = q(x).flatten(1, 2).unflatten(2, (heads, C // heads)).transpose(1, 2)
    keys, values = kv(summary).flatten(1, 2).unflatten(2, (2, heads, C // heads)).permute(2, 0, 3, 1, 4)
    scores = queries @ keys.transpose(-2, -1) * (C // heads) ** -0.5
    y = (scores.softmax(dim=-1) @ values).transpose(1, 2).reshape(B, H, W, C)
    return F.dropout(proj(y), dropout)


def mlp(x_BHWC: Tensor, norm: nn.Module, fc1: nn.Module, fc2: nn.Module, dropout: float = 0.0) -> Tensor:
    hidden = F.dropout(F.gelu(fc1(norm(x_BHWC))), dropout)
    return F.dropout(fc2(hidden), dropout)


def describe() -> str:
    return f"plain PyTorch {torch.__version__}, one operator at a time"
