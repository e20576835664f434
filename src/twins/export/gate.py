"""The gate: an exported file, loaded by its own runtime, must compute what the network did in PyTorch.

It is judged by its outputs, on noise of odd sizes and on validation images, and by its metric on these. A file beyond
tolerance is refused. What was found goes into the file's description, with the speed of every form of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..checkpoints.info import CheckpointInfo
from ..errors import TwinsError
from ..networks import open_network, size_of_run
from ..preprocessing import ClassifyPreprocessing
from ..runtimes.exported_info import info_of_exported
from ..runtimes.modules import ExportedModule
from ..runtimes.network import ExportedNetwork
from .eager_network import EagerNetwork
from .execution import executed_by
from .judging_data import SYNTHETIC, Measured, images_of, measured
from .parity import compare_outputs, sample_images
from .speeds import measure_speeds

OUTPUT_IMAGES = 64  # validation images whose outputs are compared
METRIC_IMAGES = 500  # at most, by default, that the metric is of

Say = Callable[[str], None]


class Tolerance(NamedTuple):
    """How far an exported network may be from the one that it was made of."""

    outputs: float | None  # largest difference, as `compare_outputs` has it; None: int8 is judged by its metric
    pixels: float  # share of a class map's pixels that may be of another class
    unmatched: float  # share of detections that the other may not have
    points: float  # that the metric may lose; top-1 one image in any case


TOLERANCES = {
    "fp32": Tolerance(1e-4, 1e-3, 1e-2, 0.1),
    "fp16": Tolerance(1e-2, 2e-2, 5e-2, 0.1),
    "bf16": Tolerance(1e-2, 2e-2, 5e-2, 0.1),
    "int8": Tolerance(None, 1.0, 1.0, 0.5),
}


class DiffersError(TwinsError):
    """What was written computes something else than the network that it was made of."""


class Original(NamedTuple):
    """What an exported file was made of."""

    info: CheckpointInfo
    network: nn.Module  # with its weights, in evaluation mode
    exportable: nn.Module  # the same as it was exported: images in [0, 1] to outputs by name
    ema: bool | None = None  # whether the weights are the checkpoint's moving average; as of `open_network`


def judge(
    written: ExportedNetwork,
    original: Original,
    data: str | None = None,
    images: int = METRIC_IMAGES,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """How a file was judged, for its description: plain values.

    Parameters
    ----------
    data:
        A folder of images, in place of the validation images of the network's own run; "synthetic" judges by outputs on
        noise alone.
    images:
        Of the data the metric is of so many at most, evenly spaced, and outputs are compared on up to 64 of them.
    say:
        Is called with lines on what was found.

    Raises DiffersError, naming the output or the metric, for a file beyond `TOLERANCES`, and TwinsError for data that
    cannot be used.
    """
    tolerance = TOLERANCES[written.description.dtype]
    noise = sample_images(written.description)
    checked: dict[str, Any] = {"runtime": written.runtime, "executed": executed_by(written, noise[0])}
    say(": ".join(filter(None, [f"run by {written.runtime}", _listed(checked["executed"])])))
    if data == SYNTHETIC or written.description.dtype == "fp32":  # noise is too far from images for rounded weights
        differences = compare_outputs(written, original.exportable, noise)
        checked["noise"] = _judged_outputs(differences, "batches of noise", len(noise), tolerance, written.runtime, say)
    if data == SYNTHETIC:
        say(f"no metric: judged on noise alone, as --data {SYNTHETIC} asks")
        if "scores" in written.description.outputs and not _detections(original, noise):
            say("nothing is detected on noise: boxes, scores and masks were compared on none; --data FOLDER has some")
        image = torch.rand(written.description.in_chans, *size_of_run(original.info))
    else:
        image = _judge_on_images(checked, written, original, data, images, tolerance, say)
    checked["images_per_second"] = _say_speeds(original, _module(written), image, say)
    return checked


def _detections(original: Original, batches: Iterable[Tensor]) -> int:
    """How many objects the network finds in PyTorch."""
    with torch.no_grad():
        return sum(int((original.exportable(batch)["labels"] >= 0).sum()) for batch in batches)


def _judge_on_images(
    checked: dict[str, Any],
    written: ExportedNetwork,
    original: Original,
    data: str | None,
    images: int,
    tolerance: Tolerance,
    say: Say,
) -> Tensor:
    """Put into `checked` how the file was judged on validation images; returns one of these, (C, h, w) in [0, 1]."""
    before = _metric_before(written, original, data, images)
    after = measured(info_of_exported(written), data, images)
    samples = images_of(after.task, min(images, OUTPUT_IMAGES))
    seen = _batches((_module(written).seen(image) for image in samples), written.description.batch)
    differences = compare_outputs(written, original.exportable, seen)
    where = f"images of {after.data}"
    checked["data"] = after.data
    checked["outputs"] = _judged_outputs(differences, where, len(samples), tolerance, written.runtime, say)
    checked["metric"] = _judged_metric(before, after, tolerance, written.runtime, say)
    return samples[0]


def _metric_before(written: ExportedNetwork, original: Original, data: str | None, images: int) -> Measured:
    """Of the network in PyTorch, which sees images of the same size as the written one.

    It is PyTorch's own network wherever that can be given this size. Where a file of one size has images resized to it
    that the network itself would take as they are, it is the exported form in PyTorch.
    """
    exported = info_of_exported(written)
    if isinstance(exported.preprocessing, ClassifyPreprocessing):
        return measured(original.info, data, images, original.ema, img_size=exported.preprocessing.img_size)
    if not written.description.sizes:
        return measured(original.info, data, images, original.ema)
    eager = EagerNetwork(written.path, written.description, original.exportable)
    return measured(info_of_exported(eager), data, images)


def _judged_outputs(
    differences: Mapping[str, float], where: str, count: int, tolerance: Tolerance, runtime: str, say: Say
) -> dict[str, Any]:
    """The facts, said. Raises DiffersError, naming the output, beyond tolerance."""
    listed = ", ".join(f"{name} {difference:.1e}" for name, difference in differences.items())
    say(f"outputs on {count} {where}: largest differences from PyTorch: {listed}")
    for name, difference in differences.items():
        allowed = {"class_map": tolerance.pixels, "unmatched": tolerance.unmatched}.get(name, tolerance.outputs)
        if allowed is not None and not difference <= allowed:  # NaN is beyond it too
            raise DiffersError(
                f"{name} of the exported network differs by {difference:.1e} from PyTorch's on {where}, and "
                f"{allowed:.0e} is allowed ({runtime}): nothing was written"
            )
    return {"images": count, "differences": dict(differences)}


def _judged_metric(before: Measured, after: Measured, tolerance: Tolerance, runtime: str, say: Say) -> dict[str, Any]:
    """The facts, said. Raises DiffersError where more was lost than may be."""
    found = f"{after.title} on {after.images} of {after.of} images of {after.data}"
    say(f"{found}: {before.value:.2f} in PyTorch, {after.value:.2f} exported")
    allowed = max(tolerance.points, 100 / after.images if after.title == "Acc@1" else 0.0)
    if not before.value - after.value <= allowed + 1e-9:
        raise DiffersError(
            f"{found} is {after.value:.2f} with the exported network and {before.value:.2f} in PyTorch, and "
            f"{allowed:.2f} points may be lost ({runtime}): nothing was written"
        )
    values = {"before": round(before.value, 4), "after": round(after.value, 4)}
    return {"name": after.title, **values, "images": after.images, "of": after.of}


def _say_speeds(original: Original, module: ExportedModule, image: Tensor, say: Say) -> dict[str, float]:
    """Images a second of every form, as a small table."""
    seen = module.seen(image)[0]
    ready = original.info.preprocessing
    assert ready is not None
    # A detector in PyTorch resizes and normalises images itself; the others take them normalised.
    own = seen if module.takes_lists else ready.normalise((255 * seen).round().to(torch.uint8))
    found = measure_speeds(original.network, module, seen, own)
    height, width = seen.shape[1:]
    say(f"images a second at batch 1, {height}x{width}:")
    for form, speed in found.items():
        say(f"  {speed:9.5g}  {form}")
    return found


def _module(network: ExportedNetwork) -> ExportedModule:
    opened = open_network(info_of_exported(network), torch.device("cpu")).model
    assert isinstance(opened, ExportedModule)
    return opened


def _batches(images: Iterable[Tensor], batch: int | None) -> list[Tensor]:
    """Of images (1, C, H, W), each as often as the network takes images at once."""
    return [image.expand(batch or 1, -1, -1, -1) for image in images]


def _listed(executed: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in executed.items())
