"""From weights to a file of another runtime that has been compared with them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..checkpoints.info import CheckpointInfo
from ..errors import TwinsError
from ..model_names import model_name
from ..networks import info_of, open_network, run_name, size_of_run
from ..preprocessing import (
    Preprocessing,
)
from ..runtimes.description import Description
from ..runtimes.exported_info import ExportedInfo
from ..runtimes.opening import open_exported
from ..training.run_folder import newest_finished
from .calibration import IMAGES, Calibration, calibrate_on
from .capture import captured
from .destinations import destination, written_whole
from .exportable import Exportable, as_exportable
from .gate import METRIC_IMAGES, Original, judge
from .judging_data import SYNTHETIC, check_there_is_data
from .precision import in_precision
from .shape import Shape, shape_of, smallest_side
from .targets import Target, target_named
from .written import Written

Say = Callable[[str], None]


def export_model(
    weights: str | os.PathLike[str] | None = None,
    to: str = "onnx",
    out: str | os.PathLike[str] | None = None,
    img_size: int | tuple[int, int] | None = None,
    batch: int | None = None,
    dtype: str = "fp32",
    ema: bool | None = None,
    model: str | None = None,
    classes: Sequence[str] | None = None,
    data: str | None = None,
    check_images: int = METRIC_IMAGES,
    calibration_images: int = IMAGES,
    say: Say = lambda line: None,
) -> Path:
    """Export a trained network whole, with its classes and preprocessing, and compare the file with it.

        twins.export_model("runs/classify/flowers/checkpoint_best.pth", to="onnx", out="flowers.onnx")
        twins.open_exported("flowers.onnx")(images)["logits"]

    Parameters
    ----------
    weights:
        A checkpoint of any dialect; by default the best one of the newest finished run below runs/.
    to:
        "onnx", "openvino" (a .xml and a .bin file), "pt2" (torch.export), "aoti" (AOTInductor, compiled for this
        kind of CPU) or "executorch".
    out:
        The file, with the suffix of its kind: .onnx, .xml, .pt2 or .pte. An existing one is replaced. By default
        runs/export/NAME, or NAME2, NAME3 ..., by the name of the run.
    img_size:
        Side of a square, or (height, width), of the images in pixels. By default any size from `smallest_side` of the
        description up, for ONNX and OpenVINO; for the others, which need one, the size of the network's own run.
    batch:
        Images at once; by default any number, for ExecuTorch 1.
    dtype:
        Of weights and computation: "fp32", "fp16" (not for ExecuTorch), "bf16" (for OpenVINO, pt2 and aoti) or "int8"
        (for ONNX and OpenVINO). Images and outputs are float32 whatever it is.
    ema, model, classes:
        As of `twins.load`.
    data, check_images:
        What the file is judged on, as `data` and `images` of `gate.judge`: by default up to 500 validation images of
        the network's own run.
    calibration_images:
        How many training images int8 is calibrated on, of `data` or of the network's own run; chosen at random, but
        always the same.
    say:
        Is called with lines on the progress.

    Returns
    -------
    The file. The description inside it says how it differs from the network (see `runtimes.Description`).

    Raises TwinsError for what cannot be used, for a library that is missing, and for a network that the target cannot
    express; DiffersError, and leaves no file, where the file computes something else than the network.
    """
    target = target_named(to, dtype)
    info = (
        info_of(weights_or_newest(weights, say))
        .with_model(None if model is None else model_name(model))
        .with_classes(classes)
    )
    if isinstance(info, ExportedInfo):
        raise TwinsError(f"{info.source}: is an exported file: name the checkpoint that it was made of")
    check_there_is_data(info, data)
    if dtype == "int8" and data == SYNTHETIC:
        raise TwinsError(f"--data {SYNTHETIC}: int8 is calibrated and judged on images, not on noise: name a folder")
    opened = open_network(info, torch.device("cpu"), ema).model.eval()
    assert info.preprocessing is not None
    path = destination(out, target, run_name(info))
    network = as_exportable(opened, info.preprocessing)
    shape = shape_of(batch, img_size)
    if shape.size is None and not target.any_size:
        height, width = size = size_of_run(info)
        shape = Shape(batch, size)
        say(f"--to {to} takes images of one size: {height}x{width}, that of its run (--img-size names another)")
    if shape.batch is None and not target.any_batch:
        shape = Shape(1, shape.size)
        say(f"--to {to} takes one number of images at once: 1 (--batch names another)")
    description = _describe(info, network, shape, dtype)
    calibration = None
    if dtype == "int8":
        calibration = calibrate_on(info, shape, calibration_images, data)
        say(f"int8 is calibrated on {calibration.facts['images']} training images of {calibration.facts['data']}")

    with written_whole(path) as beside:
        beside.touch()  # so that a target that cannot be written is refused before the minutes of conversion
        started = time.perf_counter()
        what = f"{info.model}{f' with {info.head}' if info.head else ''}"
        say(f"exporting {what} to {target.title} for {shape}, up to a few minutes ...")
        written, description = _converted(network, description, shape, target, info.source, calibration)
        say(f"captured and converted in {time.perf_counter() - started:.0f} s; comparing with PyTorch ...")
        written.save(beside, description)
        checked = judge(open_exported(beside), Original(info, opened, network, ema), data, check_images, say)
        written.save(beside, description.with_check(checked))
    return path


def weights_or_newest(weights: str | os.PathLike[str] | None, say: Say) -> str | os.PathLike[str]:
    """The weights, or the best of the newest finished run below runs/, which is said.

    Raises TwinsError where there is none.
    """
    if weights is None:
        weights = newest_finished() / "checkpoint_best.pth"
        say(f"weights: {weights}, of the newest finished run")
    return weights


def _converted(
    network: Exportable,
    description: Description,
    shape: Shape,
    target: Target,
    source: str,
    calibration: Calibration | None,
) -> tuple[Written, Description]:
    """The network for its target, and the description with what became of it in int8.

    Raises TwinsError, naming the weights and the target, for what cannot be expressed there.
    """
    try:
        if target.casts:
            network = in_precision(network, description.dtype)
        program = captured(network, shape, description.in_chans, description.smallest_side)
        if calibration is None:
            return target.convert(program, network.outputs), description
        assert target.quantise is not None
        written, facts = target.quantise(program, network, calibration)
        return written, replace(description, quantisation=facts)
    except TwinsError:
        raise
    except Exception as error:  # of exporters, whose errors have no base of their own
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise TwinsError(f"{source}: {target.title} cannot express this network: {reason}") from error


def _describe(info: CheckpointInfo, network: Exportable, shape: Shape, dtype: str) -> Description:
    assert info.task is not None
    assert info.model is not None
    assert info.preprocessing is not None
    return Description(
        task=info.task,
        name=info.model,
        head=info.head,
        create_model=info.create_model,
        classes=tuple(info.classes),
        classes_named=info.classes_named,
        category_ids=info.category_ids,
        preprocessing=_without_normalisation(info.preprocessing),
        outputs=network.outputs,
        sizes=() if shape.size is None else (shape.size,),
        smallest_side=smallest_side(network),
        batch=shape.batch,
        dtype=dtype,
        recipe=info.recipe,
        split=info.split,
        versions=_versions(),
    )


def _without_normalisation(preprocessing: Preprocessing) -> dict[str, Any]:
    """What is left to do before the graph, which normalises."""
    channels = len(preprocessing.mean)
    return preprocessing.to_dict() | {"mean": (0.0,) * channels, "std": (1.0,) * channels}


def _versions() -> dict[str, str]:
    from .. import __version__

    return {"twins": __version__, "torch": str(torch.__version__)}
