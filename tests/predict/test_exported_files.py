"""Exported files predict as the checkpoints that they were made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import twins
from helpers.command_line import refusal
from helpers.eager_exports import as_exported
from predict.test_predict import checkpoint, saved
from twins.bench.roofline import Roofline
from twins.cli import main
from twins.errors import TwinsError
from twins.export.exporting import export_model


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint, and a program for one image of 48 x 48 made of it."""
    folder = tmp_path_factory.mktemp("classifier")
    weights, _ = checkpoint(folder, "classify")
    return weights, export_model(weights, "pt2", folder / "classify.pt2", batch=1, data="synthetic")


def test_the_command_writes_the_same_predictions(tmp_path: Path, classifier: tuple[Path, Path]) -> None:
    for i in range(3):
        saved(tmp_path / "images" / f"{i}.png", 70 + i, 50, seed=i)
    rows = []
    for weights in classifier:
        out = tmp_path / weights.suffix
        assert main(["predict", "--weights", str(weights), str(tmp_path / "images"), "--out", str(out)]) == 0
        rows.append((out / "predictions.csv").read_text().splitlines())
    assert len(rows[0]) == 4
    for ours, theirs in zip(*rows, strict=True):
        for one, other in zip(ours.split(","), theirs.split(","), strict=True):
            if one != other:  # a probability
                assert float(one) == pytest.approx(float(other), abs=1e-4)


def test_a_segmenter_predicts_the_same_masks(tmp_path: Path) -> None:
    weights, _ = checkpoint(tmp_path, "upernet")
    image = saved(tmp_path / "a.png", 70, 50)
    ours, theirs = (twins.load(source, device="cpu")(image) for source in (weights, as_exported(weights)))
    assert torch.equal(ours.mask, theirs.mask)


@pytest.mark.parametrize("kind", ["mask_rcnn", "retinanet"])
def test_a_detector_finds_the_same_objects(tmp_path: Path, kind: str) -> None:
    weights, _ = checkpoint(tmp_path, kind, meta={"recipe": {"conf": 0.01}})
    held = torch.load(weights)
    for name in set(held["model"]) & {"bbox_head.retina_cls.weight", "roi_head.bbox_head.fc_cls.weight"}:
        held["model"][name] *= 30  # or nearly all scores would be the same, and the order of detections chance
    torch.save(held, weights)
    image = saved(tmp_path / "a.png", 90, 60)
    ours, theirs = (twins.load(source, device="cpu", conf=0.01)(image) for source in (weights, as_exported(weights)))
    assert len(ours.scores) == len(theirs.scores) > 10
    torch.testing.assert_close(theirs.scores, ours.scores, rtol=0, atol=1e-5)
    best = slice(20)  # beyond, some scores are the same
    torch.testing.assert_close(theirs.boxes[best], ours.boxes[best], rtol=0, atol=1e-3)
    assert torch.equal(theirs.labels[best], ours.labels[best])
    if ours.masks is not None:
        assert float((theirs.masks[best] != ours.masks[best]).float().mean()) < 1e-3


def test_what_an_exported_file_cannot_do_is_one_line(
    tmp_path: Path, classifier: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, file = classifier
    saved(tmp_path / "a.png", 70, 50)
    asked = ["predict", "--weights", str(file), str(tmp_path / "a.png")]
    assert "computes in fp32, as it was exported: leave --dtype out" in refusal(capsys, *asked, "--dtype", "int8")
    assert "--explain looks into the network" in refusal(capsys, *asked, "--explain", "--out", str(tmp_path / "out"))
    assert "--ema is for checkpoints" in refusal(capsys, *asked, "--ema")
    assert "leave --model out" in refusal(capsys, *asked, "--model", "svt_base")
    damaged = tmp_path / "damaged.pt2"
    damaged.write_bytes(file.read_bytes()[:5000])
    for command in (["predict", str(tmp_path / "a.png")], ["eval"], ["bench"]):
        assert f"{damaged}: is damaged" in refusal(capsys, *command, "--weights", str(damaged))
    with pytest.raises(TwinsError, match="is an exported file: name the checkpoint"):
        export_model(file, "pt2", tmp_path / "again.pt2")


def test_bench_measures_it_alone(
    tmp_path: Path, classifier: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Roofline, "measure", lambda self: None)
    pace = ["--blocks", "1", "--seconds", "0", "--out", str(tmp_path), "--json"]
    assert main(["bench", "--weights", str(classifier[1]), *pace]) == 0
    out, err = capsys.readouterr()
    (row,) = json.loads(out)["rows"]
    assert (row["backend"], row["size"], row["batch"]) == ("exported file fp32", "48x48", 1)
    assert row["images_per_second"] > 0
    assert row["error"] <= 1e-4
    assert "batch 16 left out: TwinsError" in err
    assert "takes 1 images at once, not 16" in err
    for flag, value in (("--dtype", "bf16"), ("--against", "timm")):
        assert main(["bench", "--weights", str(classifier[1]), *pace, flag, value]) == 2
        assert f"is measured alone, as it was exported: leave {flag} out" in capsys.readouterr().err
