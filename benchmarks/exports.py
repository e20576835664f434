"""Every exported form of the published networks: difference from PyTorch, size, images a second at batch 1.

    python benchmarks/exports.py                                       # all nine networks, forty minutes of two cores
    python benchmarks/exports.py twins_svt_small retinanet_svt_small --forms onnx openvino:bf16

Merges its rows into benchmarks/exports-DATE.json and prints them as a table. Weights are random, so that detectors find
what noise makes them find, and int8, calibrated on noise, says something of speed and size alone.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.export import ExportedProgram

import twins
from twins.atomic_write import atomic_file
from twins.bench.machine import describe_machine, versions
from twins.export.calibration import Calibration
from twins.export.capture import captured
from twins.export.exportable import Exportable, as_exportable
from twins.export.parity import compare_outputs, sample_images
from twins.export.precision import DTYPES as HALVES
from twins.export.precision import in_precision
from twins.export.shape import Shape, smallest_side
from twins.export.targets import target_named
from twins.heads.detection import DETECTORS
from twins.preprocessing import ClassifyPreprocessing, DetectPreprocessing, Preprocessing, SegmentPreprocessing, Size
from twins.runtimes.description import Description
from twins.runtimes.opening import open_exported
from twins.timing import Pace, alternate

FORMS = ("onnx", "onnx:int8", "openvino", "openvino:bf16", "openvino:int8", "pt2", "aoti")
CLASSIFIERS = twins.list_models()
DENSE = ("upernet_svt_small", "retinanet_svt_small", "mask_rcnn_svt_small")
PACE = Pace(blocks=5, seconds=0.5, limit=60.0)
CALIBRATION_IMAGES = 8


class Candidate(NamedTuple):
    """A network in PyTorch and what an exported file has to know of it."""

    name: str  # of the benchmark's row
    model: str  # which of the six
    task: str
    head: str | None
    network: nn.Module
    size: Size
    preprocessing: Preprocessing


def candidate(name: str) -> Candidate:
    """By the name of a classifier, or of a head and a backbone as its recipe is called."""
    torch.manual_seed(0)
    network: nn.Module
    if name in CLASSIFIERS:
        return Candidate(
            name, name, "classify", None, twins.create_model(name).eval(), (224, 224), ClassifyPreprocessing()
        )
    head, _, backbone = name.rpartition("_svt_")
    backbone = f"twins_svt_{backbone}"
    if head == "upernet":
        network = twins.upernet(backbone, auxiliary=False).eval()
        return Candidate(name, backbone, "segment", head, network, (512, 512), SegmentPreprocessing())
    network = DETECTORS[head](backbone, min_size=480, max_size=640).eval()  # images of 480 x 640 stay as they are
    for key, parameter in network.named_parameters():
        if key.endswith(("retina_cls.weight", "fc_cls.weight")):
            nn.init.normal_(parameter, std=0.3)  # scores far enough apart for some to pass the threshold,
        if key.endswith("retina_cls.bias"):
            nn.init.constant_(parameter, -2.0)  # which a new RetinaNet's are all below
    return Candidate(name, backbone, "detect", head, network, (480, 640), DetectPreprocessing(480, 640))


def describe(one: Candidate, exportable: Exportable) -> Description:
    return Description(
        task=one.task,
        name=one.model,
        head=one.head,
        create_model={},
        classes=(),
        classes_named=False,
        category_ids=(),
        preprocessing=one.preprocessing.to_dict(),
        outputs=exportable.outputs,
        sizes=(one.size,),
        smallest_side=smallest_side(exportable),
        batch=None,
        dtype="fp32",
        recipe=None,
        split=None,
        versions={},
    )


def measure(one: Candidate, forms: list[str], folder: Path) -> list[dict[str, Any]]:
    """A row for PyTorch, for `twins.freeze`, and for each form; what cannot be made has the reason in `error`."""
    exportable = as_exportable(one.network, one.preprocessing)
    description = describe(one, exportable)
    image = torch.rand(1, 3, *one.size, generator=torch.Generator().manual_seed(1))
    own = list(image) if one.task == "detect" else (image - exportable.mean) / exportable.std
    calls: dict[str, Callable[[], object]] = {
        "PyTorch": _call(one.network, own),
        "twins.freeze fp32": _call(twins.freeze(copy.deepcopy(one.network), release=True), own),
    }
    rows: dict[str, dict[str, Any]] = {name: {} for name in calls}
    in_fp32 = cache(partial(_captured, exportable, one.size))  # one graph for all forms that it can be had from
    for form in forms:
        started = time.perf_counter()
        try:
            path, network = _export(form, one, exportable, description, in_fp32, folder)
            differences = compare_outputs(network, exportable, sample_images(network.description))
        except Exception as error:  # of exporters and runtimes, without a base of their own: the row says it
            rows[form] = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"}
            continue
        files = [path, *([path.with_suffix(".bin")] if path.suffix == ".xml" else [])]
        rows[form] = {
            "runtime": network.runtime,
            "differences": differences,
            "megabytes": round(sum(file.stat().st_size for file in files) / 1e6, 1),
            "export_seconds": round(time.perf_counter() - started),
        }
        calls[form] = _call(network, image)
    times: dict[str, list[float]] = {}
    alternate(calls, PACE, times)
    for form, seconds in times.items():
        rows[form]["images_per_second"] = round(1 / statistics.median(seconds), 2)
    size = f"{one.size[0]}x{one.size[1]}"
    return [{"network": one.name, "size": size, "form": form, **row} for form, row in rows.items()]


def _export(
    form: str,
    one: Candidate,
    exportable: Exportable,
    description: Description,
    in_fp32: Callable[[], ExportedProgram],
    folder: Path,
) -> tuple[Path, Any]:
    to, _, dtype = form.partition(":")
    target = target_named(to, dtype or "fp32")
    description = replace(description, dtype=dtype or "fp32")
    halved = target.casts and description.dtype in HALVES
    program = _captured(in_precision(exportable, description.dtype), one.size) if halved else in_fp32()
    if description.dtype == "int8":
        assert target.quantise is not None
        noise = [torch.rand(1, 3, *one.size) for _ in range(CALIBRATION_IMAGES)]
        written, facts = target.quantise(program, exportable, Calibration(noise, {"images": CALIBRATION_IMAGES}))
        description = replace(description, quantisation=facts)
    else:
        written = target.convert(program, exportable.outputs)
    path = folder / f"{one.name}-{to}-{description.dtype}{target.suffix}"
    written.save(path, description)
    return path, open_exported(path)


def _captured(network: Exportable, size: Size) -> ExportedProgram:
    return captured(network, Shape(None, size), 3, smallest_side(network))


def _call(network: Callable[[Any], object], images: Any) -> Callable[[], object]:
    def call() -> object:
        with torch.inference_mode():
            return network(images)

    return call


def write(rows: list[dict[str, Any]], path: Path) -> None:
    """Merge rows into a file: a row replaces the one of the same network and form."""
    before = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    fresh = [row | {"versions": versions()} for row in rows]
    merged = {(row["network"], row["form"]): row for row in [*before, *fresh]}
    with atomic_file(path) as beside:
        text = json.dumps({"machine": describe_machine(), "rows": list(merged.values())}, indent=1)
        beside.write_text(text + "\n", encoding="utf-8")


def line(row: dict[str, Any]) -> str:
    """A row of a Markdown table."""
    if "error" in row:
        return f"| {row['network']} | {row['size']} | {row['form']} | {row['error']} | | |"
    differences = ", ".join(f"{name} {value:.0e}" for name, value in row.get("differences", {}).items())
    return (
        f"| {row['network']} | {row['size']} | {row['form']} | {differences} | {row.get('megabytes', '')} | "
        f"{row['images_per_second']:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Exported forms of the published networks, measured.")
    parser.add_argument("networks", nargs="*", default=[*CLASSIFIERS, *DENSE], help="which (default: all nine)")
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=FORMS, help="target, or target:dtype")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), metavar="FOLDER", help="of the results")
    args = parser.parse_args()
    print("| network | size | form | largest difference | MB | images/s |\n|---|---|---|---|--:|--:|")
    for name in args.networks:
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(candidate(name), args.forms, Path(folder))
        write(rows, args.out / f"exports-{time.strftime('%Y-%m-%d')}.json")
        print("\n".join(map(line, rows)), flush=True)


if __name__ == "__main__":
    main()
