"""`weights="timm"`: timm's copy of the published weights, where timm and the network are reached."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

import twins
from helpers.command_line import refusal
from helpers.foreign import shrink
from helpers.tiny import TINY
from twins.cli import main


@pytest.fixture
def downloaded(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A network, small for the test, whose weights timm then has for twins_svt_small."""
    shrink(monkeypatch, "twins_svt_small")
    torch.manual_seed(5)
    network = twins.create_model("twins_svt_small", num_classes=7)

    def create_model(name: str, pretrained: bool) -> nn.Module:
        assert (name, pretrained) == ("twins_svt_small", True)
        return network

    monkeypatch.setattr(timm, "create_model", create_model)
    return network


def test_a_classifier_starts_from_timms_copy(downloaded: nn.Module) -> None:
    model = twins.create_model("alt_gvt_small", num_classes=7, weights="timm")
    assert all(torch.equal(tensor, downloaded.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert str(model.load_report).splitlines()[1] == "from timm's copy: twins_svt_small, dialect: public names"
    other = twins.create_model("alt_gvt_small", num_classes=3, weights="timm")
    assert set(other.load_report.reshaped) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("kind", ["upernet", "retinanet"])
def test_a_dense_model_takes_its_backbone(downloaded: nn.Module, kind: str) -> None:
    model = getattr(twins, kind)("svt_small", num_classes=3, channels=16, weights="timm")
    for name in ("patch_embeds.0.proj.weight", "blocks.3.0.mlp.fc1.weight"):
        assert torch.equal(model.backbone.state_dict()[name], downloaded.state_dict()[name])
    assert "head.weight" in model.load_report.unused


def test_training_starts_from_it(
    downloaded: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ["train", "--weights", "timm", "--model", "svt_small", "--epochs", "1", "--steps-per-epoch", "1"]
    kwargs = [f"{name}={','.join(map(str, values))}" for name, values in TINY.items()]
    assert main([*argv, "--model-kwargs", *kwargs, "--device", "cpu", "-j", "0", "--lr", "0", "--warmup-lr", "0",
                 "--min-lr", "0", "--weight-decay", "0", "--name", "mine"]) == 0  # fmt: skip
    assert "from timm's copy: twins_svt_small" in capsys.readouterr().out
    stored = torch.load("runs/classify/mine/checkpoint.pth", weights_only=True)["model"]
    assert torch.equal(stored["blocks.3.0.mlp.fc1.weight"], downloaded.state_dict()["blocks.3.0.mlp.fc1.weight"])


def test_where_it_is_not_to_be_had_a_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, "twins_svt_small")

    def refused(message: str, **settings: Any) -> None:
        with pytest.raises(twins.TwinsError, match=message) as raised:
            twins.create_model("svt_small", weights="timm", **settings)
        assert "\n" not in str(raised.value)

    def create_model(name: str, pretrained: bool) -> nn.Module:
        raise OSError("no route\nto the hub")

    monkeypatch.setattr(timm, "create_model", create_model)
    refused(re.escape("timm did not get its twins_svt_small (OSError: no route); download timm/twins_svt_small.in1k"))
    refused("timm has those of the six published networks, and this is none of them", depths=(3, 1, 1, 1))
    monkeypatch.setitem(sys.modules, "timm", None)
    refused(re.escape('timm is not installed; run: pip install "twins-vit[train]"'))


def test_other_programs_flag_for_it_leads_to_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown argument --pretrained (did you mean --weights?)" in refusal(capsys, "train", "--pretrained")
    assert "unknown argument --ckpt (did you mean --weights?)" in refusal(
        capsys, "predict", "a.png", "--weights", "b.pth", "--ckpt", "c.pth"
    )
    assert "unknown argument --pretrained; see" in refusal(capsys, "info", "--pretrained")
    with pytest.raises(twins.TwinsError, match=re.escape("no such setting 'pretrained' (weights=... names a file, or")):
        twins.create_model("svt_small", pretrained=True)
