"""Images of one part of a data set, whatever is annotated: they can be counted, named and parted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from ..recipes import Split


@dataclass(frozen=True, kw_only=True)
class DataPart(ABC):
    """Images with an annotation each. A subclass has the field `warnings`: what was left out, a line each."""

    part: str = ""  # "train", "val" or "test"; "" where the data does not say
    split: Split | None = None  # of validation images that the data does not name: how they were told

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """The image's file."""

    def names(self) -> Iterable[str]:
        """The files of all images."""
        return map(self.name, range(len(self)))

    @abstractmethod
    def subset(self, indices: Sequence[int]) -> Self:
        """The images at these indices, in this order."""

    @property
    def in_memory(self) -> bool:
        """Whether the images are numbered, and not files."""
        return False

    def of_part(self, part: str, split: Split | None = None) -> Self:
        """The same images, known as this part of the data."""
        return replace(self, part=part, split=split)

    def warned(self, *lines: str) -> Self:
        """The same images with more warnings."""
        images: Any = self
        warned: Self = replace(images, warnings=tuple(dict.fromkeys((*images.warnings, *lines))))
        return warned
