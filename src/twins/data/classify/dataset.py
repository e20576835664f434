"""Images with a label each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from ...class_names import indices_by_name
from ..data_part import DataPart
from ..image_source import ImageSource
from ..images import USUAL_READING, ImageReading, UnreadableImageError, read_image
from ..packed import PackedPaths, those_at
from ..pixel_values import as_bytes


@dataclass(frozen=True)
class LabelledImages(DataPart):
    """N images, one label each, and the names of the classes that labels number.

    `images` are files, members of shards, or an (N, H, W) or (N, H, W, 3) uint8 array; `labels` are indices into
    `classes`.
    """

    images: Sequence[ImageSource] | np.ndarray
    labels: Sequence[int]
    classes: tuple[str, ...]
    warnings: tuple[str, ...] = ()  # what was left out of the data, a line each
    reading: ImageReading = USUAL_READING

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """The image's file, or its number; for messages, and for the split into parts, which follows from it."""
        image = self.images[index]
        # In these very words: with others a run on the embedded digits would validate on other scans.
        return str(image) if isinstance(image, ImageSource) else f"picture {index}"

    def names(self) -> Iterable[str]:
        """As `name`, of all images; without a Path for each where there are many."""
        return self.images.strings if isinstance(self.images, PackedPaths) else super().names()

    @property
    def in_memory(self) -> bool:
        return isinstance(self.images, np.ndarray)

    def read(self, index: int, channels: int) -> tuple[Image.Image, int]:
        """The image as from `open`, and its label."""
        return self.open(index, channels), self.labels[index]

    def open(self, index: int, channels: int) -> Image.Image:
        """The image as a PIL image of 1 or 3 channels. Raises UnreadableImageError."""
        image = self.images[index]
        if isinstance(image, ImageSource):
            return read_image(image, channels, self.reading)
        try:
            return as_bytes(Image.fromarray(image), channels, self.reading.bit_depth)
        except ValueError as error:
            raise UnreadableImageError(f"{self.name(index)}: {error}") from error

    def relabelled(self, classes: tuple[str, ...], source: str) -> LabelledImages:
        """The same images, their labels as indices into `classes`.

        Raises TwinsError, naming `source`, for an image of a class that is not there; one without images may be.
        """
        names = self.classes_with_images
        index_of = dict(zip(names, indices_by_name(names, classes, source), strict=True))
        return replace(self, labels=[index_of[self.classes[label]] for label in self.labels], classes=classes)

    @property
    def classes_with_images(self) -> tuple[str, ...]:
        """The names of the classes that occur, in order."""
        return tuple(self.classes[label] for label in sorted(set(self.labels)))

    def subset(self, indices: Sequence[int]) -> LabelledImages:
        """The images at these indices, in this order."""
        images = self.images
        kept = images[list(indices)] if isinstance(images, np.ndarray) else those_at(images, indices)
        return replace(self, images=kept, labels=[self.labels[i] for i in indices])
