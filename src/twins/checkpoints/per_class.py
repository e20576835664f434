"""Heads for other classes: the rows of a head go to the classes of the same names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

# The layers with an output, or four, for each class.
PER_CLASS = re.compile(r"(?:^|\.)(?P<layer>head|conv_seg|retina_cls|fc_cls|fc_reg|conv_logits)\.(?:weight|bias)$")


class ClassMap(NamedTuple):
    """The classes that a checkpoint's head tells apart, () where it does not name them, and those of a network."""

    stored: tuple[str, ...]
    own: tuple[str, ...]

    @property
    def common(self) -> list[str]:
        """The names that both have, in the network's order."""
        return [name for name in self.own if name in set(self.stored)]

    def mapped(self, layers: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, tuple[Tensor, str]]:
        """Layers as they are in the file and in the network -> what to load into each, and the rule in words."""
        if self.stored == self.own or not self.common:
            return {}
        rule = f"rows of {len(self.common)} classes taken by name"
        made = {key: self._rows_by_name(key, stored, own) for key, (stored, own) in layers.items()}
        return {key: (layer, rule) for key, layer in made.items() if layer is not None}

    def notes(self, stored_count: int) -> tuple[str, ...]:
        """What people are to know of the head, in a line or none; `stored_count` classes are in the file's."""
        if self.stored == self.own:
            return ()
        if self.common:
            new = [name for name in self.own if name not in set(self.stored)]
            rest = f"; new, and so initialised: {_some(new)}" if new else ""
            return (f"the head's rows were taken by the names of the classes: {_some(self.common)}{rest}",)
        if stored_count != len(self.own):
            return ()
        theirs = f"for {_some(self.stored)}" if self.stored else "whose classes the file does not name"
        return (f"the head was taken as it is, {theirs}; it tells {_some(self.own)} apart here",)

    def _rows_by_name(self, key: str, stored: Tensor, own: Tensor) -> Tensor | None:
        """The network's own layer with the rows of common classes from the file; None where it has other shapes."""
        before, after = (self._by_class(key, t, len(names)) for t, names in ((stored, self.stored), (own, self.own)))
        if before is None or after is None or before.shape[0] != after.shape[0] or before.shape[2:] != after.shape[2:]:
            return None
        rows = after.clone()
        for name in self.common:
            rows[:, self.own.index(name)] = before[:, self.stored.index(name)].to(rows)
        if before.shape[1] > len(self.stored) and after.shape[1] > len(self.own):
            rows[:, -1] = before[:, -1].to(rows)  # the background's
        return rows.reshape(own.shape)

    @staticmethod
    def _by_class(key: str, layer: Tensor, classes: int) -> Tensor | None:
        """A view (anchors, classes, outputs of a class, ...) of a layer; the background is the last class."""
        found = PER_CLASS.search(key)
        if found is None or not layer.ndim:
            return None
        rows, rest = len(layer), layer.shape[1:]
        match found["layer"]:
            case "fc_cls":
                sizes = (1, classes + 1, 1)
            case "fc_reg":
                sizes = (1, classes, 4)
            case "retina_cls":
                sizes = (max(rows // max(classes, 1), 1), classes, 1)
            case _:
                sizes = (1, classes, 1)
        return layer.reshape(*sizes, *rest) if sizes[0] * sizes[1] * sizes[2] == rows else None


def _some(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
