"""What a checkpoint is, of every dialect and head, decided from one reading of its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import twins
from helpers.foreign import BUILDERS, shrink, written_by
from twins.checkpoints.info import CheckpointInfo, describe, read_info
from twins.checkpoints.published_names import imagenet_names, imagenet_wordnet_ids, published_classes
from twins.checkpoints.read import read_checkpoint
from twins.errors import TwinsError
from twins.preprocessing import IMAGENET_MEAN, ClassifyPreprocessing, DetectPreprocessing, SegmentPreprocessing

PUBLISHED = {
    "classify": ("classify", None, "mask", ClassifyPreprocessing()),
    "upernet": ("segment", "upernet", "mask-both", SegmentPreprocessing()),
    "semantic_fpn": ("segment", "semantic_fpn", "mask-both", SegmentPreprocessing()),
    "retinanet": ("detect", "retinanet", "zero", DetectPreprocessing()),
    "mask_rcnn": ("detect", "mask_rcnn", "zero", DetectPreprocessing()),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, "twins_svt_small", "twins_pcpvt_small")


@pytest.mark.parametrize("kind", BUILDERS)
@pytest.mark.parametrize("openmmlab", [False, True])
@pytest.mark.usefixtures("small")
def test_weights_of_others_are_known_by_their_names_and_shapes(kind: str, openmmlab: bool) -> None:
    dialect = "OpenMMLab" if openmmlab else "public names" if kind == "classify" else "dense"
    info = describe(written_by(dialect, BUILDERS[kind]("twins_svt_small", num_classes=7)), "theirs.pth")
    task, head, padding, preprocessing = PUBLISHED[kind]
    keywords: dict[str, Any] = {"num_classes": 7, "in_chans": 3, "window_padding": padding}
    keywords |= {} if head is None else {"channels": 16}
    keywords |= {"masks": True} if head == "mask_rcnn" else {}
    keywords |= {"norm_eps": 1e-5} if openmmlab else {}
    assert (info.ours, info.dialect, info.task, info.model, info.head) == (
        False,
        dialect,
        task,
        "twins_svt_small",
        head,
    )
    assert info.create_model == keywords
    assert (info.window_padding, info.norm_eps) == (padding, 1e-5 if openmmlab else 1e-6)
    assert (info.classes, info.classes_named, info.category_ids) == (tuple("0123456"), False, (1, 2, 3, 4, 5, 6, 7))
    assert (info.preprocessing, info.recipe, info.has_ema) == (preprocessing, None, False)


@pytest.mark.usefixtures("small")
def test_channels_and_a_missing_mask_head_are_seen() -> None:
    grey = describe(twins.create_model("twins_pcpvt_small", num_classes=2, in_chans=1).state_dict(), "grey.pth")
    assert (grey.model, grey.create_model["in_chans"]) == ("twins_pcpvt_small", 1)
    assert grey.preprocessing is not None
    assert grey.preprocessing.mean == (pytest.approx(sum(IMAGENET_MEAN) / 3),)
    faster = describe(BUILDERS["mask_rcnn"]("svt_small", num_classes=2, masks=False).state_dict(), "faster.pth")
    assert (faster.head, faster.create_model["masks"]) == ("mask_rcnn", False)


@pytest.mark.usefixtures("small")
def test_names_of_classes_are_the_files_own_or_of_the_published_data_set() -> None:
    coco = describe(BUILDERS["retinanet"]("svt_small").state_dict(), "coco.pth")
    assert (coco.classes[11], coco.category_ids[11], coco.classes_named) == ("stop sign", 13, False)
    ade20k = describe(BUILDERS["upernet"]("svt_small", num_classes=150).state_dict(), "ade20k.pth")
    assert (ade20k.classes[0], ade20k.classes[149], len(set(ade20k.classes))) == ("wall", "flag", 150)
    segmenter = BUILDERS["semantic_fpn"]("svt_small", num_classes=2)
    for meta in ({"CLASSES": ["sky", "sea"]}, {"dataset_meta": {"classes": ("sky", "sea")}}):
        named = describe(written_by("dense", segmenter, meta=meta), "named.pth")
        assert (named.classes, named.classes_named) == (("sky", "sea"), True)
    other = describe(written_by("dense", segmenter, meta={"CLASSES": ["sky"]}), "other.pth")
    assert (other.classes, other.classes_named) == (("0", "1"), False)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dialect", ["public names", "OpenMMLab"])
def test_a_published_classifier_names_imagenets_classes(dialect: str) -> None:
    network = twins.create_model("twins_svt_small", num_classes=1000)
    info = describe(written_by(dialect, network, meta={"CLASSES": ["tench, Tinca tinca"] * 1000}), "theirs.pth")
    assert (info.dialect, info.classes_named, len(set(info.classes))) == (dialect, False, 1000)
    assert [info.classes[i] for i in (0, 134, 207, 517, 999)] == [
        "tench", "crane bird", "golden retriever", "crane", "toilet tissue"
    ]  # fmt: skip
    assert info.category_ids[:2] == (1, 2)


@pytest.mark.usefixtures("small")
def test_an_own_network_without_names_stays_without() -> None:
    weights = twins.create_model("twins_svt_small", num_classes=1000).state_dict()
    meta = {"task": "classify", "name": "twins_svt_small", "create_model": {"num_classes": 1000}}
    info = describe({"format": "twins-1", "model": weights, "meta": meta}, "ours.pth")
    assert (info.ours, info.classes[207]) == (True, "207")


@pytest.mark.parametrize(("task", "count"), [("classify", 1000), ("segment", 150), ("detect", 80)])
def test_the_names_of_a_data_set_are_as_many_as_its_classes(task: str, count: int) -> None:
    assert len(set(published_classes(task, count).values())) == count
    assert published_classes(task, count + 1) == {}


def test_imagenets_ids_and_names_are_those_of_timm_and_torchvision() -> None:
    from timm.data import ImageNetInfo
    from torchvision.models import ResNet18_Weights

    assert imagenet_wordnet_ids() == tuple(ImageNetInfo("imagenet-1k").label_names())
    assert imagenet_names() == tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def test_what_is_unknown_is_none() -> None:
    backbone = describe({"state_dict": {"patch_embeds.0.proj.weight": torch.ones(8, 3, 4, 4)}}, "bare.pth")
    assert (backbone.task, backbone.model, backbone.head, backbone.preprocessing) == (None, None, None, None)
    assert (backbone.classes, backbone.category_ids) == ((), ())
    with pytest.raises(TwinsError, match=r"^bare\.pth: cannot tell which network this is; pass --model$"):
        backbone.with_model(None)
    assert backbone.with_model("twins_svt_base").model == "twins_svt_base"


def test_ours_say_it_all_themselves() -> None:
    meta = {
        "task": "detect",
        "name": "twins_svt_small",
        "detector": "mask_rcnn",
        "create_model": {"num_classes": 2, "in_chans": 1, "masks": False, "window_padding": "mask"},
        "classes": ["ant", "bee"],
        "category_ids": [7, 3],
        "preprocessing": {"min_size": 48, "max_size": 80, "mean": [0.4], "std": [0.3]},
        "recipe": {"task": "detect", "name": "mine"},
    }
    weights = {"backbone.norm.weight": torch.ones(2)}
    checkpoint = {"format": "twins-1", "model": weights, "model_ema": weights, "meta": meta}
    info = describe(checkpoint, "ours.pth")
    assert (info.ours, info.dialect, info.task, info.model) == (True, "twins", "detect", "twins_svt_small")
    assert (info.head, info.create_model) == ("mask_rcnn", meta["create_model"])
    assert (info.window_padding, info.norm_eps) == ("mask", 1e-6)
    assert (info.classes, info.classes_named, info.category_ids) == (("ant", "bee"), True, (7, 3))
    assert info.preprocessing == DetectPreprocessing(48, 80, (0.4,), (0.3,))
    assert (info.recipe, info.has_ema) == (meta["recipe"], True)
    assert not describe(checkpoint | {"model_ema": None}, "ours.pth").has_ema
    with pytest.raises(TwinsError, match=r"^ours\.pth: knows its own network: leave --model out$"):
        info.with_model("twins_svt_base")
    assert info.with_model(None).with_classes(None) == info
    assert info.with_classes(["a", "b"]).classes == ("a", "b")
    with pytest.raises(TwinsError, match=r"^ours\.pth: tells 2 classes apart, but 3 are named; name all of them$"):
        info.with_classes(["a", "b", "c"])


@pytest.mark.parametrize("key", ["model_ema", "state_dict_ema", "ema_state_dict"])
@pytest.mark.usefixtures("small")
def test_a_moving_average_is_seen_under_every_name(key: str) -> None:
    state = twins.create_model("svt_small", num_classes=2).state_dict()
    assert describe({"state_dict": state, key: state}, "theirs.pth").has_ema


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"norm.weight": torch.ones(2)}, tmp_path / "a.pth")
    readings = []
    monkeypatch.setattr("twins.checkpoints.info.read_checkpoint", lambda p: readings.append(p) or read_checkpoint(p))
    info = read_info(tmp_path / "a.pth")
    assert isinstance(info, CheckpointInfo)
    assert info.source == str(tmp_path / "a.pth")
    assert read_info(info) is info
    assert readings == [tmp_path / "a.pth"]
