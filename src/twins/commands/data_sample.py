"""Embedded images, written as a data set of one's own would lie in its folder."""

from __future__ import annotations

from pathlib import Path

from ..data.digits import write_digit_files
from ..data.synthetic_scenes import write_boxed_scenes, write_masked_scenes
from ..errors import TwinsError

_MOST = 1000
_WRITERS = {
    "classify": (write_digit_files, "a folder a class"),
    "segment": (write_masked_scenes, "images and masks"),
    "detect": (write_boxed_scenes, "boxes and masks in COCO's layout"),
}


def write_sample(task: str, out: Path, images: int) -> None:
    """Write so many training images of a task, and a fifth as many for validation, and print what was written.

    Raises TwinsError for more images than there are, for a folder that is there, and where nothing can be written.
    """
    if images > _MOST:
        raise TwinsError(f"--images must be between 1 and {_MOST}, not {images}")
    if out.exists():
        raise TwinsError(f"{out}: is there already; --out names a folder to make")
    write, layout = _WRITERS[task]
    val_images = max(1, images // 5)
    write(out, {"training": images, "validation": val_images})
    task_flag = "" if task == "classify" else f"--task {task} "
    print(f"{out}: {images} images for training and {val_images} for validation, {layout}")
    print(f"next: twins data check {task_flag}--data {out}")
