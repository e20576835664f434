"""Images of one data set with the classes of another: what a network knows, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from ...class_names import indices_by_name
from .dataset import BoxedImages, Objects


def with_classes_of(images: BoxedImages, classes: tuple[str, ...], source: str) -> BoxedImages:
    """The same images, their labels indices into `classes`, of which theirs may be some, in any order.

    Categories keep their ids; those that the images' own files lack get the next ones that are free. Raises TwinsError,
    naming `source`, for a class that is not among `classes`.
    """
    if images.classes == classes:
        return images
    indices = indices_by_name(images.classes, classes, source)
    ids = dict(zip(indices, images.category_ids, strict=True))
    free = count(max(images.category_ids) + 1)
    return replace(
        images,
        objects=_Relabelled(images.objects, np.array(indices, dtype=np.int64)),
        classes=classes,
        category_ids=tuple(ids[label] if label in ids else next(free) for label in range(len(classes))),
    )


class _Relabelled(Sequence[Objects]):
    """Objects with other labels: `labels[i]` instead of i."""

    def __init__(self, objects: Sequence[Objects], labels: np.ndarray) -> None:
        self.objects, self.labels = objects, labels

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, image: int) -> Objects:  # type: ignore[override]  # one at a time
        boxes, labels, crowd, areas, segmentations = self.objects[image]
        return Objects(boxes, self.labels[labels], crowd, areas, segmentations)
