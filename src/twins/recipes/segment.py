"""Segmentation: what its recipes hold beyond the common fields, the twelve published runs, and two for everyone.

The published runs on ADE20K (150 classes; paper, table 5), from ImageNet weights, in crops of 512 x 512:

    torchrun --nproc-per-node 8 -m twins.cli train --recipe upernet_svt_small --weights alt_gvt_small.pth \\
        --data ADEChallengeData2016

Cost, published on 8 GPUs: 160,000 updates of UPerNet in batches of 16 images (PCPVT-S: 32), 80,000 of Semantic FPN in
batches of 32. Published mIoU on the validation images, in per cent, at one scale (UPerNet: / over several):

                   upernet_*    semantic_fpn_*
    pcpvt_small    46.2 / 47.5  44.3
    pcpvt_base     47.1 / 48.4  44.9
    pcpvt_large    48.6 / 49.8  46.4
    svt_small      46.2 / 47.1  43.2
    svt_base       47.4 / 48.9  45.3
    svt_large      48.8 / 50.2  46.7

An epoch here is a tenth of a run, which is how often the originals evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import TwinsError
from ..preprocessing import SegmentPreprocessing
from .base import SMALL_SVT, Recipe, two_positive
from .fields import SHARE, SOME, TRAIN_DATA, TRAIN_EVAL, TRAIN_EVAL_DATA, TRAIN_EVAL_PREDICT, flag


@dataclass(frozen=True, kw_only=True)
class SegmentRecipe(Recipe):
    """Training a segmenter: head, masks, augmentation, loss, and how images are evaluated."""

    task: str = "segment"

    head: str = flag(
        "upernet", "decode head on the backbone's feature maps", group="model", choices=("upernet", "semantic_fpn"),
        commands=TRAIN_EVAL,
    )  # fmt: skip
    head_channels: int | None = flag(
        None, "width of the head; none: as published (512 or 128)", group="model", within=SOME,
        commands=TRAIN_EVAL,
    )  # fmt: skip
    head_drop: float = flag(0.1, "dropout before the last layer of the head", group="model", within=SHARE)

    img_size: int = flag(
        512, "side of the square crops in training", "--imgsz", "--crop-size", group="data", within=SOME,
        commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    resize: tuple[int, ...] | None = flag(
        None,
        "longest and shortest side that images are resized to fit, as 2048 512; none: 4 x IMG_SIZE and IMG_SIZE",
        group="data",
        commands=TRAIN_EVAL_DATA,
    )
    classes_file: str | None = flag(
        None,
        "names of the classes, one a line in the order of the masks' values (`name,R,G,B` for colour masks), or voc "
        "for Pascal VOC's; none: classes.txt, labelmap.txt, _classes.csv ... in the data folder",
        "--classes",
        group="data",
        commands=TRAIN_EVAL_DATA,
    )
    img_suffix: str | None = flag(
        None, "end of image names, as _leftImg8bit.png; none: any image", group="data",
        commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    mask_suffix: str | None = flag(
        None, "end of mask names, as _gtFine_labelTrainIds.png; none: the image's own name, or a usual end as _mask",
        group="data", commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    reduce_zero_label: bool = flag(
        False, "masks hold 0 for `no class`, and classes from 1 up (ADE20K)", group="data", commands=TRAIN_EVAL_DATA
    )
    ignore_index: int = flag(
        255, "value in masks that is left out of loss and metrics", group="data", within=(-1, 65535),
        commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    mask_threshold: float | None = flag(
        None, "two classes by brightness: grey levels below are the first, the others the second; 128 for 0 and 255",
        group="data", within=(0, 65535), commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    nearest_colour: bool = flag(
        False, "colour masks: a colour of no class is that of the nearest one (anti-aliased edges, JPEG)", group="data",
        commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    check: bool = flag(True, "look through all masks before the first step", group="data", commands=TRAIN_EVAL)

    scale: tuple[float, ...] = flag(
        (0.5, 2.0), "resize by a factor between these", group="augmentation", commands=TRAIN_DATA
    )
    cat_max_ratio: float = flag(
        0.75, "crop again, up to ten times, where one class fills more of the crop", group="augmentation", within=SHARE
    )
    hflip: float = flag(0.5, "probability of a horizontal flip", group="augmentation", within=SHARE)
    vflip: float = flag(0.0, "probability of a vertical flip", group="augmentation", within=SHARE)
    photometric: bool = flag(
        True, "photometric distortion: brightness, contrast, saturation and hue", group="augmentation"
    )

    auxiliary_weight: float = flag(0.4, "weight of the auxiliary head's loss (upernet)", group="loss")
    class_weights: tuple[str, ...] | None = flag(
        None,
        "`auto` (rare classes weigh more), or one number a class in their order; none: all weigh the same",
        group="loss",
    )

    slide: int | None = flag(
        None, "sliding window: in overlapping squares of this side, for large images; none: whole images",
        group="evaluation", within=SOME, commands=TRAIN_EVAL_PREDICT,
    )  # fmt: skip
    slide_stride: int | None = flag(
        None, "pixels from one square to the next; none: two thirds of SLIDE", group="evaluation", within=SOME,
        commands=TRAIN_EVAL_PREDICT,
    )  # fmt: skip
    test_scales: tuple[float, ...] = flag(
        (1.0,), "average over these scales; published: 0.5 0.75 1 1.25 1.5 1.75", group="evaluation",
        commands=TRAIN_EVAL,
    )  # fmt: skip
    test_flip: bool = flag(
        False, "average over horizontally flipped images too", group="evaluation", commands=TRAIN_EVAL
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slide_stride is not None and self.slide_stride > (self.slide or 0):
            raise TwinsError(
                f"--slide-stride {self.slide_stride} is the step between windows, which --slide gives the side of: "
                "pass both, the stride no larger, to leave no gaps"
            )

    def preprocessing(self) -> SegmentPreprocessing:
        """How images are made ready.

        Raises TwinsError for a --resize that is not two positive numbers; their order does not matter.
        """
        resize = (4 * self.img_size, self.img_size) if self.resize is None else self.resize
        shortest, longest = two_positive("--resize", resize)
        return SegmentPreprocessing((longest, shortest), tuple(self.mean), tuple(self.std))

    @property
    def evaluation_batch(self) -> int:
        """One: whole images come in all sizes."""
        return 1


def _ade20k(**run: Any) -> SegmentRecipe:
    """What the published runs share: evaluated ten times, no clipping, a learning rate that falls by a polynomial."""
    return SegmentRecipe(
        data="ADEChallengeData2016", reduce_zero_label=True, epochs=10, clip_grad=None, sched="poly", **run
    )


def _upernet(model: str, drop_path: float = 0.2, global_batch: int = 16) -> SegmentRecipe:
    """160,000 updates of UPerNet on ADE20K (paper, table 5, after Swin's setting)."""
    return _ade20k(
        model=model,
        head="upernet",
        drop_path=drop_path,
        steps_per_epoch=16_000,
        lr_base=6e-5,
        lr_base_size=global_batch,
        opt_betas=(0.9, 0.999),
        weight_decay=0.01,
        decay_on="all-but-norms",
        decay_rate=1.0,
        min_lr=0.0,
        warmup_steps=1500,
        warmup_lr=6e-11,
        warmup_multiplies=True,
    )


def _semantic_fpn(model: str, drop_path: float = 0.2) -> SegmentRecipe:
    """80,000 updates of Semantic FPN on ADE20K (paper, table 5, after PVT's setting)."""
    return _ade20k(
        model=model,
        head="semantic_fpn",
        drop_path=drop_path,
        steps_per_epoch=8_000,
        lr_base=1e-4,
        lr_base_size=32,
        weight_decay=1e-4,
        decay_on="all",
        decay_rate=0.9,
        min_lr=1e-6,
        warmup_epochs=0,
    )


def _digits() -> SegmentRecipe:
    """Synthetic scenes with several of the embedded scans of digits: a small Twins-SVT with a narrow UPerNet."""
    return SegmentRecipe(
        model="twins_svt_small",
        model_kwargs=dict(SMALL_SVT),
        head="upernet",
        head_channels=64,
        head_drop=0.0,
        data="digits",
        img_size=96,
        scale=(0.85, 1.18),
        cat_max_ratio=1.0,
        hflip=0.0,
        photometric=False,
        class_weights=("0.4", *["1"] * 10),  # else the background, nine tenths of it all, is learnt long before digits
        epochs=12,
        lr_base=2e-3,
        lr_base_size=4,
        warmup_epochs=1,
        drop_path=0.0,
        workers=0,  # small images: two processes that load would take the cores from the one that learns
    )


def _own_images() -> SegmentRecipe:
    """Your own images with masks: fine-tuning (with --weights) or training from nothing, on one GPU."""
    return SegmentRecipe(
        epochs=50,
        lr_base=6e-5,
        lr_base_size=16,
        batch_size=8,
        weight_decay=0.01,
        warmup_epochs=2,
        min_lr=1e-6,
        amp=True,
    )


SEGMENT = {
    "upernet_pcpvt_small": _upernet("twins_pcpvt_small", global_batch=32),
    "upernet_pcpvt_base": _upernet("twins_pcpvt_base"),
    "upernet_pcpvt_large": _upernet("twins_pcpvt_large"),
    "upernet_svt_small": _upernet("twins_svt_small"),
    "upernet_svt_base": _upernet("twins_svt_base"),
    "upernet_svt_large": _upernet("twins_svt_large", drop_path=0.3),
    "semantic_fpn_pcpvt_small": _semantic_fpn("twins_pcpvt_small"),
    "semantic_fpn_pcpvt_base": _semantic_fpn("twins_pcpvt_base"),
    "semantic_fpn_pcpvt_large": _semantic_fpn("twins_pcpvt_large"),
    "semantic_fpn_svt_small": _semantic_fpn("twins_svt_small"),
    "semantic_fpn_svt_base": _semantic_fpn("twins_svt_base"),
    "semantic_fpn_svt_large": _semantic_fpn("twins_svt_large", drop_path=0.3),
    "digits": _digits(),
    "pictures": _own_images(),
}

# The file names of the original's configurations.
SEGMENT_ALIASES = {
    template.format(f"{original}_{size[0]}"): f"{head}_{network}_{size}"
    for head, template in (
        ("upernet", "upernet_{}_512x512_160k_ade20k_swin_setting"),
        ("semantic_fpn", "fpn_{}_512x512_80k_ade20k"),
    )
    for original, network in (("pcpvt", "pcpvt"), ("alt_gvt", "svt"))
    for size in ("small", "base", "large")
}
