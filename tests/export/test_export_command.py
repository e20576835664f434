"""`twins export` from a checkpoint to a file, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import twins
from helpers.command_line import refusal
from helpers.exported import describe, exportable_to, network_to, save_checkpoint
from twins.cli import main
from twins.export import exporting, gate, parity
from twins.export.written import Written


class Echo(Written):
    """A conversion that writes its description alone, for tests of everything around it."""

    def save(self, path: Path, description: Any) -> None:
        path.write_text(description.to_json())
        if path.suffix == ".xml":
            path.with_suffix(".bin").write_text("weights")


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is captured, converted or compared."""
    monkeypatch.setattr(exporting, "_converted", lambda network, description, *_: (Echo(), description))
    monkeypatch.setattr(exporting, "open_exported", lambda path: path)
    monkeypatch.setattr(exporting, "judge", lambda *_: {"differences": {"logits": 1e-7}})


def test_a_classifier_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "classify" / "tiny"
    run.mkdir(parents=True)
    save_checkpoint(run / "checkpoint_best.pth")
    (run / "summary.json").write_text("{}")
    assert main(["export", "--to", "pt2", "--data", "synthetic"]) == 0
    printed = capsys.readouterr().out
    assert "weights: runs/classify/tiny/checkpoint_best.pth, of the newest finished run" in printed
    assert "--to pt2 takes images of one size: 64x64, that of its run" in printed
    assert "in: images (B, 3, 64, 64) float32, RGB bytes / 255" in printed
    network = twins.open_exported("runs/export/tiny.pt2")
    assert network.description.classes == ("ant", "bee", "cat")
    assert network.description.checked["noise"]["differences"]["logits"] < 1e-5
    images, preprocessing = torch.rand(2, 3, 64, 64), twins.load(run / "checkpoint_best.pth").info.preprocessing
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    with torch.no_grad():
        expected = network_to("classify")((images - mean) / std)
    torch.testing.assert_close(network(images)["logits"], expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert [file.name for file in (tmp_path / "runs" / "export").iterdir()] == ["tiny.pt2"]


@pytest.mark.usefixtures("echo")
def test_both_files_of_openvino_are_moved_into_place(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    weights = save_checkpoint(tmp_path / "a.pth")
    path = twins.export_model(
        weights, "openvino", tmp_path / "out" / "a.xml", img_size=(64, 96), batch=2, data="synthetic"
    )
    assert sorted(file.name for file in path.parent.iterdir()) == ["a.bin", "a.xml"]
    assert '"sizes": [[64, 96]], "smallest_side": 32, "batch": 2' in path.read_text()


@pytest.mark.usefixtures("echo")
def test_a_file_that_differs_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = save_checkpoint(tmp_path / "a.pth")

    def differs(*_: Any) -> dict[str, Any]:
        raise gate.DiffersError("logits differ")

    monkeypatch.setattr(exporting, "judge", differs)
    flags = ["--to", "pt2", "--out", str(tmp_path / "b.pt2"), "--data", "synthetic"]
    assert main(["export", str(weights), *flags]) == 1
    assert capsys.readouterr().err == "twins: logits differ\n"
    assert [file.name for file in tmp_path.iterdir()] == ["a.pth"]


def test_differences_are_measured_and_judged() -> None:
    network = exportable_to("segment")
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        outputs = network(images)

    class Off:
        description, runtime = describe(network, "segment", sizes=((64, 64),), batch=1), "a runtime"

        def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            with torch.no_grad():
                outputs = network(images)
            logits = outputs["logits"].clone()
            logits[0, 0, 0, 0] += 0.25 * logits.abs().max()
            class_map = outputs["class_map"].clone()
            class_map[0, 0, :32] = -1
            return {"class_map": class_map, "logits": logits}

    differences = parity.compare_outputs(Off(), network, [images])  # type: ignore[arg-type]
    assert outputs["class_map"].shape == (1, 64, 64)
    assert differences == {"class_map": 32 / 64**2, "logits": pytest.approx(0.25, rel=1e-5)}
    with pytest.raises(gate.DiffersError, match=r"class_map of the exported network differs by 7.8e-03 from PyTorch"):
        gate._judged_outputs(differences, "noise", 1, gate.TOLERANCES["fp32"], "a runtime", lambda line: None)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--to", "onxn"), "onnx, openvino, pt2, aoti, executorch, hub, not 'onxn' (did you mean onnx?)"),
        (("--to", "pt2", "--dtype", "int4"), "--dtype of --to pt2 must be one of fp32, fp16, bf16, not 'int4'"),
        (("--to", "pt2", "--out", "a.onnx"), "--out a.onnx: a file for torch.export ends in .pt2"),
        (("--to", "pt2", "--img-size", "0"), "--img-size takes one side or height and width"),
        (("--to", "pt2", "--img-size", "1", "2", "3"), "--img-size takes one side, or height and width"),
        (("--to", "pt2", "--batch", "many"), "--batch: 'many' is neither a whole number nor the word dynamic"),
        (("--to", "onnx", "--dtype", "int8"), "--data synthetic: int8 is calibrated and judged on images"),
        (("--to", "pt2", "--out", "/proc/nowhere/a.pt2"), "/proc/nowhere/a.pt2: cannot be written"),
    ],
)
@pytest.mark.usefixtures("echo")
def test_what_cannot_be_done_is_refused(
    flags: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(capsys, "export", str(save_checkpoint(tmp_path / "a.pth")), "--data", "synthetic", *flags)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pth"]


def test_a_target_that_cannot_be_written_is_refused_before_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exporting, "_converted", lambda *_: pytest.fail("was converted"))
    flags = ["--to", "pt2", "--data", "synthetic", "--out", "/proc/a.pt2"]  # whose folder is there
    assert "/proc/a.pt2: cannot be written" in refusal(
        capsys, "export", str(save_checkpoint(tmp_path / "a.pth")), *flags
    )


