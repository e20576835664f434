"""Twins: spatial attention in vision transformers, revisited (Chu et al., NeurIPS 2021, arXiv 2104.13840).

Read from top to bottom: the six networks as a table, the two attentions, a block, the four stages, and on top of them
the classifier and the backbone for dense prediction. Formulas of the sublayers stand in `ops/reference.py`. This file
and the folder `ops` beside it need torch alone, and can be copied out together.

Shape suffixes: B batch, H and W height and width of the map, C channels, N = H * W tokens. Parameters are named as in
the published checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from . import ops


class Variant(NamedTuple):
    """In what the six networks differ: one number per stage (paper, tables 1 to 3)."""

    embed_dims: tuple[int, ...]
    num_heads: tuple[int, ...]
    mlp_ratios: tuple[int, ...]
    depths: tuple[int, ...]
    window_size: int | None  # None: GSA in every block (PCPVT); a number: LSA and GSA by turns (SVT)


VARIANTS = {
    "twins_pcpvt_small": Variant((64, 128, 320, 512), (1, 2, 5, 8), (8, 8, 4, 4), (3, 4, 6, 3), None),
    "twins_pcpvt_base": Variant((64, 128, 320, 512), (1, 2, 5, 8), (8, 8, 4, 4), (3, 4, 18, 3), None),
    "twins_pcpvt_large": Variant((64, 128, 320, 512), (1, 2, 5, 8), (8, 8, 4, 4), (3, 8, 27, 3), None),
    "twins_svt_small": Variant((64, 128, 256, 512), (2, 4, 8, 16), (4, 4, 4, 4), (2, 2, 10, 4), 7),
    "twins_svt_base": Variant((96, 192, 384, 768), (3, 6, 12, 24), (4, 4, 4, 4), (2, 2, 18, 2), 7),
    "twins_svt_large": Variant((128, 256, 512, 1024), (4, 8, 16, 32), (4, 4, 4, 4), (2, 2, 18, 2), 7),
}
SR_RATIOS = (8, 4, 2, 1)  # of GSA's keys and values, per stage
PATCH_SIZES = (4, 2, 2, 2)  # per stage, of the map before it


class PatchEmbed(nn.Module):
    """Patch embedding: a strided convolution and a norm, (B, H, W, in_chans) -> (B, H // patch, W // patch, dim)."""

    def __init__(self, in_chans: int, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, kernel_size=patch, stride=patch)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        return ops.patch_embed(x_BHWC, self.proj, self.norm)


class PositionalEncodingGenerator(nn.Module):
    """PEG: x + a 3 x 3 depthwise convolution of x; its zero padding tells tokens where they are.

    (B, H, W, C) -> (B, H, W, C). Paper, 3.1; conditional positional encoding, Chu et al., arXiv 2102.10882.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim))

    def forward(self, x_BHWC: Tensor) -> Tensor:
        conv = self.proj[0]
        assert isinstance(conv, nn.Conv2d)
        return ops.peg(x_BHWC, conv)


class LocallyGroupedAttention(nn.Module):
    """LSA: self-attention within windows that do not overlap (paper, 3.2); (B, H, W, C) -> (B, H, W, C).

    `norm` is applied first and belongs to the block. `padding` is one of `ops.WINDOW_PADDINGS`, see `Stages`.
    """

    def __init__(self, dim: int, heads: int, window: int, padding: str, drop_rate: float) -> None:
        super().__init__()
        self.heads, self.window, self.padding, self.drop_rate = heads, window, padding, drop_rate
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x_BHWC: Tensor, norm: nn.Module) -> Tensor:
        drop_rate = self.drop_rate if self.training else 0.0
        return ops.window_attention(x_BHWC, norm, self.qkv, self.proj, self.heads, self.window, self.padding, drop_rate)


class GlobalSubsampledAttention(nn.Module):
    """GSA: every token attends to keys and values of the map sub-sampled `sr_ratio` times along both axes (paper, 3.2).

    (B, H, W, C) -> (B, H, W, C). `norm`, applied first, belongs to the block; `self.norm` is the sub-sampled map's.
    """

    def __init__(self, dim: int, heads: int, sr_ratio: int, drop_rate: float) -> None:
        super().__init__()
        self.heads, self.drop_rate = heads, drop_rate
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, dim * 2)
        self.proj = nn.Linear(dim, dim)
        self.sr = nn.Conv2d(dim, dim, kernel_size=sr_ratio, stride=sr_ratio) if sr_ratio > 1 else None
        self.norm = nn.LayerNorm(dim) if sr_ratio > 1 else None

    def forward(self, x_BHWC: Tensor, norm: nn.Module) -> Tensor:
        drop_rate = self.drop_rate if self.training else 0.0
        return ops.subsampled_attention(
            x_BHWC, norm, self.q, self.kv, self.proj, self.heads, self.sr, self.norm, drop_rate
        )


class Mlp(nn.Module):
    """Two linear layers with a GELU between, on every token: (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, hidden: int, drop_rate: float) -> None:
        super().__init__()
        self.drop_rate = drop_rate
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x_BHWC: Tensor, norm: nn.Module) -> Tensor:
        return ops.mlp(x_BHWC, norm, self.fc1, self.fc2, self.drop_rate if self.training else 0.0)


