"""Every dialect loads to the same outputs; files that are not weights are refused in one line, and nothing is run."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import re
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import twins
from helpers.dialects import as_openmmlab, prefixed
from twins.checkpoints.info import identify
from twins.checkpoints.load import load_weights
from twins.checkpoints.read import read_checkpoint
from twins.model import VARIANTS

TINY: dict[str, Any] = {
    "embed_dims": (8, 16, 24, 32),
    "num_heads": (1, 2, 3, 4),
    "mlp_ratios": (2, 2, 2, 2),
    "depths": (2, 1, 3, 2),
}
FAMILIES = ("twins_pcpvt_small", "twins_svt_small")
CLASSIFIER_ONLY = {"norm.weight", "norm.bias", "head.weight", "head.bias"}


def tiny(name: str = "twins_svt_small", seed: int = 0, num_classes: int = 5, **settings: Any) -> nn.Module:
    """A small network of a family with every parameter random, norms and biases too."""
    torch.manual_seed(seed)
    model = twins.create_model(name, num_classes=num_classes, **(TINY | settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def sample_images(channels: int = 3) -> Tensor:
    return torch.randn(2, channels, 64, 64, generator=torch.Generator().manual_seed(7))


@torch.no_grad()
def outputs(model: nn.Module, images: Tensor | None = None) -> Tensor:
    out = model(sample_images() if images is None else images)
    return out if isinstance(out, Tensor) else torch.cat([stage.flatten() for stage in out])


def meta(name: str, **settings: Any) -> nn.Module:
    with torch.device("meta"):
        return twins.create_model(name, **settings)


def saved(folder: Path, content: Any, name: str = "weights.pth", **options: Any) -> Path:
    torch.save(content, folder / name, **options)
    return folder / name


class DenseModel(nn.Module):
    """Named as segmentation models are: a backbone with a head beside it."""

    def __init__(self, seed: int, classes: int = 3, channels: int = 32, **settings: Any) -> None:
        super().__init__()
        self.backbone = tiny(seed=seed, features_only=True, **settings)
        self.decode_head = nn.Sequential(OrderedDict(conv_seg=nn.Conv2d(channels, classes, 1)))

    def forward(self, images: Tensor) -> Tensor:
        return self.decode_head(self.backbone(images)[-1])


# Dialects


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("write", "dialect"),
    [
        (lambda state: state, "public names"),
        (lambda state: {"state_dict": state, "arch": "pcpvt_small_v0", "epoch": 300}, "public names"),
        (lambda state: {"model": state, "args": argparse.Namespace(output_dir=Path("runs"), lr=1e-3)}, "public names"),
        (lambda state: prefixed(state, "module."), "public names"),
        (lambda state: prefixed(state, "_orig_mod."), "public names"),
        (lambda state: {"state_dict": prefixed(state, "model._orig_mod.module."), "pytorch-lightning_version": "2"},
         "public names"),
        (lambda state: {"state_dict": as_openmmlab(state, "mmpretrain"), "meta": {"epoch": 300}}, "OpenMMLab"),
        (lambda state: {"state_dict": prefixed(as_openmmlab(state, "mmseg"), "module.")}, "OpenMMLab"),
        (lambda state: {"format": 1, "model": state, "model_ema": None, "meta": {"task": "classify"}}, "twins"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("zipped", [True, False])
def test_every_dialect_gives_the_same_logits(tmp_path, family, write, dialect, zipped):
    source, model = tiny(family), tiny(family, seed=1)
    assert not torch.allclose(outputs(source), outputs(model), atol=0.1)
    file = saved(tmp_path, write(source.state_dict()), _use_new_zipfile_serialization=zipped)
    report = load_weights(model, file)
    assert torch.equal(outputs(source), outputs(model))
    assert report.dialect == dialect
    assert sorted(report.matched) == sorted(model.state_dict())
    assert (report.missing, report.unexpected, report.unused, report.reshaped) == ((), (), (), {})


def test_safetensors_under_any_name(tmp_path):
    from safetensors.torch import save_file

    source = tiny()
    for name in ("model.safetensors", "pytorch_model.bin"):
        model = tiny(seed=1)
        save_file(as_openmmlab(source.state_dict(), "mmpretrain"), tmp_path / name, metadata={"format": "pt"})
        assert read_checkpoint(tmp_path / name)["metadata"] == {"format": "pt"}
        assert load_weights(model, tmp_path / name).dialect == "OpenMMLab"
        assert torch.equal(outputs(source), outputs(model))


def test_missing_safetensors_library_is_named_with_its_command(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(twins.TwinsError, match=re.escape('pip install "twins-vit[train]"')):
        read_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", FAMILIES)
def test_timm_weights_give_timm_logits(name, monkeypatch):
    timm = pytest.importorskip("timm")
    narrow = TINY | {"embed_dims": (16, 32, 48, 64)}
    monkeypatch.setitem(VARIANTS, name, VARIANTS[name]._replace(**narrow))
    torch.manual_seed(0)
    theirs = timm.create_model(name, **narrow).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    ours = twins.create_model(name).eval()
    report = load_weights(ours, theirs.state_dict())
    assert (report.variant, len(report.matched)) == (name, len(theirs.state_dict()))
    images = torch.randn(1, 3, 224, 224)
    expected = outputs(theirs, images)
    assert (outputs(ours, images) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_openmmlab_report_says_which_epsilon():
    report = load_weights(tiny(), as_openmmlab(tiny(seed=1).state_dict(), "mmseg"))
    assert report.notes == (
        "OpenMMLab computes every LayerNorm with eps 1e-5: norm_eps=1e-5 in create_model reproduces that",
    )


def test_openmmlab_norms_after_stages():
    """Four of them are stage norms; a classifier's last one is its final norm; PEG convolutions may be numbered."""
    source = tiny(features_only=True, stage_norms=True)
    state = as_openmmlab(source.state_dict(), "mmseg")
    state = {
        re.sub(r"norm_list\.", "norm_after_stage", key).replace("proj.bias", "proj.0.bias")
        if "norm_list" in key or "position_encodings" in key
        else key: value
        for key, value in state.items()
    }
    model = tiny(seed=1, features_only=True, stage_norms=True)
    load_weights(model, state)
    assert torch.equal(outputs(source), outputs(model))

    report = load_weights(tiny(seed=1), state | {"head.fc.weight": torch.ones(5, 32), "head.fc.bias": torch.ones(5)})
    assert {"norm.weight", "norm.bias"} <= set(report.matched)
    assert set(report.unused) == {f"norm_list.{s}.{kind}" for s in range(3) for kind in ("weight", "bias")}

    classifier = as_openmmlab(tiny().state_dict(), "mmpretrain")
    headless = {key: value for key, value in classifier.items() if not key.startswith("head.")}
    report = load_weights(tiny(seed=1), headless)
    assert {"norm.weight", "norm.bias"} <= set(report.matched)
    assert report.missing == ("head.weight", "head.bias")


