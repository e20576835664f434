"""A data set, written into tar shards."""

from __future__ import annotations

from pathlib import Path

from ..data.classify.shard_writing import shard_images
from ..data.shards.writing import Limits
from ..errors import TwinsError
from ..recipes import ClassifyRecipe, Recipe


def shard_data(recipe: Recipe, out: Path, size: int, images: int | None) -> None:
    """Write a recipe's data into `out`, in shards of at most so many bytes and images, and print what was written.

    Raises TwinsError as `shard_images` does, and for another task than classification.
    """
    if not isinstance(recipe, ClassifyRecipe):
        raise TwinsError(f"twins data shard writes the data of --task classify; --task {recipe.task} has no shards yet")
    written = shard_images(recipe, out, Limits(size, images))
    for part, count in written.images.items():
        print(f"{part}: {count} images in {len(written.shards[part])} shards")
    if written.left_out:
        print(f"left out {len(written.left_out)} images that cannot be read: {'; '.join(written.left_out[:3])}")
    print(f"{written.size / 1e9:.3g} GB in {out}; next: twins train --data {out}")
