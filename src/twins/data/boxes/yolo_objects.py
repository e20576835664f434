"""From YOLO's labels to images with objects."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import TwinsError
from ..annotation_errors import FEW, Examples
from ..images import readable_size
from .box_formats import YOLO_BOX
from .dataset import BoxedImages, ObjectTable
from .polygons import bounded_polygon
from .segmentations import Segmentations, area_of
from .yolo_labels import Label, label_files, labels_without_image, read_labels


def labelled_images(images: Sequence[Path], classes: tuple[str, ...]) -> BoxedImages:
    """These files with the objects that their labels tell.

    Raises TwinsError, naming file and line, for labels that are none, and where no image has a file of labels.
    """
    files = label_files(images)
    sizes = [readable_size(image) for image in images]
    used: list[Label] = []
    boxes, areas, segmentations, ends, unknown = [], [], Segmentations(), [], []
    for file, size in zip(files, sizes, strict=True):
        for label in read_labels(file):
            if not 0 <= label.label < len(classes):
                unknown.append(f"{file}:{label.line} (class {label.label})")
            elif size:
                height, width = size
                box = label.box * (width, height, width, height)
                polygons = _polygons(file, label, (height, width))
                used.append(label)
                boxes.append(box)
                areas.append(area_of(polygons, size) if polygons else box[2] * box[3])
                segmentations.append(polygons)
        ends.append(len(used))
    table = ObjectTable(
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        labels=np.array([label.label for label in used], dtype=np.int64),
        crowd=np.zeros(len(used), dtype=bool),
        areas=np.array(areas, dtype=np.float64),
        segmentations=segmentations,
        ends=np.array(ends),
    )
    missing = [image for image, size in zip(images, sizes, strict=True) if size is None and not os.path.isfile(image)]
    warnings = {
        "images that are listed but not there": missing,
        "files of labels that no image belongs to, left out": labels_without_image(images, files),
    }
    return BoxedImages(
        images,
        table,
        sizes,
        range(1, len(images) + 1),
        classes,
        tuple(range(len(classes))),
        has_masks=table.have_masks,
        object_ids=np.split(np.array([label.line for label in used], dtype=np.int64), ends[:-1]),
        id_kind="line",
        box_format=YOLO_BOX,
        errors=tuple(_lines({f"classes beyond the {len(classes)} names": unknown})),
        warnings=tuple(_lines(warnings)),
    )


def _polygons(file: Path, label: Label, size: tuple[int, int]) -> list[Sequence[float]] | None:
    if label.polygon is None:
        return None
    height, width = size
    try:
        return [bounded_polygon((label.polygon * (width, height)).ravel().tolist(), size)]
    except ValueError as error:
        raise TwinsError(f"{file}:{label.line}: {error}; fix or remove it") from error


def _lines(kinds: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """A line for each kind that there is any of."""
    for kind, which in kinds.items():
        if which:
            yield f"{kind}: {Examples(len(which), tuple(map(str, which[:FEW])))}"
