"""Prediction: what is predicted, what is written of it, and one line with exit status 2 for what cannot be used."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from torch import nn
from torchvision.transforms.functional import pil_to_tensor

import twins
from helpers.command_line import refusal
from helpers.foreign import shrink
from helpers.tiny import TINY
from twins.checkpoints.info import read_info
from twins.cli import main
from twins.data.classify.transforms import eval_transform
from twins.data.images import UnreadableImageError, read_image
from twins.data.masks.transforms import mask_eval_transform
from twins.data.palette import class_colours
from twins.heads import sliding_window
from twins.heads.sliding_window import class_probabilities
from twins.plots.masks import draw_mask
from twins.predict import computed, load_predictor
from twins.predict import folder as loop
from twins.predict.predictors import DetectPredictor, SegmentPredictor
from twins.predict.sources import ImageFile, find_images, image_ids, output_names
from twins.predict.writers import ClassifyWriter, DetectWriter
from twins.preprocessing import ClassifyPreprocessing, SegmentPreprocessing
from twins.training.loop import fit

TABLES = ["counts.csv", "detections.csv", "detections.json", "images.json"]
CLASSES = ("ant", "bee", "cat")
SMALL = {**TINY, "channels": 16}
ROTATED = 6  # EXIF's orientation of an image that is to be turned clockwise by 90 degrees


def checkpoint(tmp_path: Path, kind: str, channels: int = 3, **more: Any) -> tuple[Path, nn.Module]:
    """A tiny network as a run of ours would leave it, and the same network in memory."""
    torch.manual_seed(3)
    normal = {"mean": [0.4] * channels, "std": [0.3] * channels}
    settings = {"num_classes": 3, "in_chans": channels}
    normal_boxes = {"image_mean": normal["mean"], "image_std": normal["std"]}
    boxes = {"min_size": 48, "max_size": 80, **normal}
    build: Callable[..., nn.Module]
    match kind:
        case "classify":
            build, settings, facts = twins.create_model, settings | TINY, {"preprocessing": {"img_size": 48, **normal}}
        case "upernet" | "semantic_fpn":
            build, settings = getattr(twins, kind), settings | SMALL
            facts = {"task": "segment", "head": kind, "preprocessing": {"resize": [192, 48], **normal}}
        case "mask_rcnn":
            build, settings = (
                partial(twins.mask_rcnn, **normal_boxes),
                settings | SMALL | {"box_channels": 32, "proposals": 40},
            )
            facts = {"task": "detect", "detector": kind, "preprocessing": boxes}
        case "retinanet":
            build, settings = partial(twins.retinanet, **normal_boxes), settings | SMALL
            facts = {"task": "detect", "detector": kind, "preprocessing": boxes}
    network = build("twins_svt_small", **settings).eval()
    meta = {"task": "classify", "name": "twins_svt_small", "create_model": settings, "classes": CLASSES} | facts
    path = tmp_path / f"{kind}.pth"
    held = {"format": "twins-1", "model": network.state_dict(), "meta": meta | more.pop("meta", {})}
    torch.save(held | more, path)
    return path, network


def saved(path: Path, width: int, height: int, seed: int = 0, **settings: Any) -> Image.Image:
    """An image of coloured noise in coarse squares, also on disk."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **settings)
    return image


def saved_sideways(path: Path) -> Image.Image:
    """An image of 40 x 56 that is upright once turned as its tag says; returns it upright."""
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    return saved(path, 56, 40, exif=exif).transpose(Image.Transpose.ROTATE_270)


def predict(*argv: str | Path) -> int:
    return main(["predict", *map(str, argv), "--device", "cpu"])