# Backbones and heads


@pytest.mark.parametrize("stage_norms", [True, False])
def test_dense_file_into_a_backbone(stage_norms):
    """The published dense files keep the classifier's norm and head, unused, inside their backbone."""
    file = prefixed(tiny(seed=2).state_dict(), "backbone.") | DenseModel(seed=0, stage_norms=True).state_dict()
    model = tiny(seed=1, features_only=True, stage_norms=stage_norms)
    report = load_weights(model, {"state_dict": file})
    source = tiny(features_only=True, stage_norms=stage_norms)
    stage_norm_names = {f"norm_list.{s}.{kind}" for s in range(4) for kind in ("weight", "bias")}
    decode_head = {"decode_head.conv_seg.weight", "decode_head.conv_seg.bias"}
    assert report.dialect == "dense"
    assert set(report.unused) == CLASSIFIER_ONLY | decode_head | (set() if stage_norms else stage_norm_names)
    assert (report.missing, report.unexpected) == ((), ())
    if stage_norms:
        load_weights(source, {key.removeprefix("backbone."): value for key, value in file.items()})
        assert torch.equal(outputs(source), outputs(model))
        assert report.notes == ()
        first = tiny(seed=1, features_only=True, stage_norms=True, out_indices=(0, 1))
        assert load_weights(first, file).notes == ()
    else:
        assert report.notes == (
            "these weights expect a norm after each stage: stage_norms=True in create_model adds it",
        )


