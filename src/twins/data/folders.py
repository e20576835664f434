"""Folders of images: what those of the two parts are called, and which images are below one."""

from __future__ import annotations

import os
from pathlib import Path

from .images import IMAGE_SUFFIXES

TRAIN_FOLDERS = ("train", "training")
VAL_FOLDERS = ("val", "valid", "validation")


def images_under(folder: Path) -> list[Path]:
    """All image files in a folder and below, by their suffixes, sorted; links are followed."""
    found = []
    for parent, _, files in os.walk(folder, followlinks=True):
        found += [Path(parent, file) for file in files if file.lower().endswith(IMAGE_SUFFIXES)]
    return sorted(found)
