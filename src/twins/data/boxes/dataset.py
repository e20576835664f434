"""Images with objects: a box, a class and perhaps a segmentation each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image

from ...preprocessing import Size
from ..annotation_errors import AnnotationError
from ..images import ImageFiles, size_of, width_x_height
from .box_formats import COCO_BOX
from .object_masks import ObjectMasks
from .segmentations import Segmentation, Segmentations

T = TypeVar("T")

LEAST_SIDE = 1.0  # pixels inside the image: what is narrower the published training leaves out


class Objects(NamedTuple):
    """All N objects of one image, just as they are annotated; metrics count from these."""

    boxes: np.ndarray  # (N, 4) float64: x and y of the corner at the top left, width, height, in pixels
    labels: np.ndarray  # (N,) int64: indices into the classes
    crowd: np.ndarray  # (N,) bool: a region of many objects that are not annotated one by one
    areas: np.ndarray  # (N,) float64 pixels, by which COCO calls an object small, medium or large
    segmentations: tuple[Segmentation | None, ...]  # one for each, None where it has a box alone

    def __len__(self) -> int:  # objects, not fields
        return len(self.labels)


@dataclass(frozen=True)
class BoxedImages(ImageFiles):
    """Images with their objects; an image may have none."""

    objects: Sequence[Objects]
    sizes: Sequence[Size | None]  # (height, width) as annotated; None where neither a file nor the image's header says
    image_ids: Sequence[int]  # as COCO's files number the images
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]  # what COCO's files call each class
    has_masks: bool  # half or more of the objects that are no crowds have a segmentation
    object_ids: Sequence[np.ndarray] = ()  # (N,) int64 for each image: by which its file knows the objects
    id_kind: str = "annotation"  # what these ids count
    box_format: str = COCO_BOX  # in which the files have boxes, for messages
    errors: tuple[str, ...] = ()  # what makes the annotation files unfit for training, a line each
    warnings: tuple[str, ...] = ()  # what was left out of them, a line each

    def object_name(self, index: int, position: int) -> str:
        """The object at this position among those of an image, for messages."""
        return f"{self.name(index)}: {self.id_kind} {self.object_ids[index][position]}"

    def read(self, index: int, channels: int) -> tuple[Image.Image, dict[str, Any]]:
        """The upright image of 1 or 3 channels, and of its objects those that can be learnt from.

        The target holds `boxes` (N, 4) float32 x0, y0, x1, y1 in pixels, inside the image, `labels` (N,) int64, and
        where the set has masks `masks`, which stand for (N, H, W) uint8 of 0 and 1, and `has_mask` (N,) bool: an object
        without a segmentation, or whose segmentation has no pixel or lies elsewhere than its box, is to be learnt by
        its box alone. Crowds are left out, and what is less than a pixel wide or high inside the image. Raises
        UnreadableImageError for a broken or missing file, AnnotationError for an image of another size than annotated,
        and for a segmentation that cannot be rasterised.
        """
        image = self.open(index, channels)
        size = size_of(image)
        self.check_size(index, size)
        objects = self.objects[index]
        boxes, kept = learnable(objects, size)
        target: dict[str, Any] = {
            "boxes": torch.from_numpy(boxes[kept]).float(),
            "labels": torch.from_numpy(objects.labels[kept]),
        }
        if self.has_masks:
            masks = self.masks(index, np.flatnonzero(kept), size)
            target |= {"masks": masks, "has_mask": torch.from_numpy(masks.meet(boxes[kept]))}
        return image, target

    def check_size(self, index: int, size: Size) -> None:
        """Raises AnnotationError unless the image, upright, is as large as annotated."""
        annotated = self.sizes[index]
        if annotated is None or annotated == size:
            return
        if annotated == (size[1], size[0]):
            advice = "width and height are swapped: annotate images as their EXIF tags turn them, upright"
        else:
            advice = "annotate each image in the size that it has"
        found, expected = width_x_height(size), width_x_height(annotated)
        raise AnnotationError(f"{self.name(index)}: {found} pixels, but annotated as {expected}", advice)

    def boxes_alone(self) -> BoxedImages:
        """The same images, with no masks in their targets: they take time to rasterise."""
        return replace(self, has_masks=False)

    def subset(self, indices: Sequence[int]) -> BoxedImages:
        """The images at these indices, in this order."""
        return replace(
            self,
            images=[self.images[i] for i in indices],
            objects=_Chosen(self.objects, indices),
            sizes=[self.sizes[i] for i in indices],
            image_ids=[self.image_ids[i] for i in indices],
            object_ids=_Chosen(self.object_ids, indices),
        )

    def masks(self, index: int, positions: Sequence[int] | np.ndarray, size: Size) -> ObjectMasks:
        """Those of the objects at these positions in an image of this size; empty without a segmentation.

        Raises AnnotationError, naming the object, for a segmentation that cannot be rasterised.
        """
        masks, segmentations = ObjectMasks(size), self.objects[index].segmentations
        for position in positions:
            try:
                masks.append(segmentations[position])
            except (ValueError, RuntimeError) as error:  # what the library raises for an RLE that means nothing
                name = self.object_name(index, position)
                raise AnnotationError(f"{name}: cannot be rasterised ({error})", "fix its segmentation") from error
        return masks


def corners_of(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) x, y, width, height -> (N, 4) x0, y0, x1, y1."""
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


def learnable(objects: Objects, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """(N, 4) float64 boxes x0, y0, x1, y1 inside an image of this size, and which of them, (N,) bool, are learnt."""
    height, width = size
    inside = corners_of(objects.boxes).clip(0, [width, height, width, height])
    return inside, ~objects.crowd & (inside[:, 2:] - inside[:, :2] >= LEAST_SIDE).all(axis=1)


@dataclass(frozen=True, eq=False)
class ObjectTable(Sequence[Objects]):
    """The objects of many images, one image's after the other's, in a few long arrays: see `Segmentations`."""

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    segmentations: Segmentations
    ends: np.ndarray  # (images,): where the objects of each end

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def have_masks(self) -> bool:
        """Whether half or more of the objects that are no crowds have a segmentation: else they are boxes."""
        return bool(2 * self.segmentations.there()[~self.crowd].sum() >= (~self.crowd).sum())

    def __getitem__(self, image: int) -> Objects:  # type: ignore[override]  # one at a time
        end = int(self.ends[image])
        of = slice(int(self.ends[image - 1]) if image else 0, end)
        segmentations = tuple(self.segmentations[row] for row in range(of.start, end))
        return Objects(self.boxes[of], self.labels[of], self.crowd[of], self.areas[of], segmentations)


class _Chosen(Sequence[T]):
    """Some items of a sequence, each taken when it is asked for."""

    def __init__(self, whole: Sequence[T], indices: Sequence[int]) -> None:
        self.whole, self.indices = whole, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> T:  # type: ignore[override]  # one at a time
        return self.whole[self.indices[position]]
