"""Text that came from a file or its name, made safe to print: a terminal obeys some characters, and encodes not all."""

from __future__ import annotations

import io
import sys
import unicodedata

# Of Unicode's categories: controls (escapes and newlines among them), formats (those that turn the direction of
# writing), halves of pairs (how Python keeps the bytes of file names that are not UTF-8), and the two separators of
# lines.
_NOT_SHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"  # of category Cf, but part of words and of emoji
_FIRST_RAW_BYTE = 0xDC00  # under which Python keeps byte 0 of a name; see `os.fsdecode`


def shown(text: object) -> str:
    r"""`str(text)` as one line that does nothing to a terminal: what it would obey or cannot encode is escaped.

    "a\x1b[2Jb" -> r"a\x1b[2Jb", and the byte 0xe9 of a name that is not UTF-8 -> r"\xe9". For display only: files are
    opened, and written to tables, by the names that they have.
    """
    plain = str(text)
    return plain if plain.isascii() and plain.isprintable() else "".join(map(_shown, plain))


def print_whatever_it_holds() -> None:
    """From now on what the terminal's encoding lacks is printed escaped, where it would stop the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _NOT_SHOWN or character in _JOINERS:
        return character
    raw_byte = ord(character) - _FIRST_RAW_BYTE
    if 0x80 <= raw_byte <= 0xFF:
        return f"\\x{raw_byte:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
