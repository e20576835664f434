"""Files that a list, a JSON file or another folder names, where the name may be spelt another way on this disk."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path


def find_file(folder: Path, name: str) -> Path:
    """The file below a folder that is meant by a name, perhaps with folders in it; the name as it is if none is there.

    What is there under the very name comes first. Else Windows' separators are taken for /, and letters with marks may
    be composed (one code point, as most systems write them) or decomposed (two, as macOS does).
    """
    exact = folder / name
    if os.path.exists(exact) or (name.isascii() and "\\" not in name):
        return exact
    for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
        found = folder
        for part in Path(spelling).parts:
            found = next((path for path in _compositions(found, part) if os.path.exists(path)), found / part)
        if os.path.exists(found):
            return found
    return exact


def same_name(name: str) -> str:
    """One and the same text for all compositions of a name, to look it up by."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _compositions(folder: Path, part: str) -> Iterator[Path]:
    yield folder / part
    if not part.isascii():
        yield from (folder / unicodedata.normalize(form, part) for form in ("NFC", "NFD"))
