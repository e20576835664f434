"""PyTorch's own files: of one size and any number of images."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from helpers.exported import assert_logits_alike, assert_no_path_is_inside, code_on_page, describe, exportable_to
from twins.export.capture import captured
from twins.export.shape import shape_of
from twins.export.torch_file import to_compiled, to_program
from twins.heads.detection.nms_operator import nms_mask
from twins.preprocessing import DetectPreprocessing
from twins.runtimes.description import Description
from twins.runtimes.opening import open_exported

COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor needs a C++ compiler")
SIZE = (64, 45)


@pytest.mark.parametrize("padding", ["mask-both"])
@pytest.mark.parametrize(
    ("convert", "task", "runtime"),
    [
        (to_program, "classify", "torch.export"),
        pytest.param(to_program, "segment", "torch.export", marks=pytest.mark.slow),
        pytest.param(to_compiled, "classify", "AOTInductor", marks=[pytest.mark.slow, COMPILER]),
        pytest.param(to_compiled, "segment", "AOTInductor", marks=[pytest.mark.slow, COMPILER]),
    ],
)
def test_outputs_are_those_of_pytorch(convert, task: str, runtime: str, padding: str, tmp_path: Path) -> None:
    network = exportable_to(task, padding)
    program = captured(network, shape_of(None, SIZE), 3, least=32)
    description = describe(network, task, sizes=(SIZE,))
    convert(program, network.outputs).save(tmp_path / "a.pt2", description)
    if convert is to_program:
        assert_no_path_is_inside(tmp_path / "a.pt2")
    opened = open_exported(tmp_path / "a.pt2")
    assert opened.description.to_json() == description.to_json()
    assert opened.runtime.startswith(runtime)
    assert max(value.ndim for value in _tensors_of(program)) <= 5
    for count in (1, 2, 5):
        assert_logits_alike(opened, network, torch.rand(count, 3, *SIZE))
    if task == "classify":
        assert printed_by_the_page(tmp_path, compiled=convert is to_compiled) in description.classes


def test_a_last_map_of_one_pixel_leaves_any_number_of_images() -> None:
    network = exportable_to("classify")
    program = captured(network, shape_of(None, (32, 32)), 3, least=32).module()
    for count in (1, 3):
        images = torch.rand(count, 3, 32, 32)
        with torch.no_grad():
            torch.testing.assert_close(program(images)["logits"], network(images)["logits"], rtol=0, atol=1e-5)


class Suppression(torch.nn.Module):
    """Boxes that are the first rows of an image, of which NMS drops all but one."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        boxes, scores = images[:, 0, :, :4], images[:, 1, :, 0]
        kept = nms_mask(boxes, scores[:, None], 0.5)[:, 0]
        return {"boxes": boxes, "scores": torch.where(kept, scores, 0), "labels": kept.long()}


def test_a_detector_opens_in_a_process_that_knows_nothing_of_torchvision_yet(tmp_path: Path) -> None:
    images = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 3, 6, 4).clone()
    images[:, 1] = 0.25
    program = torch.export.export(Suppression(), (images,))
    to_program(program, ("boxes", "scores", "labels")).save(tmp_path / "a.pt2", of_detector())
    code = (
        "import sys, torch; from twins.runtimes.opening import open_exported; assert 'torchvision' not in sys.modules; "
        f"opened, images = open_exported({str(tmp_path / 'a.pt2')!r}), torch.tensor({images.tolist()}); "
        "print(opened(images)['scores'].sum().item())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("0.25", 0), done.stderr


def of_detector() -> Description:
    ready = DetectPreprocessing(mean=(0.0,) * 3, std=(1.0,) * 3).to_dict()
    outputs = ("boxes", "scores", "labels")
    described = describe(exportable_to("classify"), sizes=((6, 4),))
    return replace(described, task="detect", head="retinanet", outputs=outputs, preprocessing=ready)


def printed_by_the_page(folder: Path, compiled: bool) -> str:
    """What the example of docs/export.md prints for an image, without twins."""
    (folder / "a.pt2").rename(folder / "flowers.pt2")
    Image.new("RGB", (90, 80), "olive").save(folder / "photo.jpg")
    code = code_on_page("torch.export.load").replace("(224, 224)", str(SIZE[::-1]))
    if compiled:
        code = code.replace("torch.export.load", "torch._inductor.aoti_load_package").replace(".module()", "")
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    return printed.getvalue().strip()


def _tensors_of(program: torch.export.ExportedProgram) -> list[torch.Tensor]:
    values = [node.meta.get("val") for node in program.graph.nodes]
    return [value for value in values if isinstance(value, torch.Tensor)]
