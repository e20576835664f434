"""A word where images are enlarged far beyond what they show."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from ..data.images import readable_size, width_x_height
from ..data.loading import ImageDataset
from ..data.sampling import evenly
from ..recipes import Recipe

SAMPLED = 16  # images whose headers are read
FAR = 2  # times as large as the image


def enlargement(recipe: Recipe, training: ImageDataset) -> str | None:
    """What to say of images whose shortest side is less than half of the recipe's `img_size`; None of others."""
    fields = recipe.to_dict()
    side = fields["img_size"]
    if fields.get("resize") or fields.get("train_sizes") or not isinstance(side, int):  # sizes of somebody's choice
        return None
    files = [Path(training.images.name(index)) for index in evenly(len(training), SAMPLED)]
    sizes = [size for file in files if (size := readable_size(file)) is not None]
    if not sizes:
        return None
    shortest = median(map(min, sizes))
    if side <= FAR * shortest:
        return None
    typical = min(sizes, key=lambda size: abs(min(size) - shortest))
    own = max(-(-int(shortest) // 32) * 32, 32)
    return (
        f"images of about {width_x_height(typical)} are enlarged to {side} (--img-size): "
        f"--img-size {own} takes about 1/{round((side / own) ** 2)} of the time"
    )
