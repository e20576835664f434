"""Names, aliases and published results of the six networks, and how to make one."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .checkpoints.files import SUFFIXES
from .checkpoints.info import CheckpointInfo, read_info
from .checkpoints.load import load_weights
from .checkpoints.timm_copy import TIMM
from .errors import TwinsError, nearest
from .model import VARIANTS, Stages, Twins, TwinsBackbone
from .model_names import model_name


class Published(NamedTuple):
    """What the public README states of a network on ImageNet-1k at 224 x 224."""

    title: str  # as the README calls it
    top1: float  # accuracy on the validation images, per cent
    params: float  # millions
    gmacs: float  # multiply-adds of convolutions and linear layers, in billions ("FLOPs" there)


PUBLISHED = {
    "twins_pcpvt_small": Published("Twins-PCPVT-S", 81.2, 24.1, 3.7),
    "twins_pcpvt_base": Published("Twins-PCPVT-B", 82.7, 43.8, 6.4),
    "twins_pcpvt_large": Published("Twins-PCPVT-L", 83.1, 60.9, 9.5),
    "twins_svt_small": Published("Twins-SVT-S", 81.7, 24.0, 2.8),
    "twins_svt_base": Published("Twins-SVT-B", 83.2, 56.0, 8.3),
    "twins_svt_large": Published("Twins-SVT-L", 83.7, 99.2, 14.8),
}


def list_models() -> list[str]:
    """The names of the six networks."""
    return list(VARIANTS)


def create_model(
    name: str | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    drop_path_rate: float = 0.0,
    window_padding: str | None = None,
    weights: str | Path | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] = (0, 1, 2, 3),
    stage_norms: bool = False,
    **architecture: Any,
) -> Twins | TwinsBackbone:
    """Make one of the six networks by name or alias, or the one that weights are of.

    Parameters
    ----------
    name:
        As `list_models` has it, or as the original, timm or the paper call it: "alt_gvt_small", "Twins-SVT-S" ...
        None: the network that `weights` say they are of, a folder of `save_pretrained`'s or timm's or a checkpoint of
        a run; the settings below are then as they say too, where they are None or not given.
    num_classes:
        Width of the classifier's head; 0 for pooled features. By default 1000.
    in_chans:
        Channels of the images. By default 3.
    drop_path_rate:
        Stochastic depth: the rate at the last block, in [0, 1); it grows linearly from 0 at the first.
    window_padding:
        What windows do at the border of a map that they do not divide: "mask" (exact, the default), "zero" (as
        detectors and timm) or "mask-both" (as segmenters); see docs/networks.md. PCPVT has no windows.
    weights:
        A checkpoint to load, in any dialect `load_weights` reads, or "timm" for timm's copy of the published ImageNet
        weights. The report is kept as `model.load_report`.
    features_only, out_indices, stage_norms:
        A backbone that returns the maps of the named stages, instead of a classifier; see `TwinsBackbone`.
    architecture:
        Anything else of `Stages`, to depart from the published network: embed_dims, depths, norm_eps ...

    Returns
    -------
    A network in training mode: (B, in_chans, H, W) float images of any size -> (B, num_classes) logits, or, of a
    backbone, a list of (B, C, h, w) maps.

    Raises TwinsError for an unknown name, for values that make no network, and for weights that do not fit; without a
    name also for weights that say nothing of their network, or are of a segmenter or detector and no backbone is asked
    for.
    """
    source: str | Path | CheckpointInfo | None = weights
    if name is None:
        source = info = _info_of_network(weights, features_only)
        name, stated = str(info.model), info.create_model
        num_classes = stated.get("num_classes") if num_classes is None else num_classes
        in_chans = stated.get("in_chans") if in_chans is None else in_chans
        window_padding = info.window_padding if window_padding is None else window_padding
        stage_norms = stage_norms or (features_only and _has_stage_norms(info))
        architecture = info.architecture | architecture
    if name.endswith(SUFFIXES) or "/" in name or "\\" in name:
        raise TwinsError(
            f"{name} is no network's name: pass a file as weights=..., or load a trained network whole, with its "
            f"classes, by twins.load({name!r})"
        )
    settings = VARIANTS[model_name(name)]._asdict() | {
        "in_chans": 3 if in_chans is None else in_chans,
        "drop_path_rate": drop_path_rate,
        "window_padding": "mask" if window_padding is None else window_padding,
        **architecture,
    }
    if not features_only and (stage_norms or tuple(out_indices) != (0, 1, 2, 3)):
        raise TwinsError(f"{name}: stage_norms and out_indices are a backbone's; pass features_only=True with them")
    known = list(inspect.signature(Stages).parameters)
    for keyword in architecture:
        if keyword not in known:
            hint = " (weights=... names a file, or 'timm')" if keyword == "pretrained" else nearest(keyword, known)
            raise TwinsError(f"{name}: no such setting {keyword!r}{hint}")
    try:
        model: Twins | TwinsBackbone
        if features_only:
            model = TwinsBackbone(out_indices=out_indices, stage_norms=stage_norms, **settings)
        else:
            model = Twins(num_classes=1000 if num_classes is None else num_classes, **settings)
    except (TypeError, ValueError) as error:
        raise TwinsError(f"{name}: {error}") from error
    if source is not None:
        model.load_report = load_weights(model, source)
    return model


def _info_of_network(weights: str | Path | None, features_only: bool) -> CheckpointInfo:
    """What weights are that are to say which network they are of. Raises TwinsError where they do not."""
    if weights is None or weights == TIMM:
        raise TwinsError(
            "create_model needs a name, one of list_models(), or weights that say which network they are of"
        )
    info = read_info(weights)
    if info.model is None:
        raise TwinsError(
            f"{info.source}: does not say which network it is (there is no config.json): pass its name too"
        )
    if info.head is not None and not features_only:
        raise TwinsError(
            f"{info.source}: holds a {info.head}: twins.load(...) makes it whole, features_only=True its backbone alone"
        )
    return info


def _has_stage_norms(info: CheckpointInfo) -> bool:
    """Whether the backbone under a head has them; as a rule SVT's do."""
    has_windows = VARIANTS[str(info.model)].window_size is not None
    return info.head is not None and bool(info.create_model.get("stage_norms", has_windows))