class DropPath(nn.Module):
    """Stochastic depth: in training, a sample's branch is dropped with probability `rate`, else divided by 1 - rate.

    (B, H, W, C) -> (B, H, W, C). Huang et al., arXiv 1603.09382.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x_BHWC: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x_BHWC
        kept = x_BHWC.new_empty(x_BHWC.shape[0], 1, 1, 1).bernoulli_(1 - self.rate)
        return x_BHWC * kept / (1 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


class Block(nn.Module):
    """A pre-norm transformer block, (B, H, W, C) -> (B, H, W, C): x + attn(norm1(x)), then x + mlp(norm2(x))."""

    def __init__(
        self,
        dim: int,
        attention: LocallyGroupedAttention | GlobalSubsampledAttention,
        mlp_ratio: int,
        drop_rate: float,
        drop_path_rate: float,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, dim * mlp_ratio, drop_rate)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        x_BHWC = x_BHWC + self.drop_path(self.attn(x_BHWC, self.norm1))
        return x_BHWC + self.drop_path(self.mlp(x_BHWC, self.norm2))


class Stages(nn.Module):
    """The four stages that the classifier and the backbone share: maps at strides 4, 8, 16 and 32.

    A stage is a patch embedding, a block, the PEG and the other blocks (paper, figures 1 and 2). Any height and width
    from 1 pixel will do: rows and columns left over by a convolution are dropped at the bottom and the right, and only
    an axis shorter than a kernel is zero-padded, to the kernel's size.

    Parameters
    ----------
    embed_dims, num_heads, mlp_ratios, depths, sr_ratios:
        One number per stage; see `VARIANTS`.
    window_size:
        Side of the LSA windows of even blocks, or None for GSA in every block.
    in_chans:
        Channels of the images.
    drop_rate, drop_path_rate:
        Dropout of embedded patches, attention outputs and MLPs; stochastic depth, which grows linearly from 0 at the
        first block to this at the last.
    window_padding:
        What windows that stick out of the map hold. "mask": the tokens of the map alone, as if the window were clipped
        (exact, the default). "zero": zeros before the qkv projection, which enter the softmax through its bias, as in
        timm and the published detectors. "mask-both": as "mask" where windows stick out along both axes, else as
        "zero", as in the published segmentation models.
    norm_eps:
        Epsilon of the norms in blocks, after stages and before the head. 1e-6 as published; OpenMMLab's own
        trainings used 1e-5.
    stage_norms:
        A LayerNorm on each stage's output, which also feeds the next stage (published SVT dense backbones).
    num_stages:
        Build only the first stages; drop-path rates stay those of the whole network.

    Raises ValueError for values that make no network, naming the argument.
    """

    load_report: Any = None  # of the weights that the network was created with, if any

    def __init__(
        self,
        embed_dims: Sequence[int] = (64, 128, 256, 512),
        num_heads: Sequence[int] = (2, 4, 8, 16),
        mlp_ratios: Sequence[int] = (4, 4, 4, 4),
        depths: Sequence[int] = (2, 2, 10, 4),
        sr_ratios: Sequence[int] = SR_RATIOS,
        window_size: int | None = 7,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        window_padding: str = "mask",
        norm_eps: float = 1e-6,
        stage_norms: bool = False,
        num_stages: int = 4,
    ) -> None:
        super().__init__()
        _check_stages(
            embed_dims=embed_dims, num_heads=num_heads, mlp_ratios=mlp_ratios, depths=depths, sr_ratios=sr_ratios
        )
        _check_settings(in_chans, window_size, window_padding, drop_path_rate)
        drop_path_rates = iter(torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist())
        embed_dims = self.embed_dims = tuple(embed_dims[:num_stages])
        self.in_chans = in_chans
        self.grad_checkpointing = False
        self.drop = nn.Dropout(drop_rate)
        self.feature_info = FeatureInfo(
            {"num_chs": dim, "reduction": math.prod(PATCH_SIZES[: s + 1]), "module": f"blocks.{s}"}
            for s, dim in enumerate(embed_dims)
        )

        self.patch_embeds = nn.ModuleList(
            PatchEmbed(chans, dim, patch)
            for chans, dim, patch in zip((in_chans, *embed_dims), embed_dims, PATCH_SIZES, strict=False)
        )
        self.blocks = nn.ModuleList()
        for dim, heads, mlp_ratio, depth, sr_ratio in zip(
            embed_dims, num_heads, mlp_ratios, depths, sr_ratios, strict=False
        ):
            stage = nn.ModuleList()
            for i in range(depth):
                attention: LocallyGroupedAttention | GlobalSubsampledAttention
                if window_size is not None and i % 2 == 0:
                    attention = LocallyGroupedAttention(dim, heads, window_size, window_padding, drop_rate)
                else:
                    attention = GlobalSubsampledAttention(dim, heads, sr_ratio, drop_rate)
                stage.append(Block(dim, attention, mlp_ratio, drop_rate, next(drop_path_rates), norm_eps))
            self.blocks.append(stage)
        self.pos_block = nn.ModuleList(PositionalEncodingGenerator(dim) for dim in embed_dims)
        self.norm_list: nn.ModuleList | None = None
        if stage_norms:
            self.norm_list = nn.ModuleList(nn.LayerNorm(dim, eps=norm_eps) for dim in embed_dims)
        self.apply(_init_weights)

    def stage(self, s: int, x_BHWC: Tensor) -> Tensor:
        """Stage `s` (from 0) of the map before it: (B, H, W, C) -> (B, H // patch, W // patch, embed_dims[s])."""
        x_BHWC = self.drop(self.patch_embeds[s](x_BHWC))
        blocks = self.blocks[s]
        assert isinstance(blocks, nn.ModuleList)
        for i, block in enumerate(blocks):
            if self.grad_checkpointing and torch.is_grad_enabled():
                x_BHWC = checkpoint(block, x_BHWC, use_reentrant=False)
            else:
                x_BHWC = block(x_BHWC)
            if i == 0:
                x_BHWC = self.pos_block[s](x_BHWC)
        return x_BHWC if self.norm_list is None else self.norm_list[s](x_BHWC)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: save only each block's input, and compute the block again in the backward pass."""
        self.grad_checkpointing = enable

    def freeze_stages(self, count: int) -> list[nn.Module]:
        """Stop training the first `count` stages; returns their modules, which train() should leave in eval mode.

        Raises ValueError for more stages than there are.
        """
        if not 0 <= count <= len(self.blocks):
            raise ValueError(f"freeze_stages must lie in 0..{len(self.blocks)}, not {count}")
        every = [self.patch_embeds, self.blocks, self.pos_block]
        if self.norm_list is not None:
            every.append(self.norm_list)
        frozen = [module for parts in every for module in parts[:count]]
        for module in frozen:
            module.requires_grad_(False)
        return frozen

    def no_weight_decay(self) -> set[str]:
        """Names of parameters, beside those of norms and biases, without weight decay in the published training."""
        return {f"pos_block.{name}" for name, _ in self.pos_block.named_parameters()}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns that group parameters by depth, in timm's format, for layer-wise learning rates.

        A layer is a block, or a stage if `coarse`. The number 99999 is timm's for "with the layer before".
        """
        if coarse:
            layers = [(r"^(?:blocks|patch_embeds|pos_block|norm_list)\.(\d+)", None), (r"^norm\.", (99999,))]
        else:
            layers = [
                (r"^blocks\.(\d+)\.(\d+)", None),
                (r"^(?:patch_embeds|pos_block)\.(\d+)", (0,)),
                (r"^norm_list\.(\d+)", (99999,)),
                (r"^norm\.", (99999,)),
            ]
        return {"stem": r"^patch_embeds\.0", "blocks": layers}


class Twins(Stages):
    """The classifier: four stages, a norm, the mean over all tokens, a linear head.

    model(images): (B, in_chans, H, W) floats -> (B, num_classes) logits. The methods are timm's model interface, so
    that scripts and libraries written for timm's networks can use this one. Other keywords: see `Stages`.

    Parameters
    ----------
    num_classes:
        Width of the head; 0 leaves the head out, and the output is the pooled (B, C) features.
    global_pool:
        "avg", or "" for no pooling: then the output is (B, N, C) tokens, through the head if there is one.

    Raises ValueError for values that make no network, naming the argument.
    """

    def __init__(self, num_classes: int = 1000, global_pool: str = "avg", **stages: Any) -> None:
        super().__init__(**stages)
        self.num_features = self.head_hidden_size = self.embed_dims[-1]
        self.norm: nn.Module = nn.LayerNorm(self.num_features, eps=stages.get("norm_eps", 1e-6))
        self.reset_classifier(num_classes, global_pool)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, N, C): the normed tokens of the last stage."""
        x_BHWC = images.permute(0, 2, 3, 1)
        for s in range(len(self.blocks)):
            x_BHWC = self.stage(s, x_BHWC)
        return self.norm(x_BHWC.flatten(1, 2))

    def forward_head(self, x_BNC: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, N, C) tokens -> (B, num_classes) logits; with `pre_logits` the (B, C) input of the head."""
        x = x_BNC.mean(dim=1) if self.global_pool == "avg" else x_BNC
        return x if pre_logits else self.head(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Tokens as from `forward_features`, and the maps of the stages in `indices` (the last n, if it is a number).

        `x` is (B, in_chans, H, W); the maps are (B, C_s, H_s, W_s), or (B, H_s, W_s, C_s) for `output_fmt` "NHWC".
        `norm` norms the last stage's map too; `stop_early` leaves out the stages after the last index; with
        `intermediates_only` the maps alone are returned.
        Raises ValueError for an index that is not there or a format other than "NCHW" and "NHWC".
        """
        if output_fmt not in ("NCHW", "NHWC"):
            raise ValueError(f"output_fmt must be NCHW or NHWC, not {output_fmt!r}")
        take = self._stage_indices(indices)
        final = len(self.embed_dims) - 1
        maps = []
        x_BHWC = x.permute(0, 2, 3, 1)
        for s in range(max(take) + 1 if stop_early else len(self.blocks)):
            x_BHWC = self.stage(s, x_BHWC)
            if s in take:
                out = self.norm(x_BHWC) if norm and s == final else x_BHWC
                maps.append(out.permute(0, 3, 1, 2).contiguous() if output_fmt == "NCHW" else out)
        if intermediates_only:
            return maps
        tokens = x_BHWC.flatten(1, 2)
        return (self.norm(tokens) if s == final else tokens), maps

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages after the last of `indices`, and then head and final norm too; returns indices from 0.

        Where no stage is removed, `prune_norm` and `prune_head` decide on norm and head. Raises ValueError for an index
        that is not there.
        """
        take = self._stage_indices(indices)
        kept = max(take) + 1
        shortened = kept < len(self.blocks)
        self.patch_embeds, self.blocks = self.patch_embeds[:kept], self.blocks[:kept]
        self.pos_block = self.pos_block[:kept]
        if self.norm_list is not None:
            self.norm_list = self.norm_list[:kept]
        if prune_norm or shortened:
            self.norm = nn.Identity()
        if shortened:
            self.num_features = self.head_hidden_size = self.embed_dims[kept - 1]
        if prune_head or shortened:
            self.reset_classifier(0, "")
        return take

    def get_classifier(self) -> nn.Module:
        """The head: a linear layer, or an identity for no classes."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A newly initialised head for `num_classes` classes, or none for 0; `global_pool` stays unless it is given.

        Raises ValueError for fewer than 0 classes or a pooling other than "avg" and "".
        """
        if num_classes < 0:
            raise ValueError(f"num_classes must be 0 or more, not {num_classes}")
        if global_pool not in (None, "avg", ""):
            raise ValueError(f"global_pool must be 'avg' or '' (none), not {global_pool!r}")
        if global_pool is not None:
            self.global_pool = global_pool
        self.num_classes = num_classes
        like = next(self.parameters())
        self.head: nn.Module = nn.Identity()
        if num_classes:
            self.head = nn.Linear(self.num_features, num_classes, device=like.device, dtype=like.dtype)
            _init_weights(self.head)
        self.head.train(self.training)

    def _stage_indices(self, indices: int | Sequence[int] | None) -> list[int]:
        count = len(self.blocks)
        if indices is None:
            indices = count
        if isinstance(indices, int):
            if not 1 <= indices <= count:
                raise ValueError(f"the last 1 to {count} feature maps can be had, not {indices}")
            return list(range(count - indices, count))
        if not indices or not all(-count <= s < count for s in indices):
            raise ValueError(f"feature indices must lie in {-count}..{count - 1}, not {tuple(indices)}")
        return [s % count for s in indices]


class TwinsBackbone(Stages):
    """The backbone of detectors and segmentation models: (B, in_chans, H, W) -> a (B, C_s, H_s, W_s) map per stage.

    `out_indices` names the stages, counted from 0 (or from the end, if negative); stages after the last of them are
    not built. There is no head and no final norm. `feature_info.channels()` and `.reduction()` describe the maps.
    Other keywords: see `Stages`. Raises ValueError for values that make no network, naming the argument.
    """

    def __init__(self, out_indices: Sequence[int] = (0, 1, 2, 3), **stages: Any) -> None:
        if not out_indices or not all(-4 <= s <= 3 for s in out_indices):
            raise ValueError(f"out_indices must lie in -4..3, not {tuple(out_indices)}")
        wanted = sorted({s % 4 for s in out_indices})
        super().__init__(num_stages=wanted[-1] + 1, **stages)
        self.out_indices = tuple(wanted)
        self.feature_info = FeatureInfo(self.feature_info[s] for s in wanted)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        x_BHWC = images.permute(0, 2, 3, 1)
        for s in range(len(self.blocks)):
            x_BHWC = self.stage(s, x_BHWC)
            if s in self.out_indices:
                maps.append(x_BHWC.permute(0, 3, 1, 2).contiguous())
        return maps


class FeatureInfo(list[dict[str, Any]]):
    """Channels, stride and module of each feature map: one dictionary per map, with timm's accessors."""

    def channels(self) -> list[int]:
        """C_s of each map."""
        return [info["num_chs"] for info in self]

    def reduction(self) -> list[int]:
        """The stride of each map in pixels of the image."""
        return [info["reduction"] for info in self]

    def module_name(self) -> list[str]:
        """The blocks of each map's stage, by their name in the network."""
        return [info["module"] for info in self]


def _init_weights(module: nn.Module) -> None:
    """As published: linear weights from a truncated normal, convolutions' by their fan-out, biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _check_stages(**per_stage: Sequence[int]) -> None:
    for name, values in per_stage.items():
        if len(values) != 4 or min(values) < 1:
            raise ValueError(f"{name} must be four positive numbers, one a stage, not {tuple(values)}")
    for dim, heads in zip(per_stage["embed_dims"], per_stage["num_heads"], strict=True):
        if dim % heads:
            raise ValueError(f"num_heads must divide embed_dims: {heads} does not divide {dim}")


def _check_settings(in_chans: int, window_size: int | None, window_padding: str, drop_path_rate: float) -> None:
    if in_chans < 1:
        raise ValueError(f"in_chans must be 1 or more, not {in_chans}")
    if window_size is not None and window_size < 1:
        raise ValueError(f"window_size must be 1 or more, or None for no windows, not {window_size}")
    if window_padding not in ops.WINDOW_PADDINGS:
        raise ValueError(f"window_padding must be one of {', '.join(ops.WINDOW_PADDINGS)}, not {window_padding!r}")
    if not 0 <= drop_path_rate < 1:
        raise ValueError(f"drop_path_rate must lie in [0, 1), not {drop_path_rate}")
