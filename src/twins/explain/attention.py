"""The attention of every block of a network, captured by hooks: the network computes as it always does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TwinsError
from ..model import Block, GlobalSubsampledAttention, LocallyGroupedAttention
from .block_attention import BlockAttention
from .global_attention import GlobalAttention
from .local_attention import LocalAttention
from .observed import as_in_evaluation, stride_of
from .rollout import attention_rollout


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """What `attention_maps` returns: `blocks`, every block's `BlockAttention`, in the network's order."""

    blocks: tuple[BlockAttention, ...]

    def block(self, stage: int, index: int = -1) -> BlockAttention:
        """The attention of `model.blocks[stage][index]`; negative numbers count from the end.

        Raises TwinsError for a block that is not there.
        """
        stages = self.blocks[-1].stage + 1
        of_stage = [block for block in self.blocks if block.stage == stage + (stages if stage < 0 else 0)]
        if not -len(of_stage) <= index < len(of_stage):
            depths = ", ".join(str(sum(block.stage == s for block in self.blocks)) for s in range(stages))
            raise TwinsError(f"no block {index} in stage {stage}: the {stages} stages have {depths} blocks, from 0")
        return of_stage[index]

    def rollout(self, at: tuple[int, int] | None = None) -> Tensor:
        """Attention rollout over the whole network (Abnar and Zuidema, arXiv 2005.00928).

        Parameters
        ----------
        at:
            (row, column) of a token of the last stage; None for the mean over all of them, which is what a classifier
            pools.

        Returns
        -------
        (B, H_0, W_0) float32 on the map of the first stage, whose tokens are 4 x 4 pixels: how much of the last stage
        comes from each token, in shares that add up to 1 less what was lost to padding.

        As there, each block is the matrix (A + I) / 2 from token to token, A being the mean over the heads of its
        attention and I the residual, and the matrices are multiplied. Adapted to Twins: LSA's A is zero between
        windows; GSA's weight of a key is split evenly among the R x R tokens of which its cell was made; between two
        stages each token is the mean of the patch that it embeds. Norms, MLPs and values are left out, as they are
        there, and the PEG, which adds to a token something of the eight around it, counts as the identity. What goes
        to padded tokens (`window_padding` "zero") is lost, and nothing is scaled to make up for it. No matrix is ever
        formed: a row vector is handed on from the network's end to its start.

        Raises TwinsError for a token that is not there.
        """
        return attention_rollout(self.blocks, at)


def attention_maps(model: nn.Module, images: Tensor | Sequence[Tensor]) -> AttentionMaps:
    """What every block of a network attends to in these images.

        maps = twins.attention_maps(predictor.model, predictor.transform("bird.jpg")[None])
        block = maps.block(stage=2, index=-1)     # GSA, in SVT's last block of the third stage
        block.of_token(5, 8)                      # (1, heads, 14, 14): where the token in row 5, column 8 looks
        maps.rollout()                            # (1, 56, 56), over the whole network

    Parameters
    ----------
    model:
        A classifier, backbone, segmenter or detector of this package.
    images:
        What the model takes: (B, in_chans, H, W) normalised floats; of a detector a list of (in_chans, H, W) in [0, 1],
        which it resizes, normalises and pads into one batch: maps are of that batch.

    Returns
    -------
    `AttentionMaps`. Each block's attention is computed from the block's own input and parameters by the formulas of
    `ops.reference`: weights times values, projected, are the block's output, whichever backend computed that. It keeps
    queries, keys and values, three times the memory of the block's map; weights are computed when they are asked for.
    The model runs in evaluation mode, without gradients, and is left as it was.

    Raises TwinsError for a model that is none of these or is frozen; what the model raises for images it cannot take.
    """
    blocks: list[BlockAttention] = []
    with ExitStack() as hooks, as_in_evaluation(model) as stages, torch.no_grad():
        for s, stage in enumerate(stages.blocks):
            assert isinstance(stage, nn.ModuleList)
            for i, block in enumerate(stage):
                assert isinstance(block, Block)
                hooks.enter_context(block.attn.register_forward_pre_hook(_capture(blocks, s, i, stride_of(s))))
        model(images)
    return AttentionMaps(tuple(blocks))


def _capture(blocks: list[BlockAttention], stage: int, index: int, stride: int) -> Callable[[nn.Module, Any], None]:
    """A hook that adds a block's attention."""

    def observe(attention: nn.Module, inputs: tuple[Tensor, nn.Module]) -> None:
        x_BHWC, norm = inputs
        if isinstance(attention, LocallyGroupedAttention):
            blocks.append(LocalAttention.observed(attention, x_BHWC, norm, stage, index, stride))
        else:
            assert isinstance(attention, GlobalSubsampledAttention)
            blocks.append(GlobalAttention.observed(attention, x_BHWC, norm, stage, index, stride))

    return observe
