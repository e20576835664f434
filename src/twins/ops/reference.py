"""The five sublayers step by step as in the paper: what the faster backends are tested against, and `ops` documents.

"The paper" is Chu et al., Twins (NeurIPS 2021, arXiv 2104.13840). In all formulas

    x             the map (B, H, W, C): batch, height, width, channels; C is last, unlike in PyTorch's convolutions
    linear(x)     x W^T + b over the last axis
    norm(x)       (x - mean) / sqrt(var + eps) * weight + bias over the C channels of a token, var being the biased one
    softmax       over the keys
    D             C / heads, the channels of a head

Dtypes: x, parameters and output share one floating-point dtype. Under autocast x may be float32 beside float32
parameters: the attentions and the MLP return autocast's dtype, `peg` float32, `patch_embed` what autocast makes of its
norm (float32 on a GPU, autocast's dtype on a CPU).

`dropout` is a rate in [0, 1) that the caller sets to 0 outside of training. It zeroes elements independently and scales
the others by 1 / (1 - dropout). Modules may be of any class that maps (..., C_in) to (..., C_out).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .geometry import channels_first, hidden_keys, pad_to_kernel, whole_windows


def patch_embed(x_BHWC: Tensor, proj: nn.Conv2d, norm: nn.Module) -> Tensor:
    """Patch embedding: one token for each patch of k x k cells, k being the kernel size and the stride of `proj`.

        y[i, j] = norm(W vec(x[k i : k i + k, k j : k j + k]) + b)

    (B, H, W, C) -> (B, max(H // k, 1), max(W // k, 1), C'). Rows and columns left over at the bottom and the right are
    dropped; an axis shorter than k is zero-padded to k there, where a plain convolution would fail.
    Source: paper, 3.1 and 3.2, tables 1 to 3; the original has it as PatchEmbed.
    """
    x_BCHW = channels_first(pad_to_kernel(x_BHWC, proj.kernel_size))
    return norm(proj(x_BCHW).permute(0, 2, 3, 1))


def peg(x_BHWC: Tensor, conv: nn.Conv2d) -> Tensor:
    """Positional encoding generator: a 3 x 3 depthwise convolution added to its input.

        y[i, j, c] = x[i, j, c] + b[c] + sum over u, v in {-1, 0, 1} of W[c, 0, u + 1, v + 1] x[i + u, j + v, c]

    with x = 0 outside of the map, from which a token learns where the border is. (B, H, W, C) -> (B, H, W, C). No
    norm, no dropout, no table of positions, hence any H and W from 1.
    Source: paper, 3.1; conditional positional encoding (CPE), Chu et al., arXiv 2102.10882.
    """
    x_BCHW = channels_first(x_BHWC)
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
    """LSA, locally-grouped self-attention: multi-head attention within windows that do not overlap.

    For every window of `window` x `window` tokens X (T, C), T = window^2, and every head h

        [Q_1 .. Q_heads | K_1 .. K_heads | V_1 .. V_heads] = linear_qkv(norm(X))        each Q_h, K_h, V_h is (T, D)
        A_h = softmax(Q_h K_h^T / sqrt(D)) V_h
        Y   = dropout(linear_proj([A_1 .. A_heads]))

    (B, H, W, C) -> (B, H, W, C); `qkv` maps C to 3C channels, `proj` C to C; `heads` divides C. There is no dropout of
    attention weights, no relative position bias, and no residual: the caller adds Y to x.

    The first window lies at the top left. `padding` says what the last ones hold where `window` does not divide H or W:
    "mask"       only the tokens of the map are keys, as if the window were clipped.
    "zero"       norm(x) is zero-padded, *before* qkv: padded tokens have K and V equal to the bias of `qkv`, and enter
                 the softmax of the real ones.
    "mask-both"  as "mask" where neither H nor W is divided, as "zero" where one of them is.
    Raises ValueError for another `padding`.
    Source: paper, 3.2; the paddings are those of the published classifiers, detectors and segmentation models.
    """
    B, H, W, C = x_BHWC.shape
    rows, columns = whole_windows(H, window), whole_windows(W, window)
    hidden_HW = hidden_keys(H, W, window, padding, x_BHWC.device)
    x = F.pad(norm(x_BHWC), (0, 0, 0, columns * window - W, 0, rows * window - H))

    def to_windows(map_BHWX: Tensor) -> Tensor:  # (B * rows * columns, window^2, X), by way of no more than five axes
        strips = map_BHWX.unflatten(1, (rows, window)).flatten(0, 1)
        return strips.unflatten(2, (columns, window)).transpose(1, 2).flatten(0, 1).flatten(1, 2)

    q, k, v = to_windows(qkv(x)).unflatten(2, (3, heads, C // heads)).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-2, -1) * (C // heads) ** -0.5
    if hidden_HW is not None:
        hidden = to_windows(hidden_HW[None, :, :, None]).repeat(B, 1, 1)
        scores = scores.masked_fill(hidden[:, None, None, :, 0], float("-inf"))
    y = (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)

    strips = y.unflatten(1, (window, window)).unflatten(0, (B * rows, columns)).transpose(1, 2).flatten(2, 3)
    y = strips.unflatten(0, (B, rows)).flatten(1, 2)
    cropped = y.narrow(1, 0, H).narrow(2, 0, W)
    # Whether a crop to 1x1 is contiguous depends on the batch size, which torch.export would fix; a copy always is.
    return F.dropout(proj(cropped.clone(memory_format=torch.contiguous_format)), dropout)


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
    """GSA, global sub-sampled attention: every token attends to keys and values of a smaller map.

    With N = H W tokens X = norm(x) (N, C), M tokens S (M, C) of the sub-sampled map, and for every head h

        S   = sr_norm(sr(X))        a convolution whose kernel and stride are the sub-sampling ratio R, or S = X
        [Q_1 .. Q_heads] = linear_q(X)                                                  each Q_h is (N, D)
        [K_1 .. K_heads | V_1 .. V_heads] = linear_kv(S)                                each K_h, V_h is (M, D)
        A_h = softmax(Q_h K_h^T / sqrt(D)) V_h
        Y   = dropout(linear_proj([A_1 .. A_heads]))

    (B, H, W, C) -> (B, H, W, C); `q` and `proj` map C to C channels, `kv` C to 2C; `heads` divides C. M is
    max(H // R, 1) max(W // R, 1), as `patch_embed` cuts the map, or N where `sr` or `sr_norm` is None: then this is
    ordinary multi-head attention. No dropout of attention weights; the caller adds Y to x.
    Source: paper, 3.2, the equation of GSA; Pyramid Vision Transformer (arXiv 2102.12122) as spatial-reduction
    attention.
    """
    B, H, W, C = x_BHWC.shape
    x = norm(x_BHWC)
    x_sr = x if sr is None or sr_norm is None else patch_embed(x, sr, sr_norm)

    queries = q(x).flatten(1, 2).unflatten(2, (heads, C // heads)).transpose(1, 2)
    kv_2BhMD = kv(x_sr).flatten(1, 2).unflatten(2, (2, heads, C // heads)).permute(2, 0, 3, 1, 4)
    # Copied as the crop in window_attention is: keys of one token or one head are contiguous for one image alone.
    keys, values = kv_2BhMD.clone(memory_format=torch.contiguous_format)
    scores = queries @ keys.transpose(-2, -1) * (C // heads) ** -0.5
    y = (scores.softmax(dim=-1) @ values).transpose(1, 2).reshape(B, H, W, C)
    return F.dropout(proj(y), dropout)


def mlp(x_BHWC: Tensor, norm: nn.Module, fc1: nn.Module, fc2: nn.Module, dropout: float = 0.0) -> Tensor:
    """The two-layer feed-forward network of a transformer block, on every token.

        y = dropout(linear_fc2(dropout(gelu(linear_fc1(norm(x))))))

    with the exact GELU, gelu(h) = h / 2 (1 + erf(h / sqrt(2))), not its tanh approximation. (B, H, W, C) -> the same;
    `fc1` maps C to the hidden width, `fc2` back. The caller adds y to x.
    Source: paper, 3.2, the equations of a block (FFN); Dosovitskiy et al., arXiv 2010.11929.
    """
    hidden = F.dropout(F.gelu(fc1(norm(x_BHWC))), dropout)
    return F.dropout(fc2(hidden), dropout)


def describe() -> str:
    """This backend and its version in words."""
    return f"plain PyTorch {torch.__version__}, one operator at a time"
