"""The head of a JPEG file: the size that it gives, and a height said anew, so that decoding ends where it may."""

from __future__ import annotations

from collections.abc import Iterator

START, END = b"\xff\xd8", b"\xff\xd9"
# Frames begin with one of these markers; of the three left out, two stand for tables, and one for nothing.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ABOUT = 0xE1  # what cameras and editors say of an image, such as how to turn it
_HEIGHT = 5  # bytes from a frame's marker: after the marker, the segment's length and the bits of a value


def plain_size(content: bytes) -> tuple[int, int] | None:
    """(width, height) of an image of three colours of 8 bits, of which nothing else is said; None for all others."""
    for marker, place in _segments(content):
        if marker == _ABOUT:
            return None
        if marker in _FRAMES:
            bits, height, width, colours = (
                int.from_bytes(content[place + start : place + end]) for start, end in ((4, 5), (5, 7), (7, 9), (9, 10))
            )
            return (width, height) if (bits, colours) == (8, 3) and width * height > 0 else None
    return None


def ending_after(content: bytes, rows: int) -> bytes | None:
    """The file, whose image now ends after `rows` rows; None where that cannot be told from its head.

    A decoder then leaves the rest unread, and says so in a warning. Nobody would notice if the rest were missing, so
    that a file without its closing marker is not shortened.
    """
    frame = next((place for marker, place in _segments(content) if marker in _FRAMES), None)
    if frame is None or not content.endswith(END):
        return None
    height = frame + _HEIGHT
    return b"".join((content[:height], rows.to_bytes(2), content[height + 2 :]))


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Markers and their places, as long as each segment gives its own length: up to the first frame, and beyond."""
    place = len(START) if content.startswith(START) else len(content)
    while content[place : place + 1] == b"\xff" and place + 4 <= len(content):
        yield content[place + 1], place
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
