"""The one error that a user can fix."""

_LONGEST = 1500  # characters of a line that is still read; a value that it quotes may have any number


class TwinsError(ValueError):
    """Something the user gave cannot be used: one line that names the file, field or flag, and what to do.

    Of a line of more than 1500 characters the middle is left out.
    """

    def __init__(self, line: str) -> None:
        half = _LONGEST // 2
        super().__init__(line if len(line) <= _LONGEST else f"{line[:half]} ... {line[-half:]}")


def nearest(wrong: str, known: list[str] | tuple[str, ...]) -> str:
    """A short hint, " (did you mean ...?)", or nothing when no known name is near."""
    from difflib import get_close_matches

    close = get_close_matches(wrong, known, n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
