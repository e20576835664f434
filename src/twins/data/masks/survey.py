"""The look through all masks, shared out over processes, and what it comes to in words."""

from __future__ import annotations

from ...distributed.collectives import all_gather_object, share_of
from ...progress import Progress
from ...recipes import SegmentRecipe
from ..loading import workers_at_hand
from ..statistics import TRAINING, Survey, span
from .checks import MaskFindings, Tally, examine, findings, settle_classes
from .dataset import MaskedImages
from .transforms import crop_problem

ENOUGH_FOR_WORKERS = 100  # masks: fewer one process looks through before others could have started


def look_through(
    parts: dict[str, MaskedImages], recipe: SegmentRecipe, decode: bool = False
) -> tuple[tuple[str, ...], dict[str, MaskFindings]]:
    """The names of the classes, numbers where nobody has named them, and what is found in each part's masks.

    With `decode` images are read too, and not their heads alone. Every process must ask, and sees its share.
    """
    tallies = {part: _tally(part, images, recipe, decode) for part, images in parts.items()}
    classes = settle_classes(next(iter(parts.values())), sum(tallies.values(), Tally()))
    skip = recipe.bad_images == "skip"
    found = {part: findings(parts[part].with_classes(classes), tally, skip) for part, tally in tallies.items()}
    return classes, found


def survey_masks(parts: dict[str, MaskedImages], recipe: SegmentRecipe) -> Survey:
    """How often each class occurs in each part, and what is wrong."""
    classes, found = look_through(parts, recipe, decode=True)
    columns = [text for part in parts for text in (f"{part}: images", "of pixels")]
    rows = [
        (name, *(text for f in found.values() for text in (str(f.images[i]), _percent(f.pixels[i], sum(f.pixels)))))
        for i, name in enumerate(classes)
    ]
    errors = [f"{part}: {error}" for part, f in found.items() for error in f.errors]
    if TRAINING in found and (problem := crop_problem(recipe, found[TRAINING].extremes)):
        errors.append(problem)
    return Survey(
        parts=tuple(_described(part, len(images), found[part]) for part, images in parts.items()),
        columns=("class", *columns),
        rows=tuple(rows),
        errors=tuple(errors),
        warnings=tuple(f"{part}: {warning}" for part, f in found.items() for warning in f.warnings),
    )


def _tally(part: str, images: MaskedImages, recipe: SegmentRecipe, decode: bool) -> Tally:
    share = share_of(len(images))
    workers = workers_at_hand() if recipe.workers is None else recipe.workers
    progress = Progress(f"looking through masks, {part}", len(share), shown=share.start == 0)
    return sum(
        all_gather_object(examine(images, share, workers if len(share) > ENOUGH_FOR_WORKERS else 0, progress, decode)),
        Tally(),
    )


def _described(part: str, count: int, found: MaskFindings) -> str:
    if not found.sizes:
        return f"{part}: {count} images with masks, of which none can be used"
    ignored = _percent(found.ignored, found.ignored + sum(found.pixels))
    return f"{part}: {count} images with masks, {span(found.sizes)}; {ignored} of pixels are of no class"


def _percent(count: int, total: int) -> str:
    return f"{100 * count / max(total, 1):.2f} %"
