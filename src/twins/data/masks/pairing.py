"""Which mask belongs to which image: by their names, but for what ends these.

`a.jpg` goes with `a.png`, but also with `a_mask.png`, in another folder or side by side in one.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import TwinsError
from ...recipes import SegmentRecipe
from ..annotation_errors import FEW, a_few
from ..file_walk import walk_files
from ..image_suffixes import IMAGE_SUFFIXES

MASK_TYPES = (".png", ".tif", ".tiff", ".bmp", ".gif")
MASK_ENDINGS = (
    "_mask", "-mask", ".mask", "_masks", "_manual1", "_gt", "_seg", "_segmentation", "_label", "_labels", "_lbl", "_L",
    "_annotation", "_gtFine_labelTrainIds", "_gtFine_labelIds", "_gtCoarse_labelTrainIds", "_gtCoarse_labelIds",
)  # fmt: skip
IMAGE_ENDINGS = ("", "_leftImg8bit", "_image", "_img", "_sat", "_rgb")
_LOSSY = (".jpg", ".jpeg")  # never of masks

Files = dict[str, list[str]]  # paths below a folder, by what they are without what ends them


class Way(NamedTuple):
    """What the names of images may end with, and those of masks."""

    image_ending: str  # what messages say of the next
    image_suffixes: tuple[str, ...]
    mask_suffix: str

    def notes(self, recipe: SegmentRecipe) -> tuple[str, ...]:
        """A line that says so, unless the names are plain or the recipe gives their ends."""
        plain = not self.image_ending and self.mask_suffix in MASK_TYPES
        if plain or (recipe.img_suffix is not None and recipe.mask_suffix is not None):
            return ()
        images = f"*{self.image_ending}" if self.image_ending else "any image"
        return (f"{images} goes with *{self.mask_suffix} (--img-suffix and --mask-suffix say otherwise)",)


class Pairs(NamedTuple):
    """Images with a mask each, in the order of their names."""

    images: list[Path]
    masks: list[Path]
    warnings: tuple[str, ...]  # a line for each kind of files that have no other half
    notes: tuple[str, ...]  # which endings were taken, unless they are the plain ones


def pair_up(image_folder: Path, mask_folder: Path, recipe: SegmentRecipe) -> Pairs:
    """The images below one folder that have a mask below the other, which may be the same folder.

    However accents are composed, which differs from system to system, does not count. Where the recipe does not say
    what ends the names, plain ones come first, then the usual endings. Raises TwinsError, naming folder or file, where
    nothing pairs, more than one way would, or two files share a name.
    """
    images, masks = _files(image_folder), _files(mask_folder)
    among = [] if recipe.img_suffix is not None else masks_among(images)
    left_out = set(among)
    photographs = [file for file in images if file not in left_out]
    way = _best_way(photographs, masks, _ways(recipe, image_folder == mask_folder), mask_folder)
    if way is None:
        raise TwinsError(_why_no_pair(image_folder, mask_folder, recipe))
    of_images = _alone(_by_stem(photographs, way.image_suffixes), image_folder, "--img-suffix")
    of_masks = _alone(_by_stem(masks, (way.mask_suffix,)), mask_folder, "--mask-suffix")
    both = sorted(of_images.keys() & of_masks.keys())
    warnings = _without(of_images, of_masks, image_folder, "image", "a mask")
    warnings += _without(of_masks, of_images, mask_folder, "mask", "an image")
    if among and image_folder != mask_folder:
        warnings.append(f"masks among the images in {image_folder}, left out: {a_few(among[:FEW], len(among))}")
    return Pairs(
        [image_folder / of_images[stem] for stem in both],
        [mask_folder / of_masks[stem] for stem in both],
        tuple(warnings),
        way.notes(recipe),
    )


def _best_way(images: Sequence[str], masks: Sequence[str], ways: Iterator[list[Way]], folder: Path) -> Way | None:
    """The way that pairs most, of the plainest ones of which any pairs something; None where none does."""
    for equally_plain in ways:
        by_suffixes = {way.image_suffixes: _by_stem(images, way.image_suffixes).keys() for way in equally_plain}
        by_suffix = {way.mask_suffix: _by_stem(masks, (way.mask_suffix,)).keys() for way in equally_plain}
        counts = {way: len(by_suffixes[way.image_suffixes] & by_suffix[way.mask_suffix]) for way in equally_plain}
        if most := max(counts.values(), default=0):
            best = [way for way in equally_plain if counts[way] == most]
            if len(best) > 1:
                kinds = ", ".join(way.mask_suffix for way in best)
                raise TwinsError(f"{folder}: several kinds of masks fit ({kinds}); say by --mask-suffix which to take")
            return best[0]
    return None


def masks_among(files: Sequence[str]) -> list[str]:
    """Those of some images that are the mask of another by what ends their names."""
    stems = {_stem(file) for file in files if file.lower().endswith(IMAGE_SUFFIXES)}
    endings = tuple(ending.lower() for ending in MASK_ENDINGS)
    found = []
    for file in files:
        stem = _stem(file)
        ending = next((e for e in endings if stem.lower().endswith(e)), None)
        if ending and file.lower().endswith(MASK_TYPES) and stem[: -len(ending)] in stems:
            found.append(file)
    return found


def are_side_by_side(folder: Path) -> bool:
    """Whether images and their masks lie in this one folder, `a.jpg` beside `a_mask.png` or `a.png`."""
    files = _files(folder)
    photographs = {_stem(file) for file in files if file.lower().endswith(_LOSSY)}
    return bool(masks_among(files)) or any(
        _stem(file) in photographs for file in files if file.lower().endswith(MASK_TYPES)
    )


def _ways(recipe: SegmentRecipe, together: bool) -> Iterator[list[Way]]:
    """Ways to pair, the plainest first; of those in one list none is plainer than another."""
    of_images: list[tuple[str, tuple[str, ...]]]
    if recipe.img_suffix is not None:
        of_images = [(recipe.img_suffix, (recipe.img_suffix,))]
        plain_images = of_images[0]
    else:
        of_images = [(end, tuple(end + suffix for suffix in IMAGE_SUFFIXES)) for end in IMAGE_ENDINGS]
        plain_images = ("", _LOSSY if together else IMAGE_SUFFIXES)
    if recipe.mask_suffix is not None:
        yield [Way(*of_images[0], recipe.mask_suffix)]
        yield [Way(*ending, recipe.mask_suffix) for ending in of_images[1:]]
        return
    for mask_type in MASK_TYPES:
        yield [Way(*plain_images, mask_type)]
    yield [Way(*images, end + kind) for images in of_images for end in MASK_ENDINGS for kind in MASK_TYPES]


def _by_stem(files: Sequence[str], suffixes: tuple[str, ...]) -> Files:
    found: Files = defaultdict(list)
    for file in files:
        suffix = next((s for s in suffixes if file.lower().endswith(s.lower())), None)
        if suffix is not None:
            found[_composed(file[: -len(suffix)])].append(file)
    return found


def _alone(files: Files, folder: Path, flag: str) -> dict[str, str]:
    """The one file of each name."""
    for several in files.values():
        if len(several) > 1:
            raise TwinsError(
                f"{folder}: {several[0]} and {several[1]} differ by suffix alone; say by {flag} which to take"
            )
    return {stem: only for stem, (only,) in files.items()}


def _stem(file: str) -> str:
    return _composed(os.path.splitext(file)[0])


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _files(folder: Path) -> list[str]:
    """All files below, sorted; not the hidden ones, of which some systems leave one for each image."""
    return sorted(path.relative_to(folder).as_posix() for path in walk_files(folder).files)


def _why_no_pair(images: Path, masks: Path, recipe: SegmentRecipe) -> str:
    image_files, mask_files = _files(images), _files(masks)
    if mask_files and all(file.lower().endswith(_LOSSY) for file in mask_files):
        return (
            f"{masks}: all masks are JPEG files ({mask_files[0]}); its compression invents values between the classes: "
            f"save masks as PNG files, or for masks of two classes pass --mask-threshold 128 --mask-suffix .jpg"
        )
    here, there = (f"as {files[0]}" if files else "it is empty" for files in (image_files, mask_files))
    return (
        f"{images}: no image ({here}) has a mask in {masks} ({there}); names must be the same before "
        f"--img-suffix ({recipe.img_suffix or 'any image'}) and --mask-suffix ({recipe.mask_suffix or 'any usual one'})"
    )


def _without(these: dict[str, str], those: dict[str, str], folder: Path, kind: str, other: str) -> list[str]:
    files = [these[stem] for stem in sorted(these.keys() - those.keys())]
    if not files:
        return []
    kinds = kind if len(files) == 1 else f"{kind}s"
    return [f"{len(files)} {kinds} without {other} in {folder}: {a_few(files[:FEW], len(files))}"]
