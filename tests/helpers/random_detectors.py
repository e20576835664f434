"""Detectors of random parameters that find something."""

from __future__ import annotations

import torch
from torch import nn


def finds_much(model: nn.Module) -> None:
    """Let neck and heads say something of everything: many classes, boxes and shapes, at scores near 0.1."""
    torch.manual_seed(1)  # however much chance went into making it
    with torch.no_grad():
        for at, parameter in model.named_parameters():
            if at.startswith("backbone."):
                continue
            if parameter.ndim == 1:
                nn.init.normal_(parameter, std=0.1)
            else:
                nn.init.kaiming_normal_(parameter)
            if at.endswith("retina_cls.bias"):
                parameter -= 3
            if at.endswith(("_reg.weight", "_cls.weight")):
                parameter *= 0.2
