"""Which of the categories in COCO's files are classes, the same ones for all parts of a data set."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import TwinsError
from .coco_file import Category, Listing, repeated


def without_root_categories(listings: Sequence[Listing]) -> list[tuple[Listing, str | None]]:
    """Each listing without the category that Roboflow puts above all others, and a line if there was one.

    It stays where any of the files has an object of it: then it is a class.
    """
    roots = [_root_category(listing) for listing in listings]
    if any(_is_annotated(root, listing) for root, listing in zip(roots, listings, strict=True)):
        return [(listing, None) for listing in listings]
    return [_without(root, listing) for root, listing in zip(roots, listings, strict=True)]


def shared_classes(listings: Sequence[Listing]) -> tuple[str, ...]:
    """The names that all parts share, in the order of the first one's ids.

    Raises TwinsError where two categories of a file have one name, and where a file lacks a class of another.
    """
    for listing in listings:
        for twice in repeated(category.name for category in listing.categories):
            raise TwinsError(f"{listing.file}: several categories are called {twice!r}; each has its own name and id")
    parts = [[category.name for category in listing.categories] for listing in listings]
    for listing, names in zip(listings, parts, strict=True):
        if lacking := [name for part in parts for name in part if name not in names]:
            others = next(other.file for other in listings if other.file != listing.file)
            raise TwinsError(f"{listing.file}: lacks category {lacking[0]!r} of {others}; list the same ones in both")
    return tuple(parts[0])


def _root_category(listing: Listing) -> Category | None:
    """Roboflow's: number 0, of no category itself, of which all others are; a class may well have its name."""
    root, *others = listing.categories
    of_none = root.id == 0 and root.parent == "none" != root.name.lower()
    return root if of_none and others and all(c.parent == root.name for c in others) else None


def _is_annotated(category: Category | None, listing: Listing) -> bool:
    return category is not None and any(a.category == category.id for a in listing.annotations)


def _without(root: Category | None, listing: Listing) -> tuple[Listing, str | None]:
    if root is None:
        return listing, None
    line = (
        f"{listing.file}: category {root.name!r} (id {root.id}) stands for all others and has no objects: no class, "
        "left out"
    )
    return listing._replace(categories=[c for c in listing.categories if c is not root]), line
