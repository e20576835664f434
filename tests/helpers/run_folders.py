"""Folders of runs as training leaves them, written by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from twins.recipes import find_recipe

METRICS = {
    "classify": [["acc1", "Acc@1", 2], ["loss", "val loss", 3]],
    "segment": [["miou", "mIoU", 2]],
    "detect": [["ap", "AP", 1]],
}


def write_run(
    folder: Path,
    values: Sequence[float] = (50.0, 70.0, 60.0),
    task: str = "classify",
    classes: Mapping[str, float] | None = None,
    notes: Sequence[str] = (),
    finished: bool = True,
    **settings: Any,
) -> Path:
    """A run with an epoch for each of `values`, its best metric; `classes` are accuracies by name."""
    folder.mkdir(parents=True)
    recipe = find_recipe("digits", task).resolve(processes=1).replace(**settings)
    ran_on = {"twins": "0.2.0", "torch": "2.14", "git": None, "command": "twins train"}
    write_json(folder / "recipe.json", {"recipe": recipe.to_dict(), "ran_on": ran_on})
    metrics = METRICS[task]
    images = {"training": 1437, "validation": 360}
    write_json(folder / "setup.json", {"parameters": 2_943_050, "classes": len(classes or {}), "metrics": metrics,
                                       "images": images, "part": "val", "notes": notes, "device": "cpu"})  # fmt: skip
    best = metrics[0][0]
    epochs = [
        {"epoch": i, "time": 4.0, "train_lr": 1e-3 / (i + 1), "train_loss": 2.0 / (i + 1), f"val_{best}": value,
         "val_loss": 1.0 / (i + 1), "val_images": 360.0, "images_per_second": 300.0 + i}
        for i, value in enumerate(values)
    ]  # fmt: skip
    (folder / "log.txt").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    if finished:
        write_json(folder / "summary.json", {"seconds": 83.0, "left_out": [], "peak_memory_mb": {"this process": 900}})
    if classes:
        rows = [[name, 36, f"{value:.2f}"] for name, value in classes.items()]
        write_csv(folder / "per_class.csv", ["class", "images", "accuracy"], rows)
    return folder


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def write_noise(path: Path, width: int, height: int) -> None:
    """An image that no codec makes small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_mistakes(folder: Path, captions: Sequence[str], file: str = "a.png", size: int = 32) -> None:
    """As many images of mistakes as there are captions."""
    for number, _ in enumerate(captions):
        write_noise(folder / "mistakes" / f"{number:02d}.png", size, size)
    entries = [{"image": f"{i:02d}.png", "file": file, "caption": caption} for i, caption in enumerate(captions)]
    write_json(folder / "mistakes" / "captions.json", entries)
