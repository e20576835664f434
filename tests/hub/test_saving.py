"""Folders to publish: what timm and this package make of them, the card, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import ModelCard
from timm.data import create_transform, resolve_model_data_config

import twins
import twins.timm
from helpers.tiny import TINY
from twins.checkpoints.info import read_info
from twins.errors import TwinsError
from twins.hub.timm_network import reading_of
from twins.preprocessing import ClassifyPreprocessing, DetectPreprocessing

NAMES = ("ant", "bee", "cat")


def randomised(model: Any) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model.eval()


def small(name: str = "twins_svt_small", **keywords: Any) -> Any:
    return randomised(twins.create_model(name, num_classes=3, **{**TINY, **keywords}))


def of_timm(folder: Path) -> Any:
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


@torch.no_grad()
def apart(one: Any, other: Any, *size: int, channels: int = 3) -> float:
    images = torch.randn(2, channels, *size)
    return float((one(images) - other(images)).abs().max())


# ---- timm


@pytest.mark.parametrize("name", ["twins_svt_small", "twins_pcpvt_small"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_timms_own_network_computes_the_same(name: str, channels: int, tmp_path: Path):
    """Also with other depths, widths and input channels, that timm is told of."""
    model = small(name, in_chans=channels, depths=(2, 1, 2, 1))
    twins.save_pretrained(model, tmp_path / "net", NAMES)
    theirs = of_timm(tmp_path / "net")
    assert type(theirs).__module__ == "timm.models.twins"
    assert apart(theirs, model, 224, 224, channels=channels) < 1e-5
    assert theirs.pretrained_cfg["label_names"] == list(NAMES)
    assert timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True, num_classes=5).num_classes == 5


@pytest.mark.parametrize(
    ("settings", "size", "same_at_own_size", "same_elsewhere"),
    [
        ({}, 224, True, False),
        ({"window_padding": "zero"}, 64, True, True),
        ({"window_padding": "mask-both"}, 64, False, False),
        ({"window_size": 4}, (128, 256), True, False),
        ({"norm_eps": 1e-2}, 224, False, False),
    ],
)
def test_where_timms_network_computes_something_else_is_said(
    settings: dict[str, Any], size: Any, same_at_own_size: bool, same_elsewhere: bool, tmp_path: Path
):
    model, ready = small(**settings), ClassifyPreprocessing(size)
    said = twins.save_pretrained(model, tmp_path / "net", NAMES, ready)
    reading, card = reading_of(read_info(tmp_path / "net")), (tmp_path / "net/README.md").read_text()
    assert (reading.same, reading.note == "") == (same_at_own_size, same_elsewhere)
    assert ('timm.create_model("local-dir:net"' in card, "import twins.timm" in card) == (
        same_at_own_size,
        not same_elsewhere,
    )
    assert len([line for line in said if line.startswith("timm's twins_svt_small computes")]) == (not same_elsewhere)
    theirs = of_timm(tmp_path / "net")
    assert (apart(theirs, model, *ready.size) < 1e-5) == same_at_own_size
    assert (apart(theirs, model, 50, 61) < 1e-5) == same_elsewhere


def test_a_network_that_timm_cannot_make(tmp_path: Path):
    """Windows of one token: timm means global attention by them."""
    (_, note, *_) = twins.save_pretrained(small(window_size=1), tmp_path / "net", NAMES)
    assert note.startswith("timm's twins_svt_small has no such attention (window_size=1): it cannot load it")
    with pytest.raises(RuntimeError, match="Missing key"):
        of_timm(tmp_path / "net")


@pytest.mark.parametrize(
    ("name", "original"), [("twins_svt_small", "alt_gvt_small"), ("twins_pcpvt_small", "pcpvt_small")]
)
def test_the_cards_code_makes_our_network_under_its_original_name(name: str, original: str, tmp_path: Path):
    model = small(name, norm_eps=1e-3)
    twins.save_pretrained(model, tmp_path / "net", NAMES)
    code = (tmp_path / "net/README.md").read_text().split("```python\n")[-1].split("```")[0]
    assert original in code
    names: dict[str, Any] = {}
    exec(code.replace('"net/', f'"{tmp_path}/net/'), names)
    assert isinstance(names["model"], twins.Twins)
    assert apart(names["model"].eval(), model, 50, 61) == 0


def test_timm_makes_images_ready_as_we_do(tmp_path: Path):
    ready = ClassifyPreprocessing((96, 64), 0.8, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    twins.save_pretrained(small(), tmp_path / "net", NAMES, ready)
    config = resolve_model_data_config(of_timm(tmp_path / "net"))
    assert config == {
        **{"input_size": [3, 96, 64], "interpolation": "bicubic", "crop_pct": 0.8, "crop_mode": "center"},
        **{"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
    }
    twins.save_pretrained(small(), tmp_path / "tiny", NAMES, ClassifyPreprocessing(32))
    steps = create_transform(**resolve_model_data_config(of_timm(tmp_path / "tiny"))).transforms
    assert steps[0].size == (32, 32)  # whole images, as ours
    assert read_info(tmp_path / "net").preprocessing == ready


# ---- all tasks


@pytest.mark.parametrize("kind", ["upernet", "semantic_fpn", "retinanet", "mask_rcnn"])
def test_segmenters_and_detectors_come_back_whole(kind: str, tmp_path: Path):
    rcnn = {"box_channels": 8, "proposals": 20, "rpn_samples": 16, "box_samples": 12, "masks": False}
    sizes = {"min_size": 64, "max_size": 96} if kind in ("retinanet", "mask_rcnn") else {"head_drop": 0.2}
    keywords = {**TINY, "channels": 16, **sizes, **(rcnn if kind == "mask_rcnn" else {})}
    model = randomised(getattr(twins, kind)("twins_svt_small", num_classes=3, window_padding="mask-both", **keywords))
    twins.save_pretrained(model, tmp_path / "net", NAMES)
    info = read_info(tmp_path / "net")
    kept = {key: value for key, value in keywords.items() if key not in ("min_size", "max_size")}
    assert kept.items() <= info.create_model.items()
    assert (info.head, info.classes, info.window_padding) == (kind, NAMES, "mask-both")
    if "min_size" in sizes:
        assert info.preprocessing == DetectPreprocessing(64, 96)
    loaded = twins.load(tmp_path / "net", conf=0.0) if "min_size" in sizes else twins.load(tmp_path / "net")
    own = model.state_dict()
    assert all(torch.equal(own[key], tensor) for key, tensor in loaded.model.state_dict().items())
    again = getattr(twins, kind)("twins_svt_small", num_classes=3, weights=tmp_path / "net", **keywords)
    assert again.load_report.missing == ()  # the auxiliary head as well
    with pytest.raises(RuntimeError, match=f"Unknown model \\({kind}\\)"):
        of_timm(tmp_path / "net")


# ---- the card


def test_what_is_not_known_is_said_once(tmp_path: Path):
    said = twins.save_pretrained(small(window_padding="zero"), tmp_path / "net")
    card = ModelCard.load(tmp_path / "net/README.md")
    assert len(said) == 3
    assert said[1].startswith("no validation metrics are known")
    assert said[2].startswith("the card names no license")
    assert (card.data.license, card.data.eval_results, card.data.library_name) == ("unknown", None, "timm")
    assert "None are known of these weights." in card.text
    assert "the weights say nothing of their run" in card.text


def test_names_do_no_harm_to_the_card(tmp_path: Path):
    names = ("a|b", "</details>", "# c\nd")
    twins.save_pretrained(small(), tmp_path / 'a "net": x', names, metrics={"acc1": 91.25, "own": 3}, license="mit")
    card = ModelCard.load(tmp_path / 'a "net": x' / "README.md")
    assert r"Classes: a\|b, \</details\>, \# c\\nd." in card.text
    assert [r.metric_value for r in card.data.eval_results] == [91.25, 3.0]
    assert card.data.model_name == 'a "net": x'
    assert read_info(tmp_path / 'a "net": x').classes == names


# ---- what is refused


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (torch.nn.Linear(1, 1), "a Linear is no classifier, segmenter or detector"),
        (timm.create_model("twins_svt_small", **TINY), "timm.models.save_for_hf"),
        (twins.create_model("twins_svt_small", features_only=True, **TINY), "a TwinsBackbone is no"),
        (twins.create_model("twins_svt_small", num_classes=0, **TINY), "a Twins is no classifier"),
    ],
)  # fmt: skip
def test_what_is_no_whole_network_of_ours(model: Any, message: str, tmp_path: Path):
    with pytest.raises(TwinsError, match=message):
        twins.save_pretrained(model, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_or_of_another_number_of_classes(tmp_path: Path):
    model = small()
    with pytest.raises(TwinsError, match="this twins_svt_small: tells 3 classes apart, but 2 are named"):
        twins.save_pretrained(model, tmp_path / "net", ("a", "b"))
    with torch.no_grad():
        model.head.bias[0] = float("nan")
    with pytest.raises(TwinsError, match="1 of 94 tensors have values that are not finite|values that are not finite"):
        twins.save_pretrained(model, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_to_be_replaced(tmp_path: Path):
    model = small()
    (tmp_path / "file").touch()
    with pytest.raises(TwinsError, match="file is a file: name a folder"):
        twins.save_pretrained(model, tmp_path / "file")
    with pytest.raises(
        TwinsError, match=r"net: cannot be written \(Not a directory\); name a folder that can be written"
    ):
        twins.save_pretrained(model, tmp_path / "file" / "net")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/config.json").write_text('{"architecture": "resnet18"}')
    with pytest.raises(TwinsError, match="notes is not empty, and no folder that this command has written"):
        twins.save_pretrained(model, tmp_path / "notes", exist_ok=True)
    (tmp_path / "empty").mkdir()
    twins.save_pretrained(model, tmp_path / "empty")
    with pytest.raises(TwinsError, match="empty holds a model already: name another folder, or pass exist_ok"):
        twins.save_pretrained(model, tmp_path / "empty")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file", "notes"]


def test_replacing_a_folder_keeps_other_files_and_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, first, second = tmp_path / "net", small(), small()
    twins.save_pretrained(first, folder)
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    with monkeypatch.context() as failing:
        failing.setattr("twins.hub.saving.model_card", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            twins.save_pretrained(second, folder, exist_ok=True)
        with pytest.raises(ZeroDivisionError):
            twins.save_pretrained(second, tmp_path / "new")
    names = [".gitattributes", "README.md", "config.json", "model.safetensors"]
    assert sorted(p.name for p in folder.iterdir()) == names
    assert torch.equal(twins.create_model(weights=folder).head.weight, first.head.weight)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net"]
    twins.save_pretrained(second, folder, exist_ok=True)
    assert sorted(p.name for p in folder.iterdir()) == names
    assert torch.equal(twins.create_model(weights=folder).head.weight, second.head.weight)
