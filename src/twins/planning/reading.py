"""Reading images: bytes from the disks, and CPU cores that make tensors of them."""

from __future__ import annotations

from typing import NamedTuple

from ..recipes import ClassifyRecipe, Recipe

# Of docs/data-speed.md, where the files of a data set such as ImageNet are of 500 x 375.
DECODING_FILE = "benchmarks/data-2026-11-26.json"
_IMAGES_PER_CORE = {"turbo": 251.84, "pillow": 159.64}  # a second, training, one core of an AMD EPYC


class Decoding(NamedTuple):
    """How many images a second one core makes ready."""

    images_per_core: float
    source: str


def decoding_of(recipe: Recipe) -> Decoding | None:
    """What was measured for a recipe's images; None where nothing was."""
    if not isinstance(recipe, ClassifyRecipe) or recipe.data == "digits":
        return None
    decoder = recipe.decoder_at_hand()
    speed = _IMAGES_PER_CORE[decoder]
    return Decoding(speed, f"measured with --decoder {decoder} on files of 500 x 375, {DECODING_FILE}")


def cores_needed(images_per_second: float, decoding: Decoding) -> float:
    """CPU cores that keep up with a GPU."""
    return images_per_second / decoding.images_per_core
