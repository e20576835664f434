"""The weights in a checkpoint are found whatever they are called; two networks are never mixed."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import twins
from helpers.dialects import as_openmmlab, prefixed
from twins.checkpoints.info import read_info
from twins.checkpoints.load import load_weights, load_whole
from twins.checkpoints.read import read_checkpoint
from twins.errors import TwinsError

SMALL: dict[str, Any] = {"embed_dims": (8, 16, 24, 32), "num_heads": (1, 2, 3, 4), "depths": (2, 1, 1, 1)}


def network(seed: int = 0, **settings: Any) -> torch.nn.Module:
    torch.manual_seed(seed)
    return twins.create_model("svt_small", **{"num_classes": 3, **SMALL, **settings})


def state(seed: int = 0) -> dict[str, Tensor]:
    return network(seed).state_dict()


def loaded(source: Any, **settings: Any) -> dict[str, Tensor]:
    """A network's tensors after loading, which must have reached every one of them."""
    model = network(seed=9)
    report = load_weights(model, source, **settings)
    assert (report.missing, dict(report.reshaped)) == ((), {})
    return model.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("key", ["net", "teacher", "ema", "weights", "generator.module", "a.b.c.d"])
def test_any_key_is_found(key: str) -> None:
    checkpoint: Any = state()
    for word in reversed(key.split(".")):
        checkpoint = {word: checkpoint, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}
    assert same(loaded(checkpoint), state())
    model = network()
    assert load_weights(model, checkpoint).taken == key


@pytest.mark.parametrize(
    "prefix",
    ["net.", "encoder.", "base_model.model.", "_forward_module.", "student.module.", "generator.module.", "ema."],
)
@pytest.mark.parametrize("dialect", ["public names", "OpenMMLab"])
def test_any_common_prefix_is_taken_off(prefix: str, dialect: str) -> None:
    weights = state() if dialect == "public names" else as_openmmlab(state(), "mmpretrain")
    checkpoint = {"state_dict": prefixed(weights, prefix) | {"criterion.centers": torch.ones(2)}}
    assert same(loaded(checkpoint), state())
    assert load_weights(network(), checkpoint).dialect == dialect
    assert twins.identify(checkpoint) is None


def test_heads_beside_a_prefixed_backbone() -> None:
    segmenter = twins.semantic_fpn("svt_small", num_classes=2, channels=8, **SMALL)
    file = prefixed(segmenter.state_dict(), "net.")
    again = twins.semantic_fpn("svt_small", num_classes=2, channels=8, **SMALL)
    report = load_weights(again, {"state_dict": file})
    assert (report.missing, report.unexpected, report.dialect) == ((), (), "dense")
    assert same(again.state_dict(), segmenter.state_dict())


@pytest.mark.parametrize(
    ("first", "second"),
    [("model.", "backbone."), ("module.", "module.model."), ("student.", "teacher."), ("net.", "model.")],
)
def test_two_networks_behind_two_prefixes_are_refused(first: str, second: str, tmp_path: Path) -> None:
    both = prefixed(state(0), first) | prefixed(state(1), second)
    names = [repr(f"state_dict.{p}".rstrip(".")) for p in (first, second)]
    with pytest.raises(TwinsError, match=rf"several networks with different weights, {re.escape(', '.join(names))}: "):
        load_weights(network(), {"state_dict": both})
    assert same(loaded({"state_dict": prefixed(state(0), first) | prefixed(state(0), second)}), state(0))
    torch.save({"state_dict": both}, tmp_path / "a.pth")
    for prefix, seed in ((first, 0), (second, 1)):
        assert same(loaded(f"{tmp_path}/a.pth#state_dict.{prefix}".rstrip(".")), state(seed))
    with pytest.raises(TwinsError, match=r"a\.pth: no weights under 'x'; there is 'state_dict"):
        read_checkpoint(f"{tmp_path}/a.pth#x")


