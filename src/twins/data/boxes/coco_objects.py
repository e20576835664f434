"""From the entries of COCO's file to images with objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import TwinsError
from ...preprocessing import Size
from ..images import readable_size, width_x_height
from .coco_fields import Id
from .coco_file import Annotation, CocoImage, Listing, listing_errors, listing_warnings, own_numbers
from .dataset import BoxedImages, ObjectTable
from .polygons import bounded_polygon, may_be_unbounded
from .segmentations import Segmentations, WrittenSegmentation, area_of, box_of


def boxed_images(
    listing: Listing, images: Sequence[Path], classes: tuple[str, ...], warnings: Sequence[str] = ()
) -> BoxedImages:
    """The images of a listing, found in these files (see `listed_once`), with the objects of these classes.

    `warnings` are those that are known already; more stand in the listing. Raises TwinsError, naming file and
    annotation, for a segmentation that does not fit its image, or would take gigabytes to rasterise.
    """
    entries = listed_once(listing)
    sizes = [entry.size or readable_size(path) for entry, path in zip(entries, images, strict=True)]
    index_of = {entry.id: index for index, entry in enumerate(entries)}
    names = [category.name for category in listing.categories]
    label_of = {category.id: classes.index(category.name) for category in listing.categories}
    used = [a for a in listing.annotations if a.image in index_of and a.category in label_of]
    used.sort(key=lambda a: index_of[a.image])
    image_of = [index_of[a.image] for a in used]
    objects = _object_table(listing.file, used, image_of, [label_of[a.category] for a in used], sizes)
    category_number = dict(zip(names, own_numbers([category.id for category in listing.categories]), strict=True))
    return BoxedImages(
        images,
        objects,
        sizes,
        own_numbers([entry.id for entry in entries]),
        classes,
        tuple(category_number[name] for name in classes),
        has_masks=objects.have_masks,
        object_ids=np.split(np.array(own_numbers([a.id for a in used]), dtype=np.int64), objects.ends[:-1]),
        errors=tuple(listing_errors(listing)),
        warnings=(*warnings, *listing_warnings(listing)),
    )


def listed_once(listing: Listing) -> list[CocoImage]:
    """The images, of those that share an id the first one."""
    entries: dict[Id, CocoImage] = {}
    for entry in listing.images:
        entries.setdefault(entry.id, entry)
    return list(entries.values())


def _object_table(
    file: Path,
    annotations: Sequence[Annotation],
    image_of: Sequence[int],
    labels: Sequence[int],
    sizes: Sequence[Size | None],
) -> ObjectTable:
    """All objects; boxes that are not annotated follow from segmentations, areas from segmentations or boxes.

    `image_of` has each annotation's index into `sizes`, in ascending order.
    """
    boxes, areas, segmentations = [], [], _segmentations(file, annotations, image_of, sizes)
    for row, annotation in enumerate(annotations):
        box, area = annotation.box, annotation.area
        if box is None or area is None:
            segmentation, size = segmentations[row], sizes[image_of[row]]
            if box is None:
                box = box_of(segmentation, size) if segmentation and size else [0.0] * 4
            if area is None:
                area = area_of(segmentation, size) if segmentation and size else max(box[2], 0) * max(box[3], 0)
        boxes.append(box)
        areas.append(area)
    return ObjectTable(
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        labels=np.array(labels, dtype=np.int64),
        crowd=np.array([a.crowd for a in annotations], dtype=bool),
        areas=np.array(areas, dtype=np.float64),
        segmentations=segmentations,
        ends=np.bincount(np.array(image_of, dtype=np.int64), minlength=len(sizes)).cumsum(),
    )


def _segmentations(
    file: Path, annotations: Sequence[Annotation], image_of: Sequence[int], sizes: Sequence[Size | None]
) -> Segmentations:
    """Those of all annotations, with polygons that are bounded: see `bounded_polygon`.

    As a rule without a look at each polygon in Python: there are millions.
    """
    written = [annotation.segmentation for annotation in annotations]
    segmentations = Segmentations(written)
    for row, rle in segmentations.rles.items():
        _check_rle(file, annotations[row], rle, sizes[image_of[row]])
    reach = segmentations.reach()
    margins = np.array([max(size) if size else np.nan for size in sizes])[np.array(image_of, dtype=np.int64)]
    unbounded = may_be_unbounded(reach.numbers, reach.lowest, reach.highest, margins[reach.owner])
    for row in dict.fromkeys(reach.owner[unbounded].tolist()):
        written[row] = _bounded(file, annotations[row], sizes[image_of[row]])
    return Segmentations(written) if unbounded.any() else segmentations


def _check_rle(file: Path, annotation: Annotation, rle: dict[str, Any], size: Size | None) -> None:
    if size and rle["size"] != list(size):
        raise TwinsError(
            f"{file}: annotation {annotation.id}: segmentation of {width_x_height(rle['size'])} pixels in an image of "
            f"{width_x_height(size)}; annotate images in the size that they have"
        )


def _bounded(file: Path, annotation: Annotation, size: Size | None) -> WrittenSegmentation | None:
    polygons = annotation.segmentation
    if size is None or not isinstance(polygons, list):
        return polygons
    try:
        return [bounded_polygon(polygon, size) for polygon in polygons]
    except ValueError as error:
        raise TwinsError(f"{file}: annotation {annotation.id}: segmentation holds {error}; fix or remove it") from error