def test_imagenet_file_into_backbones():
    source = tiny()
    model = tiny(seed=1, features_only=True)
    assert set(load_weights(model, source.state_dict()).unused) == CLASSIFIER_ONLY
    with torch.no_grad():
        maps = source.forward_intermediates(sample_images(), intermediates_only=True)
    assert torch.equal(outputs(model), torch.cat([stage.flatten() for stage in maps]))

    report = load_weights(tiny(seed=1, features_only=True, out_indices=(0, 2)), source.state_dict())
    last_stage = {key for key in source.state_dict() if re.match(r"(patch_embeds|blocks|pos_block)\.3\.", key)}
    assert len(last_stage) == 32
    assert set(report.unused) == CLASSIFIER_ONLY | last_stage

    report = load_weights(tiny(seed=1, features_only=True, stage_norms=True), source.state_dict())
    assert set(report.missing) == {f"norm_list.{s}.{kind}" for s in range(4) for kind in ("weight", "bias")}


def test_models_that_hold_a_backbone():
    source, model = DenseModel(seed=0), DenseModel(seed=1)
    assert load_weights(model, source.state_dict()).missing == ()
    assert torch.equal(outputs(source), outputs(model))

    head = {key: value.clone() for key, value in model.decode_head.state_dict().items()}
    report = load_weights(model, tiny(seed=2).state_dict())
    assert report.missing == ("decode_head.conv_seg.weight", "decode_head.conv_seg.bias")
    assert set(report.matched) == {key for key in model.state_dict() if key.startswith("backbone.")}
    assert all(torch.equal(head[key], value) for key, value in model.decode_head.state_dict().items())

    report = load_weights(DenseModel(seed=1, classes=2), source.state_dict())
    assert report.reshaped == {
        "decode_head.conv_seg.weight": "(3, 32, 1, 1) in the file, (2, 32, 1, 1) here, left as it was",
        "decode_head.conv_seg.bias": "(3,) in the file, (2,) here, left as it was",
    }


def test_a_head_of_another_make_is_refused():
    wider = DenseModel(seed=0).state_dict() | {"decode_head.conv.weight": torch.ones(4, 4)}
    model = DenseModel(seed=1)
    model.decode_head.conv = nn.Linear(4, 6, bias=False)
    message = (
        "the given dictionary does not fit this model: decode_head.conv.weight is (4, 4) in the file and (6, 4) here"
    )
    with pytest.raises(twins.TwinsError, match=f"^{re.escape(message)}$"):
        load_weights(model, wider)


def test_another_class_count_leaves_the_head_as_it_was():
    source, model = tiny(), tiny(seed=1, num_classes=7)
    head = model.head.weight.clone()
    report = load_weights(model, source.state_dict())
    assert torch.equal(model.head.weight, head)
    assert torch.equal(model.norm.weight, source.norm.weight)
    assert report.reshaped == {
        "head.weight": "(5, 32) in the file, (7, 32) here, left as it was",
        "head.bias": "(5,) in the file, (7,) here, left as it was",
    }
    assert set(load_weights(tiny(num_classes=0), source.state_dict()).unused) == {"head.weight", "head.bias"}


# Stems


@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3), (3, 6), (6, 3), (3, 2), (4, 1), (1, 4)])
def test_a_grey_image_means_the_same_to_a_converted_stem(before, after):
    source, model = tiny(in_chans=before), tiny(seed=1, in_chans=after)
    report = load_weights(model, source.state_dict())
    assert list(report.reshaped) == ["patch_embeds.0.proj.weight"]
    grey = sample_images(1)
    expected = outputs(source, grey.expand(-1, before, -1, -1))
    torch.testing.assert_close(outputs(model, grey.expand(-1, after, -1, -1)), expected, rtol=1e-4, atol=1e-4)


