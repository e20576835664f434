"""Whether tensors of a file can be a network's weights: real numbers, all there, and finite."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

import torch
from torch import Tensor


def unusable(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str | None:
    """What is wrong with the kind of one of these tensors, if anything is; `own` are the network's, by the same names.

    Floating-point numbers of any width are weights; whole numbers are where the network has them itself.
    """
    for key, tensor in weights.items():
        if tensor.is_meta and not own[key].is_meta:
            return f"{key} is a meta tensor, without numbers: save the weights themselves"
        if not tensor.is_floating_point() and (tensor.is_complex() or own[key].is_floating_point()):
            return f"{key} is of {str(tensor.dtype).removeprefix('torch.')}, where weights are floating-point numbers"
    return None


def not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """How many of these tensors have infinite values or NaN, and which, if any do."""
    bad = [key for key, tensor in weights.items() if not _all_finite(tensor)]
    if not bad:
        return None
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    return f"{len(bad)} of {len(weights)} tensors have values that are not finite ({', '.join(bad[:3])}{more})"


def _all_finite(tensor: Tensor) -> bool:
    if tensor.is_meta or not tensor.is_floating_point():
        return True
    # A finite sum has finite terms, and takes no memory; only one that overflows needs a closer look.
    return isfinite(tensor.sum(dtype=torch.float32).item()) or bool(tensor.isfinite().all())
