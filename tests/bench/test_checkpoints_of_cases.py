"""`twins bench --weights`: a checkpoint's own classifier, with its own weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import twins
from helpers.command_line import refusal
from helpers.tiny import TINY
from twins.bench import networks
from twins.bench.networks import image_shape, our_network, unlike_timms, weights_of
from twins.bench.plan import Backend, Case
from twins.cli import main


def left_by_a_run(path: Path, network: nn.Module, preprocessing: dict[str, Any], **settings: Any) -> str:
    """A checkpoint of a classifier, as a run of ours leaves it."""
    meta = {"task": "classify", "name": "twins_svt_small", "create_model": settings, "preprocessing": preprocessing}
    torch.save({"format": "twins-1", "model": network.state_dict(), "meta": meta}, path)
    return str(path)


@pytest.fixture
def grey(tmp_path: Path) -> tuple[str, nn.Module]:
    """A checkpoint of a small network for grey images of 40 x 48, and the network."""
    torch.manual_seed(0)
    settings = {"num_classes": 3, "in_chans": 1, "window_padding": "mask", **TINY}
    network = twins.create_model("twins_svt_small", **settings).eval()
    preprocessing = {"img_size": (40, 48), "mean": (0.5,), "std": (0.5,)}
    return left_by_a_run(tmp_path / "grey.pth", network, preprocessing, **settings), network


def test_a_case_has_the_checkpoints_network_and_weights(grey: tuple[str, nn.Module]) -> None:
    path, network = grey
    case = Case("classifier", path, (40, 48), 2, ())
    assert image_shape(case) == (1, 40, 48)
    images = torch.randn(2, *image_shape(case))
    with torch.no_grad():
        assert torch.equal(our_network(case, weights_of(case))(images), network(images))


def test_the_command_measures_it(
    grey: tuple[str, nn.Module], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = grey
    argv = ["--weights", path, "-b", "2", "--blocks", "1", "--seconds", "0", "--against", "timm"]
    assert main(["bench", *argv, "--dtype", "fp32", "--out", str(tmp_path / "out")]) == 0
    (results,) = (tmp_path / "out").glob("cpu-*.json")
    rows = json.loads(results.read_text())["rows"]
    assert [(row["backend"], row["network"], row["size"]) for row in rows] == [
        ("twins fp32", path, "40x48"), ("twins frozen fp32", path, "40x48"),
    ]  # fmt: skip
    assert all(row["parity"] for row in rows)
    left_out = f"timm eager fp32 left out: timm's twins_svt_small has other parameters than {path}"
    assert left_out in capsys.readouterr().out


def test_timm_takes_part_where_its_network_has_the_same_parameters(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = twins.create_model("twins_svt_small", num_classes=3)
    settings = {"num_classes": 3, "in_chans": 3}
    path = left_by_a_run(tmp_path / "same.pth", network.to_empty(device="cpu"), {}, **settings)
    case = Case("classifier", path, (224, 224), 1, ())
    assert unlike_timms(Backend("timm"), case) is None
    timms = networks.timm_network(case)
    assert timms.get_classifier().out_features == 3
    assert unlike_timms(Backend("timm"), case._replace(network="twins_svt_base")) is None  # drawn weights


def test_only_classifiers_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": twins.retinanet("svt_small", channels=8).state_dict()}, tmp_path / "boxes.pth")
    message = refusal(capsys, "bench", "--weights", str(tmp_path / "boxes.pth"))
    assert "boxes.pth: not a checkpoint of a classifier whose network is known" in message