def content(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# What is predicted


@pytest.mark.parametrize("channels", [1, 3])
def test_probabilities_are_those_of_the_evaluation_transform(tmp_path: Path, channels: int) -> None:
    weights, network = checkpoint(tmp_path, "classify", channels)
    image = saved(tmp_path / "a.png", 70, 50).convert({1: "L", 3: "RGB"}[channels])
    view = eval_transform(ClassifyPreprocessing(48, mean=(0.4,) * channels, std=(0.3,) * channels))(image)
    with torch.no_grad():
        expected = network(view[None]).softmax(dim=1)[0]
    prediction = load_predictor(weights, "cpu", topk=2)(tmp_path / "a.png")
    torch.testing.assert_close(prediction.probabilities, expected)
    first, second, _ = expected.argsort(descending=True).tolist()
    assert [name for name, _ in prediction.top] == [CLASSES[first], CLASSES[second]]
    assert prediction.top[0][1] == pytest.approx(float(expected[first]))
    assert str(prediction).startswith(f"{CLASSES[first]} {100 * expected[first]:.1f} %, ")


@pytest.mark.parametrize("kind", ["upernet", "semantic_fpn"])
@pytest.mark.parametrize("windows", [{}, {"slide": 32, "slide_stride": 24}])
def test_a_mask_is_the_likeliest_class_of_each_pixel(
    tmp_path: Path, kind: str, windows: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, network = checkpoint(tmp_path, kind)
    image = saved(tmp_path / "a.png", 83, 61)
    transform = mask_eval_transform(SegmentPreprocessing((192, 48), (0.4,) * 3, (0.3,) * 3))
    views, _ = transform(image, torch.empty(0))
    expected = class_probabilities(network, views, (61, 83), *windows.values()).argmax(dim=0)
    assert len(expected.unique()) > 1
    monkeypatch.setattr(sliding_window, "LOGITS_AT_ONCE", 2 * 83 * 61)  # two of three classes at a time
    prediction = load_predictor(weights, "cpu", **windows)(image)
    assert prediction.mask.dtype == torch.uint8
    assert prediction.mask.tolist() == expected.tolist()
    assert prediction.pixels == {CLASSES[i]: int((expected == i).sum()) for i in expected.unique().tolist()}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["mask_rcnn", "retinanet"])
def test_detections_are_the_networks_own(tmp_path: Path, kind: str, channels: int) -> None:
    weights, _ = checkpoint(tmp_path, kind, channels)
    image = saved(tmp_path / "a.png", 83, 61)
    stored = torch.load(weights, weights_only=True)
    network = getattr(twins, kind)(
        "svt_small", **stored["meta"]["create_model"], min_size=48, max_size=80, image_mean=[0.4] * channels,
        image_std=[0.3] * channels, score_thresh=0.009, nms_thresh=0.4, detections_per_img=7, weights=weights,
    ).eval()  # fmt: skip
    pixels = pil_to_tensor(image.convert({1: "L", 3: "RGB"}[channels]))
    with torch.no_grad():
        (expected,) = network([pixels / 255])
    prediction = load_predictor(weights, "cpu", conf=0.009, iou=0.4, max_det=7)(image)
    assert len(prediction) == 7
    torch.testing.assert_close(prediction.boxes, expected["boxes"])
    torch.testing.assert_close(prediction.scores, expected["scores"])
    assert prediction.names == [CLASSES[label] for label in expected["labels"]]
    if kind == "retinanet":
        assert prediction.masks is None
    else:
        assert prediction.masks.shape == (7, 61, 83)
        assert prediction.masks.equal(expected["masks"][:, 0])


@pytest.mark.parametrize("kind", ["classify", "upernet", "retinanet"])
def test_files_images_and_sequences_of_them_are_predicted_alike(tmp_path: Path, kind: str) -> None:
    weights, _ = checkpoint(tmp_path, kind)
    paths = [tmp_path / f"{i}.png" for i in range(18)]  # more than a classifier sees at once
    images = [saved(path, 40 + i, 48, seed=i) for i, path in enumerate(paths)]
    predictor = load_predictor(weights, "cpu", **({"conf": 0.0} if kind == "retinanet" else {}))
    field = {"classify": "probabilities", "upernet": "mask", "retinanet": "boxes"}[kind]
    predictions = [getattr(prediction, field) for prediction in predictor([str(path) for path in paths])]
    assert len(predictions) == 18
    for prediction, image, path in zip(predictions, images, paths, strict=True):
        torch.testing.assert_close(getattr(predictor(image), field), prediction)
        torch.testing.assert_close(getattr(predictor(path), field), prediction)
    assert predictor([]) == []


def test_images_are_turned_upright(tmp_path: Path) -> None:
    weights, _ = checkpoint(tmp_path, "upernet")
    upright = saved_sideways(tmp_path / "a.png")
    predictor = load_predictor(weights, "cpu")
    expected = predictor(upright).mask
    assert expected.shape == (56, 40)
    assert len(expected.unique()) > 1
    assert predictor(tmp_path / "a.png").mask.equal(expected)
    with Image.open(tmp_path / "a.png") as opened:
        assert predictor(opened).mask.equal(expected)


def test_averaged_weights_are_taken_where_there_are_any(tmp_path: Path) -> None:
    _, other = checkpoint(tmp_path, "classify")
    average = {name: tensor + 0.01 for name, tensor in other.state_dict().items()}
    weights, _ = checkpoint(tmp_path, "classify", model_ema=average)
    image = saved(tmp_path / "a.png", 48, 48)
    by_default, averaged, plain = (load_predictor(weights, "cpu", ema)(image) for ema in (None, True, False))
    assert by_default.probabilities.equal(averaged.probabilities)
    assert (averaged.probabilities - plain.probabilities).abs().max() > 1e-4


def test_settings_are_those_of_the_networks_own_run_unless_given(tmp_path: Path) -> None:
    run = {"recipe": {"name": "mine", "slide": 32, "slide_stride": 30, "iou": 0.7, "max_det": 9, "conf": 0.05}}
    weights, _ = checkpoint(tmp_path, "upernet", meta=run)
    assert load_predictor(weights, "cpu").name == "mine"
    for given, expected in (({}, (32, 30)), ({"slide": 24}, (24, None)), ({"slide_stride": 20}, (32, 20))):
        predictor = load_predictor(weights, "cpu", **given)
        assert isinstance(predictor, SegmentPredictor)
        assert (predictor.slide, predictor.stride) == expected
    weights, _ = checkpoint(tmp_path, "retinanet", meta=run)
    assert load_predictor(weights, "cpu", max_det=5).model.selection == (0.3, 0.7, 5)
    weights, _ = checkpoint(tmp_path, "retinanet")
    assert load_predictor(weights, "cpu").name == "twins_svt_small"
    assert load_predictor(weights, "cpu").model.selection == (0.3, 0.5, 100)


@pytest.mark.parametrize("kind", ["classify", "upernet", "mask_rcnn"])
def test_arrays_are_predicted_as_the_images_that_they_hold(tmp_path: Path, kind: str) -> None:
    weights, _ = checkpoint(tmp_path, kind)
    predictor = twins.load(weights, "cpu", **({"conf": 0.0} if kind == "mask_rcnn" else {}))
    field = {"classify": "probabilities", "upernet": "mask", "mask_rcnn": "boxes"}[kind]
    image = saved(tmp_path / "a.png", 60, 50)
    for of_kind in (image, image.convert("L")):
        expected = getattr(predictor(of_kind), field)
        assert expected.equal(getattr(predictor(np.asarray(of_kind)), field))
        assert expected.equal(getattr(predictor([np.asarray(of_kind)[:, ::-1][:, ::-1]])[0], field))


@pytest.mark.parametrize(("image", "message"), [
    (np.zeros((9, 9, 3)), r"uint8, \(H, W\) or \(H, W, 3\) in RGB, not float64 \(9, 9, 3\)"),
    (np.zeros((3, 9, 9), np.uint8), r"not uint8 \(3, 9, 9\)"),
    (np.zeros((1, 9, 9, 3), np.uint8), r"not uint8 \(1, 9, 9, 3\)"),
    (np.zeros((0, 9, 3), np.uint8), r"not uint8 \(0, 9, 3\)"),
    (torch.zeros(3, 9, 9), "a PIL image or an array, not a Tensor"),
    ([None], "not a NoneType"),
])  # fmt: skip
def test_what_is_no_image_gets_one_line(tmp_path: Path, image: Any, message: str) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    with pytest.raises(twins.TwinsError, match=message) as raised:
        twins.load(weights, "cpu")(image)
    assert "\n" not in str(raised.value)


def test_a_checkpoint_for_a_name_is_sent_to_load(tmp_path: Path) -> None:
    assert twins.load is load_predictor
    weights, _ = checkpoint(tmp_path, "classify")
    with pytest.raises(twins.TwinsError, match=r"by twins\.load\(.*classify.pth'\)"):
        twins.create_model(str(weights))


@pytest.mark.parametrize("kind", ["classify", "upernet", "retinanet"])
def test_the_transform_gives_what_the_model_takes(tmp_path: Path, kind: str) -> None:
    weights, _ = checkpoint(tmp_path, kind)
    image = saved(tmp_path / "a.png", 83, 61)
    predictor = twins.load(weights, "cpu", **({"conf": 0.0} if kind == "retinanet" else {}))
    view, prediction = predictor.transform(tmp_path / "a.png"), predictor(image)
    assert view.equal(predictor.transform(image))
    assert view.equal(predictor.transform(np.asarray(image)))
    with torch.no_grad():
        outputs = predictor.model([view] if kind == "retinanet" else view[None])
    if kind == "classify":
        assert view.shape == (3, 48, 48)
        torch.testing.assert_close(outputs.softmax(dim=1)[0], prediction.probabilities)
    elif kind == "upernet":
        assert view.shape == (3, 48, 65)
        assert prediction.mask.equal(sliding_window.best_class(outputs[0], (61, 83)))
    else:
        assert view.shape == (3, 61, 83)
        assert float(view.max()) == np.asarray(image).max() / 255
        assert outputs[0]["boxes"].equal(prediction.boxes)


@pytest.mark.parametrize("kind", ["classify", "upernet", "mask_rcnn"])
def test_the_engine_predicts_what_pytorch_does(tmp_path: Path, kind: str) -> None:
    weights, _ = checkpoint(tmp_path, kind)
    image = saved(tmp_path / "a.png", 83, 61)
    settings = {"conf": 0.0, "max_det": 5} if kind == "mask_rcnn" else {}
    plain, fast = twins.load(weights, "cpu", **settings), twins.load(weights, dtype="fp32", **settings)
    assert fast.device.type == "cpu"
    for dtype, predictor in (("fp32", fast), ("int8", twins.load(weights, "cpu", dtype="int8", **settings))):
        frozen = predictor.model if kind == "classify" else predictor.model.backbone
        assert frozen.backend.startswith(f"native, {dtype}, ")
    expected, found = plain(image), fast(image)
    if kind == "classify":
        torch.testing.assert_close(found.probabilities, expected.probabilities, atol=1e-5, rtol=1e-4)
    elif kind == "upernet":
        views = plain.transform(image)[None]
        with torch.no_grad():
            torch.testing.assert_close(fast.model(views), plain.model(views), atol=1e-4, rtol=1e-4)
        assert (found.mask == expected.mask).float().mean() > 0.999
    else:
        torch.testing.assert_close(found.boxes, expected.boxes, atol=1e-2, rtol=1e-4)
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=1e-4)
        assert found.labels.equal(expected.labels)


