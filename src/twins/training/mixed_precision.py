"""Which reduced precision a recipe computes in, on which device."""

from __future__ import annotations

import torch

from ..recipes import Recipe


def amp_dtype(recipe: Recipe, device: torch.device) -> torch.dtype:
    """The reduced precision of a recipe on a device, float32 for none.

    `auto` is float16 on a GPU, as published, and none on a CPU, where most have to emulate it.
    """
    if not recipe.amp:
        return torch.float32
    if recipe.amp_dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    return {"float16": torch.float16, "bfloat16": torch.bfloat16}[recipe.amp_dtype]


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """Mixed precision where the recipe asks for it."""
    dtype = amp_dtype(recipe, device)
    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)
