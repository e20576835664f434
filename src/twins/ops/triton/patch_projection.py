"""A convolution whose kernel equals its stride, as what it is on channels-last tokens: a product with whole patches.

A patch's rows are runs of memory; they are copied together once, and the library multiplies. Maps never change their
layout, as they do for a convolution.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["project_patches"]


def project_patches(x_BHWC: Tensor, proj: nn.Conv2d) -> Tensor:
    """(B, H, W, C) -> (B, H // k, W // k, C'); H and W are at least the kernel's k, and a remainder is dropped."""
    height, width = proj.kernel_size
    rows, columns = x_BHWC.shape[1] // height, x_BHWC.shape[2] // width
    whole = x_BHWC.narrow(1, 0, rows * height).narrow(2, 0, columns * width)
    patches = whole.unflatten(2, (columns, width)).unflatten(1, (rows, height))
    weight = proj.weight.permute(0, 2, 3, 1).flatten(1)
    return F.linear(patches.transpose(2, 3).flatten(3), weight, proj.bias)