def test_the_command_line_has_the_engine_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    saved(tmp_path / "a.png", 83, 61)
    frozen: list[str] = []

    def spy(model: nn.Module, dtype: str, release: bool) -> nn.Module:
        frozen.append(dtype)
        return twins.freeze(model, dtype, release)

    monkeypatch.setattr(computed, "freeze", spy)
    tables = []
    for flags in ((), ("--dtype", "fp32")):
        argv = (tmp_path / "a.png", "--weights", weights, "--out", tmp_path / "out", "--no-draw", "--exist-ok", *flags)
        assert predict(*argv) == 0
        (row,) = csv.DictReader((tmp_path / "out" / "predictions.csv").read_text().splitlines())
        tables.append(row)
    assert frozen == ["fp32"]
    assert tables[0].keys() == tables[1].keys()
    assert tables[0]["class1"] == tables[1]["class1"]


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    with pytest.raises(UnreadableImageError, match="gone.png"):
        load_predictor(weights, "cpu")(tmp_path / "gone.png")


# Weights of others


@pytest.mark.parametrize(("prefix", "head"), [("", "head."), ("module.", "head."), ("", "head.fc.")])
def test_published_classifiers_are_known_by_their_weights(
    tmp_path: Path, prefix: str, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch, "twins_svt_small")
    network = twins.create_model("twins_svt_small", num_classes=7)
    renamed = {prefix + name.replace("head.", head): tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": renamed}, tmp_path / "others.pth")
    info = read_info(tmp_path / "others.pth")
    assert info.preprocessing == ClassifyPreprocessing()
    assert info.create_model == {"num_classes": 7, "in_chans": 3, "window_padding": "mask"}
    assert info.classes == tuple("0123456")
    prediction = load_predictor(tmp_path / "others.pth", "cpu")(Image.new("RGB", (240, 230), "green"))
    with torch.no_grad():
        view = eval_transform(ClassifyPreprocessing())(Image.new("RGB", (240, 230), "green"))
        torch.testing.assert_close(prediction.probabilities, network.eval()(view[None]).softmax(dim=1)[0])


def test_published_classifiers_name_what_they_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shrink(monkeypatch, "twins_svt_small")
    network = twins.create_model("twins_svt_small", num_classes=1000)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(10.0 * (torch.arange(1000) == 207))
    torch.save(network.state_dict(), tmp_path / "alt_gvt_small.pth")
    saved(tmp_path / "a.png", 40, 40)
    out = tmp_path / "out"
    assert predict("--weights", tmp_path / "alt_gvt_small.pth", tmp_path / "a.png", "--out", out) == 0
    assert "golden retriever 95.7 %" in capsys.readouterr().out
    assert (out / "predictions.csv").read_text(encoding="utf-8").splitlines()[1].split(",")[1] == "golden retriever"


def test_published_segmenters_and_detectors_are_known_by_their_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch, "twins_svt_small")
    network = twins.semantic_fpn("twins_svt_small", num_classes=4, channels=24)
    meta = {"CLASSES": ("wall", "sky", "bed", "sea"), "PALETTE": [[0, 0, 0]]}
    torch.save({"meta": meta, "state_dict": network.state_dict()}, tmp_path / "others.pth")
    info = read_info(tmp_path / "others.pth")
    assert info.preprocessing == SegmentPreprocessing()
    assert info.create_model == {"num_classes": 4, "channels": 24, "in_chans": 3, "window_padding": "mask-both"}
    assert info.classes == ("wall", "sky", "bed", "sea")
    assert isinstance(load_predictor(tmp_path / "others.pth", "cpu"), SegmentPredictor)

    faster = twins.mask_rcnn("twins_svt_small", num_classes=4, channels=24, masks=False)
    torch.save(faster.state_dict(), tmp_path / "others.pth")
    predictor = load_predictor(tmp_path / "others.pth", "cpu", classes=("a", "b", "c", "d"))
    assert isinstance(predictor, DetectPredictor)
    assert predictor.model.transform[:2] == (800, 1333)
    assert not predictor.model.has_masks
    assert predictor.model.backbone.blocks[0][0].attn.padding == "zero"
    assert predictor.classes == ("a", "b", "c", "d")
    assert predictor.category_ids == [1, 2, 3, 4]


