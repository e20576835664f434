"""The one error that a user can fix."""


class TwinsError(ValueError):
    """Something the user gave cannot be used: one line that names the file, field or flag, and what to do."""


def nearest(wrong: str, known: list[str] | tuple[str, ...]) -> str:
    """A short hint, " (did you mean ...?)", or nothing when no known name is near."""
    from difflib import get_close_matches

    close = get_close_matches(wrong, known, n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
