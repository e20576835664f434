"""What a checkpoint is, decided once, from one reading of the file, for training, evaluation and prediction alike."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

from torch import Tensor

from ..class_names import numbered
from ..errors import TwinsError
from ..model import VARIANTS
from ..preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ClassifyPreprocessing,
    DetectPreprocessing,
    Preprocessing,
    SegmentPreprocessing,
)
from .files import name_of
from .keys import TWINS, Dialect, dialect_of, is_bloated, public_names
from .published_names import published_classes
from .read import read_checkpoint
from .schema import HEADS, check_meta
from .weights import find_weights, state_dict_of

_PREPROCESSING: dict[str, type[Preprocessing]] = {
    "classify": ClassifyPreprocessing,
    "segment": SegmentPreprocessing,
    "detect": DetectPreprocessing,
}

# How the published networks of each task treat windows at the border of a map; classifiers see whole windows alone.
_PUBLISHED_PADDING = {"classify": "mask", "segment": "mask-both", "detect": "zero"}

_MANY_CLASSES = 2**20  # so many may be claimed without weights for them: names for each take no memory to speak of

# Keywords that decide which parameters a network has and how it computes with them, whatever its images and its head.
_ARCHITECTURE = {"embed_dims", "num_heads", "mlp_ratios", "depths", "sr_ratios", "window_size", "norm_eps"}


@dataclass(frozen=True)
class CheckpointInfo:
    """A checkpoint together with everything that it takes to make its network and to run it on images.

    A checkpoint of ours tells this itself, in `meta`, and so does the config.json of a model folder, ours or timm's.
    Others are known by the names and shapes of their weights, and are held to be published ones: of ImageNet, ADE20K or
    COCO, by their head.
    """

    source: str  # the file, as messages name it
    checkpoint: Mapping[str, Any] = field(repr=False, compare=False)  # all of it, as `read_checkpoint` gave it
    ours: bool  # written by this package
    dialect: str  # "public names", "dense", "OpenMMLab" or "twins"
    task: str | None  # "classify", "segment" or "detect"; None for a backbone without a head
    model: str | None  # which of the six networks; None where that cannot be told
    head: str | None  # "upernet", "semantic_fpn", "retinanet" or "mask_rcnn"; None without one of these
    create_model: Mapping[str, Any]  # keywords that make the network: num_classes, in_chans, norm_eps, channels ...
    classes: tuple[str, ...]  # one for each class that the head tells apart: names, or numbers for want of them
    classes_named: bool  # whether the file itself names them
    category_ids: tuple[int, ...]  # what COCO's files call each class; 1, 2, 3 ... for want of numbers
    preprocessing: Preprocessing | None  # None exactly where `task` is
    recipe: Mapping[str, Any] | None  # the fields of the recipe of its run; None for weights of others
    has_ema: bool  # whether a moving average of the weights is there, which is then what evaluation takes
    split: Mapping[str, Any] | None = None  # which images its run set aside for validation, if the data names none

    @property
    def window_padding(self) -> str:
        """How windows are padded at the border of a map: "mask", "zero" or "mask-both"; see `create_model`."""
        return str(self.create_model.get("window_padding", _PUBLISHED_PADDING.get(self.task or "", "mask")))

    @property
    def norm_eps(self) -> float:
        """Epsilon of the LayerNorms in blocks, after stages and at the end."""
        return float(self.create_model.get("norm_eps", TWINS.norm_eps))

    @property
    def architecture(self) -> dict[str, Any]:
        """The keywords of `create_model` in which the network departs from the published one of its name."""
        return {name: value for name, value in self.create_model.items() if name in _ARCHITECTURE}

    def conventions(self, window_padding: str, norm_eps: float) -> str:
        """In a line for people, how a network computes that has these weights of others."""
        has_windows = self.model is None or VARIANTS[self.model].window_size is not None
        windows = f", windows padded as {window_padding}" if has_windows else ""
        return f"weights of others ({self.dialect}): LayerNorm eps {norm_eps:g}{windows}"

    def with_model(self, name: str | None) -> Self:
        """The same, its network known for certain: by the file, or else by `name`, one of the six.

        Raises TwinsError where neither tells it, and where a checkpoint of ours tells it and `name` is given too.
        """
        if name is None:
            if self.model is None:
                raise TwinsError(f"{self.source}: cannot tell which network this is; pass --model")
            return self
        if self.ours:
            raise TwinsError(f"{self.source}: knows its own network: leave --model out")
        return replace(self, model=name)

    def with_classes(self, names: Sequence[str] | None) -> Self:
        """The same with its classes named anew, if there are `names`. Raises TwinsError for another number of them."""
        if names is None:
            return self
        if len(names) != len(self.classes):
            raise TwinsError(
                f"{self.source}: tells {len(self.classes)} classes apart, but {len(names)} are named; name all of them"
            )
        return replace(self, classes=tuple(names), classes_named=True)


def read_info(source: str | os.PathLike[str] | CheckpointInfo) -> CheckpointInfo:
    """Read a checkpoint file of any dialect, once; what has been read already is given back as it is.

    Raises TwinsError for what `read_checkpoint` refuses.
    """
    if isinstance(source, CheckpointInfo):
        return source
    return describe(read_checkpoint(source), name_of(source))


def describe(checkpoint: Mapping[str, Any], source: str) -> CheckpointInfo:
    """What a checkpoint is, as `read_checkpoint` gave it; `source` is its file, as messages are to name it.

    Raises TwinsError for weights of which `find_weights` cannot say which are meant.
    """
    found = find_weights(checkpoint, source=source)
    stored = {} if found is None else found.tensors
    dialect = dialect_of(checkpoint, stored)
    ours, meta = dialect is TWINS, _meta_of(checkpoint)
    config_file = checkpoint.get("config_file")
    if (ours or config_file) and "create_model" in meta:
        held = {name: tensor for name, tensor in stored.items() if not is_bloated(tensor)}
        check_meta(meta, held, config_file or source)
        if config_file:
            _check_sizes(meta["create_model"], public_names(held, source), config_file, source)
        facts = meta
    else:
        seen = _facts_of_weights(public_names(stored, source), dialect)
        facts = {**seen, **(meta if ours else _class_names_of_others(meta, seen))}
    settings = facts["create_model"]
    largest = max((tensor.numel() for tensor in stored.values() if not is_bloated(tensor)), default=0)
    _check_count(settings.get("num_classes", 0), source, max(_MANY_CLASSES, largest))
    return _info(facts, source, checkpoint, dialect)


def describe_exported(facts: Mapping[str, Any], source: str) -> CheckpointInfo:
    """What an exported file is, by facts named as in the `meta` of a checkpoint of ours; there are no weights in it.

    Raises TwinsError for a preprocessing that makes no image ready, and for millions of classes.
    """
    _check_count(facts["create_model"].get("num_classes", 0), source, _MANY_CLASSES)
    return _info(facts, source, {}, TWINS)


def _check_count(classes: int, source: str, most: int) -> None:
    """Raises TwinsError for more classes than can be: each would get a name."""
    if classes > most:
        raise TwinsError(f"{source}: claims {classes} classes, more than it has weights")


def _info(facts: Mapping[str, Any], source: str, checkpoint: Mapping[str, Any], dialect: Dialect) -> CheckpointInfo:
    task, settings = facts.get("task"), facts["create_model"]
    count = settings.get("num_classes", 0)
    ours = dialect is TWINS
    published = {} if ours else published_classes(task, count)
    named = tuple(facts.get("classes") or ())
    return CheckpointInfo(
        source=source,
        checkpoint=checkpoint,
        ours=ours,
        dialect=dialect.name,
        task=task,
        model=facts.get("name"),
        head=facts.get("head") or facts.get("detector"),
        create_model=settings,
        classes=named or tuple(published.values()) or numbered(count),
        classes_named=bool(named),
        category_ids=tuple(facts.get("category_ids") or published or range(1, count + 1)),
        preprocessing=_preprocessing_of(facts, source),
        recipe=facts.get("recipe"),
        has_ema=bool(state_dict_of(checkpoint, ema=True)),
        split=facts.get("split"),
    )


def _check_sizes(settings: Mapping[str, Any], weights: Mapping[str, Tensor], config_file: str, source: str) -> None:
    """Raises TwinsError where a config.json and the weights beside it are of two networks."""
    of_weights = _facts_of_weights(weights, TWINS)["create_model"]
    for name in ("num_classes", "in_chans", "channels"):
        stated, found = settings.get(name), of_weights.get(name)
        if stated is not None and found is not None and stated != found:
            raise TwinsError(
                f"{config_file}: says {name}={stated}, but {source} holds weights for {found}: copy both anew"
            )


def identify(checkpoint: Mapping[str, Any]) -> str | None:
    """Which of the six networks a checkpoint or state dict of any dialect holds, or None.

    Decided by widths, depths and the kind of attention; None, too, where a file of the first stages fits several.
    """
    return variant_of(public_names(state_dict_of(checkpoint)))


class DenseHead(NamedTuple):
    """Which head a segmenter or detector has, its width, and how many classes it tells apart."""

    kind: str  # "upernet", "semantic_fpn", "retinanet", "mask_rcnn"
    channels: int
    classes: int
    masks: bool = False  # False for a "mask_rcnn" without its mask head, which is Faster R-CNN

    @property
    def task(self) -> str:
        return next(task for task, kinds in HEADS.items() if self.kind in kinds)

    def __str__(self) -> str:
        return f"{self.kind} with {self.channels} channels"


def _meta_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = checkpoint.get("meta")
    return meta if isinstance(meta, Mapping) else {}


def _preprocessing_of(facts: Mapping[str, Any], source: str) -> Preprocessing | None:
    """What makes images ready for the network. Raises TwinsError for what makes none ready."""
    if facts.get("task") is None:
        return None
    try:
        preprocessing = _PREPROCESSING[facts["task"]].from_dict(facts.get("preprocessing") or {})
    except TwinsError as error:
        raise TwinsError(f"{source}: {error}") from error
    channels = facts["create_model"].get("in_chans", 3)
    if len(preprocessing.mean) != channels:
        raise TwinsError(f"{source}: preprocessing of {len(preprocessing.mean)} channels for a network of {channels}")
    return preprocessing


def _facts_of_weights(weights: Mapping[str, Tensor], dialect: Dialect) -> dict[str, Any]:
    """What a `meta` of ours would say of the published network that has these weights."""
    head, classifier, stem = head_of(weights), weights.get("head.weight"), weights.get("patch_embeds.0.proj.weight")
    in_chans = stem.shape[1] if stem is not None and stem.ndim == 4 else 3
    settings: dict[str, Any] = {"in_chans": in_chans}
    if dialect.norm_eps != TWINS.norm_eps:
        settings["norm_eps"] = dialect.norm_eps
    facts: dict[str, Any] = {"name": variant_of(weights), "create_model": settings}
    if head is not None:
        task = head.task
        facts["head"] = head.kind
        settings |= {"num_classes": head.classes, "channels": head.channels}
        if head.kind == "mask_rcnn":
            settings["masks"] = head.masks
    elif classifier is not None:
        task = "classify"
        settings["num_classes"] = len(classifier)
    else:
        return facts
    settings["window_padding"] = _PUBLISHED_PADDING[task]
    normal = {"mean": for_channels(IMAGENET_MEAN, in_chans), "std": for_channels(IMAGENET_STD, in_chans)}
    return {**facts, "task": task, "preprocessing": _PREPROCESSING[task]().to_dict() | normal}


def for_channels(values: tuple[float, ...], in_chans: int) -> tuple[float, ...]:
    """One number a channel: as they are for colour images, else their mean for each channel, as timm has it."""
    return values if in_chans == len(values) else (sum(values) / len(values),) * in_chans


def _class_names_of_others(meta: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The class names that OpenMMLab's dense models state; its classifiers' are not those of ImageNet's folders."""
    of_data = meta.get("dataset_meta")
    metadata = {**meta, **(of_data if isinstance(of_data, Mapping) else {})}
    names = next((v for k, v in metadata.items() if isinstance(k, str) and k.lower() == "classes"), ())
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return {}
    return {"classes": tuple(names)} if "head" in facts and len(names) == facts["create_model"]["num_classes"] else {}