# Which images are meant


def test_images_are_found_below_folders_and_keep_their_names(tmp_path: Path) -> None:
    for name in ("a/x.JPG", "a/deep/y.png", "a/.hidden.png", "b/z.png"):
        saved(tmp_path / name, 8, 8, **({"format": "JPEG"} if name.endswith("JPG") else {}))
    (tmp_path / "a" / "notes.txt").touch()
    found = find_images([tmp_path / "a", tmp_path / "b" / "z.png", tmp_path / "a" / "x.JPG"])
    assert [image.name.as_posix() for image in found] == ["deep/y.png", "x.JPG", "z.png"]
    assert [image.path for image in found] == [
        tmp_path / "a/deep/y.png",
        tmp_path / "a/x.JPG",
        tmp_path / "b/z.png",
    ]


def test_images_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for name in ("a/x.png", "b/x.png", "a/y.png"):
        saved(tmp_path / name, 8, 8)
    found = find_images([tmp_path / "a", tmp_path / "b" / "x.png"])
    assert [image.name.as_posix() for image in found] == ["a/x.png", "a/y.png", "b/x.png"]


def test_what_is_written_of_two_images_never_shares_a_name() -> None:
    def names(*images: str) -> list[str]:
        found = [ImageFile(Path(name), Path(name)) for name in images]
        return [name.as_posix() for name in output_names(found, lambda name: ".png")]

    assert names("a/x.jpg", "y.tif") == ["a/x.png", "y.png"]
    assert names("x.jpg", "x.png", "y.png") == ["x.jpg.png", "x.png.png", "y.png.png"]


@pytest.mark.parametrize(("names", "ids"), [
    (("000000000139.jpg", "000000000285.jpg"), [139, 285]),
    (("7.jpg", "sub/007.jpg"), [1, 2]),
    (("7.jpg", "eight.jpg", "9.jpg"), [1, 2, 3]),
    (("²3.jpg", "4.jpg"), [1, 2]),
])  # fmt: skip
def test_image_ids_are_coco_s_where_all_names_are_numbers(names: tuple[str, ...], ids: list[int]) -> None:
    assert image_ids([ImageFile(Path(name), Path(name)) for name in names]) == ids


# How files are read


