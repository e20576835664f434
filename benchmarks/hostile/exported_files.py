"""Exported files whose description, one string of JSON, is hostile: in ONNX, OpenVINO and PyTorch's programs."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import torch

from twins.checkpoints.info import CheckpointInfo
from twins.networks import info_of, open_network, run_name, size_of_run
from twins.preprocessing import ClassifyPreprocessing
from twins.runtimes.description import KEY, Description

from .mutation import mutated_bytes, mutated_json
from .sandbox import Attempt, Kind


class Files(NamedTuple):
    """A valid description, and what it goes into: a network of one operator."""

    description: dict[str, Any]
    onnx: onnx.ModelProto
    openvino: str  # the text of the .xml, with the description replaced by a mark
    weights: bytes  # of the .bin


_MARK = "description-goes-here"
_CONVERT = f"""
import sys, openvino
model = openvino.Core().read_model(sys.argv[1] + "/a.onnx")
model.set_rt_info("{_MARK}", ["{KEY}"])
openvino.save_model(model, sys.argv[1] + "/a.xml", compress_to_fp16=False)
"""


def prepare(folder: Path) -> Files:
    description = Description(
        task="classify", name="twins_svt_small", head=None, create_model={"num_classes": 3, "in_chans": 3},
        classes=("ant", "bee", "cat"), classes_named=True, category_ids=(1, 2, 3),
        preprocessing=ClassifyPreprocessing(img_size=32, mean=(0.0,) * 3, std=(1.0,) * 3).to_dict(),
        outputs=("logits",), sizes=((32, 32),), smallest_side=32, batch=None, dtype="fp32",
        recipe={"name": "tiny", "img_size": 32},
        split={"val": ["a.jpg"], "images": 5}, versions={"twins": "1"},
        quantisation={"rest": "fp32", "images": 3}, checked={"differences": {"logits": 1e-7}},
    )  # fmt: skip
    shape = ["B", 3, 32, 32]
    image, logits = (onnx.helper.make_tensor_value_info(name, 1, shape) for name in ("images", "logits"))
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["images"], ["logits"])], "g", [image], [logits])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "a.onnx")
    subprocess.run([sys.executable, "-c", _CONVERT, str(folder)], check=True)  # whose threads no fork would have
    text, weights = (folder / "a.xml").read_text(encoding="utf-8"), (folder / "a.bin").read_bytes()
    return Files(json.loads(description.to_json()), model, text, weights)


def _hostile_text(rng: random.Random, files: Files) -> str:
    if rng.random() < 0.2:
        content = json.dumps(files.description).encode()
        return mutated_bytes(rng, content, [content]).decode(errors="replace")
    return mutated_json(rng, files.description).decode(errors="replace")


def descriptions(rng: random.Random, files: Files, folder: Path) -> Attempt:
    """The string alone, and all that is made of it before anything is computed."""
    return partial(_use_description, _hostile_text(rng, files))


def _use_description(text: str) -> None:
    description = Description.from_json(text, "a.onnx")
    info = description.info("a.onnx")
    _facts_of(info)


def _facts_of(info: CheckpointInfo) -> None:
    run_name(info)
    size_of_run(info)


def in_files(rng: random.Random, files: Files, folder: Path) -> Attempt:
    text = _hostile_text(rng, files)
    match rng.randrange(4):
        case 0 | 1:
            model = onnx.ModelProto()
            model.CopyFrom(files.onnx)
            onnx.helper.set_model_props(model, {KEY: text.encode(errors="replace").decode()})
            path = folder / "hostile.onnx"
            path.write_bytes(model.SerializeToString())
        case 2:
            path = folder / "hostile.xml"
            quoted = text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
            path.write_bytes(files.openvino.replace(_MARK, quoted if rng.random() < 0.9 else text).encode())
            path.with_suffix(".bin").write_bytes(files.weights)
        case _:
            path = folder / "hostile.pt2"
            stored = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            with zipfile.ZipFile(path, "w", stored) as archive:
                bomb = rng.random() < 0.1
                archive.writestr(f"a/extra/{KEY}", b" " * (1 << 28) if bomb else text.encode(errors="replace"))
                archive.writestr("a/archive_format", "pt2")
    return partial(_open, path)


def _open(path: Path) -> None:
    info = info_of(path)
    _facts_of(info)
    open_network(info, torch.device("cpu"))


KINDS = (
    Kind("exported: descriptions", 6, prepare, descriptions),
    Kind("exported: files", 5, prepare, in_files),
)
