"""Labelled images of any layout as tar shards, which `--data` reads again."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ...atomic_write import atomic_folder
from ...errors import TwinsError
from ...progress import Progress
from ...recipes import ClassifyRecipe
from ..file_walk import is_image
from ..image_source import read_source
from ..randomness import seed_of
from ..shards.description import DESCRIPTION, description_text
from ..shards.index import BESIDE_SHARDS, write_index
from ..shards.writing import Limits, Sample, write_shards
from ..split import data_home, name_below
from .dataset import LabelledImages
from .layouts import open_labelled


class WrittenShards(NamedTuple):
    """What was written, by part."""

    images: dict[str, int]
    shards: dict[str, list[str]]  # names of files
    size: int  # bytes, of all of them
    left_out: list[str]  # images that cannot be read, and why


def shard_images(recipe: ClassifyRecipe, out: Path, limits: Limits) -> WrittenShards:
    """Write the training and validation images of a recipe's data into `out`, which is there whole or not at all.

    Files are copied as they are, in an order drawn by the recipe's seed, so that programs that read shards from their
    beginning to their end see mixed classes. Beside the shards are `dataset.json`, with the names of the classes, and
    `index.jsonl`. Raises TwinsError for data that cannot be used, an unreadable file unless `bad_images` is "skip", and
    for an `out` that holds something.
    """
    _check_free(out)
    train, val = open_labelled(recipe)
    assert train is not None
    for line in dict.fromkeys((*train.warnings, *val.warnings)):
        print(line)
    written = WrittenShards({}, {}, 0, [])
    indexed = []
    with atomic_folder(out) as beside:
        for part, images in (("train", train), ("val", val)):
            samples = _samples(images, part, recipe, written.left_out)
            of_part = list(write_shards(beside, part, samples, limits))
            written.images[part] = sum(len(one.members) for one in of_part)
            written.shards[part] = [one.shard.path.name for one in of_part]
            indexed += of_part
        parts = {part: {"images": written.images[part], "shards": written.shards[part]} for part in written.images}
        (beside / DESCRIPTION).write_text(description_text(train.classes, parts) + "\n", encoding="utf-8")
        write_index(beside / BESIDE_SHARDS, {one.shard.path.name: one for one in indexed})
    if not (out / DESCRIPTION).is_file():
        raise TwinsError(f"--out {out}: another program made it meanwhile; name another folder")
    return written._replace(size=sum(one.size for one in indexed))


def _check_free(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise TwinsError(f"--out {out}: is a file; name a folder that is to be made")
    if out.is_dir():
        if any(out.iterdir()):
            raise TwinsError(f"--out {out}: is there already, and not empty; name another folder, or remove it")
        out.rmdir()  # so that the whole one takes its place


def _samples(images: LabelledImages, part: str, recipe: ClassifyRecipe, left_out: list[str]) -> Iterator[Sample]:
    """In an order of its own, and without those that cannot be read."""
    order = np.random.default_rng(seed_of("shards", recipe.seed, part)).permutation(len(images)).tolist()
    home = data_home(recipe.data)
    for index in Progress(f"sharding, {part}", len(images)).over(order):
        try:
            content, name = _content(images, index), _name(images, index, home, part)
        except OSError as error:
            if recipe.bad_images == "stop":
                raise TwinsError(
                    f"{images.name(index)}: cannot be read ({error.strerror or error}); fix it, or pass --bad-images "
                    "skip"
                ) from error
            left_out.append(f"{images.name(index)}: {error.strerror or error}")
            continue
        label = images.labels[index]
        yield Sample(name, content, label, images.classes[label], index)


def _content(images: LabelledImages, index: int) -> bytes:
    """The file as it is; of an image in memory a PNG. Raises OSError."""
    image: Any = images.images[index]
    if not isinstance(image, np.ndarray):
        return read_source(image)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def _name(images: LabelledImages, index: int, home: Path, part: str) -> str:
    """Below the data's folder; by its class and number for an image in memory, and by its end for one elsewhere."""
    if images.in_memory:
        return f"{part}/{images.classes[images.labels[index]]}/{index:06d}.png"
    below = name_below(home, images.name(index))
    if not is_image(Path(below).name):
        raise TwinsError(f"{below}: does not end as images do (.jpg, .png ...), by which shards tell them from labels")
    return "/".join(Path(below).parts[-3:]) if below.startswith(("..", "/", "pipe:")) else below