def test_two_networks_under_two_keys() -> None:
    with pytest.raises(TwinsError, match="several networks with different weights, 'student', 'teacher': "):
        load_weights(network(), {"student": state(0), "teacher": state(1)})
    report = load_weights(model := network(9), {"model": state(0), "teacher": state(1)})  # a usual key goes first
    assert same(model.state_dict(), state(0))
    assert report.notes == ("the file holds other networks too, not taken: teacher (FILE#KEY takes one)",)
    report = load_weights(model := network(9), {"state_dict": state(0) | prefixed(state(1), "other.")})
    assert same(model.state_dict(), state(0))
    assert report.notes == ("the file holds other networks too, not taken: state_dict.other (FILE#KEY takes one)",)
    wider = network(1, embed_dims=(16, 16, 24, 32)).state_dict()  # of which one fits alone
    assert same(loaded({"teacher": wider, "student": state(0)}), state(0))


def test_two_names_of_one_parameter_are_refused() -> None:
    with pytest.raises(TwinsError, match=r"head\.bias and model\.head\.bias have different weights for the same head"):
        load_weights(network(), state() | {"model.head.bias": torch.ones(3)})
    assert same(loaded(state() | {"model.head.bias": state()["head.bias"].clone()}), state())


AVERAGES = {
    "model_ema": lambda a: {"model_ema": a},
    "state_dict_ema": lambda a: {"state_dict_ema": a},
    "ema_state_dict": lambda a: {"ema_state_dict": prefixed(a, "module.")},
    "ema": lambda a: {"ema": a},
    "ema.module": lambda a: {"ema": {"module": a, "decay": 0.99}},
    "callbacks.EMACallback.state": lambda a: {"callbacks": {"EMACallback": {"state": a}}},
    "swa_state": lambda a: {"swa_state": a},
}


@pytest.mark.parametrize("key", AVERAGES)
def test_averages_are_found_under_every_key(key: str, tmp_path: Path) -> None:
    checkpoint = {"state_dict": state(0), **AVERAGES[key](state(1))}
    assert same(loaded(checkpoint), state(0))
    assert same(loaded(checkpoint, ema=True), state(1))
    torch.save(checkpoint, tmp_path / "a.pth")
    info = read_info(tmp_path / "a.pth")
    model = network(9)
    report = load_whole(model, info)  # evaluation and prediction take it where it is
    assert info.has_ema
    assert same(model.state_dict(), state(1))
    assert report.averaged
    assert "taken: the moving average" in str(report)
    assert not load_whole(model, info, ema=False).averaged
    assert same(model.state_dict(), state(0))


def test_averages_beside_the_weights_in_one_state_dict() -> None:
    """As Lightning's modules with an `ema_model` keep them."""
    both = prefixed(state(0), "model.") | prefixed(state(1), "ema_model.module.")
    assert same(loaded({"state_dict": both}), state(0))
    assert same(loaded({"state_dict": both}, ema=True), state(1))


def test_mmengine_keeps_its_average_as_state_dict() -> None:
    """Its hook swaps the two before it saves: `ema_state_dict` is what was averaged."""
    file = {"state_dict": state(0), "ema_state_dict": prefixed(state(1), "module."), "meta": {"mmengine_version": "1"}}
    assert same(loaded(file), state(0))
    with pytest.raises(TwinsError, match="holds no averaged weights"):
        load_weights(network(), file, ema=True)


def test_a_module_saved_as_an_object(tmp_path: Path) -> None:
    torch.save({"net": torch.nn.DataParallel(network(0))}, tmp_path / "a.pth")
    assert same(loaded(tmp_path / "a.pth"), state(0))
    torch.save(network(0), tmp_path / "b.pth")
    model = network(9)
    report = load_weights(model, tmp_path / "b.pth")
    assert same(model.state_dict(), state(0))
    assert "twins.model.Twins" in report.not_read


def test_weights_as_numpy_arrays(tmp_path: Path) -> None:
    torch.save({name: tensor.numpy() for name, tensor in state().items()}, tmp_path / "a.pth")
    assert same(loaded(tmp_path / "a.pth"), state())


# Folders and shards


def sharded(folder: Path, suffix: str) -> Path:
    from safetensors.torch import save_file

    weights = state()
    names = list(weights)
    parts = {f"{folder.name}-1-of-2{suffix}": names[:20], f"{folder.name}-2-of-2{suffix}": names[20:]}
    for file, part in parts.items():
        tensors = {name: weights[name] for name in part}
        if suffix == ".safetensors":
            save_file(tensors, folder / file)
        else:
            torch.save(tensors, folder / file)
    index = folder / f"model{suffix}.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, part in parts.items() for name in part}}))
    return index


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_an_index_and_its_folder(tmp_path: Path, suffix: str) -> None:
    index = sharded(tmp_path, suffix)
    assert same(loaded(index), state())
    assert same(loaded(tmp_path), state())
    assert load_weights(network(), tmp_path).source == str(index)
    (tmp_path / f"{tmp_path.name}-2-of-2{suffix}").unlink()
    missing = f"{index}: {tmp_path.name}-2-of-2{suffix} is not beside it: copy all parts there"
    with pytest.raises(TwinsError, match=f"^{re.escape(missing)}$"):
        read_checkpoint(index)


