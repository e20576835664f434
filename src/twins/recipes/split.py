"""Which images a run has set aside for validation, where its data names none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self


class Split(NamedTuple):
    """What a run remembers of the split that it drew, so that it is never drawn again."""

    val: tuple[str, ...]  # the validation images: their paths below the data's folder, with /
    images: int | None  # how many images there were, training images included; None where nobody counted them

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as checkpoints hold them; `from_dict` reads them back."""
        return {"val": list(self.val), "images": self.images}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `to_dict` gave; whoever reads it from a file has checked it."""
        return cls(tuple(values["val"]), values["images"])
