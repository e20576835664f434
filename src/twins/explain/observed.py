"""Observing a network from outside: where its stages are, and a forward pass in which it does not train."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from ..errors import TwinsError
from ..heads.base import DenseModel
from ..model import PATCH_SIZES, Stages


def stages_of(model: nn.Module) -> Stages:
    """The stages of a classifier, backbone, segmenter or detector. Raises TwinsError for any other module."""
    network = model.backbone if isinstance(model, DenseModel) else model
    if not isinstance(network, Stages):
        raise TwinsError(
            f"only a Twins network that PyTorch computes can be explained, not a {type(network).__name__}: "
            "take the model as it was before it was frozen, exported or wrapped"
        )
    return network


@contextmanager
def as_in_evaluation(model: nn.Module) -> Iterator[Stages]:
    """Without dropout and activation checkpointing within; afterwards the model is as it was. Gives its stages."""
    stages = stages_of(model)
    training = [module for module in model.modules() if module.training]
    checkpointing, stages.grad_checkpointing = stages.grad_checkpointing, False
    model.eval()
    try:
        yield stages
    finally:
        stages.grad_checkpointing = checkpointing
        for module in training:
            module.training = True


def stage_index(stages: Stages, stage: int) -> int:
    """A stage's index from 0, where -1 is the last. Raises TwinsError for one that is not there."""
    count = len(stages.blocks)
    if not -count <= stage < count:
        raise TwinsError(f"stage must lie in {-count}..{count - 1}, not {stage}")
    return stage % count


def stride_of(stage: int) -> int:
    """Height and width of what a cell of a stage's map stands for, in pixels of the network's input."""
    return math.prod(PATCH_SIZES[: stage + 1])
