"""A segmenter's mistakes in each image, and the masks of the images where it makes most."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor

from ..distributed.collectives import all_gather_object


class ImageMistakes(NamedTuple):
    """Of one image; the commonest confusion is (0, 0) where there is none."""

    wrong: float  # the share of its labelled pixels that are predicted as another class, in per cent
    image: int  # its index
    truth: int  # of the commonest confusion
    predicted: int
    pixels: int  # that are confused so

    @classmethod
    def of(cls, image: int, confusion: Tensor) -> Self:
        """Those in an image's (classes, classes) int64 counts of pixels, [truth, prediction]."""
        confusion = confusion.cpu()
        wrong = confusion - confusion.diag().diag()
        cell = int(wrong.argmax())
        truth, predicted = divmod(cell, len(confusion))
        share = 100 * wrong.sum() / confusion.sum().clamp(min=1)
        pixels = int(wrong[truth, predicted])
        return cls(float(share), image, *((truth, predicted) if pixels else (0, 0)), pixels)

    def describe(self, classes: Sequence[str]) -> str:
        """In words: "12.3 % of the pixels wrong, most often road taken for path"."""
        if not self.pixels:
            return "no pixel wrong"
        confused = f"{classes[self.truth]} taken for {classes[self.predicted]}"
        return f"{self.wrong:.1f} % of the pixels wrong, most often {confused}"


class WorstMasks:
    """The mistakes in all images, and the predictions for so many of them with the largest shares of wrong pixels."""

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self.images: list[ImageMistakes] = []
        self.masks: list[tuple[ImageMistakes, Tensor]] = []  # (H, W) uint8 on the CPU; the worst image first

    def add(self, mistakes: ImageMistakes, mask: Tensor) -> None:
        """An image with its (H, W) predicted mask of up to 255 classes."""
        self.images.append(mistakes)
        is_among_worst = len(self.masks) < self.kept or _worst_first(mistakes) < _worst_first(self.masks[-1][0])
        if mistakes.pixels and is_among_worst:
            self.masks.append((mistakes, mask.to(torch.uint8).cpu()))
            self._sort()

    def gather(self) -> None:
        """Bring together what all ranks have seen; each of them must ask."""
        self.images = sorted(chain.from_iterable(all_gather_object(self.images)), key=_worst_first)
        self.masks = list(chain.from_iterable(all_gather_object(self.masks)))
        self._sort()

    def _sort(self) -> None:
        self.masks = sorted(self.masks, key=lambda pair: _worst_first(pair[0]))[: self.kept]


def _worst_first(mistakes: ImageMistakes) -> tuple[float, int]:
    return -mistakes.wrong, mistakes.image


def write_image_mistakes(
    path: Path, images: Sequence[ImageMistakes], name: Callable[[int], str], classes: Sequence[str]
) -> None:
    """A CSV file with a row for each image that has wrong pixels, in this order: their share and what most of them are.

    `name` gives the file of an image's index.
    """
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "wrong (%)", "truth", "predicted", "pixels"])
        for m in images:
            if m.pixels:
                table.writerow([name(m.image), f"{m.wrong:.2f}", classes[m.truth], classes[m.predicted], m.pixels])