def test_stem_weights_by_hand():
    state = tiny().state_dict()
    stem = state["patch_embeds.0.proj.weight"]

    def converted(channels: int) -> tuple[Tensor, str]:
        model = tiny(seed=1, in_chans=channels)
        (rule,) = load_weights(model, state).reshaped.values()
        return model.patch_embeds[0].proj.weight.detach(), rule

    one, rule = converted(1)
    torch.testing.assert_close(one[:, 0], stem[:, 0] + stem[:, 1] + stem[:, 2])
    assert rule == "3 channels in the file, summed into 1"
    two, rule = converted(2)
    torch.testing.assert_close(two, torch.stack([stem[:, 0] + stem[:, 2], stem[:, 1]], 1))
    assert rule == "3 channels in the file, summed into 2"
    four, rule = converted(4)
    torch.testing.assert_close(four, torch.cat([stem, stem[:, :1]], 1) * 0.75)
    assert rule == "3 channels in the file, repeated to 4, times 3/4"
    six, _ = converted(6)
    torch.testing.assert_close(six, torch.cat([stem, stem], 1) / 2)


# Other networks' weights


def test_identify_tells_the_six_apart():
    for name in twins.list_models():
        state = meta(name).state_dict()
        backbone = {key: tensor for key, tensor in state.items() if key not in CLASSIFIER_ONLY}
        assert identify(state) == name
        assert identify({"state_dict": as_openmmlab(state, "mmseg")}) == name
        assert identify(prefixed(backbone, "module.backbone.")) == name
    assert identify(meta("twins_pcpvt_large", features_only=True, out_indices=(0,)).state_dict()) is None
    assert identify(meta("twins_svt_large", features_only=True, out_indices=(0,)).state_dict()) == "twins_svt_large"
    assert identify(meta("twins_pcpvt_small", window_size=7).state_dict()) is None
    assert identify(tiny().state_dict()) is None
    assert identify({"conv1.weight": torch.ones(2)}) is None
    assert identify({}) is None


@pytest.mark.parametrize("other", ["twins_pcpvt_base", "twins_svt_small"])
def test_another_variant_is_named(tmp_path, other):
    """PCPVT-Base holds every parameter of PCPVT-Small in the same shape, and twelve blocks more."""
    file = saved(tmp_path, meta(other).state_dict())
    message = f"{file} holds {other} weights, this model is a twins_pcpvt_small: create it as {other}"
    with pytest.raises(twins.TwinsError, match=f"^{re.escape(message)}$"):
        load_weights(meta("twins_pcpvt_small"), file)


def test_a_variant_for_a_home_made_architecture_is_named():
    message = (
        "best.pth holds twins_svt_base weights, this model is none of the six networks: create it as twins_svt_base"
    )
    with pytest.raises(twins.TwinsError, match=f"^{re.escape(message)}$"):
        load_weights(tiny(), meta("twins_svt_base").state_dict(), name="best.pth")


