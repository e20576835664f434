"""Numbers as flags take them, within limits."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def whole_number(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """A flag's `type`: digits alone, from `least` to `most`."""

    def parse(text: str) -> int:
        value = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
        if not least <= value <= most:
            limits = f"of {least} or more" if most == 2**31 - 1 else f"between {least} and {most}"
            raise argparse.ArgumentTypeError(f"a whole number {limits} is needed, not {text!r}")
        return value

    return parse


def number(least: float) -> Callable[[str], float]:
    """A flag's `type`: a number from `least` to a thousand millions."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value < 1e9:
            raise argparse.ArgumentTypeError(f"a number of {least:g} or more is needed, not {text!r}")
        return value

    return parse