def variant_of(weights: Mapping[str, Tensor]) -> str | None:
    """Which of the six networks has these widths, depths and kind of attention, or None; `weights` by public names."""
    widths: list[tuple[int, ...]] = []
    depths: list[int] = []
    while (bias := weights.get(f"pos_block.{len(widths)}.proj.0.bias")) is not None:
        stage = f"blocks.{len(widths)}."
        depths.append(len({key.split(".")[2] for key in weights if key.startswith(stage)}))
        widths.append(tuple(bias.shape))
    has_windows = "blocks.0.0.attn.qkv.weight" in weights
    names = [
        name
        for name, variant in VARIANTS.items()
        if widths == [(dim,) for dim in variant.embed_dims[: len(widths)]]
        and depths == list(variant.depths[: len(depths)])
        and has_windows == (variant.window_size is not None)
    ]
    return names[0] if len(names) == 1 else None


# A parameter that every head of a kind has and no other.
_KINDS_OF_HEADS = {
    "decode_head.psp_modules.0.1.conv.weight": "upernet",
    "decode_head.scale_heads.0.0.conv.weight": "semantic_fpn",
    "bbox_head.retina_cls.weight": "retinanet",
    "roi_head.bbox_head.fc_cls.weight": "mask_rcnn",
}
_MASK_HEAD = "roi_head.mask_head.conv_logits.weight"