def test_without_weights_a_finished_run_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(capsys, "export", "--to", "pt2") == "twins: runs: has no finished run; name the weights"


def test_a_network_that_the_target_cannot_express_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuses(*_: Any) -> None:
        raise NotImplementedError("no operator aten::dream\nlonger advice")

    monkeypatch.setattr(exporting, "captured", refuses)
    weights = save_checkpoint(tmp_path / "a.pth")
    expected = f"twins: {weights}: torch.export cannot express this network: no operator aten::dream"
    assert refusal(capsys, "export", str(weights), "--to", "pt2", "--data", "synthetic") == expected


def test_a_folder_for_the_hub_is_written_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = str(save_checkpoint(tmp_path / "a.pth"))
    assert main(["export", weights, "--to", "hub", "--out", "a", "--license", "mit"]) == 0
    assert sorted(file.name for file in Path("a").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert 'license: "mit"' in Path("a", "README.md").read_text(encoding="utf-8")
    assert "--dtype is not for --to hub" in refusal(capsys, "export", weights, "--to", "hub", "--dtype", "fp16")
    assert "a holds a model already" in refusal(capsys, "export", weights, "--to", "hub", "--out", "a")
    assert main(["export", weights, "--to", "hub", "--out", "a", "--exist-ok"]) == 0
    assert "--license is of the model card" in refusal(capsys, "export", weights, "--license", "mit")


def test_a_checkpoint_whose_head_is_not_the_described_one_is_refused(tmp_path: Path) -> None:
    weights = save_checkpoint(tmp_path / "a.pth")
    checkpoint = torch.load(weights)
    checkpoint["model"]["head.weight"], checkpoint["model"]["head.bias"] = torch.zeros(5, 64), torch.zeros(5)
    torch.save(checkpoint, weights)
    for use in (twins.load, lambda path: twins.export_model(path, "pt2", tmp_path / "a.pt2", data="synthetic")):
        with pytest.raises(twins.TwinsError, match=r"a.pth: .*head.weight"):
            use(weights)
