"""Checkpoints as the original release and OpenMMLab would have written them, of networks that are fast to make."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from torch import nn

import twins
from helpers.dialects import as_openmmlab
from helpers.tiny import TINY
from twins.model import VARIANTS

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "classify": twins.create_model,
    "upernet": partial(twins.upernet, channels=16),
    "semantic_fpn": partial(twins.semantic_fpn, channels=16),
    "retinanet": partial(twins.retinanet, channels=16),
    "mask_rcnn": partial(twins.mask_rcnn, channels=16),
}


def shrink(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make these of the six networks small wherever they are made or recognised, while the test runs."""
    for name in names:
        monkeypatch.setitem(VARIANTS, name, VARIANTS[name]._replace(**TINY))


def written_by(dialect: str, network: nn.Module, **more: Any) -> dict[str, Any]:
    """The checkpoint of a network in a dialect: "dense", "public names" or "OpenMMLab"."""
    if dialect != "OpenMMLab":
        return {"state_dict": network.state_dict(), **more}
    backbone = network.backbone if hasattr(network, "backbone") else network
    state = as_openmmlab(backbone.state_dict(), "mmpretrain" if backbone is network else "mmseg")
    heads = {} if backbone is network else network.state_dict()
    heads = {key: tensor for key, tensor in heads.items() if not key.startswith("backbone.")}
    return {"state_dict": state | heads, "meta": {"epoch": 300}, **more}
