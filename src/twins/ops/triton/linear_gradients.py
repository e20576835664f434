"""Gradients of a linear layer's parameters over all tokens of a map: products that the library does best."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["bias_gradient", "weight_gradient"]


def weight_gradient(dy: Tensor, x: Tensor) -> Tensor:
    """(..., C') and (..., C) -> (C', C)."""
    return dy.flatten(0, -2).T @ x.flatten(0, -2)


def bias_gradient(dy: Tensor, dtype: torch.dtype) -> Tensor:
    """(..., C') -> (C'), summed in float32 and returned in `dtype`."""
    return dy.flatten(0, -2).sum(dim=0, dtype=torch.float32).to(dtype)
