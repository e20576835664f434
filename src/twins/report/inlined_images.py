"""An image file as text within a page, made small enough for that."""

from __future__ import annotations

import io
import math
from base64 import b64encode
from pathlib import Path
from typing import Any

from ..optional_dependencies import need

_QUALITY = 80  # of WebP, from 0 to 100


def data_uri(path: Path, longest_side: int, most_bytes: int) -> str | None:
    """The image in a file as a `data:` address; None where there is no image that can be read.

    It is shrunk until it has no side of more than `longest_side` pixels and takes no more than `most_bytes` bytes. A
    file that is small enough already is taken as it is.
    """
    pillow = need("PIL.Image", extra="train")
    try:
        with pillow.open(path) as image:
            kind, data = image.format, path.read_bytes()
            if max(image.size) > longest_side or len(data) > most_bytes:
                kind, data = "WEBP", _shrunk(image.convert("RGB"), longest_side, most_bytes)
    except OSError:
        return None
    return f"data:image/{str(kind).lower()};base64,{b64encode(data).decode('ascii')}"


def _shrunk(image: Any, longest_side: int, most_bytes: int) -> bytes:
    side = min(longest_side, max(image.size))
    while True:
        smaller = image.copy()
        smaller.thumbnail((side, side))
        file = io.BytesIO()
        smaller.save(file, "WEBP", quality=_QUALITY, method=2)
        if file.tell() <= most_bytes or side < 16:
            return file.getvalue()
        side = int(side * max(0.95 * math.sqrt(most_bytes / file.tell()), 0.3))  # bytes go with the area, about