@pytest.mark.parametrize("kind", ["classify", "upernet", "retinanet"])
def test_images_are_read_as_in_the_network_s_run(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 12 bits, and up to so many megapixels; unless a flag or a setting says otherwise."""
    weights, _ = checkpoint(tmp_path, kind, meta={"recipe": {"bit_depth": 12, "max_megapixels": 0.01}})
    bytes_HW = np.random.default_rng(0).integers(0, 256, (60, 70))
    deep = Image.fromarray(((bytes_HW * 4095 + 127) // 255).astype(np.uint16))
    deep.save(tmp_path / "deep.png")
    Image.new("RGB", (120, 90)).save(tmp_path / "large.png")
    predictor = load_predictor(weights, "cpu")
    for image in (tmp_path / "deep.png", deep):
        assert np.array_equal(np.asarray(predictor.read(image)), np.stack([bytes_HW] * 3, axis=-1))
    assert np.asarray(load_predictor(weights, "cpu", bit_depth=16).read(deep)).max() == 16
    with pytest.raises(UnreadableImageError, match=r"PIL image of mode I;16: values from 0 to 4095 .* --bit-depth"):
        load_predictor(weights, "cpu", bit_depth=10)(deep)
    argv = [str(tmp_path / "large.png"), "--weights", str(weights), "--out", str(tmp_path / "out")]
    refused = refusal(capsys, "predict", *argv)
    assert "large.png: 0 megapixels (120 x 90), more than --max-megapixels 0.01: raise that" in refused
    for limit in ("0.02", "none"):
        assert predict(*argv, "--max-megapixels", limit, "--exist-ok") == 0
    assert "--bit-depth must be between 8 and 31, not 7" in refusal(capsys, "predict", *argv, "--bit-depth", "7")


def test_maps_larger_than_pillow_allows_are_predicted_by_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, _ = checkpoint(tmp_path, "upernet")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # of which Pillow alone refuses twice as many
    image = saved(tmp_path / "map.png", 70, 50)
    found = load_predictor(weights, "cpu", slide=32)(tmp_path / "map.png")
    assert found.mask.shape == (50, 70)
    assert torch.equal(found.mask, load_predictor(weights, "cpu", slide=32)(image).mask)


# What is written


def test_a_classifier_leaves_a_table_and_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    for name in ("a.jpg", "sub/b.png"):
        saved(tmp_path / "photos" / name, 70, 50, seed=len(name))
    out = tmp_path / "out"
    assert predict(tmp_path / "photos", "--weights", weights, "--out", out, "--topk", "2") == 0
    assert content(out) == ["predictions.csv", "predictions.png"]
    columns, *rows = csv.reader((out / "predictions.csv").read_text().splitlines())
    assert columns == ["file", "class1", "probability1", "class2", "probability2"]
    predictor, printed = load_predictor(weights, "cpu", topk=2), capsys.readouterr().out
    for row, name in zip(rows, ("a.jpg", "sub/b.png"), strict=True):
        prediction = predictor(tmp_path / "photos" / name)
        assert row[::2] == [name, f"{prediction.top[0][1]:.5f}", f"{prediction.top[1][1]:.5f}"]
        assert row[1::2] == [prediction.top[0][0], prediction.top[1][0]]
        assert f"{name}: {prediction}\n" in printed
    assert "2 images, " in printed
    assert f"predictions in {out}" in printed


def test_a_segmenter_leaves_masks_and_drawn_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, _ = checkpoint(tmp_path, "upernet")
    saved(tmp_path / "photos" / "a.jpg", 83, 61)
    saved_sideways(tmp_path / "photos" / "sub" / "b.png")
    saved(tmp_path / "photos" / "c.bmp", 30, 40)
    out = tmp_path / "out"
    assert predict(tmp_path / "photos", "--weights", weights, "--out", out) == 0
    assert content(out) == ["classes.txt", "masks/a.png", "masks/c.png", "masks/sub/b.png",
                            "pictures/a.jpg", "pictures/c.jpg", "pictures/sub/b.png"]  # fmt: skip
    assert (out / "classes.txt").read_text() == "ant\nbee\ncat\n"
    predictor = load_predictor(weights, "cpu")
    pixels = torch.zeros(3)
    for name, source, size in (("a", "a.jpg", (83, 61)), ("sub/b", "sub/b.png", (40, 56)), ("c", "c.bmp", (30, 40))):
        expected = predictor(tmp_path / "photos" / source).mask
        with Image.open(out / "masks" / f"{name}.png") as mask:
            assert (mask.mode, mask.size) == ("P", size)
            assert np.array_equal(np.asarray(mask), expected.numpy())
        pixels += expected.flatten().bincount(minlength=3)
    drawn, under = (
        np.asarray(read_image(folder / "sub" / "b.png")) for folder in (out / "pictures", tmp_path / "photos")
    )
    colours = class_colours(3)[predictor(tmp_path / "photos" / "sub" / "b.png").mask.numpy()]
    assert np.abs(drawn - (0.45 * under + 0.55 * colours)).max() <= 1
    shares = 100 * pixels / pixels.sum()
    assert f"{CLASSES[int(shares.argmax())]} {shares.max():.1f} %" in capsys.readouterr().out.splitlines()[-2]


def test_the_commonest_classes_are_named_in_the_corner_of_a_mask() -> None:
    mask = torch.ones(200, 100, dtype=torch.uint8)
    mask[:60] = 2
    drawn = np.asarray(draw_mask(Image.new("L", (100, 200), 255), mask, CLASSES))
    assert drawn.shape == (200, 100, 3)
    first, second = (np.argwhere((drawn == class_colours(3)[label]).all(axis=2)) for label in (1, 2))  # undiluted
    assert 0 < first[:, 0].max() < second[:, 0].max() < 40
    assert 0 == first[:, 0].min() < second[:, 0].min()


@pytest.mark.parametrize(("recipe", "expected"), [
    ("tiny_recipe", ["predictions.csv", "predictions.png"]),
    ("tiny_segment_recipe", ["classes.txt", "masks/a.png", "pictures/a.png"]),
    ("tiny_detect_recipe", ["counts.csv", "detections.csv", "detections.json", "images.json", "pictures/a.png"]),
])  # fmt: skip
def test_a_run_s_own_checkpoint_is_all_it_takes(
    tmp_path: Path, recipe: str, expected: list[str], request: pytest.FixtureRequest
) -> None:
    outcome = fit(request.getfixturevalue(recipe).replace(epochs=1))
    saved(tmp_path / "a.png", 60, 50)
    out = tmp_path / "out"
    assert predict(tmp_path / "a.png", "--weights", outcome.folder / "checkpoint.pth", "--out", out) == 0
    assert content(out) == expected
    if recipe == "tiny_detect_recipe":
        categories = json.loads((out / "images.json").read_text())["categories"]
        assert categories == [{"id": 7, "name": "white"}, {"id": 40, "name": "grey"}]


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools
def test_a_detector_leaves_what_coco_s_tools_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, _ = checkpoint(tmp_path, "mask_rcnn", meta={"category_ids": [5, 90, 2]})
    saved(tmp_path / "photos" / "000000000139.jpg", 83, 61)
    saved(tmp_path / "photos" / "000000000285.png", 60, 70, seed=1)
    out = tmp_path / "out"
    predictor = load_predictor(weights, "cpu", conf=0.0, max_det=6)
    predictions = {int(path.stem): predictor(path) for path in (tmp_path / "photos").iterdir()}
    assert predict(tmp_path / "photos", "--weights", weights, "--out", out, "--conf", "0", "--max-det", "6") == 0
    assert content(out) == ["counts.csv", "detections.csv", "detections.json", "images.json",
                            "pictures/000000000139.jpg", "pictures/000000000285.png"]  # fmt: skip
    assert json.loads((out / "images.json").read_text()) == {
        "images": [
            {"id": 139, "file_name": "000000000139.jpg", "width": 83, "height": 61},
            {"id": 285, "file_name": "000000000285.png", "width": 60, "height": 70},
        ],
        "categories": [{"id": 5, "name": "ant"}, {"id": 90, "name": "bee"}, {"id": 2, "name": "cat"}],
    }
    loaded = COCO(str(out / "images.json")).loadRes(str(out / "detections.json"))
    for image_id, prediction in predictions.items():
        results = loaded.loadAnns(loaded.getAnnIds(image_id))
        assert len(results) == len(prediction) == 6
        assert len(set(prediction.names)) > 1
        assert [result["category_id"] for result in results] == [[5, 90, 2][label] for label in prediction.labels]
        for result, box, score, mask in zip(
            results, prediction.boxes, prediction.scores, prediction.masks, strict=True
        ):
            x, y, width, height = result["bbox"]
            assert [x, y, x + width, y + height] == pytest.approx(box.tolist(), abs=1.1e-3)
            assert result["score"] == pytest.approx(float(score), abs=5.1e-6)
            assert np.array_equal(coco_masks.decode(result["segmentation"]), mask.numpy())
    columns, *counts = csv.reader((out / "counts.csv").read_text().splitlines())
    assert columns == ["file", *CLASSES]
    objects = list(csv.DictReader((out / "detections.csv").read_text().splitlines()))
    assert len(objects) == 12
    for (name, *numbers), prediction in zip(counts, (predictions[139], predictions[285]), strict=True):
        assert [int(number) for number in numbers] == [prediction.names.count(kind) for kind in CLASSES]
        assert [row["class"] for row in objects if row["file"] == name] == prediction.names
    assert [float(objects[0][side]) for side in ("x0", "y0", "x1", "y1")] == pytest.approx(
        predictions[139].boxes[0].tolist(), abs=0.051
    )
    written = (out / "detections.json").read_text()
    assert all(len(number.partition(".")[2]) <= 5 for number in written.replace(",", " ").split() if "." in number)
    printed = capsys.readouterr().out
    assert "2 images, " in printed
    assert "12 objects: " in printed
    assert read_image(out / "pictures" / "000000000139.jpg").size == (480, round(480 * 61 / 83))  # to be legible


def test_images_without_objects_are_listed_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, _ = checkpoint(tmp_path, "mask_rcnn")
    saved_sideways(tmp_path / "a.png")
    argv = (tmp_path / "a.png", "--weights", weights, "--out", tmp_path / "out", "--conf", "1", "--no-draw")
    assert predict(*argv) == 0
    assert content(tmp_path / "out") == TABLES
    assert (tmp_path / "out" / "counts.csv").read_text().splitlines() == ["file,ant,bee,cat", "a.png,0,0,0"]
    assert json.loads((tmp_path / "out" / "detections.json").read_text()) == []
    (image,) = json.loads((tmp_path / "out" / "images.json").read_text())["images"]
    assert image == {"id": 1, "file_name": "a.png", "width": 40, "height": 56}
    printed = capsys.readouterr().out
    assert "a.png: nothing\n" in printed
    assert printed.splitlines()[1].startswith("1 image, ")
    assert "s each: 0 objects\n" in printed


def test_a_detector_of_boxes_writes_no_masks(tmp_path: Path) -> None:
    weights, _ = checkpoint(tmp_path, "retinanet", channels=1)
    saved(tmp_path / "a.png", 260, 250)
    argv = (tmp_path / "a.png", "--weights", weights, "--out", tmp_path / "out", "--conf", "0", "--max-det", "40")
    assert predict(*argv) == 0
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert len(results) == 40
    assert {tuple(result) for result in results} == {("image_id", "category_id", "bbox", "score")}
    assert {result["category_id"] for result in results} <= {1, 2, 3}
    drawn, before = (np.asarray(read_image(folder / "a.png")) for folder in (tmp_path / "out" / "pictures", tmp_path))
    assert drawn.shape == before.shape
    assert (drawn != before).any()


def test_names_of_classes_can_be_given(tmp_path: Path) -> None:
    weights, _ = checkpoint(tmp_path, "upernet")
    saved(tmp_path / "a.png", 60, 50)
    (tmp_path / "names.txt").write_text("sky \n\nsea, deep\nearth\n")
    argv = (tmp_path / "a.png", "--weights", weights, "--out", tmp_path / "out", "--classes", tmp_path / "names.txt")
    assert predict(*argv) == 0
    assert (tmp_path / "out" / "classes.txt").read_text() == "sky\nsea, deep\nearth\n"


def test_a_folder_of_its_own_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, _ = checkpoint(tmp_path, "classify", meta={"recipe": {"name": "mine"}})
    saved(tmp_path / "a.png", 60, 50)
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        assert predict("a.png", "--weights", weights, "--no-draw") == 0
    assert content(tmp_path / "runs") == [f"predict/{name}/predictions.csv" for name in ("mine", "mine2", "mine3")]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    saved(tmp_path / "a.png", 60, 50)
    out = tmp_path / "out"
    out.mkdir()
    (out / "predictions.csv").write_text("dear")
    argv = [str(tmp_path / "a.png"), "--weights", str(weights), "--out", str(out), "--no-draw"]
    assert "something in it already" in refusal(capsys, "predict", *argv)
    assert (out / "predictions.csv").read_text() == "dear"
    assert predict(*argv, "--exist-ok") == 0
    assert (out / "predictions.csv").read_text().startswith("file,class1")


def interrupted_at(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while image number `index` is written, with half of it on disk."""
    save, count = Image.Image.save, iter(range(100))

    def half_saved(image: Image.Image, path: Path, **settings: Any) -> None:
        if next(count) == index:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        save(image, path, **settings)

    monkeypatch.setattr(Image.Image, "save", half_saved)


def test_an_interruption_leaves_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, _ = checkpoint(tmp_path, "mask_rcnn")
    for i in range(4):
        saved(tmp_path / "photos" / f"{i}.png", 60, 50, seed=i)
    interrupted_at(2, monkeypatch)
    out = tmp_path / "out"
    assert predict(tmp_path / "photos", "--weights", weights, "--out", out, "--conf", "0", "--max-det", "3") == 130
    assert content(out) == [*TABLES, "pictures/0.png", "pictures/1.png"]
    assert [image["id"] for image in json.loads((out / "images.json").read_text())["images"]] == [0, 1]
    results = json.loads((out / "detections.json").read_text())
    assert [result["image_id"] for result in results] == [0, 0, 0, 1, 1, 1]
    assert "2 of 4 images" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["classify", "retinanet"])
