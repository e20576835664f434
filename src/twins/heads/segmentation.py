"""Segmenters: a Twins backbone with UPerNet or Semantic FPN on top (paper, table 5).

Read from top to bottom: a convolution as these heads use it, the three heads, the model that joins a head with a
backbone, and the two networks by name. Every head reads four maps, (B, C_s, H_s, W_s), finest first, and outputs
logits at the finest one's size. Whatever is resized is resized bilinearly to an exact size, so that images of any size
will do.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import TwinsError
from ..model import TwinsBackbone
from .base import DenseModel, dense_backbone
from .fpn import FeaturePyramid

POOL_SCALES = (1, 2, 3, 6)
AUXILIARY_STAGE = 2  # at stride 16
AUXILIARY_CHANNELS = 256


class BatchNorm(nn.BatchNorm2d):
    """PyTorch's, except that training with one value a channel uses the running statistics and leaves them alone.

    That happens to one image pooled to a single cell. PyTorch refuses it, for the statistics of one value say
    nothing: the value less its mean is zero, whatever the image.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.training and x_BCHW.numel() == self.num_features:
            return F.batch_norm(x_BCHW, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x_BCHW)


class ConvNormReLU(nn.Sequential):
    """A convolution that keeps the map's size, batch norm, ReLU: (B, in_channels, H, W) -> (B, channels, H, W)."""

    def __init__(self, in_channels: int, channels: int, kernel: int) -> None:
        conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        # In place, for the norm's backward pass reads its input and not its output: one map less to keep.
        super().__init__(OrderedDict(conv=conv, bn=BatchNorm(channels), relu=nn.ReLU(inplace=True)))


