"""The look through all boxes, shared out over processes, and what it comes to in words."""

from __future__ import annotations

import math
from dataclasses import replace

from ...distributed.collectives import all_gather_object, share_of
from ...progress import Progress
from ...recipes import DetectRecipe
from ..annotation_errors import FEW, a_few
from ..loading import workers_at_hand
from ..statistics import TRAINING, VALIDATION, Survey, span
from .checks import CHUNK, BoxFindings, BoxTally, examine, findings
from .dataset import BoxedImages


def look_through(parts: dict[str, BoxedImages], recipe: DetectRecipe, decode: bool = False) -> dict[str, BoxFindings]:
    """What is found in each part. Every process must ask, and sees its share.

    With `decode` images are read and outlines drawn; otherwise the heads of the images are read alone.
    """
    skip = recipe.bad_images == "skip"
    found = {part: findings(images, _tally(part, images, recipe, decode), skip) for part, images in parts.items()}
    if both := _in_both(parts):
        warning = f"images that are in training as well: {a_few(both[:FEW], len(both), '; ')}"
        found[VALIDATION] = replace(found[VALIDATION], warnings=(*found[VALIDATION].warnings, warning))
    return found


def survey_boxes(parts: dict[str, BoxedImages], recipe: DetectRecipe) -> Survey:
    """How often each class occurs in each part, how large its objects are, and what is wrong."""
    found = look_through(parts, recipe, decode=True)
    columns = [text for part in parts for text in (f"{part}: objects", "images", "S/M/L %")]
    classes = next(iter(parts.values())).classes
    rows = [
        (name, *(text for f in found.values() for text in _figures(f.objects[label], f.images[label])))
        for label, name in enumerate(classes)
    ]
    return Survey(
        parts=tuple(_described(part, images, found[part]) for part, images in parts.items()),
        columns=("class", *columns),
        rows=tuple(rows),
        errors=tuple(f"{part}: {error}" for part, f in found.items() for error in f.errors),
        warnings=tuple(f"{part}: {warning}" for part, f in found.items() for warning in f.warnings),
    )


def _tally(part: str, images: BoxedImages, recipe: DetectRecipe, decode: bool) -> BoxTally:
    share = share_of(len(images))
    workers = workers_at_hand() if recipe.workers is None else recipe.workers
    if len(share) <= (100 if decode else 1000):  # one process is through before others could have started
        workers = 0
    progress = Progress(f"looking through boxes, {part}", math.ceil(len(share) / CHUNK), shown=share.start == 0)
    return sum(all_gather_object(examine(images, share, workers, progress, decode)), BoxTally())


def _in_both(parts: dict[str, BoxedImages]) -> list[str]:
    """Files that are in training and in validation: metrics from these tell nothing."""
    train, val = (parts[part].images if part in parts else () for part in (TRAINING, VALIDATION))
    return sorted(map(str, set(train) & set(val)))


def _described(part: str, images: BoxedImages, found: BoxFindings) -> str:
    if not found.sizes:
        return f"{part}: {len(images)} images with boxes, of which none can be used"
    masks = "with outlines" if images.has_masks else "without outlines"
    return f"{part}: {len(images)} images, {span(found.sizes)}; {sum(map(sum, found.objects))} objects, {masks}"


def _figures(objects: tuple[int, int, int], images: int) -> tuple[str, str, str]:
    """What a row tells of a class in one part."""
    count = sum(objects)
    return str(count), str(images), "/".join(f"{100 * some / max(count, 1):.0f}" for some in objects)
