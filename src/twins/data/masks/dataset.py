"""Images with masks: a class for each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...class_names import indices_by_name
from ...preprocessing import Size
from ..annotation_errors import AnnotationError
from ..images import ImageFiles, size_of, width_x_height
from .decoding import IGNORED, DecodedMask, MaskCoding, decode_mask
from .grey_levels import advice_on_values


@dataclass(frozen=True)
class MaskedImages(ImageFiles):
    """Images with a mask file each. `classes` is empty where nobody has named them."""

    masks: Sequence[Path]
    classes: tuple[str, ...]
    coding: MaskCoding
    warnings: tuple[str, ...] = ()  # images without a mask, and masks without an image, a line each
    notes: tuple[str, ...] = ()  # what was found out: which file names the classes, what ends the names of masks
    network_labels: tuple[int, ...] = ()  # a network's index of each of the data's classes, where these differ

    def read(self, index: int, channels: int) -> tuple[Image.Image, Tensor]:
        """The upright image of 1 or 3 channels, and its labels as from `read_mask`.

        Raises UnreadableImageError for a broken file, AnnotationError for a mask that does not fit the image or the
        classes.
        """
        image, mask = self.open(index, channels), self.read_mask(index)
        self.check_size(index, size_of(image), mask.shape)
        return image, mask

    def read_mask(self, index: int) -> Tensor:
        """(H, W) uint8 of labels from 0 to classes - 1, and IGNORED. Raises as `read` does."""
        return torch.from_numpy(self.decode(index).labels)

    def decode(self, index: int) -> DecodedMask:
        """As `read_mask`, as an array, and of how many pixels the nearest colour decided."""
        labels, approximated = decode_mask(self.masks[index], self.coding, self.reading)
        if self.classes:
            self._check_labels(index, labels)
        if self.network_labels:
            of_network = np.full(IGNORED + 1, IGNORED, dtype=np.uint8)
            of_network[: len(self.network_labels)] = self.network_labels
            labels = of_network[labels]
        return DecodedMask(labels, approximated)

    def check_size(self, index: int, size: Size, of_mask: Sequence[int]) -> None:
        """Raises AnnotationError unless the mask is as large as the image; both sizes are (height, width)."""
        height, width = of_mask
        if (height, width) == size:
            return
        if (width, height) == size:
            advice = "width and height are swapped: turn masks as the EXIF tags of their images turn these"
        else:
            advice = "save each mask in the size of its image"
        raise AnnotationError(
            f"{self.masks[index]}: {width} x {height} pixels, but {self.images[index]} has {width_x_height(size)}",
            advice,
        )

    def subset(self, indices: Sequence[int]) -> MaskedImages:
        return replace(self, images=[self.images[i] for i in indices], masks=[self.masks[i] for i in indices])

    def with_classes(self, names: Sequence[str]) -> MaskedImages:
        """The same images, their classes named."""
        return replace(self, classes=tuple(names))

    def for_network(self, known: Sequence[str], source: str) -> MaskedImages:
        """The same images, their labels those of a network that knows these classes, by name.

        Where the data's classes have no names, its labels are the network's. Raises TwinsError for a class of the data
        that the network does not know.
        """
        if not self.classes or self.classes == tuple(known):
            return self.with_classes(known)
        return replace(self.with_classes(known), network_labels=indices_by_name(self.classes, known, source))

    def _check_labels(self, index: int, labels: np.ndarray) -> None:
        count = len(self.network_labels or self.classes)
        values = np.flatnonzero(np.bincount(labels.ravel(), minlength=IGNORED + 1)[:IGNORED])
        if values.size and values[-1] >= count:
            values = values + self.coding.reduce_zero_label  # as the file has them
            raise AnnotationError(
                f"{self.masks[index]}: value {values[-1]} is outside the {count} classes",
                (None if self.coding.reduce_zero_label else advice_on_values(values.tolist(), count))
                or "name all classes (--classes), or say which values are none (--ignore-index, --reduce-zero-label)",
            )
