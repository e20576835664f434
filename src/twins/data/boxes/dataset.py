"""Images with objects: a box, a class and perhaps an outline each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..annotation_errors import AnnotationError
from ..images import UnreadableImageError, read_image, upright_size
from .object_masks import Outline, Outlines, drawn

Size = tuple[int, int]  # width, height
T = TypeVar("T")

LEAST_SIDE = 1.0  # pixels inside the image: what is narrower the published training leaves out


class Objects(NamedTuple):
    """All N objects of one image, just as they are annotated; metrics count from these."""

    boxes: np.ndarray  # (N, 4) float64: x and y of the corner at the top left, width, height, in pixels
    labels: np.ndarray  # (N,) int64: places among the classes
    crowd: np.ndarray  # (N,) bool: a region of many objects that nobody told apart
    areas: np.ndarray  # (N,) float64 pixels, by which COCO calls an object small, medium or large
    outlines: tuple[Outline | None, ...]  # one for each, None where it has a box alone

    def __len__(self) -> int:  # objects, not fields
        return len(self.labels)


@dataclass(frozen=True)
class BoxedImages:
    """Images with their objects; an image may have none."""

    images: Sequence[Path]
    objects: Sequence[Objects]
    sizes: Sequence[Size | None]  # (width, height) as annotated; None: the image's head, which was to tell, is broken
    image_ids: Sequence[int]  # as COCO's files number the images
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]  # what COCO's files call each class
    has_masks: bool  # every object that is no crowd has an outline
    object_ids: Sequence[np.ndarray] = ()  # (N,) int64 for each image: by which its file knows the objects
    id_kind: str = "annotation"  # what these ids count
    faults: tuple[str, ...] = ()  # what makes the annotation files unfit for training, in words
    oddities: tuple[str, ...] = ()  # what was left out of them, in words

    def __len__(self) -> int:
        return len(self.images)

    @property
    def in_memory(self) -> bool:
        return False

    def name(self, index: int) -> str:
        return str(self.images[index])

    def object_name(self, index: int, place: int) -> str:
        """An object of an image, for messages."""
        return f"{self.name(index)}: {self.id_kind} {self.object_ids[index][place]}"

    def read(self, index: int, channels: int) -> tuple[Image.Image, dict[str, Tensor]]:
        """The upright image of 1 or 3 channels, and of its objects those that can be learnt from.

        The target holds `boxes` (N, 4) float32 x0, y0, x1, y1 in pixels, inside the image, `labels` (N,) int64, and
        where the set has masks `masks` (N, H, W) uint8 of 0 and 1. Crowds are left out, and what is less than a pixel
        wide or high inside the image. Raises UnreadableImageError for a broken or missing file, TwinsError for a
        image of another size than annotated, and for an outline that cannot be drawn.
        """
        image = read_image(self.images[index], channels)
        self.check_size(index, image.size)
        objects = self.objects[index]
        boxes, kept = learnable(objects, image.size)
        target = {
            "boxes": torch.from_numpy(boxes[kept]).float(),
            "labels": torch.from_numpy(objects.labels[kept]),
        }
        if self.has_masks:
            target["masks"] = self._masks(index, np.flatnonzero(kept), image.size)
        return image, target

    def check_size(self, index: int, size: Size) -> None:
        """Raises TwinsError unless the image, upright, is as large as annotated."""
        annotated = self.sizes[index]
        if annotated is None or annotated == size:
            return
        width, height = annotated
        if (height, width) == size:
            advice = "width and height are swapped: annotate images as their EXIF tags turn them, upright"
        else:
            advice = "annotate each image in the size that it has"
        raise AnnotationError(
            f"{self.name(index)}: {size[0]} x {size[1]} pixels, but annotated as {width} x {height}", advice
        )

    def boxes_alone(self) -> BoxedImages:
        """The same images, with no masks in their targets: they take time to draw."""
        return replace(self, has_masks=False)

    def subset(self, indices: Sequence[int]) -> BoxedImages:
        return replace(
            self,
            images=[self.images[i] for i in indices],
            objects=_Chosen(self.objects, indices),
            sizes=[self.sizes[i] for i in indices],
            image_ids=[self.image_ids[i] for i in indices],
            object_ids=_Chosen(self.object_ids, indices),
        )

    def _masks(self, index: int, places: np.ndarray, size: Size) -> Tensor:
        """(N, H, W) uint8 of the objects in these places."""
        masks = torch.empty(len(places), size[1], size[0], dtype=torch.uint8)
        outlines = self.objects[index].outlines
        for mask, place in zip(masks, places, strict=True):
            try:
                mask.copy_(torch.from_numpy(drawn(outlines[place], size)))
            except (ValueError, RuntimeError) as error:  # the library's answers to a code that is none
                name = self.object_name(index, place)
                raise AnnotationError(f"{name}: cannot be drawn ({error})", "fix its segmentation") from error
        return masks


def learnable(objects: Objects, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """(N, 4) float64 boxes x0, y0, x1, y1 inside an image of this size, and which of them (N,) are to be learnt."""
    corners = np.hstack([objects.boxes[:, :2], objects.boxes[:, :2] + objects.boxes[:, 2:]])
    inside = corners.clip(0, [*size, *size])
    return inside, ~objects.crowd & (inside[:, 2:] - inside[:, :2] >= LEAST_SIDE).all(axis=1)


def size_in_head(image: Path) -> Size | None:
    """Of the upright image; None where the file is missing or broken, which whoever reads it will tell."""
    try:
        return upright_size(image)
    except UnreadableImageError:
        return None


@dataclass(frozen=True, eq=False)
class ObjectTable(Sequence[Objects]):
    """The objects of many images, one image's after the other's, in a few long arrays: see `Outlines`."""

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    outlines: Outlines
    ends: np.ndarray  # (images,): where the objects of each end

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, image: int) -> Objects:  # type: ignore[override]  # one at a time
        end = int(self.ends[image])
        of = slice(int(self.ends[image - 1]) if image else 0, end)
        outlines = tuple(self.outlines[row] for row in range(of.start, end))
        return Objects(self.boxes[of], self.labels[of], self.crowd[of], self.areas[of], outlines)


class _Chosen(Sequence[T]):
    """Some of a sequence, taken when asked for."""

    def __init__(self, whole: Sequence[T], places: Sequence[int]) -> None:
        self.whole, self.places = whole, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: int) -> T:  # type: ignore[override]  # one at a time
        return self.whole[self.places[place]]
