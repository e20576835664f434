"""Classification: what its recipes hold beyond the common fields, the published runs, and two for everyone.

The published runs on ImageNet-1k (paper, section 4.1), each named like its network:

    torchrun --nproc-per-node 8 -m twins.cli train --recipe twins_svt_small --data imagenet

Cost: 300 epochs at 224 x 224, published on 8 GPUs. Published top-1 accuracy, of the best epoch:

    recipe              global batch   top-1 %
    twins_pcpvt_small           1280      81.2
    twins_pcpvt_base            1024      82.7
    twins_pcpvt_large           1024      83.1
    twins_svt_small             2048      81.7
    twins_svt_base              1024      83.2
    twins_svt_large             1024      83.7

Learning rates, batches and warm-ups are those that reproduce the `train_lr` column of the public training logs;
`twins train --recipe NAME --print-lr` prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Self

from ..errors import TwinsError
from ..preprocessing import ClassifyPreprocessing, Size, rectangle
from .base import SMALL_SVT, Recipe
from .fields import SHARE, SOME, TRAIN_DATA, TRAIN_EVAL, TRAIN_EVAL_DATA, flag
from .values import check_path

DECODERS = ("pillow", "turbo")  # of JPEG files; the first is what all else is compared with


def _check_sides(value: int | tuple[int, ...]) -> None:
    """Raises TwinsError for what is neither a side nor two of them."""
    if isinstance(value, tuple) and len(value) != 2:
        shown = " ".join(map(str, value)) or "none"
        raise TwinsError(f"--img-size takes the side of a square, or height and width of a rectangle, not {shown}")


@dataclass(frozen=True, kw_only=True)
class ClassifyRecipe(Recipe):
    """Training a classifier: data, augmentation and loss."""

    dataset: str = flag(
        "auto", "layout of the data folder", "--data-set", group="data",
        choices=("auto", "folder", "csv", "list", "shards", "cifar100", "inat2018", "inat2019", "digits"),
        commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    val_shards: str | None = flag(
        None, "tar shards with the validation images, where --data names those for training by a pattern; none: those "
        "beside them, val-*.tar, or a share of the images", group="data", check=check_path, commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    shard_cache: str | None = flag(
        None, "folder on this machine for tar shards that come through pipes, where later runs find them; none: a "
        "temporary one", group="data", check=check_path, commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    inat_category: str = flag(
        "name", "what iNaturalist's classes are", group="data",
        choices=("kingdom", "phylum", "class", "order", "supercategory", "family", "genus", "name"),
        commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    img_size: int | Size = flag(
        224, "side of the square that the network sees, or height and width of a rectangle", "--imgsz", "--input-size",
        group="data", within=SOME, check=_check_sides, commands=TRAIN_EVAL_DATA,
    )  # fmt: skip
    crop_pct: float = flag(
        0.875, "evaluation: crop this share of the resized short side", group="data", commands=TRAIN_EVAL
    )
    decoder: str = flag(
        "auto",
        "how JPEG files become images: pillow, whole and one step after the other; turbo, only what the crop needs, "
        "faster and with the same crops; auto: turbo where its library is installed",
        group="data",
        choices=("auto", *DECODERS),
        commands=TRAIN_EVAL,
        unless_given={"eval": "auto"},
    )
    batch_size: int | None = flag(
        None, "images per process and step; none: LR_BASE_SIZE over all processes", "-b", group="loop",
        within=SOME, commands=TRAIN_EVAL,
    )  # fmt: skip

    scale: tuple[float, ...] = flag(
        (0.08, 1.0), "random crop: least and largest share of the area", group="augmentation", commands=TRAIN_DATA
    )
    ratio: tuple[float, ...] = flag(
        (3 / 4, 4 / 3),
        "random crop: least and largest width / height, of a rectangle times its own",
        group="augmentation",
    )
    hflip: float = flag(0.5, "probability of a horizontal flip", group="augmentation", within=SHARE)
    vflip: float = flag(0.0, "probability of a vertical flip", group="augmentation", within=SHARE)
    crop_padding: int = flag(
        4,
        "at 32 pixels and below, instead of the random crop: shift by up to so many pixels",
        group="augmentation",
        within=(0, 32),
    )
    degrees: float = flag(0.0, "rotate by up to so many degrees", group="augmentation")
    shear: float = flag(0.0, "shear by up to so many degrees", group="augmentation")
    zoom: float = flag(0.0, "shrink or grow by up to this share", group="augmentation", within=SHARE)
    color_jitter: float | None = flag(
        0.4, "colour jitter, which RandAugment replaces; none: neither", group="augmentation"
    )
    aa: str | None = flag(
        None, "RandAugment or AutoAugment policy in timm's notation; none: neither", group="augmentation"
    )
    train_interpolation: str = flag(
        "bicubic", "interpolation in training", group="augmentation", choices=("bicubic", "bilinear", "random")
    )
    reprob: float = flag(0.0, "probability of random erasing", group="augmentation", within=SHARE)
    remode: str = flag("pixel", "fill of erased areas", group="augmentation", choices=("pixel", "rand", "const"))
    recount: int = flag(1, "most erased areas an image", group="augmentation")
    mixup: float = flag(0.0, "alpha of mixup; 0 is off", group="augmentation")
    cutmix: float = flag(0.0, "alpha of cutmix; 0 is off", group="augmentation")
    cutmix_minmax: tuple[float, ...] | None = flag(
        None, "least and largest share of the side that cutmix cuts; none: by its alpha", group="augmentation"
    )
    mixup_prob: float = flag(1.0, "probability of mixing a batch", group="augmentation", within=SHARE)
    mixup_switch_prob: float = flag(0.5, "probability of cutmix where both are on", group="augmentation", within=SHARE)
    mixup_mode: str = flag("batch", "mix by", group="augmentation", choices=("batch", "pair", "elem"))

    smoothing: float = flag(0.1, "label smoothing", group="loss", within=SHARE)
    class_weights: tuple[str, ...] | None = flag(
        None,
        "`auto` (rare classes weigh more), or one number a class in their order; none: all weigh the same",
        group="loss",
    )

    def resolve(self, processes: int) -> Self:
        """Settle the decoder as well, so that a run goes on as it began."""
        return super().resolve(processes).replace(decoder=self.decoder_at_hand())

    def preprocessing(self) -> ClassifyPreprocessing:
        """How images are made ready."""
        return ClassifyPreprocessing(self.img_size, self.crop_pct, tuple(self.mean), tuple(self.std))

    @property
    def size(self) -> Size:
        """What the network sees, (height, width) in pixels."""
        return rectangle(self.img_size)

    def decoder_at_hand(self) -> str:
        """`pillow` or `turbo`."""
        if self.decoder != "auto":
            return self.decoder
        return "turbo" if find_spec("simplejpeg") else "pillow"


def _imagenet(
    model: str, lr_base: float, lr_base_size: int, drop_path: float, warmup_epochs: int = 5
) -> ClassifyRecipe:
    """A published run: 300 epochs of AdamW on ImageNet-1k at 224 pixels (paper, 4.1; public logs)."""
    return ClassifyRecipe(
        model=model,
        data="imagenet",
        epochs=300,
        lr_base=lr_base,
        lr_base_size=lr_base_size,
        drop_path=drop_path,
        warmup_epochs=warmup_epochs,
        sched_unit="epoch",
        sched_lag=1,
        opt_eps=1e-8,
        drop_last=True,
        amp=True,
        aa="rand-m9-mstd0.5-inc1",
        reprob=0.25,
        mixup=0.8,
        cutmix=1.0,
    )


def _digits() -> ClassifyRecipe:
    """The embedded scans of handwritten digits: a small Twins-SVT, about a minute on two CPU cores."""
    return ClassifyRecipe(
        model="twins_svt_small",
        model_kwargs={**SMALL_SVT, "window_size": 4},
        data="digits",
        img_size=32,
        in_chans=1,
        mean=(0.5,),
        std=(0.5,),
        crop_padding=2,
        degrees=10,
        shear=5,
        zoom=0.1,
        hflip=0.0,
        color_jitter=None,
        epochs=40,
        lr_base=1e-3,
        lr_base_size=64,
        warmup_epochs=2,
        drop_path=0.1,
    )


def _own_images() -> ClassifyRecipe:
    """Your own images: fine-tuning (with --weights) or training from nothing, on one GPU or a patient CPU."""
    return ClassifyRecipe(
        epochs=50,
        lr_base=2.5e-4,
        lr_base_size=64,
        warmup_epochs=3,
        min_lr=1e-6,
        amp=True,
        scale=(0.3, 1.0),
        aa="rand-m9-mstd0.5-inc1",
        reprob=0.1,
        mixup=0.2,
        cutmix=0.5,
        mixup_prob=0.5,
    )


CLASSIFY = {
    "twins_pcpvt_small": _imagenet("twins_pcpvt_small", 1.25e-3, 1280, drop_path=0.2),
    "twins_pcpvt_base": _imagenet("twins_pcpvt_base", 1e-3, 1024, drop_path=0.3),
    "twins_pcpvt_large": _imagenet("twins_pcpvt_large", 1e-3, 1024, drop_path=0.5),
    "twins_svt_small": _imagenet("twins_svt_small", 2e-3, 2048, drop_path=0.2),
    "twins_svt_base": _imagenet("twins_svt_base", 1e-3, 1024, drop_path=0.3),
    "twins_svt_large": _imagenet("twins_svt_large", 1e-3, 1024, drop_path=0.5, warmup_epochs=20),
    "digits": _digits(),
    "pictures": _own_images(),
}
