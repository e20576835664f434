"""A training state of which each rank holds a share."""

from __future__ import annotations

from torch import nn

from ..checkpoints.resume import TrainingState
from ..distributed.sharding import shard
from ..distributed.world import World
from ..errors import TwinsError
from ..recipes import Recipe

# Whose step for one number of a weight does not depend on the others of it.
ELEMENTWISE = ("adamw", "adam", "sgd", "momentum")


def is_sharded(recipe: Recipe, world: World) -> bool:
    """Whether each rank is to hold a share. Raises TwinsError for settings that shares do not go with."""
    if recipe.parallel != "fsdp" or world.size == 1:
        return False
    if recipe.torchcompile:
        raise TwinsError("--torchcompile goes with --parallel ddp, not with fsdp")
    if recipe.opt not in ELEMENTWISE:
        raise TwinsError(f"--opt {recipe.opt} goes with --parallel ddp; with fsdp take one of {', '.join(ELEMENTWISE)}")
    return True


def shard_state(state: TrainingState, world: World) -> nn.Module:
    """Shard network, optimiser and moving average, fresh or restored; returns the network, which stays the state's."""
    network = shard(state.model, world, state.optimizer)
    if state.ema is not None:
        shard(state.ema.module, world)
        state.ema.foreach = False  # shards and buffers are tensors of two kinds
    return network


def describe_sharding(world: World) -> str:
    """A line for people."""
    if world.size == 1:
        return "--parallel fsdp: a single process holds all of the network; torchrun starts several"
    return f"weights, gradients and optimiser state are shared out over {world.size} processes (FSDP2)"
