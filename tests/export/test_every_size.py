"""One ONNX or OpenVINO file for every size: equal to the network, and of tensors of five axes at most."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from helpers.exported import (
    SIZES,
    assert_logits_alike,
    assert_no_path_is_inside,
    code_on_page,
    describe,
    exportable_to,
    images_of,
)
from twins.export.capture import captured
from twins.export.exportable import Exportable
from twins.export.onnx_file import OnnxFile, to_onnx
from twins.export.openvino_file import from_onnx
from twins.export.shape import shape_of, smallest_side
from twins.runtimes.opening import open_exported

MOST_AXES = 5
SLOW = pytest.mark.slow


@pytest.fixture(
    scope="module",
    params=[
        ("classify", "mask-both", "upernet"),
        *(
            pytest.param(case, marks=SLOW)
            for case in (
                ("classify", "mask", "upernet"),
                ("classify", "zero", "upernet"),
                ("segment", "mask-both", "upernet"),
                ("segment", "mask", "semantic_fpn"),
            )
        ),
    ],
    ids="-".join,
)
def exported(request: pytest.FixtureRequest) -> tuple[str, Exportable, OnnxFile]:
    """The task, a network and its conversion, which takes long."""
    for module in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(module)
    task, padding, head = request.param
    network = exportable_to(task, padding, head)
    program = captured(network, shape_of(None, None), 3, smallest_side(network))
    return task, network, to_onnx(program, network.outputs)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_outputs_are_those_of_pytorch(exported: tuple[str, Exportable, OnnxFile], suffix: str, tmp_path: Path) -> None:
    task, network, onnx_file = exported
    written = onnx_file if suffix == ".onnx" else from_onnx(onnx_file)
    description = describe(network, task)
    written.save(tmp_path / f"a{suffix}", description)
    for file in tmp_path.iterdir():
        assert_no_path_is_inside(file)
    opened = open_exported(tmp_path / f"a{suffix}")
    assert opened.description.to_json() == description.to_json()
    assert opened.runtime.endswith("fp32")
    for images in images_of(*SIZES):
        found, expected = assert_logits_alike(opened, network, images)
        if task == "segment":
            assert found["class_map"].shape == (len(images), *images.shape[2:])
            assert float((found["class_map"] != expected["class_map"]).double().mean()) < 1e-3


@pytest.mark.parametrize(("suffix", "example"), [(".onnx", "import onnxruntime"), (".xml", "import openvino")])
def test_it_is_used_without_twins_as_the_page_shows(
    exported: tuple[str, Exportable, OnnxFile],
    suffix: str,
    example: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    task, network, onnx_file = exported
    if task != "classify":
        pytest.skip("the examples classify")
    written = onnx_file if suffix == ".onnx" else from_onnx(onnx_file)
    written.save(tmp_path / f"flowers{suffix}", describe(network, task))
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", quality=100)
    monkeypatch.chdir(tmp_path)
    exec(code_on_page(example), {})
    with Image.open("photo.jpg") as photo, torch.no_grad():
        logits = network(pil_to_tensor(photo)[None] / 255)["logits"]
    assert capsys.readouterr().out.strip() == ("ant", "bee", "cat")[int(logits.argmax())]


def test_no_tensor_has_more_than_five_axes(exported: tuple[str, Exportable, OnnxFile]) -> None:
    _, _, onnx_file = exported
    values = [value for node in onnx_file.program.model.graph for value in node.outputs]
    ranks = [len(value.shape) for value in values if value.shape is not None]
    assert len(ranks) > 200
    assert max(ranks) <= MOST_AXES


def test_axes_have_names(exported: tuple[str, Exportable, OnnxFile]) -> None:
    _, _, onnx_file = exported
    (images,) = onnx_file.program.model.graph.inputs
    assert [str(length) for length in images.shape] == ["batch", "3", "height", "width"]
