"""A network's weights in one block of memory, laid out as the engine's inner loops read them.

The block starts with a description of the network, 64-bit words one after the other, which `engine/reader.cpp` reads in
the same order; arrays follow, each at a multiple of 64 bytes. The layout is the same for every instruction set, so that
a frozen model can move between machines.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model import (
    Block,
    GlobalSubsampledAttention,
    LocallyGroupedAttention,
    Mlp,
    PositionalEncodingGenerator,
    Stages,
    Twins,
    TwinsBackbone,
)
from ..ops import WINDOW_PADDINGS
from .memory import give_back, release

DTYPES = ("fp32", "bf16", "int8")
MAGIC = int.from_bytes(b"twins2", "little")
PANEL = 16  # columns that lie together
HIDDEN_PIECE = {"fp32": 256, "bf16": 512, "int8": 512}  # hidden channels at a time, which a core's own cache holds
ROWS_OF_STEP = {"fp32": 1, "bf16": 2, "int8": 4}  # that lie together for each column: one element of a dot product
ALIGNMENT = 64
LOG2_E = math.log2(math.e)


class Words:
    """Words and arrays in the order in which they are written: once to measure them, once into a block of that size.

    Arrays go straight to where they belong, so that no more than one of them lies in memory beside the block.
    """

    def __init__(self, block: Tensor | None = None, first_offset: int = 0) -> None:
        self.block = block
        self.words: list[int] = []
        self.end = first_offset  # of the arrays, in bytes

    def number(self, *values: int) -> None:
        self.words.extend(int(value) for value in values)

    def real(self, value: float) -> None:
        self.number(*struct.unpack("<q", struct.pack("<d", value)))

    def array(self, values: Tensor | None) -> None:
        if values is None:
            return self.number(0)
        raw = values.detach().contiguous().reshape(-1).view(torch.uint8)
        self.number(self.end)
        if self.block is not None:
            room = self.block[self.end : self.end + _aligned(raw.numel())]
            room[: raw.numel()], room[raw.numel() :] = raw, 0
        self.end += _aligned(raw.numel())


class Packer(Words):
    """Writes the parts of a network for products in one dtype."""

    def __init__(self, dtype: str, block: Tensor | None = None, first_offset: int = 0) -> None:
        super().__init__(block, first_offset)
        self.dtype = dtype

    def norm(self, norm: nn.Module) -> None:
        assert isinstance(norm, nn.LayerNorm)
        self.array(norm.weight.float())
        self.array(norm.bias.float())
        self.real(norm.eps)

    def linear(self, weight_NK: Tensor, bias_N: Tensor | None) -> None:
        outputs, inputs = weight_NK.shape
        self.number(inputs, outputs)
        columns = -(-outputs // PANEL) * PANEL
        weight = _padded(weight_NK.float(), columns, inputs)
        scale = None
        if self.dtype == "bf16":
            weight = weight.bfloat16()
        elif self.dtype == "int8":
            weight, scale = quantise_columns(weight)
        self.array(to_panels(weight, ROWS_OF_STEP[self.dtype]))
        self.number(bias_N is not None)
        self.array(None if bias_N is None else F.pad(bias_N.float(), (0, columns - outputs)))
        if scale is not None:
            self.array(scale)
            self.array(weight.sum(dim=1, dtype=torch.float32))


def pack(model: Twins | TwinsBackbone, dtype: str, releases: bool = False) -> Tensor:
    """The network as the engine reads it: (bytes,) uint8. `unsupported` says which networks it cannot take.

    With `releases` each block's weights are let go as soon as they are packed.
    """
    measure = Packer(dtype)
    _pack_network(measure, model)
    if releases:
        give_back()
    head = 8 * len(measure.words)
    block = torch.empty(_aligned(head) + measure.end, dtype=torch.uint8)  # takes memory as it is written
    packer = Packer(dtype, block, _aligned(head))
    _pack_network(packer, model, releases)
    block[:head], block[head : _aligned(head)] = torch.tensor(packer.words).view(torch.uint8), 0
    return block


def _pack_network(packer: Packer, model: Twins | TwinsBackbone, releases: bool = False) -> None:
    window = next((a.window for a in _attentions(model) if isinstance(a, LocallyGroupedAttention)), 0)
    padding = next((a.padding for a in _attentions(model) if isinstance(a, LocallyGroupedAttention)), "mask")
    packer.number(MAGIC, DTYPES.index(packer.dtype), model.in_chans, window, WINDOW_PADDINGS.index(padding))
    packer.number(len(model.blocks))
    for s, blocks in enumerate(model.blocks):
        _pack_stage(packer, model, s)
        assert isinstance(blocks, nn.ModuleList)
        for block in blocks:
            assert isinstance(block, Block)
            _pack_block(packer, block)
            if releases:
                release(block)
    packer.number(isinstance(model, Twins))
    if isinstance(model, Twins):
        packer.norm(model.norm)
        if isinstance(model.head, nn.Linear):
            packer.linear(model.head.weight, model.head.bias)
        else:
            packer.linear(torch.zeros(0, model.embed_dims[-1]), None)


def _pack_stage(packer: Packer, model: Stages, s: int) -> None:
    embed: Any = model.patch_embeds[s]
    blocks: Any = model.blocks[s]
    conv: Any = cast(PositionalEncodingGenerator, model.pos_block[s]).proj[0]
    is_wanted = isinstance(model, TwinsBackbone) and s in model.out_indices
    is_normed = model.norm_list is not None
    packer.number(model.embed_dims[s], blocks[0].attn.heads, embed.proj.kernel_size[0], len(blocks))
    packer.number(is_normed, is_wanted)
    kernel = embed.proj.weight if s == 0 else embed.proj.weight.permute(0, 2, 3, 1)  # as the image or the map lies
    packer.linear(kernel.flatten(1), embed.proj.bias)
    packer.norm(embed.norm)
    identity = torch.zeros(3, 3)
    identity[1, 1] = 1
    packer.array((conv.weight[:, 0].float() + identity).flatten(1).t())
    packer.array(conv.bias.float())
    if model.norm_list is not None:
        packer.norm(model.norm_list[s])


def _pack_block(packer: Packer, block: Block) -> None:
    is_local = isinstance(block.attn, LocallyGroupedAttention)
    sr = None if is_local else block.attn.sr
    packer.number(is_local, sr.kernel_size[0] if isinstance(sr, nn.Conv2d) else 1)
    packer.norm(block.norm1)
    packer.norm(block.norm2)
    if is_local:
        _pack_local_attention(packer, block.attn)
    else:
        _pack_global_attention(packer, block.attn)
    packer.linear(block.attn.proj.weight, block.attn.proj.bias)
    _pack_mlp(packer, block.mlp)


def _pack_mlp(packer: Packer, mlp: Mlp) -> None:
    """The second layer in pieces: of each, the engine needs but the hidden channels that the piece reads."""
    packer.linear(mlp.fc1.weight, mlp.fc1.bias)
    panels = mlp.fc2.weight.unflatten(1, (-1, PANEL))
    pieces = panels.tensor_split(-(-mlp.fc2.in_features // HIDDEN_PIECE[packer.dtype]), dim=1)
    packer.number(len(pieces))
    for i, piece in enumerate(pieces):
        packer.linear(piece.flatten(1), None if i else mlp.fc2.bias)


def _pack_local_attention(packer: Packer, attention: Any) -> None:
    dim = attention.qkv.in_features
    scale = torch.ones(3 * dim)
    scale[:dim] = query_scale(dim // attention.heads)
    packer.linear(attention.qkv.weight.float() * scale[:, None], attention.qkv.bias.float() * scale)


def _pack_global_attention(packer: Packer, attention: Any) -> None:
    scale = query_scale(attention.q.in_features // attention.heads)
    packer.linear(attention.q.weight.float() * scale, attention.q.bias.float() * scale)
    packer.linear(attention.kv.weight, attention.kv.bias)
    if attention.sr is not None:
        for i, kernel_row in enumerate(attention.sr.weight.permute(2, 0, 3, 1)):  # (row, out, column, in)
            packer.linear(kernel_row.flatten(1), None if i else attention.sr.bias)
        packer.norm(attention.norm)


def query_scale(width: int) -> float:
    """The softmax's scale for heads of this width, and log2(e), since the engine's exponential has base 2."""
    return width**-0.5 * LOG2_E


def to_panels(weight_NK: Tensor, rows_of_step: int) -> Tensor:
    """(columns, inputs) -> (panels, steps, PANEL, rows_of_step), inputs filled up with zeros to whole steps."""
    columns, inputs = weight_NK.shape
    steps = -(-inputs // rows_of_step)
    weight = _padded(weight_NK, columns, steps * rows_of_step)
    return weight.reshape(columns // PANEL, PANEL, steps, rows_of_step).transpose(1, 2).contiguous()


def quantise_columns(weight_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Each column in integers from -127 to 127, and what a step of it stands for: (N, K) int8, (N,) float32."""
    scale = weight_NK.abs().amax(dim=1).clamp(min=1e-12) / 127
    return (weight_NK / scale[:, None]).round().to(torch.int8), scale


def _attentions(model: Stages) -> Iterable[LocallyGroupedAttention | GlobalSubsampledAttention]:
    for blocks in model.blocks:
        assert isinstance(blocks, nn.ModuleList)
        for block in blocks:
            assert isinstance(block, Block)
            yield block.attn


def _padded(weight_NK: Tensor, columns: int, inputs: int) -> Tensor:
    """Filled up with zeros; itself, not a copy, where nothing is missing."""
    missing = (0, inputs - weight_NK.shape[1], 0, columns - weight_NK.shape[0])
    return F.pad(weight_NK, missing) if any(missing) else weight_NK


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT
