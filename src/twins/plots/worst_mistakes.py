"""The images of the worst mistakes, a file each, with a caption each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..atomic_write import atomic_file

FOLDER = "mistakes"


class WorstMistake(NamedTuple):
    """An image, and what is wrong there."""

    save: Callable[[Path], None]  # writes the image as a PNG file
    file: str  # that it is of
    caption: str


def write_worst_mistakes(folder: Path, mistakes: Sequence[WorstMistake]) -> None:
    """Write `mistakes/01.png`, `02.png` ..., and `captions.json`, which tells in their order what each shows.

    Images of an earlier evaluation are removed.
    """
    target = folder / FOLDER
    target.mkdir(exist_ok=True)
    for old in target.glob("*.png"):
        old.unlink()
    entries = []
    for number, mistake in enumerate(mistakes, start=1):
        name = f"{number:02d}.png"
        mistake.save(target / name)
        entries.append({"image": name, "file": mistake.file, "caption": mistake.caption})
    with atomic_file(target / "captions.json", fsync=False) as beside:
        beside.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
