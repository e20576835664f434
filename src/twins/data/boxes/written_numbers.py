"""Numbers as other people's files write them: as numbers, or as text in whatever notation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite
from typing import Any

_WHOLE = re.compile(r"[+-]?\d{1,19}(\.\d{0,19})?(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)


def whole_number(value: Any) -> int | None:
    """The whole number that a value is, or spells in whatever notation: 12, 12.0, True, "12", "1.2e1"."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value) if value.strip().lstrip("+-").isdigit() else float(value)
    return int(value) if isinstance(value, int | float) and isfinite(value) and value == int(value) else None


def finite_numbers(values: Sequence[Any]) -> list[float] | None:
    """All values where they are finite numbers, or text that spells such; else None.

    As a rule without a look at each in Python: there are fifty million of them.
    """
    try:
        return values if isfinite(sum(values)) else None  # type: ignore[return-value]
    except OverflowError:
        return None
    except TypeError:
        pass
    try:
        numbers = [float(value) for value in values if isinstance(value, int | float | str)]
    except (ValueError, OverflowError):
        return None
    return numbers if len(numbers) == len(values) and isfinite(sum(numbers)) else None
