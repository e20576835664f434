"""The gate passes what computes the same, and refuses what does not, leaving no file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from helpers.command_line import refusal
from helpers.runs import leave_plots_out
from predict.test_predict import checkpoint
from twins.cli import main
from twins.errors import TwinsError
from twins.export import exporting, gate, speeds
from twins.export.execution import executed_by
from twins.export.exportable import Exportable
from twins.export.exporting import export_model
from twins.export.gate import TOLERANCES, DiffersError
from twins.export.judging_data import Measured
from twins.export.parity import compare_outputs
from twins.optional_dependencies import need
from twins.runtimes.one_core import shared_core
from twins.runtimes.opening import open_exported
from twins.runtimes.openvino_runtime import OpenVinoNetwork
from twins.timing import Pace
from twins.training.loop import fit


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speeds, "PACE", Pace(blocks=1, seconds=0.0))
    leave_plots_out(monkeypatch.setattr)


@pytest.fixture
def weights(tiny_recipe: Any) -> Path:
    return fit(tiny_recipe.replace(epochs=1)).folder / "checkpoint_best.pth"


def corrupted(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Let one weight of each exported graph be another than the network's."""
    capture = exporting.captured

    def with_another_weight(network: Exportable, *shape: Any) -> Any:
        weight = network.network.get_parameter("head.bias")
        before = weight.detach().clone()
        weight.data[0] += factor * before.abs().max()
        program = capture(network, *shape)
        frozen = {name: tensor.detach().clone() for name, tensor in program.state_dict.items()}
        program._state_dict = {name: torch.nn.Parameter(tensor, False) for name, tensor in frozen.items()}
        weight.data.copy_(before)
        return program

    monkeypatch.setattr(exporting, "captured", with_another_weight)


def test_what_passes_says_how_it_was_judged(weights: Path, tmp_path: Path) -> None:
    said: list[str] = []
    file = export_model(weights, "pt2", tmp_path / "net.pt2", batch=1, check_images=10, say=said.append)
    checked = open_exported(file).description.checked
    assert checked is not None
    assert checked["noise"]["differences"]["logits"] < 1e-5
    assert checked["outputs"]["images"] == 10
    assert checked["outputs"]["differences"]["logits"] < 1e-5
    metric = checked["metric"]
    assert metric["name"] == "Acc@1"
    assert metric["before"] == metric["after"]
    assert (metric["images"], metric["of"]) == (10, 15)
    forms = list(checked["images_per_second"])
    assert forms[0] == "PyTorch"
    assert forms[-1].startswith("torch.export")
    assert any(line.startswith("Acc@1 on 10 of 15 images") for line in said)


