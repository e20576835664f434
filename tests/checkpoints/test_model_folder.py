"""Folders as the hub has them, ours and timm's, wherever a checkpoint is taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf

import twins
import twins.timm
from helpers.command_line import refusal
from helpers.tiny import TINY
from twins.checkpoints.info import read_info
from twins.checkpoints.model_folder import stated_beside
from twins.errors import TwinsError
from twins.preprocessing import ClassifyPreprocessing

NAMES = ("ant", "bee", "cat")


def randomised(model: Any) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture
def of_timm(tmp_path: Path) -> tuple[Path, Any]:
    """A folder that timm wrote, of a small network of its own, and that network."""
    model = randomised(timm.create_model("twins_svt_small", num_classes=3, in_chans=1, **TINY))
    save_for_hf(model, tmp_path / "timm", model_config={"label_names": list(NAMES)}, safe_serialization="both")
    return tmp_path / "timm", model


@pytest.fixture
def of_ours(tmp_path: Path) -> tuple[Path, Any]:
    model = randomised(twins.create_model("twins_svt_small", num_classes=3, norm_eps=1e-5, **TINY))
    twins.save_pretrained(model, tmp_path / "ours", NAMES)
    return tmp_path / "ours", model


def rewrite(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


@torch.no_grad()
def test_timms_own_folder_is_read_with_timms_conventions(of_timm: tuple[Path, Any]):
    """At a size that windows do not divide, where the padding shows."""
    folder, theirs = of_timm
    ours, images = twins.create_model(weights=folder).eval(), torch.randn(2, 1, 50, 61)
    torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=1e-5)
    info = read_info(folder)
    assert (info.ours, info.task, info.model, info.classes) == (False, "classify", "twins_svt_small", NAMES)
    assert info.source == str(folder / "model.safetensors")
    assert info.create_model == {"num_classes": 3, "in_chans": 1, "window_padding": "zero", **TINY}
    assert info.preprocessing == ClassifyPreprocessing(224, 0.9, info.preprocessing.mean, info.preprocessing.std)


@torch.no_grad()
def test_timms_folder_of_a_pickle_alone_and_timms_first_format(of_timm: tuple[Path, Any]):
    folder, theirs = of_timm
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    flat = {**config["pretrained_cfg"], "architecture": "twins_svt_small", "model_args": config["model_args"]}
    (folder / "config.json").write_text(json.dumps({**flat, "label_names": {"0": "x", "2": "z", "1": "y"}}))
    images = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(twins.create_model(weights=folder).eval()(images), theirs(images), rtol=0, atol=1e-5)
    assert read_info(folder).classes == ("x", "y", "z")


@torch.no_grad()
def test_our_network_that_timm_made_and_wrote(tmp_path: Path):
    """Under its original name, which `import twins.timm` registers."""
    theirs = timm.create_model("alt_gvt_small", num_classes=3, window_padding="mask-both", window_size=4, **TINY)
    save_for_hf(randomised(theirs), tmp_path / "timm")
    ours, images = twins.create_model(weights=tmp_path / "timm").eval(), torch.randn(1, 3, 50, 64)
    assert torch.equal(ours(images), theirs(images))
    assert read_info(tmp_path / "timm").window_padding == "mask-both"


def test_window_sizes_of_timm(of_timm: tuple[Path, Any]):
    folder, _ = of_timm
    arguments = json.loads((folder / "config.json").read_text())["model_args"]
    assert (
        twins.create_model(weights=rewrite(folder, model_args={**arguments, "wss": [4] * 4})).blocks[0][0].attn.window
        == 4
    )
    with pytest.raises(TwinsError, match=r"config.json: model_args.wss is \(7, 7, 4, 2\)"):
        read_info(rewrite(folder, model_args={**arguments, "wss": [7, 7, 4, 2]}))


def test_a_folder_of_timms_without_a_head_is_a_backbone(tmp_path: Path):
    save_for_hf(timm.create_model("twins_pcpvt_small", num_classes=0, **TINY), tmp_path / "timm")
    info = read_info(tmp_path / "timm")
    assert (info.task, info.preprocessing, info.model) == (None, None, "twins_pcpvt_small")
    maps = twins.create_model(weights=tmp_path / "timm", features_only=True)(torch.randn(1, 3, 64, 64))
    assert [x.shape[1] for x in maps] == [16, 16, 32, 32]


@torch.no_grad()
def test_our_folder_says_all_of_its_network(of_ours: tuple[Path, Any]):
    folder, model = of_ours
    images = torch.randn(2, 3, 50, 61)
    same, info = twins.create_model(weights=folder).eval(), read_info(folder)
    assert torch.equal(same(images), model(images))
    assert (info.ours, info.dialect, info.norm_eps, info.window_padding) == (True, "twins", 1e-5, "mask")
    assert (info.classes, info.classes_named) == (NAMES, True)
    assert read_info(folder / "model.safetensors") == info
    settings = twins.create_model(weights=folder, num_classes=5, window_padding="zero", drop_path_rate=0.1)
    assert (settings.num_classes, settings.blocks[0][0].attn.padding) == (5, "zero")
    named = twins.create_model("twins_svt_small", weights=folder, **TINY)  # as for any file: only weights are taken
    assert (named.num_classes, named.blocks[0][0].norm1.eps) == (1000, 1e-6)


def test_a_run_of_ours_says_its_network_too(tmp_path: Path):
    model = twins.create_model("twins_pcpvt_small", num_classes=2, **TINY)
    meta = {"task": "classify", "name": "twins_pcpvt_small", "create_model": {"num_classes": 2, **TINY}}
    torch.save({"format": "twins-1", "model": model.state_dict(), "meta": meta}, tmp_path / "run.pth")
    assert torch.equal(twins.create_model(weights=tmp_path / "run.pth").head.weight, model.head.weight)


def test_networks_that_weights_alone_do_not_tell(tmp_path: Path):
    with pytest.raises(TwinsError, match="create_model needs a name"):
        twins.create_model(weights="timm")
    torch.save(twins.create_model("twins_svt_small", **TINY).state_dict(), tmp_path / "bare.pth")
    with pytest.raises(TwinsError, match=r"bare.pth: does not say which network it is \(there is no config.json\)"):
        twins.create_model(weights=tmp_path / "bare.pth")
    segmenter = twins.upernet("twins_svt_small", num_classes=2, channels=8, **TINY)
    twins.save_pretrained(segmenter, tmp_path / "upernet")
    with pytest.raises(TwinsError, match="holds a upernet: twins.load"):
        twins.create_model(weights=tmp_path / "upernet")
    backbone, images = twins.create_model(weights=tmp_path / "upernet", features_only=True), torch.randn(1, 3, 50, 61)
    assert backbone.load_report.missing == ()
    for ours, of_segmenter in zip(backbone(images), segmenter.backbone(images), strict=True):
        assert torch.equal(ours, of_segmenter)  # with the norms after its stages


def test_a_config_of_another_program_is_none(of_ours: tuple[Path, Any]):
    folder, _ = of_ours
    (folder / "config.json").write_text('{"architectures": ["BertModel"], "architecture": "resnet18"}')
    info = read_info(folder)
    assert (info.ours, info.model, info.create_model["num_classes"]) == (False, None, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "config.json: is no JSON, so it is damaged"),
        ("[1]", "config.json: holds no fields by name"),
        ('{"twins": 5}', "config.json: twins.format is None, and this version reads 'twins-folder-1'"),
        ('{"twins": {"format": "twins-folder-9"}}', "pip install --upgrade twins-vit"),
        ('{"twins": {"format": "twins-folder-1", "meta": {"task": "classify"}}}', "says nothing of its network"),
        (
            '{"twins": {"format": "twins-folder-1", "meta": {"create_model": {"num_classes": "x"}}}}',
            "num_classes holds",
        ),
        ('{"architecture": "twins_svt_small", "pretrained_cfg": 3}', "pretrained_cfg and model_args are fields"),
        ('{"architecture": "twins_svt_small", "input_size": [3]}', "input_size is channels, height and width"),
        ('{"architecture": "twins_svt_small", "label_names": {"a": "b"}, "num_classes": 3}', "label_names"),
        ('{"architecture": "twins_svt_small", "num_classes": 7}', "says num_classes=7, but"),
    ],
)
def test_damaged_configs(of_ours: tuple[Path, Any], content: str, message: str, capsys: pytest.CaptureFixture[str]):
    folder, _ = of_ours
    (folder / "config.json").write_text(content)
    assert message in refusal(capsys, "eval", "--weights", str(folder))


def test_no_weights_beside_the_config(of_ours: tuple[Path, Any]):
    folder, _ = of_ours
    (folder / "model.safetensors").unlink()
    with pytest.raises(TwinsError, match="is a directory without a checkpoint in it"):
        read_info(folder)


@pytest.mark.parametrize("sides", [{}, [{}], [[7]], "7", [7.5] * 4, None])
def test_windows_that_are_no_numbers(tmp_path: Path, sides: object) -> None:
    config = {"architecture": "twins_svt_small", "num_classes": 3, "model_args": {"wss": sides}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(TwinsError, match=r"config\.json: model_args\.wss is"):
        stated_beside(tmp_path / "model.safetensors")


def test_lists_in_lists_are_damage(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"label_names": ' + "[" * 10**5 + "]" * 10**5 + "}")
    with pytest.raises(TwinsError, match=r"config\.json: is no JSON, so it is damaged"):
        stated_beside(tmp_path / "model.safetensors")
