"""How damage to a checkpoint would be noticed: which checksum a file has inside."""

from __future__ import annotations

from pathlib import Path

from .files import INDEX, shards_of
from .safetensors_digest import has_digest
from .seal import seal_of

NO_CHECKSUM = "no checksum inside: damage would not be noticed"


def checksum_inside(file: Path) -> str:
    """In words for people, which checksum one file, or the first one of an index, has inside.

    The file is one that `read_checkpoint` has read, which compares what there is to compare.
    """
    if file.name.endswith(INDEX):
        file = shards_of(file)[0]
    with file.open("rb") as opened:
        start = opened.read(9)
        if start.startswith(b"PK"):
            return "SHA-256 of the whole file" if seal_of(opened) == "whole" else "CRC-32 of each tensor (zip)"
    if start[8:9] == b"{" and has_digest(_metadata(file)):
        return "SHA-256 of its content"
    return NO_CHECKSUM


def _metadata(file: Path) -> dict[str, str]:
    """That of a safetensors file."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return opened.metadata() or {}