def test_misfits_are_listed_and_the_model_is_untouched():
    state = tiny(seed=1).state_dict()
    short = {key: value for key, value in state.items() if not key.startswith("blocks.2.2.")}
    long = state | {"blocks.0.2.norm1.weight": torch.ones(8)}
    fused = state | {"blocks.0.1.attn.attn.in_proj_weight": torch.ones(())}
    wide = state | {"pos_block.1.proj.0.bias": torch.ones(17)}
    of_nothing = state | {
        "patch_embeds.0.proj.weight": torch.ones(8, 0, 4, 4),
        "pos_block.0.proj.0.bias": torch.ones(()),
    }
    other = {f"layer{i}.{j}.weight": torch.ones(1) for i in range(2) for j in range(3)}
    for weights, reason in (
        (short, "does not fit this model: blocks.2.2.norm1.weight is not in the file; blocks.2.2.norm1.bias is not in "
         "the file; blocks.2.2.attn.qkv.weight is not in the file; 9 more such"),
        (long, "does not fit this model: blocks.0.2.norm1.weight is in the file only"),
        (fused, "does not fit this model: blocks.0.1.attn.attn.in_proj_weight is in the file only"),
        (wide, "does not fit this model: pos_block.1.proj.0.bias is (17,) in the file and (16,) here"),
        (of_nothing, "does not fit this model: patch_embeds.0.proj.weight is (8, 0, 4, 4) in the file and "
         "(8, 3, 4, 4) here; pos_block.0.proj.0.bias is () in the file and (8,) here"),
        (other, "holds no Twins weights but layer0 (3), layer1 (3)"),
    ):  # fmt: skip
        model = tiny()
        with pytest.raises(twins.TwinsError, match=f"^the given dictionary {re.escape(reason)}$"):
            load_weights(model, weights)
        expected = tiny().state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def test_not_strict_loads_what_fits():
    state = tiny(seed=1).state_dict() | {"blocks.0.2.norm1.weight": torch.ones(8), "criterion.weight": torch.ones(5)}
    state["pos_block.1.proj.0.bias"] = torch.ones(17)
    del state["blocks.2.2.norm1.weight"]
    model = tiny()
    report = load_weights(model, state, strict=False)
    assert report.missing == ("blocks.2.2.norm1.weight",)
    assert report.reshaped == {"pos_block.1.proj.0.bias": "(17,) in the file, (16,) here, left as it was"}
    assert report.unexpected == ("blocks.0.2.norm1.weight", "criterion.weight")
    assert report.unused == ()
    assert len(report.matched) == len(model.state_dict()) - 2
    loaded, initial = model.state_dict(), tiny().state_dict()
    assert torch.equal(loaded["head.weight"], state["head.weight"])
    assert torch.equal(loaded["blocks.2.2.norm1.weight"], initial["blocks.2.2.norm1.weight"])


# What stays as it was, what can be asked for


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_and_what_loading_leaves_alone(dtype):
    state = {key: value.to(dtype) for key, value in tiny(in_chans=3).state_dict().items()}
    model = tiny(seed=1, in_chans=1)
    model.patch_embeds.requires_grad_(False)
    load_weights(model, state)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.head.weight, state["head.weight"].float())
    stem = state["patch_embeds.0.proj.weight"].float()
    torch.testing.assert_close(model.patch_embeds[0].proj.weight.detach(), stem.sum(1, keepdim=True))
    assert not model.patch_embeds[0].proj.weight.requires_grad
    assert model.head.weight.requires_grad

    half = tiny(seed=1).to(dtype)
    load_weights(half, tiny().state_dict())
    assert {parameter.dtype for parameter in half.parameters()} == {dtype}


def test_averaged_weights():
    plain, averaged, model = tiny(seed=0), tiny(seed=1), tiny(seed=2)
    checkpoint = {"model": plain.state_dict(), "model_ema": prefixed(averaged.state_dict(), "module.")}
    report = load_weights(model, checkpoint)
    assert torch.equal(outputs(model), outputs(plain))
    assert report.notes == ("the file holds averaged weights too: ema=True loads those",)
    assert load_weights(model, checkpoint, ema=True).notes == ()
    assert torch.equal(outputs(model), outputs(averaged))
    load_weights(model, {"epoch": 3, "state_dict_ema": plain.state_dict()})
    assert torch.equal(outputs(model), outputs(plain))
    with pytest.raises(twins.TwinsError, match="^the given dictionary holds no averaged weights: leave out ema$"):
        load_weights(model, {"model": plain.state_dict(), "model_ema": None}, ema=True)


def test_create_model_loads_and_keeps_the_report(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path, tiny().state_dict())
    model = twins.create_model("twins_svt_small", num_classes=5, weights="~/weights.pth", **TINY).eval()
    assert torch.equal(outputs(model), outputs(tiny()))
    assert model.load_report.source == "~/weights.pth"


def test_mapping_files_into_memory_by_default_changes_nothing(tmp_path):
    from torch.utils.serialization import config

    with config.patch("load.mmap", True):
        assert list(read_checkpoint(saved(tmp_path, {"a": torch.ones(1)}))) == ["a"]


