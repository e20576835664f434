"""The two projections of attention within a kernel: from a token's channels to one head, and back."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["project_from_head", "project_to_head"]


@triton.jit
def project_to_head(x, weight_ptr, bias_ptr, column, channel, C, PRECISION: tl.constexpr):
    """A linear layer's outputs `column` for tokens (R, WIDTH), rounded to the tokens' dtype: (R, D)."""
    weight = tl.load(weight_ptr + column[None, :] * C + channel[:, None], mask=(channel < C)[:, None], other=0.0)
    y = tl.dot(x, weight, input_precision=PRECISION) + tl.load(bias_ptr + column).to(tl.float32)[None, :]
    return y.to(x.dtype)


@triton.jit
def project_from_head(y, weight_ptr, column, channel, C, PRECISION: tl.constexpr):
    """What inputs `column` (R, D) contribute to a linear layer's outputs, in float32: (R, WIDTH)."""
    weight = tl.load(weight_ptr + channel[None, :] * C + column[:, None], mask=(channel < C)[None, :], other=0.0)
    return tl.dot(y, weight, input_precision=PRECISION)