class PublishedSegmenter(NamedTuple):
    """What the paper and the public README state of a segmenter on ADE20K."""

    miou: float  # per cent, at one scale
    miou_multi_scale: float | None
    params: float | None  # millions, with the backbone's unused classifier and norm
    gflops: int | None  # billions of multiply-adds at 512 x 512, by fvcore's convention


PUBLISHED_SEGMENTERS = {
    ("upernet", "twins_pcpvt_small"): PublishedSegmenter(46.2, 47.5, 54.6, 234),
    ("upernet", "twins_pcpvt_base"): PublishedSegmenter(47.1, 48.4, 74.3, 250),
    ("upernet", "twins_pcpvt_large"): PublishedSegmenter(48.6, 49.8, 91.5, 269),
    ("upernet", "twins_svt_small"): PublishedSegmenter(46.2, 47.1, 54.4, 228),
    ("upernet", "twins_svt_base"): PublishedSegmenter(47.4, 48.9, 88.5, 261),
    ("upernet", "twins_svt_large"): PublishedSegmenter(48.8, 50.2, 133, 297),
    ("semantic_fpn", "twins_pcpvt_small"): PublishedSegmenter(44.3, None, None, None),
    ("semantic_fpn", "twins_pcpvt_base"): PublishedSegmenter(44.9, None, None, None),
    ("semantic_fpn", "twins_pcpvt_large"): PublishedSegmenter(46.4, None, None, None),
    ("semantic_fpn", "twins_svt_small"): PublishedSegmenter(43.2, None, None, None),
    ("semantic_fpn", "twins_svt_base"): PublishedSegmenter(45.3, None, None, None),
    ("semantic_fpn", "twins_svt_large"): PublishedSegmenter(46.7, None, None, None),
}