@pytest.mark.parametrize("content", ["", "[]", '{"weight_map": 3}', "{}", '{"weight_map": {"a": "../b.bin"}}'])
def test_indices_that_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.index.json").write_text(content)
    with pytest.raises(TwinsError, match=r"is no index of a checkpoint in parts|is not the name of a file beside it"):
        read_checkpoint(tmp_path / "a.index.json")


def test_folders(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "only.pth")
    (tmp_path / "log.txt").write_text("1")
    assert read_info(tmp_path).source == str(tmp_path / "only.pth")
    torch.save(state(), tmp_path / "more.pth")
    with pytest.raises(TwinsError, match=r"is a directory with 2 checkpoints in it: name one of more\.pth, only\.pth$"):
        read_checkpoint(tmp_path)
    (tmp_path / "__0_0.distcp").touch()
    with pytest.raises(TwinsError, match=r"is a distributed checkpoint: make one file of it, by python -m torch\.dist"):
        read_checkpoint(tmp_path)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(TwinsError, match=r"pipe\.pth is no regular file: name a checkpoint$"):
        read_checkpoint(tmp_path / "pipe.pth")


def test_a_safetensors_file_whose_length_looks_like_a_web_page(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).ljust(0x3C20).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert (tmp_path / "a.safetensors").read_bytes().startswith(b" <")
    assert read_checkpoint(tmp_path / "a.safetensors")["model"] == {"a": torch.zeros(1)}


# Tensors that are no weights

KEY = "blocks.0.0.mlp.fc1.weight"


def odd_tensors() -> dict[str, Tensor]:
    tensor = state()[KEY]
    return {
        "sparse": tensor.to_sparse(),
        "quantised": torch.quantize_per_tensor(tensor, 0.01, 0, torch.qint8),
        "a meta tensor": tensor.to("meta"),
        "of complex64": tensor + 1j,
        "of bool": tensor > 0,
        "of int32": tensor.int(),
        "1 of .* tensors have values that are not finite": tensor.masked_fill(tensor > 0, float("nan")),
        "a nested tensor": torch.nested.nested_tensor([tensor], layout=torch.strided),
    }


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("from_file", [True, False])
def test_tensors_of_other_kinds_are_refused_and_the_model_is_untouched(tmp_path: Path, from_file: bool) -> None:
    for words, tensor in odd_tensors().items():
        source: Any = {"model": state(0) | {KEY: tensor}}
        if from_file:
            torch.save(source, tmp_path / "a.pth")
            source = tmp_path / "a.pth"
        model = network(9)
        with pytest.raises(TwinsError, match=rf"{words}.*|{re.escape(KEY)} is {words}"):
            load_weights(model, source)
        assert same(model.state_dict(), state(9))


def test_infinite_weights_are_told_of_where_all_is_taken() -> None:
    weights = state() | {"head.bias": torch.tensor([1.0, float("inf"), 0.0])}
    (note,) = load_weights(network(), weights, strict=False).notes
    assert note == f"1 of {len(weights)} tensors have values that are not finite (head.bias)"
    assert load_weights(network(), state() | {"head.bias": torch.full((3,), 3e38)}).notes == ()  # their sum is not


@pytest.mark.parametrize("channels", [3 * 10**9, 2**40])
def test_a_stem_that_claims_channels_by_a_stride_of_0(tmp_path: Path, channels: int) -> None:
    stem = torch.zeros(1).expand(8, channels, 4, 4)
    torch.save({"model": state() | {"patch_embeds.0.proj.weight": stem}}, tmp_path / "a.pth")
    with pytest.raises(TwinsError, match=rf"patch_embeds\.0\.proj\.weight is \(8, {channels}, 4, 4\) in the file"):
        load_weights(network(), tmp_path / "a.pth")
    torch.save({"model": state() | {"head.weight": torch.zeros(1).expand(2**40, 32)}}, tmp_path / "b.pth")
    with pytest.raises(TwinsError, match=f"claims {2**40} classes, more than it has weights"):
        read_info(tmp_path / "b.pth")