class Head(nn.Module):
    """Four maps -> (B, num_classes, H_0, W_0) logits; the auxiliary head's are as large as the one map it reads.

    Subclasses say how the maps become `features`; then follow dropout of whole channels and a 1x1 convolution.
    """

    def __init__(self, channels: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(drop_rate)
        self.conv_seg = nn.Conv2d(channels, num_classes, kernel_size=1)
        nn.init.normal_(self.conv_seg.weight, std=0.01)
        assert self.conv_seg.bias is not None
        nn.init.zeros_(self.conv_seg.bias)

    def features(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, channels, H_0, W_0)."""
        raise NotImplementedError

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return self.conv_seg(self.dropout(self.features(maps)))


class AdaptivePool(nn.AdaptiveAvgPool2d):
    """PyTorch's average pooling to n x n cells; exporters, which have it for fixed sizes alone, see matrix products.

    Cell i of n averages the positions from floor(i L / n) up to, and without, ceil((i + 1) L / n) of an axis of length
    L. That is one product with an (n, L) matrix along each axis, for which L need not be known when it is recorded.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            return super().forward(x_BCHW)
        assert isinstance(self.output_size, int)
        rows, columns = (_averaging(self.output_size, length, x_BCHW) for length in x_BCHW.shape[-2:])
        return rows @ x_BCHW @ columns.T


def _averaging(cells: int, length: int, like: Tensor) -> Tensor:
    """(cells, length), each row a cell's weights, which sum to 1."""
    cell = torch.arange(cells, device=like.device)[:, None]
    position = torch.arange(length, device=like.device)[None, :]
    first, end = cell * length // cells, ((cell + 1) * length + cells - 1) // cells
    inside = ((position >= first) & (position < end)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


class UPerHead(Head):
    """Unified perceptual parsing (Xiao et al., 1807.10221).

    The last map is pooled to POOL_SCALES cells a side (pyramid pooling, Zhao et al., 1612.01105), a feature pyramid
    carries that down to the finer maps, and all four levels are concatenated at the size of the finest.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, channels: int = 512, drop_rate: float = 0.1):
        super().__init__(channels, num_classes, drop_rate)
        *finer, last = in_channels
        self.psp_modules = nn.ModuleList(
            nn.Sequential(AdaptivePool(scale), ConvNormReLU(last, channels, kernel=1)) for scale in POOL_SCALES
        )
        self.bottleneck = ConvNormReLU(last + len(POOL_SCALES) * channels, channels, kernel=3)
        self.lateral_convs = nn.ModuleList(ConvNormReLU(width, channels, kernel=1) for width in finer)
        self.fpn_convs = nn.ModuleList(ConvNormReLU(channels, channels, kernel=3) for _ in finer)
        self.fpn_bottleneck = ConvNormReLU(len(in_channels) * channels, channels, kernel=3)

    def features(self, maps: Sequence[Tensor]) -> Tensor:
        *finer, last = maps
        pooled = [_resize(pool(last), like=last) for pool in self.psp_modules]
        coarsest = self.bottleneck(torch.cat([last, *pooled], dim=1))
        levels = [*(conv(x_BCHW) for conv, x_BCHW in zip(self.lateral_convs, finer, strict=True)), coarsest]
        for i in reversed(range(len(finer))):
            levels[i] = levels[i] + _resize(levels[i + 1], like=levels[i])
        levels[:-1] = [conv(level) for conv, level in zip(self.fpn_convs, levels[:-1], strict=True)]
        return self.fpn_bottleneck(torch.cat([_resize(level, like=levels[0]) for level in levels], dim=1))


class FCNHead(Head):
    """The auxiliary head, for a second loss halfway up the backbone: one convolution over the third map.

    Called with the four maps it outputs (B, num_classes, H_2, W_2) logits.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, drop_rate: float = 0.1) -> None:
        super().__init__(AUXILIARY_CHANNELS, num_classes, drop_rate)
        self.convs = nn.Sequential(ConvNormReLU(in_channels[AUXILIARY_STAGE], AUXILIARY_CHANNELS, kernel=3))

    def features(self, maps: Sequence[Tensor]) -> Tensor:
        return self.convs(maps[AUXILIARY_STAGE])


class SemanticFPNHead(Head):
    """Semantic FPN (Kirillov et al., 1901.02446), on the maps of a `FeaturePyramid`.

    Each level is brought to the size of the finest, a convolution and a doubling at a time, and all are added up.
    """

    def __init__(self, in_channels: int, num_classes: int, channels: int = 128, drop_rate: float = 0.1) -> None:
        super().__init__(channels, num_classes, drop_rate)
        self.scale_heads = nn.ModuleList([nn.Sequential(ConvNormReLU(in_channels, channels, kernel=3))])
        for doublings in (1, 2, 3):
            branch = nn.Sequential()
            for i in range(doublings):
                branch.append(ConvNormReLU(channels if i else in_channels, channels, kernel=3))
                branch.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
            self.scale_heads.append(branch)

    def features(self, maps: Sequence[Tensor]) -> Tensor:
        finest, *others = (branch(x_BCHW) for branch, x_BCHW in zip(self.scale_heads, maps, strict=True))
        for other in others:
            finest = finest + _resize(other, like=finest)
        return finest


class Segmenter(DenseModel):
    """A backbone, perhaps a neck, and heads: (B, in_chans, H, W) -> (B, num_classes, H, W) logits.

    Images are floats, normalised, of any size from 1 x 1 up. With `all_heads` the output is a dictionary of the logits
    of each head there is, "decode_head" and "auxiliary_head", all at the images' size: what training needs, in one call
    so that DistributedDataParallel sees every parameter used. Otherwise the auxiliary head is left out.
    """

    def __init__(
        self,
        backbone: TwinsBackbone,
        decode_head: Head,
        neck: FeaturePyramid | None = None,
        auxiliary_head: Head | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck
        self.decode_head, self.auxiliary_head = decode_head, auxiliary_head
        self.num_classes = decode_head.conv_seg.out_channels

    def forward(self, images: Tensor, all_heads: bool = False) -> Tensor | dict[str, Tensor]:
        maps = self.maps(images)
        logits = _resize(self.decode_head(maps), like=images)
        if not all_heads:
            return logits
        outputs = {"decode_head": logits}
        if self.auxiliary_head is not None:
            outputs["auxiliary_head"] = _resize(self.auxiliary_head(maps), like=images)
        return outputs

    def maps(self, images: Tensor) -> Sequence[Tensor]:
        """What the heads read: four (B, C_s, H_s, W_s), finest first."""
        maps: Sequence[Tensor] = self.backbone(images)
        return maps if self.neck is None else self.neck(maps)


def upernet(
    name: str,
    num_classes: int = 150,
    channels: int | None = None,
    head_drop: float = 0.1,
    auxiliary: bool = True,
    weights: str | Path | None = None,
    **backbone: Any,
) -> Segmenter:
    """UPerNet on one of the six networks, by name or alias. See `Segmenter` for how it is called.

    Parameters
    ----------
    channels:
        Width of the decode head; 512 as published if not given. The auxiliary head always has 256.
    head_drop:
        Dropout of whole channels before the last layer of each head.
    auxiliary:
        Add the second head, which helps in training and is not used afterwards.
    weights:
        A checkpoint of the segmenter, or of a classifier for its backbone, in any dialect that `load_weights` reads.
        The report is kept as `load_report`.
    backbone:
        Keywords of `create_model`: drop_path_rate, in_chans, window_padding ... Stage norms are on for SVT and off for
        PCPVT, as published, unless `stage_norms` says otherwise.

    Raises TwinsError for an unknown name or keyword, for values that make no network, and for unfit weights.
    """
    channels = 512 if channels is None else channels
    trunk = _backbone(name, backbone, num_classes=num_classes, channels=channels, head_drop=head_drop)
    decode_head = UPerHead(trunk.embed_dims, num_classes, channels, head_drop)
    auxiliary_head = FCNHead(trunk.embed_dims, num_classes, head_drop) if auxiliary else None
    return Segmenter(trunk, decode_head, auxiliary_head=auxiliary_head).with_weights(weights)


def semantic_fpn(
    name: str,
    num_classes: int = 150,
    channels: int | None = None,
    head_drop: float = 0.1,
    auxiliary: bool = True,
    weights: str | Path | None = None,
    **backbone: Any,
) -> Segmenter:
    """Semantic FPN on one of the six networks, by name or alias.

    `channels` is the width of the head, 128 as published if not given; the neck always has 256. There is no auxiliary
    head, whatever `auxiliary` says: the argument is there so that both segmenters are called alike. Everything else,
    and what is raised, as in `upernet`.
    """
    channels = 128 if channels is None else channels
    trunk = _backbone(name, backbone, num_classes=num_classes, channels=channels, head_drop=head_drop)
    neck = FeaturePyramid(trunk.embed_dims)
    decode_head = SemanticFPNHead(neck.channels, num_classes, channels, head_drop)
    return Segmenter(trunk, decode_head, neck).with_weights(weights)


SEGMENTERS: dict[str, Callable[..., Segmenter]] = {"upernet": upernet, "semantic_fpn": semantic_fpn}


def _backbone(name: str, settings: dict[str, Any], num_classes: int, channels: int, head_drop: float) -> TwinsBackbone:
    """The backbone, once it is clear that a head of these settings can be made."""
    for setting, value in (("num_classes", num_classes), ("channels", channels)):
        if value < 1:
            raise TwinsError(f"{name}: {setting} must be 1 or more, not {value}")
    if not 0 <= head_drop < 1:
        raise TwinsError(f"{name}: head_drop must lie in [0, 1), not {head_drop}")
    return dense_backbone(name, settings)


def _resize(x_BCHW: Tensor, like: Tensor) -> Tensor:
    """Bilinearly; an exporter records no branch on the size, and to resize to the same size changes nothing."""
    if not torch.compiler.is_exporting() and x_BCHW.shape[-2:] == like.shape[-2:]:
        return x_BCHW
    return F.interpolate(x_BCHW, size=like.shape[-2:], mode="bilinear", align_corners=False)
