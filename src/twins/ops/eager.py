"""The fastest implementation of every sublayer that plain PyTorch operators allow, on any device.

What makes it fast: windows are folded into the batch, since fused attention takes four dimensions and falls back to
the slow path on five; windows at the border are clipped, so that a mask is never built and no padding is multiplied;
autocast to a dtype that the CPU lacks is left aside; attention is fused or by products (`attention.py`); a few
patches are embedded by a linear layer when training on a CPU, where a convolution takes two to three times as long. For
the rest the reference is the fastest already.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import attention, reference
from .attention import attend, learns_on_cpu
from .geometry import window_overhang
from .precision import IN_HARDWARE, without_emulation

__all__ = ["describe", "mlp", "patch_embed", "peg", "subsampled_attention", "window_attention"]

FEW_PATCHES = 4  # per image; with more, cutting them out costs what the convolution does

peg = without_emulation(reference.peg)
mlp = without_emulation(reference.mlp)


@without_emulation
def patch_embed(x_BHWC: Tensor, proj: nn.Conv2d, norm: nn.Module) -> Tensor:
    B, H, W, C = x_BHWC.shape
    h, w = proj.kernel_size
    rows, columns = H // h, W // w
    if not (learns_on_cpu(x_BHWC) and 0 < rows * columns <= FEW_PATCHES and _plain(proj)):
        return reference.patch_embed(x_BHWC, proj, norm)
    whole = x_BHWC[:, : rows * h, : columns * w].reshape(B, rows, h, columns, w, C)
    patches = whole.permute(0, 1, 3, 5, 2, 4).reshape(B, rows, columns, C * h * w)
    return norm(F.linear(patches, proj.weight.flatten(1), proj.bias))


@without_emulation
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
    _, H, W, _ = x_BHWC.shape
    below, beside, masked = window_overhang(H, W, window, padding)
    x = norm(x_BHWC)
    if masked:
        y = _attend_in_clipped_windows(qkv(x), heads, window)
    else:
        if below or beside:
            x = F.pad(x, (0, 0, 0, beside, 0, below))
        y = _attend_in_windows(qkv(x), heads, window, window)[:, :H, :W]
    return F.dropout(proj(y), dropout)


@without_emulation
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
    x_sr = x if sr is None or sr_norm is None else patch_embed(x, sr, sr_norm)
    queries = q(x).reshape(B, H * W, heads, C // heads).transpose(1, 2)
    keys, values = kv(x_sr).flatten(1, 2).unflatten(2, (2, heads, C // heads)).permute(2, 0, 3, 1, 4).unbind(0)
    y = attend(queries, keys, values)
    return F.dropout(proj(y.transpose(1, 2).reshape(B, H, W, C)), dropout)


def describe(device: str | None = None, dtype: torch.dtype | None = None) -> str:
    """This backend in words, with the attention of a training step on a device under autocast to a dtype."""
    if dtype is not None and not IN_HARDWARE.get(dtype, True):
        dtype = torch.float32
    return f"PyTorch {torch.__version__}, {attention.describe(device, dtype)}"


def _plain(conv: nn.Conv2d) -> bool:
    """Whether nothing would be missed if its weights were used without calling it."""
    hooks = (conv._forward_hooks, conv._forward_pre_hooks, conv._backward_hooks, conv._backward_pre_hooks)
    return type(conv) is nn.Conv2d and not any(hooks)


def _attend_in_clipped_windows(qkv_BHWX: Tensor, heads: int, window: int) -> Tensor:
    """Whole windows, then the strips that the map's border cuts narrower: at most four plain attentions."""
    rows = []
    for strip in _whole_and_rest(qkv_BHWX, window, dim=1):
        h = min(window, strip.shape[1])
        parts = [
            _attend_in_windows(part, heads, h, min(window, part.shape[2]))
            for part in _whole_and_rest(strip, window, dim=2)
        ]
        rows.append(torch.cat(parts, dim=2))
    return torch.cat(rows, dim=1)


def _whole_and_rest(x: Tensor, window: int, dim: int) -> list[Tensor]:
    rest = x.shape[dim] % window
    sizes = [size for size in (x.shape[dim] - rest, rest) if size]
    return list(torch.split(x, sizes, dim))


def _attend_in_windows(qkv_BHWX: Tensor, heads: int, h: int, w: int) -> Tensor:
    """Self-attention inside windows of h x w that tile the map; X holds q, k and v of every head."""
    B, H, W, X = qkv_BHWX.shape
    D = X // 3 // heads
    windows = qkv_BHWX.reshape(B, H // h, h, W // w, w, 3, heads, D).permute(5, 0, 1, 3, 6, 2, 4, 7)
    q, k, v = windows.reshape(3, B * (H // h) * (W // w), heads, h * w, D).unbind(0)
    y = attend(q, k, v)
    y = y.reshape(B, H // h, W // w, heads, h, w, D).permute(0, 1, 4, 2, 5, 3, 6)
    return y.reshape(B, H, W, heads * D)