def test_another_weight_is_refused_and_no_file_left(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    corrupted(monkeypatch, 100.0)
    out = tmp_path / "out" / "net.pt2"
    out.parent.mkdir()
    assert main(["export", str(weights), "--to", "pt2", "--batch", "1", "--out", str(out)]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("twins: logits of the exported network differs by ")
    assert line.endswith("nothing was written")
    assert list(out.parent.iterdir()) == []


def of(value: float, images: int, title: str = "Acc@1") -> Measured:
    return Measured(title, value, 2, images, images, "digits", task=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("dtype", "title", "lost", "images", "passes"), [
    ("fp32", "mIoU", 0.09, 1000, True), ("fp32", "mIoU", 0.11, 1000, False),
    ("int8", "AP", 0.5, 100, True), ("int8", "AP", 0.51, 100, False),
    ("bf16", "Acc@1", 0.25, 400, True), ("bf16", "Acc@1", 0.5, 400, False),  # one image of 400, and two
    ("fp32", "Acc@1", -1.0, 400, True), ("fp32", "mIoU", float("nan"), 100, False),
])  # fmt: skip
def test_how_much_of_the_metric_may_be_lost(dtype: str, title: str, lost: float, images: int, passes: bool) -> None:
    def judge() -> dict[str, Any]:
        before, after = of(90.0, images, title), of(90.0 - lost, images, title)
        return gate._judged_metric(before, after, TOLERANCES[dtype], "a runtime", lambda line: None)

    if passes:
        assert judge() == {"name": title, "before": 90, "after": 90 - lost, "images": images, "of": images}
        return
    with pytest.raises(DiffersError, match=rf"{title} on {images} of {images} images of digits is .* points may be"):
        judge()


def test_weights_without_data_name_what_to_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    line = refusal(capsys, "export", str(weights), "--to", "pt2", "--out", str(tmp_path / "net.pt2"))
    assert line.startswith(f"twins: {weights}: says nothing of its data")
    assert "--data synthetic" in line
    with pytest.raises(TwinsError, match="--data .*nowhere is not there: it takes a folder"):
        export_model(weights, "pt2", tmp_path / "net.pt2", batch=1, data=str(tmp_path / "nowhere"))
    assert not (tmp_path / "net.pt2").exists()


@pytest.mark.parametrize("found", [0, 2])
def test_detecting_nothing_on_noise_is_said(found: int, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.tensor([[1] * found + [-1] * (3 - found)])
    original = gate.Original(Mock(), Mock(), Mock(return_value={"labels": labels}))
    written = Mock()
    written.description.dtype, written.description.outputs = "fp32", ("boxes", "scores", "labels")
    for name, value in {"executed_by": {}, "sample_images": [torch.rand(1, 3, 8, 8)], "compare_outputs": {}}.items():
        monkeypatch.setattr(gate, name, Mock(return_value=value))
    for name in ("_say_speeds", "_module", "size_of_run"):
        monkeypatch.setattr(gate, name, Mock(return_value=(8, 8)))
    written.description.in_chans = 3
    said: list[str] = []
    gate.judge(written, original, data="synthetic", say=said.append)
    assert ("nothing is detected on noise" in said[-1]) == (not found)


class Stub:
    """As an opened file, its outputs given."""

    def __init__(self, outputs: dict[str, Tensor]) -> None:
        self.outputs = outputs
        self.description = type("", (), {"outputs": tuple(outputs)})

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        return self.outputs


def found(change: Callable[[dict[str, Tensor]], None]) -> dict[str, float]:
    """How far detections in an image of 100 x 50 pixels lie apart once some have changed."""
    boxes = torch.tensor([[[0.0, 0.0, 20.0, 20.0], [40.0, 0.0, 60.0, 20.0], [0.0, 0.0, 0.0, 0.0]]])
    outputs = {"boxes": boxes, "scores": torch.tensor([[0.9, 0.8, 0.0]]), "labels": torch.tensor([[0, 1, -1]])}
    changed = {name: values.clone() for name, values in outputs.items()}
    change(changed)
    return compare_outputs(Stub(changed), lambda images: outputs, [torch.zeros(1, 3, 100, 50)])  # type: ignore[arg-type]


def test_detections_are_compared_with_their_partners_in_any_order() -> None:
    def swap(outputs: dict[str, Tensor]) -> None:
        for values in outputs.values():
            values[:, :2] = values[:, :2].flip(1).clone()

    def move(outputs: dict[str, Tensor]) -> None:
        outputs["boxes"][0, 0] += 0.5
        outputs["scores"][0, 1] = 0.75

    def other_class(outputs: dict[str, Tensor]) -> None:
        outputs["labels"][0, 0] = 2

    def one_more(outputs: dict[str, Tensor]) -> None:
        outputs["boxes"][0, 2], outputs["labels"][0, 2] = torch.tensor([70.0, 0.0, 90.0, 9.0]), 0

    same = {"unmatched": 0.0, "boxes": 0.0, "scores": 0.0}
    assert found(lambda outputs: None) == same
    assert found(swap) == same
    assert found(move) == pytest.approx({"unmatched": 0.0, "boxes": 0.005, "scores": 0.05})
    assert found(other_class)["unmatched"] == 0.5  # of two and two, one each
    assert found(one_more)["unmatched"] == pytest.approx(1 / 5)


def test_casts_are_not_counted_as_products() -> None:
    openvino = need("openvino", extra="export")
    ops = openvino.opset13
    images = ops.parameter([1, 3, 8, 8], openvino.Type.f32)
    product = ops.matmul(images, ops.constant(torch.ones(8, 8).numpy()), False, False)
    large = ops.greater(ops.convert(product, "i32"), ops.constant(torch.tensor(3, dtype=torch.int32).numpy()))
    model = openvino.Model([ops.convert(large, "i64")], [images])
    compiled = shared_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    layers = compiled.get_runtime_model().get_ops()
    assert "Convert" in {layer.get_rt_info()["layerType"].astype(str) for layer in layers}
    executed = executed_by(Mock(spec=OpenVinoNetwork, compiled=compiled), torch.zeros(1))
    assert {name: count for name, count in executed.items() if name.endswith("products")} == {"fp32 products": 1}


@pytest.mark.slow
@pytest.mark.parametrize(("to", "suffix", "where"), [
    ("onnx", ".onnx", "CPUExecutionProvider"), ("openvino", ".xml", "CPU"),
])  # fmt: skip
def test_what_ran_where_is_kept(weights: Path, tmp_path: Path, to: str, suffix: str, where: str) -> None:
    file = export_model(weights, to, tmp_path / f"net{suffix}", img_size=32, check_images=5)
    checked = open_exported(file).description.checked
    assert checked is not None
    executed = checked["executed"]
    assert set(executed) == {where, "fp32 products"}
    assert executed[where] > executed["fp32 products"] >= 17  # of 4 blocks, 4 patch embeddings and the head
