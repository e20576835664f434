"""COCO's JSON file: images, categories and annotations, each entry read and checked, but not yet put together."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, NamedTuple, TypeVar

from ...errors import TwinsError
from ...preprocessing import Size
from ..annotation_errors import FEW, Examples
from . import coco_fields as field
from .coco_fields import Id, Row
from .segmentations import WrittenSegmentation

T = TypeVar("T")


class CocoImage(NamedTuple):
    id: Id
    file: str
    size: Size | None


class Category(NamedTuple):
    id: Id
    name: str
    parent: str | None


class Annotation(NamedTuple):
    id: Id
    image: Id
    category: Id
    box: list[float] | None  # x, y, width, height
    area: float | None
    crowd: bool
    segmentation: WrittenSegmentation | None


class Listing(NamedTuple):
    """What a file holds; categories in the order of their ids."""

    file: Path
    images: list[CocoImage]
    categories: list[Category]
    annotations: list[Annotation]


@contextmanager
def without_collector() -> Iterator[None]:
    """Without Python's search for cycles: in millions of lists without one that takes as long as to read them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_listing(file: Path) -> Listing:
    """Raises TwinsError, naming file and entry, for what cannot be read."""
    content = _json(file)
    images = _each(file, content, "images", _image)
    categories = _each(file, content, "categories", _category)
    for kind, entries in (("images", images), ("categories", categories)):
        if not entries:
            raise TwinsError(f"{file}: the list {kind!r} is empty")
    for twice in repeated(c.id for c in categories):
        raise TwinsError(f"{file}: several categories are called {twice!r}; each has its own name and id")
    number = dict(zip((c.id for c in categories), own_numbers([c.id for c in categories]), strict=True))
    categories.sort(key=lambda category: number[category.id])
    return Listing(file, images, categories, _each(file, content, "annotations", _annotation))


def looks_like_coco(file: Path) -> bool:
    """Whether the file names COCO's lists, without reading it as JSON."""
    try:
        content = file.read_bytes()
    except OSError:
        return False
    return all(f'"{kind}"'.encode() in content for kind in ("images", "annotations", "categories"))


def own_numbers(ids: Sequence[Id]) -> list[int]:
    """Ids as numbers: text gets those from 1 on that are not in use, in its order."""
    taken = {id for id in ids if isinstance(id, int)}
    if len(taken) == len(ids):
        return list(ids)  # type: ignore[arg-type]
    free = (number for number in count(1) if number not in taken)
    numbers: dict[Id, int] = {}
    for id in ids:
        if id not in numbers:
            numbers[id] = id if isinstance(id, int) else next(free)
    return [numbers[id] for id in ids]


def repeated(values: Iterable[T]) -> list[T]:
    """Each value that is there more than once."""
    return [value for value, count in Counter(values).items() if count > 1]


def listing_errors(listing: Listing) -> Iterator[str]:
    """What makes the file unfit for training, a line each."""
    categories = {category.id for category in listing.categories}
    unknown = [f"{a.id} (category {a.category})" for a in listing.annotations if a.category not in categories]
    yield from _with_examples(listing, "annotations of categories that are not listed", unknown)
    yield from _with_examples(listing, "ids that several images share", repeated(p.id for p in listing.images))


def listing_warnings(listing: Listing) -> Iterator[str]:
    """What is left out of the file, or read in another way than it is written, a line each."""
    images = {image.id for image in listing.images}
    unknown = [f"{a.id} (image {a.image})" for a in listing.annotations if a.image not in images]
    yield from _with_examples(listing, "annotations of images that are not listed, left out", unknown)
    yield from _with_examples(
        listing, "ids that several annotations share", repeated(a.id for a in listing.annotations)
    )
    for kind in ("images", "categories", "annotations"):
        texts = [entry.id for entry in getattr(listing, kind) if isinstance(entry.id, str)]
        yield from _with_examples(listing, f"ids of {kind} in text, for which results have numbers of their own", texts)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise TwinsError(f"{file}: not readable as JSON ({error})") from error
    except RecursionError as error:
        raise TwinsError(f"{file}: not readable as JSON (lists in lists in lists ... without end)") from error


def _each(file: Path, content: Any, kind: str, read: Callable[[Row], T]) -> list[T]:
    """What `read` returns for each entry of the list `kind`; a ValueError of its becomes a TwinsError naming it.

    Entries that have been read are taken out of `content`, so that a million are not in memory twice.
    """
    entries = content.get(kind) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise TwinsError(f"{file}: no list {kind!r} there; expected COCO's annotations of objects, instances_*.json")
    found = []
    for index, entry in enumerate(entries):
        try:
            if not isinstance(entry, dict):
                raise ValueError(f"is {shortened(entry)}; expected an object with fields, {_EXAMPLES[kind]}")
            found.append(read(entry))
            entries[index] = None
        except ValueError as error:
            its_id = f" (id {_unquoted(entry['id'])})" if isinstance(entry, dict) and "id" in entry else ""
            raise TwinsError(f"{file}: {kind}[{index}]{its_id}: {error}") from error
    return found


_EXAMPLES = {
    "images": '{"id": 1, "file_name": "a.jpg", ...}',
    "categories": '{"id": 1, "name": "cat"}, since annotations name categories by their ids',
    "annotations": '{"id": 1, "image_id": 1, "category_id": 1, "bbox": [...], ...}',
}


def _unquoted(id: Any) -> str:
    return shortened(id).strip("'")


def _image(row: Row) -> CocoImage:
    return CocoImage(field.identifier(row, "id"), field.text(row, "file_name"), field.image_size(row))


def _category(row: Row) -> Category:
    parent = row.get("supercategory")
    return Category(field.identifier(row, "id"), field.text(row, "name"), parent if isinstance(parent, str) else None)


def _annotation(row: Row) -> Annotation:
    box, segmentation = field.bounding_box(row), field.segmentation(row)
    if box is None and not row.get("segmentation"):
        raise ValueError(
            "neither bbox nor segmentation; expected objects (instances_*.json), not captions or keypoints"
        )
    return Annotation(
        field.identifier(row, "id"),
        field.identifier(row, "image_id"),
        field.identifier(row, "category_id"),
        box,
        field.area(row),
        field.is_crowd(row),
        segmentation,
    )


def _with_examples(listing: Listing, kind: str, which: Sequence[Any]) -> Iterator[str]:
    if which:
        yield f"{listing.file}: {kind}: {Examples(len(which), tuple(map(_unquoted, which[:FEW])))}"
