"""What all plots share: an empty figure of Matplotlib, and colours."""

from __future__ import annotations

from typing import Any

from ..optional_dependencies import need

INK = "#333333"


RIGHT = "#2a6f4e"


WRONG = "#b3321b"


def new_figure(width: float, height: float) -> Any:
    return need("matplotlib.figure", extra="train").Figure((width, height), layout="constrained")
