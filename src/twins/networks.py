"""The network of a file, whichever kind of file it is: known, made and opened here, for all that run networks.

A checkpoint holds weights: its network is made in PyTorch and takes them. An exported file holds the whole network: its
own runtime opens it, behind the interface of the network that it was made of.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from reprlib import repr as shortened
from typing import NamedTuple

import torch
from torch import nn

from .checkpoints.info import CheckpointInfo, read_info
from .checkpoints.load import LoadReport, load_whole
from .errors import TwinsError
from .heads.detection import DETECTORS
from .heads.detection.selection import Selection
from .heads.segmentation import SEGMENTERS
from .preprocessing import ClassifyPreprocessing, DetectPreprocessing, SegmentPreprocessing, Size, rectangle
from .recipes import DetectRecipe
from .recipes.values import folder_name
from .runtimes.exported_info import ExportedInfo, info_of_exported
from .runtimes.modules import exported_module
from .runtimes.opening import is_exported, open_exported
from .zoo import create_model


class OpenedNetwork(NamedTuple):
    """A network that computes, and what there is to say of it."""

    model: nn.Module
    report: LoadReport | None  # of a checkpoint's weights; None for an exported network, which holds its own
    remarks: Sequence[str]  # lines for people wherever it is used: which weights these are, and what runs them


def info_of(source: str | os.PathLike[str] | CheckpointInfo) -> CheckpointInfo:
    """What a file is, a checkpoint of any dialect or an exported network; what has been read is given back as it is.

    Raises TwinsError for what `read_info` and `open_exported` refuse.
    """
    if not isinstance(source, CheckpointInfo) and is_exported(source):
        return info_of_exported(open_exported(source))
    return read_info(source)


def network_of(info: CheckpointInfo, selection: Selection | None = None, auxiliary: bool = False) -> nn.Module:
    """The network that a checkpoint describes, in PyTorch, with fresh weights.

    Of a detector `selection` says what its detections are, by default `run_selection`; a segmenter has its auxiliary
    head, which is for training alone, if that is wanted. Raises TwinsError where the checkpoint does not say which
    network it is, or what that has learnt.
    """
    name = str(info.with_model(None).model)
    task_of(info)
    if info.head is None:
        return create_model(name, **info.create_model)
    if info.head in SEGMENTERS:
        return SEGMENTERS[info.head](name, auxiliary=auxiliary, **info.create_model)
    assert isinstance(info.preprocessing, DetectPreprocessing)
    selected = (selection or run_selection(info))._asdict()
    return DETECTORS[info.head](name, **info.create_model, **info.preprocessing.of_network(), **selected)


def task_of(info: CheckpointInfo) -> str:
    """What the network has learnt: classify, segment or detect. Raises TwinsError for a backbone without a head."""
    if info.task is None:
        raise TwinsError(
            f"{info.source}: holds a backbone without a head: it takes weights that were trained to classify, segment "
            "or detect"
        )
    return info.task


def run_name(info: CheckpointInfo) -> str:
    """That of the run which trained the network, or else the network's, as "twins_svt_small"; fit for a folder."""
    return folder_name(str((info.recipe or {}).get("name") or info.model))


def size_of_run(info: CheckpointInfo) -> Size:
    """(height, width) of the images that a network was trained on; else of those that it is evaluated on."""
    match info.preprocessing, (info.recipe or {}).get("img_size"):
        case ClassifyPreprocessing(size=size), _:
            return size
        case _, int(trained) if trained > 0:
            return rectangle(trained)
        case _, (int(height), int(width)) if min(height, width) > 0:
            return height, width
        case _, trained if trained:
            raise TwinsError(f"{info.source}: recipe.img_size holds {shortened(trained)}, which is no size of images")
        case ((SegmentPreprocessing(resize=(_, side)) | DetectPreprocessing(min_size=side)), _):
            return side, side
    raise NotImplementedError(info.task)


def run_selection(info: CheckpointInfo) -> Selection:
    """What the detections of a detector are in the evaluation of its run: what an exported file of it has inside."""
    trained = info.recipe or {}
    return selection_of(DetectRecipe().replace(**{k: trained[k] for k in ("conf", "iou", "max_det") if k in trained}))


def selection_of(recipe: DetectRecipe) -> Selection:
    """What a recipe takes for detections."""
    return Selection(recipe.conf, recipe.iou, recipe.max_det)


def device_for(info: CheckpointInfo, device: str) -> str:
    """Where to compute, as `--device` says; an exported network computes on the CPU unless another is named."""
    return "cpu" if isinstance(info, ExportedInfo) and device == "auto" else device


def open_network(
    info: CheckpointInfo,
    device: torch.device,
    ema: bool | None = None,
    build: Callable[[], nn.Module] | None = None,
    selection: Selection | None = None,
) -> OpenedNetwork:
    """The trained network of a file.

    Parameters
    ----------
    device:
        Where an exported network is to compute; PyTorch's is left where it was made.
    ema:
        Take the moving average that a checkpoint keeps, or leave it; by default it is taken where there is one.
    build:
        Makes the network that takes a checkpoint's weights; `network_of` by default.
    selection:
        What a detector's detections are; `run_selection` by default.

    Raises TwinsError for weights that `load_whole` refuses, and for what an exported network cannot do.
    """
    if not isinstance(info, ExportedInfo):
        model = network_of(info, selection) if build is None else build()
        report = load_whole(model, info, ema)
        return OpenedNetwork(model, report, report.remarks)
    if ema:
        raise TwinsError(f"{info.source}: --ema is for checkpoints; an exported file has one set of weights")
    network = info.network if device.type == "cpu" else open_exported(info.network.path, device.type)
    inside = run_selection(info) if info.task == "detect" else None
    exported = exported_module(network, info, inside, selection)
    return OpenedNetwork(exported, None, exported.remarks)