def test_the_report_as_text():
    file = {"state_dict": as_openmmlab(tiny().state_dict(), "mmpretrain") | {"backbone.gate": torch.ones(1)}}
    report = load_weights(tiny(features_only=True, out_indices=(0, 1), in_chans=1), file)
    assert str(report) == "\n".join(
        [
            "53 matched, 1 reshaped, 0 missing, 84 unused, 1 unexpected",
            "from the given dictionary: none of the six networks, dialect: OpenMMLab",
            "reshaped patch_embeds.0.proj.weight: 3 channels in the file, summed into 1",
            "unused: patch_embeds.2 (4), patch_embeds.3 (4), blocks.2 (42), blocks.3 (26), pos_block.2 (2), "
            "pos_block.3 (2), norm (2), head (2)",
            "unexpected: gate",
            "note: OpenMMLab computes every LayerNorm with eps 1e-5: norm_eps=1e-5 in create_model reproduces that",
        ]
    )


# Safety


class Payload:
    """A pickle of this runs a shell command where it is opened carelessly."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("inside", [lambda x: x, lambda x: argparse.Namespace(model=x)])
def test_nothing_in_a_malicious_checkpoint_is_run(tmp_path, zipped, inside):
    payload = Payload(tmp_path / "marker")
    run, arguments = payload.__reduce__()
    run(*arguments)
    assert payload.marker.exists()  # it does work
    payload.marker.unlink()

    content = {"args": inside(payload), "model": tiny(seed=1).state_dict()}
    model = tiny()
    report = load_weights(model, saved(tmp_path, content, _use_new_zipfile_serialization=zipped))
    assert report.not_read == (f"{os.name}.system",)
    assert f"not read: {os.name}.system" in str(report)
    assert torch.equal(outputs(model), outputs(tiny(seed=1)))

    file = saved(tmp_path, {"args": inside(payload)}, _use_new_zipfile_serialization=zipped)
    message = (
        f"{file} holds no weights: a dictionary of tensors is needed; it asks for '{os.name}.system', which weights do "
        "not need: nothing in it was run"
    )
    with pytest.raises(twins.TwinsError, match=f"^{re.escape(message)}$"):
        read_checkpoint(file)

    file = saved(tmp_path, {"model": tiny().state_dict() | {"norm.weight": payload}})
    message = f"{file}: norm.weight is a {os.name}.system, which is no tensor: refused, and nothing in it was run"
    with pytest.raises(twins.TwinsError, match=f"^{re.escape(message)}$"):
        load_weights(model, file)
    assert not payload.marker.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_in_a_bare_pickle_is_run(tmp_path, protocol, recwarn):
    file, marker = tmp_path / "model.pkl", tmp_path / "marker"
    file.write_bytes(pickle.dumps({"model": Payload(marker)}, protocol=protocol))
    verdict = "is not a checkpoint|asks for 'posix.system'|is a pickle that torch.save did not write: refused"
    with pytest.raises(twins.TwinsError, match=f"^{re.escape(str(file))} ({verdict})"):
        read_checkpoint(file)
    assert not marker.exists()
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("module", ["pathlib", "pathlib._local"])
@pytest.mark.parametrize(("name", "pure"), [("PosixPath", PurePosixPath), ("WindowsPath", PureWindowsPath)])
def test_paths_of_any_system_and_python(tmp_path, module, name, pure):
    buffer = io.BytesIO()
    content = {"model": {"a": torch.ones(1)}, "args": argparse.Namespace(data=PurePosixPath("a"))}
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    written = re.sub(rb"cpathlib(\._local)?\nPurePosixPath\n", f"c{module}\n{name}\n".encode(), buffer.getvalue())
    assert f"{module}\n{name}".encode() in written
    file = tmp_path / "weights.pth"
    file.write_bytes(written)
    read = read_checkpoint(file)
    assert read["args"] == argparse.Namespace(data=pure("a"))
    assert read_checkpoint(saved(tmp_path, read))["args"] == read["args"]


def test_what_the_user_allowed_stays_allowed(tmp_path):
    file = saved(tmp_path, {"a": torch.ones(1)})
    with torch.serialization.safe_globals([argparse.Namespace]):
        before = set(torch.serialization.get_safe_globals())
        read_checkpoint(file)
        assert set(torch.serialization.get_safe_globals()) == before


# Files that are not weights


def _torch_saved(content: Any = None, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    content = {"a": torch.arange(1000.0)} if content is None else content
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def _zip(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"some content")
    return buffer.getvalue()


def _safetensors() -> bytes:
    from safetensors.torch import save

    return save({"a": torch.arange(1000.0)})


NOT_WEIGHTS = {
    "empty": (lambda: b"", "is empty: download or copy it again"),
    "page": (lambda: b"\n<!DOCTYPE html><html>Not found",
             "is a web page, so a download failed: download the file again"),
    "pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n",
                "is a Git LFS pointer, not the file: run `git lfs pull` in its repository"),
    "half a zip": (lambda: _torch_saved()[:2000], "is cut short or damaged: download or copy it again"),
    "start of a zip": (lambda: _torch_saved()[:3], "is cut short or damaged: download or copy it again"),
    "half a legacy file": (lambda: _torch_saved(zipped=False)[:2000],
                           "is cut short or damaged: download or copy it again"),
    "half safetensors": (lambda: _safetensors()[:2000], "is cut short or damaged: download or copy it again"),
    "safetensors header": (lambda: _safetensors()[:20], "is cut short or damaged: download or copy it again"),
    "json": (lambda: json.dumps({"model": 1}).encode(),
             "is not a checkpoint: a file that torch.save or safetensors wrote is needed"),
    "image": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(100),
                "is not a checkpoint: a file that torch.save or safetensors wrote is needed"),
    "newline": (lambda: b"\n", "is not a checkpoint: a file that torch.save or safetensors wrote is needed"),
    "pickle": (lambda: pickle.dumps({"model": 1}),
               "is a pickle that torch.save did not write: refused, and nothing in it was run"),
    "other zip": (lambda: _zip("word/document.xml"),
                  "is a zip archive that torch.save did not write: a checkpoint is needed"),
    "TorchScript": (lambda: _zip("model/constants.pkl"),
                    "is a TorchScript program: save the state dict of the network it was made from"),
    "no tensors": (lambda: _torch_saved({"epoch": 3, "model": {"name": "svt"}}),
                   "holds no weights: a dictionary of tensors is needed"),
    "numbered tensors": (lambda: _torch_saved({0: torch.ones(2)}),
                         "holds no weights: a dictionary of tensors is needed"),
    "a tensor": (lambda: _torch_saved(torch.ones(2)), "holds no weights: a dictionary of tensors is needed"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NOT_WEIGHTS)
def test_files_that_are_not_weights(tmp_path, kind):
    write, verdict = NOT_WEIGHTS[kind]
    file = tmp_path / "weights.pth"
    file.write_bytes(write())
    model = tiny()
    with pytest.raises(twins.TwinsError, match=f"^{re.escape(f'{file} {verdict}')}$"):
        load_weights(model, file)
    assert torch.equal(outputs(model), outputs(tiny()))


def test_paths_without_a_readable_file(tmp_path):
    with pytest.raises(twins.TwinsError, match=f"^{tmp_path}/no.pth is not there: check the path$"):
        read_checkpoint(tmp_path / "no.pth")
    message = f"^{tmp_path} is a directory without a checkpoint in it: name the file itself$"
    with pytest.raises(twins.TwinsError, match=message):
        read_checkpoint(tmp_path)
    file = saved(tmp_path, {"a": torch.ones(1)})
    with pytest.raises(twins.TwinsError, match=f"^{file}/a.pth cannot be read: Not a directory$"):
        read_checkpoint(file / "a.pth")
    with pytest.raises(twins.TwinsError, match="^the given dictionary holds no weights$"):
        load_weights(tiny(), {"epoch": 3})