def head_of(weights: Mapping[str, Tensor]) -> DenseHead | None:
    """The head of a segmenter or detector with these parameters, or None; `weights` are by public names."""
    shapes = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    kind = next((kind for key, kind in _KINDS_OF_HEADS.items() if key in shapes), None)
    match kind, shapes:
        case "retinanet", {
            "bbox_head.retina_cls.weight": (logits, channels, *_),
            "bbox_head.retina_reg.bias": (sides,),
        }:
            return DenseHead("retinanet", channels, classes=4 * logits // sides)  # both for as many anchors
        case "mask_rcnn", {"rpn_head.rpn_conv.bias": (channels,), "roi_head.bbox_head.fc_cls.bias": (logits,)}:
            return DenseHead("mask_rcnn", channels, classes=logits - 1, masks=_MASK_HEAD in shapes)  # less background
        case "upernet" | "semantic_fpn", {"decode_head.conv_seg.weight": (classes, channels, _, _)}:
            return DenseHead(kind, channels, classes)
    return None


def variant_like(checkpoint: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str | None:
    """For people: which of the six networks these weights are of, or which one they depart from; None if unknown.

    `weights` are by public names.
    """
    name = _meta_of(checkpoint).get("name")
    variant = variant_of(weights)
    if variant is not None or name not in VARIANTS:
        return variant
    blocks = {key.rpartition(".norm1.")[0]: tensor for key, tensor in weights.items() if key.endswith(".norm1.weight")}
    size = sum(tensor.numel() ** 2 for tensor in blocks.values())
    published = sum(depth * dim**2 for depth, dim in zip(VARIANTS[name].depths, VARIANTS[name].embed_dims, strict=True))
    return f"a {'smaller' if size < published else 'larger'} {name}"
