"""What the head of a JPEG file says of its height, said anew, so that a decoder stops at the rows that are needed."""

from __future__ import annotations

END = b"\xff\xd9"
# Frames begin with one of these markers; of the three left out, two stand for tables, and one for nothing.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def ending_after(content: bytes, rows: int) -> bytes | None:
    """The file, whose picture now ends after `rows` rows; None where that cannot be told from its head.

    A decoder then leaves the rest unread, and says so in a warning. Nobody would notice if the rest were missing, so
    that a file without its closing marker is not shortened.
    """
    place = _height_place(content)
    if place is None or not content.endswith(END):
        return None
    return b"".join((content[:place], rows.to_bytes(2, "big"), content[place + 2 :]))


def _height_place(content: bytes) -> int | None:
    """Where the two bytes of the height stand: segment by segment, each of which gives its own length."""
    place = 2
    while content[place : place + 1] == b"\xff" and place + 4 <= len(content):
        if content[place + 1] in _FRAMES:
            return place + 5
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return None
