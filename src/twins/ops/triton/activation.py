"""The exact GELU and its slope in float32, by a polynomial whose exponential both share.

erf is Abramowitz and Stegun's 7.1.26, off by 1.5e-7 at most: the library's costs as much as the matrix products of a
narrow MLP.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _normal(x):
    """Distribution function and density of the standard normal distribution."""
    bell = tl.exp2(x * x * -0.7213475204444817)  # exp(-x^2 / 2)
    t = 1.0 / (1.0 + 0.2316418882663604 * tl.abs(x))  # 0.3275911 / sqrt(2)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = 0.5 * series * bell
    return tl.where(x >= 0, 1.0 - tail, tail), bell * 0.3989422804014327  # 1 / sqrt(2 pi)


@triton.jit
def gelu(x):
    below, _ = _normal(x)
    return x * below


@triton.jit
def gelu_and_slope(x):
    below, density = _normal(x)
    return x * below, below + x * density
