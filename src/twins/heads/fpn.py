"""The feature pyramid between a backbone and its heads (Lin et al., 1612.03144)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class FeaturePyramid(nn.Module):
    """(B, C_s, H_s, W_s) maps of S stages, finest first -> S levels, (B, channels, H_s, W_s), and perhaps coarser ones.

    With lateral 1x1 convolutions l_s and 3x3 convolutions f_s, and no norm and no activation:
    p_S = l_S(map_S), p_s = l_s(map_s) + enlarge(p_(s+1)) to the size of map_s, level_s = f_s(p_s).

    Coarser levels may follow, each half as large as the one before: `strided` ones by 3x3 convolutions, of which the
    first reads the last map itself (RetinaNet's), or a `pooled` one, every other position of the last level
    (Mask R-CNN's).

    Raises ValueError for another number of maps than `in_channels` names.
    """

    def __init__(self, in_channels: Sequence[int], channels: int = 256, strided: int = 0, pooled: bool = False) -> None:
        super().__init__()
        self.channels, self.pooled = channels, pooled
        self.lateral_convs = nn.ModuleList(_conv(width, channels, kernel=1) for width in in_channels)
        self.fpn_convs = nn.ModuleList(_conv(channels, channels, kernel=3) for _ in in_channels)
        for i in range(strided):
            self.fpn_convs.append(_conv(channels if i else in_channels[-1], channels, kernel=3, stride=2))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        levels = [conv(x_BCHW) for conv, x_BCHW in zip(self.lateral_convs, maps, strict=True)]
        for i in reversed(range(len(levels) - 1)):
            levels[i] = levels[i] + F.interpolate(levels[i + 1], size=levels[i].shape[-2:], mode="nearest")
        convs = list(self.fpn_convs)
        levels = [conv(level) for conv, level in zip(convs, levels, strict=False)]
        coarsest = maps[-1]
        for conv in convs[len(maps) :]:
            coarsest = conv(coarsest)
            levels.append(coarsest)
        if self.pooled:
            levels.append(levels[-1][:, :, ::2, ::2])
        return levels


def _conv(in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Module:
    """A convolution one level down: the published names leave room for a norm beside it."""
    conv = nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2)
    nn.init.xavier_uniform_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return nn.Sequential(OrderedDict(conv=conv))
