"""Detection: what its recipes hold beyond the common fields, the 22 published runs, and two for everyone.

The published runs on COCO (80 classes; paper, table 4), from ImageNet weights:

    torchrun --nproc-per-node 8 -m twins.cli train --recipe mask_rcnn_svt_small_1x --data coco \\
        --weights alt_gvt_small.pth

Cost, published on 8 GPUs in batches of 16 images: `1x` (PVT's setting) 12 epochs at one size, `3x` (Swin's setting) 36
epochs at many sizes. The published AP of each run stands in the paper's table 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import TwinsError
from ..preprocessing import DetectPreprocessing
from .base import SMALL_SVT, Recipe
from .fields import SHARE, SOME, TRAIN_DATA, TRAIN_EVAL, TRAIN_EVAL_DATA, TRAIN_EVAL_PREDICT, flag


@dataclass(frozen=True, kw_only=True)
class DetectRecipe(Recipe):
    """Training a detector: heads, boxes and masks, augmentation, and how detections are chosen."""

    task: str = "detect"

    detector: str = flag(
        "mask_rcnn", "mask_rcnn: boxes, and masks where the data has them; retinanet: boxes, faster", "--head",
        group="model", choices=("mask_rcnn", "retinanet"), commands=TRAIN_EVAL,
    )  # fmt: skip
    window_padding: str = flag(
        "zero", "how windows that stick out of the map are filled up; published: zero", group="model",
        choices=("mask", "zero", "mask-both"), commands=TRAIN_EVAL,
    )  # fmt: skip

    dataset: str = flag(
        "auto", "layout of the data folder", "--data-set", group="data", choices=("auto", "coco", "yolo"),
        commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    img_size: int = flag(
        800, "shortest side that images are resized to", "--imgsz", "--min-size", group="data", within=SOME,
        commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    max_size: int | None = flag(
        None, "longest side that they may have then; none: 5/3 of IMG_SIZE", group="data", within=SOME,
        commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    check: bool = flag(True, "look through all annotations before the first step", group="data", commands=TRAIN_EVAL)

    scale: tuple[float, ...] = flag(
        (1.0, 1.0), "the shortest side is IMG_SIZE times a factor between these", group="augmentation",
        commands=TRAIN_DATA,
    )  # fmt: skip
    train_sizes: tuple[int, ...] | None = flag(
        None, "the shortest side is one of these; none: by SCALE", group="augmentation"
    )
    crop_prob: float = flag(
        0.0, "probability of a random crop, in an image resized for it, before the resizing", group="augmentation",
        within=SHARE,
    )  # fmt: skip
    crop: tuple[int, ...] = flag((384, 600), "least and largest side of the crop", group="augmentation")
    crop_sizes: tuple[int, ...] = flag(
        (400, 500, 600), "shortest side of the image that is cropped: one of these", group="augmentation"
    )
    hflip: float = flag(0.5, "probability of a horizontal flip", group="augmentation", within=SHARE)
    vflip: float = flag(0.0, "probability of a vertical flip", group="augmentation", within=SHARE)

    conf: float = flag(
        0.05, "least score of a detection", "--score-thresh", group="evaluation", within=SHARE,
        commands=TRAIN_EVAL_PREDICT, unless_given={"predict": "0.3"},
    )  # fmt: skip
    iou: float = flag(
        0.5, "NMS: of two boxes of a class whose IoU is larger, the better one stays", "--nms-thresh",
        group="evaluation", within=SHARE, commands=TRAIN_EVAL_PREDICT,
    )  # fmt: skip
    max_det: int = flag(100, "most detections an image", group="evaluation", within=SOME, commands=TRAIN_EVAL_PREDICT)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, sizes, count in (("train-sizes", self.train_sizes, None), ("crop-sizes", self.crop_sizes, None),
                                   ("crop", self.crop, 2), ("scale", self.scale, 2)):  # fmt: skip
            if sizes is not None and (not sizes or min(sizes) <= 0 or count not in (None, len(sizes))):
                what = "two positive numbers" if count else "one positive number or more"
                raise TwinsError(f"--{name} takes {what}, not {' '.join(map(str, sizes)) or 'none'}")

    def preprocessing(self) -> DetectPreprocessing:
        """How images are made ready. Raises TwinsError for a longest side that is less than the shortest."""
        self.check_shortest_side("--img-size", self.img_size)
        return DetectPreprocessing(self.img_size, self.longest_side, tuple(self.mean), tuple(self.std))

    def check_shortest_side(self, flag: str, shortest: int) -> None:
        """Raises TwinsError where an image cannot have this shortest side, which `flag` asks for."""
        if shortest > self.longest_side:
            raise TwinsError(
                f"images cannot have {self.longest_side} as their longest side and {shortest} ({flag}) as their "
                f"shortest: pass --max-size {shortest} or more"
            )

    @property
    def longest_side(self) -> int:
        """What MAX_SIZE comes to: 1333 for the published 800."""
        return self.max_size or self.img_size * 5 // 3

    @property
    def evaluation_batch(self) -> int:
        """One: padding an image to the size of another would change what is found in it."""
        return 1


def _coco(epochs: int, milestones: tuple[int, int], **run: Any) -> DetectRecipe:
    """What the published runs share: 500 updates of warm-up, two drops to a tenth, no clipping."""
    return DetectRecipe(
        data="coco",
        epochs=epochs,
        lr_base_size=16,
        drop_path=0.2,
        clip_grad=None,
        sched="multistep",
        decay_milestones=milestones,
        decay_rate=0.1,
        warmup_steps=500,
        warmup_multiplies=True,
        min_lr=0.0,
        **run,
    )


def _1x(detector: str, model: str) -> DetectRecipe:
    """12 epochs with the shortest side at 800 (paper, table 4, after PVT's setting); all parameters decay."""
    lr = {"retinanet": 1e-4, "mask_rcnn": 2e-4}[detector]
    return _coco(
        12, (8, 11), detector=detector, model=model, lr_base=lr, warmup_lr=lr / 1000, weight_decay=1e-4, decay_on="all"
    )


def _3x(detector: str, model: str) -> DetectRecipe:
    """36 epochs at many sizes, half of the images cropped (paper, table 4, after Swin's setting)."""
    return _coco(
        36,
        (27, 33),
        detector=detector,
        model=model,
        lr_base=1e-4,
        warmup_lr=1e-7,
        opt_betas=(0.9, 0.999),
        weight_decay=0.05,
        decay_on="all-but-norms",
        train_sizes=tuple(range(480, 801, 32)),
        crop_prob=0.5,
        amp=detector == "mask_rcnn",
    )


def _digits() -> DetectRecipe:
    """Synthetic scenes with several of the embedded digits, some with none: a small Twins-SVT, a narrow Mask R-CNN."""
    return DetectRecipe(
        model="twins_svt_small",
        model_kwargs={**SMALL_SVT, "channels": 64, "box_channels": 128, "proposals": 100, "box_samples": 64},
        data="digits",
        img_size=96,
        hflip=0.0,
        epochs=8,
        lr_base=1e-3,
        lr_base_size=4,
        warmup_epochs=1,
        drop_path=0.0,
        workers=0,  # small images: two processes that load would take the cores from the one that learns
    )


def _own_images() -> DetectRecipe:
    """Your own images with boxes: fine-tuning (with --weights) or training from nothing, on one GPU."""
    return DetectRecipe(
        epochs=50,
        lr_base=1e-4,
        lr_base_size=16,
        batch_size=4,
        warmup_epochs=2,
        min_lr=1e-6,
        scale=(0.6, 1.0),
        amp=True,
    )


_NETWORKS = [f"{kind}_{size}" for kind in ("pcpvt", "svt") for size in ("small", "base", "large")]

DETECT = {
    **{f"{d}_{n}_1x": _1x(d, f"twins_{n}") for d in ("retinanet", "mask_rcnn") for n in _NETWORKS},
    **{
        f"{d}_{n}_3x": _3x(d, f"twins_{n}")
        for d in ("retinanet", "mask_rcnn")
        for n in _NETWORKS
        if n != "pcpvt_large"  # of which no such run was published
    },
    "digits": _digits(),
    "pictures": _own_images(),
}


def _original(network: str) -> str:
    """The original's name of a network: svt_small is alt_gvt_s there."""
    kind, size = network.split("_")
    return f"{'alt_gvt' if kind == 'svt' else kind}_{size[0]}"


# The file names of the original's configurations.
DETECT_ALIASES = {
    template.format(_original(n)): name
    for template, run in (
        ("retinanet_{}_fpn_1x_coco_pvt_setting", "retinanet_{}_1x"),
        ("mask_rcnn_{}_fpn_1x_coco_pvt_setting", "mask_rcnn_{}_1x"),
        ("retinanet_{}_fpn_3x_ms_coco", "retinanet_{}_3x"),
        ("mask_rcnn_{}_fpn_3x_coco_swin_setting", "mask_rcnn_{}_3x"),
    )
    for n in _NETWORKS
    if (name := run.format(n)) in DETECT
}