def test_a_killed_program_has_written_what_it_predicted(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of what comes after a prediction is needed for its row."""
    weights, _ = checkpoint(tmp_path, kind)
    for i in range(3):
        saved(tmp_path / "photos" / f"{i}.png", 60, 50, seed=i)
    out, seen = tmp_path / "out", []

    def spy(writer: Any, index: int, image: Image.Image, prediction: Any) -> None:
        add(writer, index, image, prediction)
        seen.append({name: (out / name).read_text() for name in content(out)})

    cls = ClassifyWriter if kind == "classify" else DetectWriter
    add = cls.add
    monkeypatch.setattr(cls, "add", spy)
    argv = (tmp_path / "photos", "--weights", weights, "--out", out, "--no-draw")
    flags = () if kind == "classify" else ("--conf", "0", "--max-det", "2")
    assert predict(*argv, *flags) == 0
    for count, files in enumerate(seen, start=1):
        if kind == "classify":
            assert len(files["predictions.csv"].splitlines()) == 1 + count
        else:
            assert [image["id"] for image in json.loads(files["images.json"])["images"]] == list(range(count))
            assert len(json.loads(files["detections.json"])) == 2 * count
            assert len(files["detections.csv"].splitlines()) == 1 + 2 * count
            assert len(files["counts.csv"].splitlines()) == 1 + count
    assert len(seen) == 3
    assert predict(*argv, *flags, "--exist-ok") == 0
    assert {name: (out / name).read_text() for name in content(out)} == seen[2]


def test_names_that_are_not_utf_8_are_written_as_they_come(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw, odd = b"photos/caf\xe9.png", "photos/a\x1b[2J\n.png"
    for kind in ("classify", "retinanet", "upernet"):
        weights, _ = checkpoint(tmp_path, kind)
        saved(tmp_path / "photos" / "plain.png", 60, 50)
        for name in (os.fsdecode(raw), odd):
            shutil.copy("photos/plain.png", name)
        assert predict("photos", "--weights", weights, "--out", kind) == 0
        printed = capfd.readouterr().out
        assert r"caf\xe9.png: " in printed
        assert r"a\x1b[2J\n.png: " in printed
        assert "\x1b" not in printed
    assert b"\ncaf\xe9.png," in (tmp_path / "classify" / "predictions.csv").read_bytes()
    assert b"\ncaf\xe9.png," in (tmp_path / "retinanet" / "counts.csv").read_bytes()
    assert (tmp_path / os.fsdecode(b"upernet/masks/caf\xe9.png")).is_file()
    images = json.loads((tmp_path / "retinanet" / "images.json").read_text())["images"]
    assert sorted(os.fsencode(image["file_name"]) for image in images)[1] == b"caf\xe9.png"


def test_unreadable_images_stop_or_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    saved(tmp_path / "photos" / "a.png", 60, 50)
    saved(tmp_path / "photos" / "c.png", 60, 50)
    (tmp_path / "photos" / "b.png").write_bytes(b"no image")
    argv = [str(tmp_path / "photos"), "--weights", str(weights), "--no-draw"]
    error = refusal(capsys, "predict", *argv, "--out", str(tmp_path / "out"))
    assert "b.png" in error
    assert "--bad-images skip" in error
    assert "out has what was predicted so far, --exist-ok writes over it" in error
    rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["file", "a.png"]
    assert predict(*argv, "--out", tmp_path / "out", "--bad-images", "skip", "--exist-ok") == 0
    rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["file", "a.png", "c.png"]
    printed = capsys.readouterr().out
    assert "2 of 3 images" in printed
    assert "left out 1 unreadable image: " in printed
    bad = (str(tmp_path / "photos" / "b.png"), *argv[1:], "--out", str(tmp_path / "bad"), "--bad-images", "skip")
    assert "none of the images can be read: " in refusal(capsys, "predict", *bad)


# What cannot be used


@pytest.mark.parametrize(("kind", "flags", "message"), [
    ("mask_rcnn", ("--topk", "3"), "--topk is for classifiers; "),
    ("mask_rcnn", ("--slide", "64"), "mask_rcnn.pth is a detector"),
    ("classify", ("--conf", "0.5"), "--conf is for detectors; "),
    ("upernet", ("--max-det", "9"), "upernet.pth is a segmenter"),
    ("classify", ("--topk", "0"), "--topk must be 1 or more, not 0"),
    ("upernet", ("--slide-stride", "64"), "--slide-stride 64 is the step between windows"),
    ("retinanet", ("--conf", "2"), "--conf must be between 0 and 1, not 2.0"),
    ("retinanet", ("--max-det", "0"), "--max-det must be 1 or more, not 0"),
    ("retinanet", ("--model", "svt_small"), "knows its own network: leave --model out"),
    ("classify", ("--ema",), "holds no averaged weights"),
    ("classify", ("--device", "gpu"), "--device gpu: no such device"),
    ("classify", ("--dtype", "int4"), "--dtype must be one of fp32, bf16, int8, not 'int4' (did you mean int8?)"),
    ("upernet", ("--dtype", "int8", "--device", "cuda"), "--device cuda: the engine of --dtype int8 is for the CPU"),
    ("classify", ("--classes", "gone.txt"), "gone.txt: cannot read names of classes"),
    ("classify", ("--weights", "gone.pth"), "gone.pth is not there"),
    ("classify", ("--out", "/dev/null/x"), "/dev/null/x: cannot write there"),
    ("classify", ("--bad-images", "fix"), "invalid choice: 'fix'"),
    ("classify", ("--confidence", "1"), "unknown argument --confidence"),
])  # fmt: skip
def test_unfit_flags_get_one_line(
    tmp_path: Path, kind: str, flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, _ = checkpoint(tmp_path, kind)
    saved(tmp_path / "a.png", 60, 50)
    argv = (str(tmp_path / "a.png"), "--weights", str(weights), "--out", str(tmp_path / "out"), *flags)
    assert message in refusal(capsys, "predict", *argv)
    assert not (tmp_path / "out").exists()


def test_unfit_sources_and_weights_get_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, network = checkpoint(tmp_path, "classify")
    (tmp_path / "empty").mkdir()

    def refused(source: str = "a.png", file: str = "classify.pth", *flags: str) -> str:
        return refusal(capsys, "predict", str(tmp_path / source), "--weights", str(tmp_path / file), *flags)

    assert "gone: no such image or folder" in refused("gone")
    assert "empty: no images in this folder (JPEG, PNG" in refused("empty")
    saved(tmp_path / "a.png", 60, 50)
    (tmp_path / "two.txt").write_text("a\nb\n")
    assert "tells 3 classes apart, but 2 are named" in refused("a.png", "classify.pth", "--classes",
                                                               str(tmp_path / "two.txt"))  # fmt: skip
    (tmp_path / "none.txt").touch()
    assert "no names of classes in it" in refused("a.png", "classify.pth", "--classes", str(tmp_path / "none.txt"))
    torch.save(network.state_dict(), tmp_path / "tiny.pth")
    assert "tiny.pth: cannot tell which network this is; pass --model" in refused("a.png", "tiny.pth")
    shrink(monkeypatch, "twins_svt_small")
    backbone = twins.create_model("twins_svt_small", features_only=True)
    torch.save(backbone.state_dict(), tmp_path / "backbone.pth")
    assert "holds a backbone without a head" in refused("a.png", "backbone.pth")
    torch.save(torch.load(weights, weights_only=True) | {"model": {"head.bias": torch.zeros(3)}}, tmp_path / "part.pth")
    assert "part.pth" in refused("a.png", "part.pth")
    assert "the following arguments are required: SOURCE" in refusal(capsys, "predict", "--weights", str(weights))
    with pytest.raises(twins.TwinsError, match="no setting 'confidence' of predictors"):
        load_predictor(weights, "cpu", confidence=0.3)


def test_help_tells_which_flags_are_for_which_networks(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    printed = capsys.readouterr().out
    assert "usage: twins predict --weights FILE SOURCE" in printed
    assert "detectors: least score" in printed


def test_a_line_for_each_image_is_for_a_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    for i in range(3):
        saved(tmp_path / "photos" / f"{i}.png", 60, 50, seed=i)
    monkeypatch.setattr(loop, "FEW_IMAGES", 2)
    assert predict(tmp_path / "photos", "--weights", weights, "--out", tmp_path / "out", "--no-draw") == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    assert printed[0].startswith("3 images, ")


def test_published_detectors_tell_cocos_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """80 classes, not named in the file: they have COCO's names and numbers, which leave ten out."""
    shrink(monkeypatch, "twins_svt_small")
    torch.save({"state_dict": twins.retinanet("twins_svt_small", channels=8).state_dict()}, tmp_path / "theirs.pth")
    predictor = load_predictor(tmp_path / "theirs.pth", "cpu")
    assert isinstance(predictor, DetectPredictor)
    assert len(predictor.classes) == len(predictor.category_ids) == 80
    named = dict(zip(predictor.category_ids, predictor.classes, strict=True))
    assert (named[1], named[11], named[13], named[90]) == ("person", "fire hydrant", "stop sign", "toothbrush")
    assert not {12, 26, 29, 30, 45, 66, 68, 69, 71, 83} & named.keys()


# Images that were made ready before


@pytest.mark.parametrize("kind", ["classify", "upernet", "retinanet", "mask_rcnn"])
def test_what_was_made_ready_elsewhere_is_predicted_alike(tmp_path: Path, kind: str) -> None:
    weights, _ = checkpoint(tmp_path, kind)
    image = saved(tmp_path / "a.png", 83, 61)
    predictor = load_predictor(weights, "cpu", **({"conf": 0.01} if kind in ("retinanet", "mask_rcnn") else {}))
    with torch.no_grad():
        (prediction,) = predictor.predict_tensors([predictor.as_tensor(image)], [(61, 83)])
    expected = predictor(image)
    field = {"classify": "probabilities", "upernet": "mask"}.get(kind, "boxes")
    assert getattr(prediction, field).equal(getattr(expected, field))
