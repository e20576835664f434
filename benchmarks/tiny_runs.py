"""Runs of a few seconds that hold all that a long one does: every task, on noise, with networks of a few weights.

What a recipe may keep from one epoch to the next is in one of them: a moving average, mixed batches, the scaler of
float16, a plateau that lowers the learning rate, an early stop, accumulated gradients.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from twins.recipes import recipe_class
from twins.tasks.classify import Classification
from twins.tasks.detect import Detection
from twins.tasks.segment import Segmentation
from twins.training import report_writing, run_log

IMAGES = {"train": 24, "val": 8}
SIDE, SQUARE = 40, 16  # pixels
BRIGHTNESS = (20, 120, 220)  # of the ground, and of the squares of two classes
SAVE_EVERY = "2"  # updates

_NETWORK = {"embed_dims": (16, 16, 32, 32), "num_heads": (1, 1, 2, 2), "depths": (1,) * 4, "mlp_ratios": (1,) * 4}
_RETINANET = {**_NETWORK, "channels": 16}
_MASK_RCNN = {**_RETINANET, "box_channels": 32, "proposals": 40, "box_samples": 32}
_AVERAGE = {"model_ema": True, "model_ema_decay": 0.9}


class TinyRun(NamedTuple):
    """A recipe of a task; `global_batch` images an update, whatever the number of processes."""

    task: str
    name: str
    global_batch: int
    settings: dict[str, Any]


RUNS = (
    TinyRun("classify", "plain", 4, {}),
    TinyRun("classify", "ema mixup", 8, {**_AVERAGE, "mixup": 0.8, "cutmix": 1.0, "workers": 2}),
    TinyRun("classify", "plateau early-stop", 4,
            {"sched": "plateau", "sched_unit": "epoch", "patience_epochs": 0, "patience": 2, "epochs": 5, "lr": 0.03}),
    TinyRun("classify", "float16 scaler", 4, {**_AVERAGE, "amp": True, "amp_dtype": "float16"}),
    TinyRun("classify", "accumulation", 8, {"grad_accum_steps": 2, "repeated_aug": True, "epochs": 3}),
    TinyRun("segment", "upernet ema", 4, {**_AVERAGE, "head_channels": 16}),
    TinyRun("segment", "fpn", 4, {"head": "semantic_fpn", "head_channels": 16, "workers": 2}),
    TinyRun("detect", "mask r-cnn ema", 4, {**_AVERAGE, "detector": "mask_rcnn", "model_kwargs": _MASK_RCNN}),
    TinyRun("detect", "retinanet", 4, {"detector": "retinanet", "workers": 2, "model_kwargs": _RETINANET}),
)  # fmt: skip


def write_recipe(run: TinyRun, processes: int, data: Path, output: Path) -> Path:
    """The file of a run's recipe, for `twins train --recipe`, beside the folder that the run is to be in."""
    recipe = recipe_class(run.task)(
        **{
            **{"model": "twins_svt_small", "name": "tiny", "workers": 0, "device": "cpu", "img_size": SIDE},
            **{"epochs": 2, "lr": 1e-3, "warmup_epochs": 0, "log_interval": 1, "save_every": SAVE_EVERY},
            **{"model_kwargs": _NETWORK, "data": str(data / run.task), "output": str(output)},
            **{"batch_size": run.global_batch // processes // run.settings.get("grad_accum_steps", 1)},
            **run.settings,
        }
    )
    file = output.with_suffix(".json")
    file.write_text(json.dumps(recipe.to_dict()), encoding="utf-8")
    return file


def leave_plots_out() -> None:
    """Drawing takes longer than all these runs train."""
    for task in (Classification, Segmentation, Detection):
        task.draw = task.draw_batch = lambda *_: None
    run_log.draw_curves = lambda *_: None
    report_writing.write_report = lambda *_: None


def write_data(root: Path) -> Path:
    """Noise with squares of two classes, as images with labels, masks and boxes: a folder a task under `root`."""
    rng = np.random.default_rng(0)
    (root / "detect" / "annotations").mkdir(parents=True)
    for part, count in IMAGES.items():
        objects = []
        for i in range(count):
            pixels = rng.integers(0, 16, (SIDE, SIDE, 3)) + BRIGHTNESS[0]
            mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
            for label in (1, 2):
                top, left = (int(x) for x in rng.integers(0, SIDE - SQUARE, 2))
                square = np.s_[top : top + SQUARE, left : left + SQUARE]
                pixels[square] += BRIGHTNESS[label] - BRIGHTNESS[0]
                mask[square] = label
                corners = [left, top, left + SQUARE, top, left + SQUARE, top + SQUARE, left, top + SQUARE]
                objects.append(
                    {"id": len(objects) + 1, "image_id": i, "category_id": label, "iscrowd": 0, "area": SQUARE**2,
                     "bbox": [left, top, SQUARE, SQUARE], "segmentation": [corners]}
                )  # fmt: skip
            image, name = pixels.clip(0, 255).astype(np.uint8), f"{i:02d}.png"
            _save(root / "classify" / part / ("dark", "bright")[i % 2] / name, image // (2 - i % 2))
            _save(root / "segment" / "images" / part / name, image)
            _save(root / "segment" / "masks" / part / name, mask)
            _save(root / "detect" / part / name, image)
        images = [{"id": i, "file_name": f"{i:02d}.png", "height": SIDE, "width": SIDE} for i in range(count)]
        categories = [{"id": 1, "name": "grey"}, {"id": 2, "name": "white"}]
        content = {"images": images, "annotations": objects, "categories": categories}
        (root / "detect" / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
    (root / "segment" / "classes.txt").write_text("ground\ngrey\nwhite\n")
    return root


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
