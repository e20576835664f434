"""The header of a JPEG file: the size that it states, and a smaller height instead, so that decoding ends early."""

from __future__ import annotations

from collections.abc import Iterator

from ...preprocessing import Size

START_OF_IMAGE, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
# Of the markers in this range two define tables, and one is reserved; each of the others starts a frame.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APP1 = 0xE1  # EXIF and XMP: what cameras and editors say of an image, such as how to turn it
_HEIGHT = 5  # bytes from a frame's marker: after the marker, the segment's length and the bits of a value


def plain_size(content: bytes) -> Size | None:
    """(height, width) of an image of three channels of 8 bits without EXIF data; None for all others."""
    for marker, start in _segments(content):
        if marker == _APP1:
            return None
        if marker in _START_OF_FRAME:
            bits, height, width, channels = (
                int.from_bytes(content[start + first : start + end]) for first, end in ((4, 5), (5, 7), (7, 9), (9, 10))
            )
            return (height, width) if (bits, channels) == (8, 3) and width * height > 0 else None
    return None


def ending_after(content: bytes, rows: int) -> bytes | None:
    """The file with its height set to `rows`; None where the header has no frame.

    A decoder then leaves the rest unread, and says so in a warning. Nobody would notice if the rest were missing, so
    that a file without its end marker is not shortened: None, too.
    """
    frame = next((start for marker, start in _segments(content) if marker in _START_OF_FRAME), None)
    if frame is None or not content.endswith(_END_OF_IMAGE):
        return None
    height = frame + _HEIGHT
    return b"".join((content[:height], rows.to_bytes(2), content[height + 2 :]))


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """(marker, index of its first byte) of each segment that has a length: up to the first frame, and beyond."""
    start = len(START_OF_IMAGE) if content.startswith(START_OF_IMAGE) else len(content)
    while content[start : start + 1] == b"\xff" and start + 4 <= len(content):
        yield content[start + 1], start
        start += 2 + int.from_bytes(content[start + 2 : start + 4])
