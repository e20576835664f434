"""Folders of images: what those of the two parts are called, and which images are below one."""

from __future__ import annotations

from pathlib import Path

from .file_walk import walk_files

TRAIN_FOLDERS = ("train", "training")
VAL_FOLDERS = ("val", "valid", "validation")


def images_under(folder: Path) -> list[Path]:
    """All image files in a folder and below, by their suffixes, sorted; links are followed, clutter is left out."""
    return walk_files(folder).images
