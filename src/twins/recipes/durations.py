"""Lengths of time as flags take them: 90s, 10m, 2h; and how often, which may be a number of updates as well."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import TwinsError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str) -> float:
    """Seconds of a length of time. Raises TwinsError for what is none, and for 0."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd])", text)
    if match is None or float(match[1]) == 0:
        raise TwinsError(f"{text!r} is no length of time above 0; write 90s, 10m or 2h")
    return float(match[1]) * _SECONDS[match[2]]


def updates_or_seconds(text: str) -> tuple[int | None, float | None]:
    """(updates, None) of "500", (None, seconds) of "10m". Raises TwinsError for anything else, and for 0."""
    if re.fullmatch(r"[0-9]{1,18}", text) and int(text):
        return int(text), None
    try:
        return None, seconds_of(text)
    except TwinsError:
        raise TwinsError(f"{text!r} is no number or length of time above 0; write 500, 90s, 10m or 2h") from None


def check_by(parse: Callable[[str], object], flag: str) -> Callable[[str], None]:
    """A check of a field's value: raises TwinsError, naming its flag, for what `parse` does not take."""

    def check(text: str) -> None:
        try:
            parse(text)
        except TwinsError as error:
            raise TwinsError(f"{flag}: {error}") from None

    return check