# Heads for other classes


def ours(classes: tuple[str, ...], **more: Any) -> dict[str, Any]:
    settings = {"num_classes": len(classes), **{key: list(value) for key, value in SMALL.items()}}
    meta = {"task": "classify", "name": "twins_svt_small", "create_model": settings, "classes": list(classes)}
    return {"format": "twins-1", "model": network(num_classes=len(classes)).state_dict(), "meta": meta, **more}


def test_rows_of_a_head_are_taken_by_name() -> None:
    model = network(9, num_classes=4)
    before = model.head.weight.detach().clone()
    checkpoint = ours(("ant", "bee", "cat"))
    report = load_weights(model, checkpoint, classes=("cat", "dog", "ant", "eel"))
    head = checkpoint["model"]["head.weight"]
    assert torch.equal(model.head.weight, torch.stack([head[2], before[1], head[0], before[3]]))
    assert report.reshaped == dict.fromkeys(("head.weight", "head.bias"), "rows of 2 classes taken by name")
    assert report.notes == (
        "the head's rows were taken by the names of the classes: cat, ant; new, and so initialised: dog, eel",
    )


def test_a_head_that_is_kept_for_other_classes_is_told_of() -> None:
    checkpoint = ours(("ant", "bee", "cat"))
    assert load_weights(network(), checkpoint, classes=("ant", "bee", "cat")).notes == ()
    report = load_weights(model := network(9), checkpoint, classes=("x", "y", "z"))
    assert report.notes == ("the head was taken as it is, for ant, bee, cat; it tells x, y, z apart here",)
    assert torch.equal(model.head.weight, checkpoint["model"]["head.weight"])
    (note,) = load_weights(network(), state(), classes=("x", "y", "z")).notes
    assert note == "the head was taken as it is, whose classes the file does not name; it tells x, y, z apart here"


@pytest.mark.parametrize("kind", ["mask_rcnn", "retinanet", "upernet"])
def test_rows_of_dense_heads_are_taken_by_name(kind: str) -> None:
    """Boxes have four rows a class, RetinaNet a row for each anchor and class, Mask R-CNN one for the background."""
    build, task = getattr(twins, kind), "segment" if kind == "upernet" else "detect"
    torch.manual_seed(0)
    trained, fresh = (build("svt_small", num_classes=n, channels=8, **SMALL) for n in (3, 2))
    meta = {
        "task": task, "name": "twins_svt_small", "head" if task == "segment" else "detector": kind,
        "create_model": {"num_classes": 3, "channels": 8}, "classes": ["ant", "bee", "cat"],
    }  # fmt: skip
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.normal_()
    checkpoint = {"format": "twins-1", "model": trained.state_dict(), "meta": meta}
    load_weights(fresh, checkpoint, classes=("cat", "ant"))
    a, b = trained.state_dict(), fresh.state_dict()
    if kind == "mask_rcnn":
        assert torch.equal(b["roi_head.bbox_head.fc_cls.weight"], a["roi_head.bbox_head.fc_cls.weight"][[2, 0, 3]])
        rows = [8, 9, 10, 11, 0, 1, 2, 3]
        assert torch.equal(b["roi_head.bbox_head.fc_reg.bias"], a["roi_head.bbox_head.fc_reg.bias"][rows])
        key = "roi_head.mask_head.conv_logits.weight"
        assert torch.equal(b[key], a[key][[2, 0]])
    elif kind == "retinanet":
        before, after = (s["bbox_head.retina_cls.weight"].unflatten(0, (9, -1)) for s in (a, b))
        assert torch.equal(after, before[:, [2, 0]])
    else:
        assert torch.equal(b["decode_head.conv_seg.weight"], a["decode_head.conv_seg.weight"][[2, 0]])


def test_a_smaller_network_is_called_one() -> None:
    assert "from the given dictionary: a smaller twins_svt_small, dialect: twins" in str(
        load_weights(network(), ours(("a", "b", "c")))
    )


def test_parts_by_a_name_that_no_file_has(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "9" * 300}}))
    with pytest.raises(TwinsError, match="9 is not beside it: copy all parts there"):
        read_checkpoint(index)
