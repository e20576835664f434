"""What the pyramid shows of each box, at one size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...optional_dependencies import need
from .anchor_head import precise
from .boxes import pyramid_level


def pool_regions(maps: Sequence[Tensor], boxes: Sequence[Tensor], size: int) -> Tensor:
    """The region of each box: maps at strides 4, 8, ... and (N_i, 4) boxes an image -> (sum of N_i, C, size, size).

    A box reads the one level that suits its size (`pyramid_level`). RoIAlign (He et al., 1703.06870) with half-pixel
    centres, and as many samples a cell as the box has pixels there.
    """
    roi_align = need("torchvision.ops", extra="detect").roi_align
    every = torch.cat(list(boxes))
    image = torch.cat([of_image.new_full((len(of_image), 1), i) for i, of_image in enumerate(boxes)])
    where = torch.cat([image, every], dim=1)
    level_of = pyramid_level(every, len(maps))
    mine = [(level_of == level).nonzero().flatten() for level in range(len(maps))]
    pooled = [
        roi_align(precise(x_BCHW), where[places], size, spatial_scale=1 / 2 ** (level + 2), aligned=True)
        for level, (x_BCHW, places) in enumerate(zip(maps, mine, strict=True))
    ]
    return torch.cat(pooled)[torch.cat(mine).argsort()].to(maps[0].dtype)
