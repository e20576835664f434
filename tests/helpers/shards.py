"""Small tar files with samples in them, as WebDataset lays them out."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image


def png(brightness: int = 9, width: int = 8, height: int = 6) -> bytes:
    """An image of one colour as the bytes of a file."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (brightness,) * 3).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """A tar file with these members, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def labelled(**labels: int) -> dict[str, bytes]:
    """Members of samples with these keys and labels: a=0 is a.png and a.cls."""
    members = {}
    for key, label in labels.items():
        members |= {f"{key}.png": png(20 * label), f"{key}.cls": str(label).encode()}
    return members
