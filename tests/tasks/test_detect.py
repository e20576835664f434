"""Detection as a task: the published networks and recipes, what a run leaves and learns, the command line."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import twins
from helpers.command_line import refusal
from helpers.runs import StopAfter, assert_same, log_of, weights_of
from helpers.tiny import TINY
from twins.checkpoints.info import read_info
from twins.cli import main
from twins.data.loading import Batch
from twins.errors import TwinsError
from twins.heads.detection import Detector, mask_rcnn, retinanet
from twins.plots.boxes import Boxed, draw_boxes
from twins.recipes import DetectRecipe, find_recipe, list_recipes, task_of_recipe
from twins.tasks import detect as detect_task
from twins.tasks.detect import Detection
from twins.training.loop import fit
from twins.training.optim import after_update, current_lr, make_optimizer, make_schedule

BUILDERS: dict[str, Callable[..., Detector]] = {"retinanet": retinanet, "mask_rcnn": mask_rcnn}
NETWORKS = [f"twins_{kind}_{size}" for kind in ("pcpvt", "svt") for size in ("small", "base", "large")]
# Counted with the backbone's unused classifier and final norm, as the paper does.
PUBLISHED_PARAMETERS = {
    "retinanet": (34_356_188, 54_078_428, 71_239_644, 34_296_284, 67_011_932, 110_917_852),
    "mask_rcnn": (44_273_624, 63_995_864, 81_157_080, 44_213_720, 76_347_736, 119_672_024),
}
WITH_BIAS = ("weight", "bias")


# The networks


@pytest.mark.parametrize("detector", BUILDERS)
@pytest.mark.parametrize("index", range(6))
def test_parameters_are_as_many_as_published(detector: str, index: int) -> None:
    with torch.device("meta"):
        model, classifier = BUILDERS[detector](NETWORKS[index]), twins.create_model(NETWORKS[index])
    unused = sum(p.numel() for name, p in classifier.named_parameters() if name.startswith(("norm.", "head.")))
    assert sum(p.numel() for p in model.parameters()) + unused == PUBLISHED_PARAMETERS[detector][index]


def published_names(detector: str) -> set[str]:
    """What the reference framework calls everything beside the backbone."""
    if detector == "retinanet":
        parts = [*(f"neck.lateral_convs.{i}.conv" for i in range(3)), *(f"neck.fpn_convs.{i}.conv" for i in range(5))]
        parts += [f"bbox_head.{branch}_convs.{i}.conv" for branch in ("cls", "reg") for i in range(4)]
        parts += ["bbox_head.retina_cls", "bbox_head.retina_reg"]
    else:
        parts = [f"neck.{kind}_convs.{i}.conv" for kind in ("lateral", "fpn") for i in range(4)]
        parts += [f"rpn_head.rpn_{part}" for part in ("conv", "cls", "reg")]
        parts += [f"roi_head.bbox_head.{part}" for part in ("shared_fcs.0", "shared_fcs.1", "fc_cls", "fc_reg")]
        parts += [f"roi_head.mask_head.convs.{i}.conv" for i in range(4)]
        parts += ["roi_head.mask_head.upsample", "roi_head.mask_head.conv_logits"]
    return {f"{part}.{kind}" for part in parts for kind in WITH_BIAS}


@pytest.mark.parametrize("detector", BUILDERS)
@pytest.mark.parametrize("name", ["twins_pcpvt_small", "twins_svt_small"])
def test_names_are_the_published_ones(detector: str, name: str) -> None:
    with torch.device("meta"):
        model = BUILDERS[detector](name)
    names = set(model.state_dict())
    assert {n for n in names if not n.startswith("backbone.")} == published_names(detector)
    assert ("backbone.norm_list.0.weight" in names) == ("svt" in name)


@pytest.mark.parametrize("detector", BUILDERS)
def test_published_weights_load_as_they_are(detector: str, tmp_path: Path) -> None:
    """With the unused classifier and norm beside them, as the reference framework saves them; and for more classes."""
    build = BUILDERS[detector]
    source = build("twins_svt_small", num_classes=3, channels=16, **TINY)
    state = {name: torch.randn_like(tensor) for name, tensor in source.state_dict().items()}
    unused = {"backbone.norm.weight": torch.ones(32), "backbone.head.bias": torch.zeros(1000)}
    torch.save({"state_dict": {**state, **unused}, "meta": {"epoch": 12}}, tmp_path / "theirs.pth")
    info = read_info(tmp_path / "theirs.pth")
    assert (info.head, info.create_model["channels"], info.create_model["num_classes"]) == (detector, 16, 3)
    assert info.create_model.get("masks", False) == (detector == "mask_rcnn")
    model = build("twins_svt_small", num_classes=3, channels=16, weights=tmp_path / "theirs.pth", **TINY)
    assert_same(model.state_dict(), state)
    assert set(model.load_report.unused) == {"norm.weight", "head.bias"}
    other = build("twins_svt_small", num_classes=5, channels=16, weights=tmp_path / "theirs.pth", **TINY)
    left = {"bbox_head.retina_cls"} if detector == "retinanet" else {
        "roi_head.bbox_head.fc_cls", "roi_head.bbox_head.fc_reg", "roi_head.mask_head.conv_logits"
    }  # fmt: skip
    assert set(other.load_report.reshaped) == {f"{name}.{kind}" for name in left for kind in WITH_BIAS}
    with pytest.raises(
        TwinsError, match=f"holds {detector} with 16 channels, this model is {detector} with 8 channels"
    ):
        build("twins_svt_small", num_classes=3, channels=8, weights=tmp_path / "theirs.pth", **TINY)


def test_a_classifiers_weights_fill_the_backbone(tmp_path: Path) -> None:
    classifier = twins.create_model("twins_svt_small", **TINY)
    torch.save(classifier.state_dict(), tmp_path / "imagenet.pth")
    model = twins.retinanet("twins_svt_small", channels=16, weights=tmp_path / "imagenet.pth", **TINY)
    assert torch.equal(model.backbone.blocks[3][0].mlp.fc1.weight, classifier.blocks[3][0].mlp.fc1.weight)
    assert {name.split(".")[0] for name in model.load_report.missing} == {"backbone", "neck", "bbox_head"}


def tiny(detector: str, classes: int = 2, **settings: Any) -> Detector:
    return BUILDERS[detector](
        "twins_svt_small", num_classes=classes, channels=16, **{"min_size": 64, "max_size": 96, **TINY, **settings}
    )


def a_target(boxes: list[list[float]], size: tuple[int, int]) -> dict[str, Tensor]:
    masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[int(y0) : int(y1), int(x0) : int(x1)] = 1
    labels = torch.arange(len(boxes)) % 2
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": labels, "masks": masks}


@pytest.mark.parametrize("detector", BUILDERS)
@pytest.mark.parametrize("objects", [[], [[4.0, 6.0, 30.0, 40.0]]])
def test_every_parameter_learns_from_every_batch(detector: str, objects: list[list[float]]) -> None:
    """Else DistributedDataParallel would wait for it; images without objects are no exception."""
    model = tiny(detector).train()
    images = [torch.rand(3, 64, 70), torch.rand(3, 50, 64)]
    losses = model(images, [a_target(objects, (64, 70)), a_target([], (50, 64))])
    assert all(loss.isfinite() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize("detector", BUILDERS)
def test_losses_name_what_they_are_of(detector: str) -> None:
    model = tiny(detector).train()
    losses = model([torch.rand(3, 64, 70)], [a_target([[4.0, 6.0, 30.0, 40.0]], (64, 70))])
    proposals = ["loss_rpn_cls", "loss_rpn_bbox"] if detector == "mask_rcnn" else []
    assert list(losses) == [*proposals, "loss_cls", "loss_bbox", *(["loss_mask"] if proposals else [])]


def test_without_a_mask_head_it_is_faster_rcnn() -> None:
    model = tiny("mask_rcnn", masks=False)
    assert not any("mask_head" in name for name in model.state_dict())
    target = a_target([[4.0, 6.0, 30.0, 40.0]], (64, 70))
    del target["masks"]
    assert "loss_mask" not in model.train()([torch.rand(3, 64, 70)], [target])
    assert model.eval()([torch.rand(3, 64, 70)])[0].keys() == {"boxes", "scores", "labels"}


def losses_of(model: Detector, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    torch.manual_seed(0)  # of the proposals that are sampled
    return model(images, targets)


def test_an_object_without_a_mask_is_learnt_by_its_box_alone() -> None:
    """Whatever its mask is said to be, no loss and no gradient follows from it."""
    model = tiny("mask_rcnn").train()
    images = [torch.rand(3, 64, 70), torch.rand(3, 64, 64)]
    first, second = a_target([[4.0, 6.0, 30.0, 40.0], [32.0, 8.0, 60.0, 50.0]], (64, 70)), a_target([], (64, 64))
    every = losses_of(model, images, [first, second])
    same = losses_of(model, images, [first | {"has_mask": torch.tensor([True, True])}, second])
    assert same == every  # bit for bit
    without = first | {"has_mask": torch.tensor([True, False])}
    emptied = without | {"masks": first["masks"] * torch.tensor([1, 0], dtype=torch.uint8)[:, None, None]}
    one, other = (losses_of(model, images, [target, second]) for target in (without, emptied))
    assert one == other
    assert {name for name in every if one[name] != every[name]} == {"loss_mask"}
    none = losses_of(model, images, [first | {"has_mask": torch.tensor([False, False])}, second])
    assert none["loss_mask"] == 0
    none["loss_mask"].backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if "mask_head" in name}
    assert gradients
    assert all(gradient is not None and (gradient == 0).all() for gradient in gradients.values())


def spoilt(**changes: Any) -> dict[str, Any]:
    target = a_target([[4.0, 6.0, 30.0, 40.0]], (64, 70)) | changes
    return {name: value for name, value in target.items() if value is not None}


@pytest.mark.parametrize(("targets", "message"), [
    (None, "training needs targets, one for each of 1 images"),
    ([], "training needs targets, one for each of 1 images"),
    ([spoilt(boxes=None)], "targets[0] has no 'boxes'"),
    ([spoilt(masks=None)], "targets[0] has no 'masks'"),
    ([spoilt(boxes=torch.zeros(2, 4))], "boxes are (2, 4), not (1, 4)"),
    ([spoilt(boxes=torch.tensor([[4.0, 6.0, 4.0, 40.0]]))], "a box without area"),
    ([spoilt(labels=torch.tensor([2]))], "labels must lie in 0..1"),
    ([spoilt(labels=torch.tensor([-1]))], "labels must lie in 0..1"),
    ([spoilt(masks=torch.zeros(1, 70, 64))], "masks must be (objects, height, width) of the image"),
    ([spoilt(has_mask=torch.tensor([True, False]))], "has_mask is (2,), not (1,), one a label"),
])  # fmt: skip
def test_targets_that_cannot_be_learnt_from(targets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        tiny("mask_rcnn").train()([torch.rand(3, 64, 70)], targets)


@pytest.mark.parametrize(("images", "error", "message"), [
    ([], ValueError, "no images"),
    ([torch.zeros(3, 8, 8, dtype=torch.uint8)], TypeError, "images[0] is of torch.uint8: floats in [0, 1]"),
    ([torch.rand(3, 64, 64), torch.rand(1, 64, 64)], ValueError, "images[1] is (1, 64, 64): (3, height, width)"),
    ([torch.rand(3, 0, 64)], ValueError, "images[0] is (3, 0, 64)"),
])  # fmt: skip
def test_images_that_cannot_be_looked_at(images: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        tiny("retinanet").eval()(images)


@pytest.mark.parametrize(("settings", "message"), [
    ({"channels": 0}, "channels must be 1 or more"),
    ({"num_classes": 0}, "num_classes must be 1 or more"),
    ({"min_size": 0}, "min_size must be 1 or more"),
    ({"image_mean": (0.5,)}, "image_mean and image_std need 3 numbers"),
    ({"out_indices": (0, 1)}, "leave out out_indices"),
    ({"proposal": 9}, "no such setting 'proposal'"),
])  # fmt: skip
def test_settings_that_make_no_detector(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TwinsError, match=message):
        twins.mask_rcnn("twins_svt_small", **settings)


# The published recipes

ORIGINAL_NAMES = [
    *(f"{d}_{n}_{s}_fpn_1x_coco_pvt_setting" for d in BUILDERS for n in ("pcpvt", "alt_gvt") for s in "sbl"),
    *(f"retinanet_{n}_fpn_3x_ms_coco" for n in ("alt_gvt_s", "alt_gvt_b", "alt_gvt_l", "pcpvt_s", "pcpvt_b")),
    *(f"mask_rcnn_{n}_fpn_3x_coco_swin_setting" for n in ("alt_gvt_s", "alt_gvt_b", "alt_gvt_l", "pcpvt_s", "pcpvt_b")),
]


@pytest.mark.parametrize("name", ORIGINAL_NAMES)
def test_published_recipes_are_found_by_the_originals_names(name: str) -> None:
    assert task_of_recipe(name) == "detect"
    recipe = find_recipe(name + ".py", "detect")
    assert isinstance(recipe, DetectRecipe)
    assert recipe.detector == ("retinanet" if name.startswith("retinanet") else "mask_rcnn")
    before = name.split("_fpn")[0]
    size = {"s": "small", "b": "base", "l": "large"}[before[-1]]
    assert recipe.model == f"twins_{'svt' if 'alt_gvt' in before else 'pcpvt'}_{size}"
    assert recipe.drop_path == 0.2
    assert recipe.window_padding == "zero"
    assert (recipe.clip_grad, recipe.freeze_stages, recipe.lr_base_size) == (None, 0, 16)
    assert (recipe.img_size, recipe.longest_side, recipe.hflip) == (800, 1333, 0.5)
    if "_1x_" in name:
        lr = 1e-4 if recipe.detector == "retinanet" else 2e-4
        assert (recipe.epochs, recipe.decay_milestones, recipe.lr_base) == (12, (8, 11), lr)
        assert (recipe.weight_decay, recipe.decay_on) == (1e-4, "all")
        assert (recipe.train_sizes, recipe.crop_prob, recipe.amp) == (None, 0.0, False)
    else:
        assert (recipe.epochs, recipe.decay_milestones, recipe.lr_base) == (36, (27, 33), 1e-4)
        assert (recipe.weight_decay, recipe.decay_on) == (0.05, "all-but-norms")
        assert recipe.train_sizes == (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
        assert (recipe.crop_prob, recipe.crop, recipe.crop_sizes) == (0.5, (384, 600), (400, 500, 600))
        assert recipe.amp == (recipe.detector == "mask_rcnn")


def test_all_published_recipes_are_there() -> None:
    assert len([name for name in list_recipes("detect") if name.endswith("x")]) == len(ORIGINAL_NAMES) == 22


@pytest.mark.parametrize("name", ["retinanet_svt_small_1x", "mask_rcnn_svt_small_1x", "mask_rcnn_svt_large_3x"])
def test_learning_rates_are_the_published_ones_at_every_update(name: str) -> None:
    """500 updates of warm-up from a thousandth, then a tenth from each milestone on."""
    recipe = find_recipe(name, "detect").resolve(processes=8)
    assert recipe.batch_size == 2
    updates = 150  # an epoch
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    schedule = make_schedule(recipe, optimizer, updates)
    first, second = recipe.decay_milestones
    for update in range(recipe.epochs * updates):
        lr = recipe.lr * 0.1 ** ((update >= first * updates) + (update >= second * updates))
        if update < 500:
            lr *= 1 - (1 - update / 500) * (1 - 0.001)
        assert current_lr(optimizer) == pytest.approx(lr, rel=1e-12), update
        after_update(schedule, update + 1)


@pytest.mark.parametrize("name", ["mask_rcnn_svt_small_1x", "retinanet_svt_small_3x"])
def test_published_weight_decay(name: str) -> None:
    """Of everything in 1x; in 3x of all whose names have neither `norm` nor `pos_block`, biases too."""
    recipe = find_recipe(name, "detect").resolve(processes=1)
    model = BUILDERS[recipe.detector]("twins_svt_small", channels=8, **TINY)
    optimizer = make_optimizer(recipe, model)
    name_of = {p: n for n, p in model.named_parameters()}
    decay = {name_of[p]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay.keys() == set(name_of.values())
    for parameter, value in decay.items():
        spared = name.endswith("3x") and ("norm" in parameter or "pos_block" in parameter)
        assert value == (0.0 if spared else recipe.weight_decay), parameter


@pytest.mark.parametrize(("settings", "message"), [
    ({"crop": (384,)}, "--crop takes two positive numbers, not 384"),
    ({"train_sizes": ()}, "--train-sizes takes one positive number or more, not none"),
    ({"scale": (0.5,)}, "--scale takes two positive numbers, not 0.5"),
    ({"crop_sizes": (0, 5)}, "--crop-sizes takes one positive number or more, not 0 5"),
    ({"conf": 2}, "--conf must be between 0 and 1"),
    ({"detector": "yolo"}, "--detector must be one of mask_rcnn, retinanet"),
])  # fmt: skip
def test_recipes_refuse_what_their_flags_would(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TwinsError, match=message):
        DetectRecipe(**settings)


# A run


def test_a_run_leaves_everything_behind(tiny_detect_recipe: DetectRecipe) -> None:
    outcome = fit(tiny_detect_recipe)
    folder = outcome.folder
    assert folder == Path(tiny_detect_recipe.output) / "detect" / "tiny"
    rows = log_of(folder)
    assert [row["epoch"] for row in rows] == [0, 1]
    kinds = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100", "ar_small", "ar_medium",
             "ar_large")  # fmt: skip
    assert {f"val_{prefix}{kind}" for prefix in ("", "mask_") for kind in kinds} <= rows[0].keys()
    assert rows[0]["val_images"] == 6
    assert rows[0]["val_ap_large"] == -1.0  # there are none, as COCO's own tools say it
    plots = ("curves", "detections", "ap", "train_batch", "mistakes", "confusion", "thresholds")
    for image in (f"{plot}.png" for plot in plots):
        assert (folder / image).stat().st_size > 5000
    assert (folder / "per_class.csv").read_text().splitlines()[0] == "class,objects,AP,AP50,mask AP"
    assert outcome.best["metric"] == "ap"
    meta = torch.load(folder / "checkpoint.pth", weights_only=True)["meta"]
    assert (meta["task"], meta["detector"], meta["classes"]) == ("detect", "mask_rcnn", ["white", "grey"])
    assert meta["category_ids"] == [7, 40]
    assert meta["preprocessing"] == {"min_size": 48, "max_size": 80, "mean": (0.485, 0.456, 0.406),
                                     "std": (0.229, 0.224, 0.225)}  # fmt: skip
    model = mask_rcnn(meta["name"], **meta["create_model"])
    assert not twins.load_weights(model, folder / "checkpoint.pth").missing


@pytest.mark.parametrize(("detector", "heads", "training"), [
    ("mask_rcnn", {"box_channels": 64, "proposals": 20, "box_samples": 16}, {"img_size": 64, "steps_per_epoch": 80}),
    pytest.param("retinanet", {}, {"img_size": 128, "steps_per_epoch": 600, "warmup_steps": 30},  # anchors: 32 up
                 marks=pytest.mark.slow),
])  # fmt: skip
def test_four_images_are_learnt_by_heart(
    boxed_images: Path,
    tiny_detect_recipe: DetectRecipe,
    detector: str,
    heads: dict[str, int],
    training: dict[str, int],
) -> None:
    """Trained and evaluated on the same four, of which one is empty: an average precision above 80 %."""
    four(boxed_images)
    network = {**TINY, "embed_dims": (32, 64, 64, 64), "channels": 32, **heads}
    metrics = log_of(
        fit(
            tiny_detect_recipe.replace(
                detector=detector, model_kwargs=network, epochs=1, lr=3e-3, hflip=0.0, drop_path=0.0, **training
            )
        ).folder
    )[-1]
    assert metrics["val_ap"] > 80
    assert metrics["val_ap50"] > 99
    if detector == "mask_rcnn":
        assert metrics["val_mask_ap"] > 80


def four(root: Path) -> None:
    """Leave four training images, the first of them empty, and make them the validation ones too."""
    path = root / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    content["images"] = content["images"][:4]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] > 996 and not a["iscrowd"]]
    for part in ("train", "val"):
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
    shutil.rmtree(root / "val")
    shutil.copytree(root / "train", root / "val")


@pytest.mark.parametrize("detector", ["mask_rcnn", pytest.param("retinanet", marks=pytest.mark.slow)])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tiny_detect_recipe: DetectRecipe, monkeypatch: pytest.MonkeyPatch, detector: str
) -> None:
    """Sampling and augmentation included."""
    recipe = tiny_detect_recipe.replace(
        epochs=2, detector=detector, sched="multistep", decay_milestones=(1, 2), warmup_steps=4, warmup_multiplies=True,
        drop_path=0.3, train_sizes=(40, 48), crop_prob=0.5, crop=(24, 40), crop_sizes=(40, 44),
        model_kwargs=tiny_detect_recipe.model_kwargs if detector == "mask_rcnn" else {**TINY, "channels": 16},
    )  # fmt: skip
    whole = fit(recipe.replace(name="whole")).folder
    stop = StopAfter(monkeypatch, 1, 1)
    stopped = fit(recipe.replace(name="parts"))
    stop.undo()
    assert not stopped.finished
    resumed = fit(recipe, folder=stopped.folder, resume=stopped.folder / "checkpoint.pth")
    assert_same(weights_of(whole), weights_of(resumed.folder))
    timeless = [{k: v for k, v in row.items() if k not in ("time", "images_per_second", "time_left")}
                for row in (log_of(whole)[-1], log_of(resumed.folder)[-1])]  # fmt: skip
    assert timeless[0] == timeless[1]


def test_data_without_masks_trains_a_network_without(boxed_images: Path, tiny_detect_recipe: DetectRecipe) -> None:
    for path in boxed_images.glob("annotations/*.json"):
        content = json.loads(path.read_text())
        for annotation in content["annotations"]:
            del annotation["segmentation"]
        path.write_text(json.dumps(content))
    folder = fit(tiny_detect_recipe.replace(epochs=1)).folder
    assert not any("mask_head" in name for name in weights_of(folder))
    assert "val_mask_ap" not in log_of(folder)[-1]
    task = Detection(tiny_detect_recipe)
    task.datasets()
    assert "segmentations of fewer than half of the objects (training and validation): boxes alone" in task.notes


def without_segmentations(file: Path, kept: int) -> None:
    """Only so many of the objects that are no crowds keep theirs."""
    content = json.loads(file.read_text())
    for annotation in [a for a in content["annotations"] if not a["iscrowd"]][kept:]:
        del annotation["segmentation"]
    file.write_text(json.dumps(content))


def test_masks_that_are_asked_for_must_be_there(boxed_images: Path, tiny_detect_recipe: DetectRecipe) -> None:
    without_segmentations(boxed_images / "annotations" / "instances_train.json", kept=1)
    task = Detection(tiny_detect_recipe)
    task.datasets()
    assert "segmentations of fewer than half of the objects (training): boxes alone" in task.notes
    wanted = tiny_detect_recipe.model_kwargs | {"masks": True}
    with pytest.raises(TwinsError, match=r"fewer than half of the objects \(training\): leave masks=true out"):
        Detection(tiny_detect_recipe.replace(model_kwargs=wanted)).datasets()


def test_a_threshold_that_lowers_ap_is_noted(tiny_detect_recipe: DetectRecipe) -> None:
    for conf, noted in ((DetectRecipe.conf, False), (0.5, True)):
        task = Detection(tiny_detect_recipe.replace(conf=conf))
        task.datasets(evaluation_only=True)
        assert (
            any(note.startswith("AP counts detections of all scores, and --conf 0.5") for note in task.notes) is noted
        )


def test_numbers_that_are_names_of_classes_are_not_taken_for_indices(tiny_detect_recipe: DetectRecipe) -> None:
    """Of a network of classes "0" and "1", in data that has them the other way round."""
    for names, ids in ((("0", "1"), (7, 40)), (("1", "0"), (40, 7))):
        for path in Path(tiny_detect_recipe.data).glob("annotations/*.json"):
            content = json.loads(path.read_text())
            content["categories"] = [{"id": 7, "name": names[0]}, {"id": 40, "name": names[1]}]
            path.write_text(json.dumps(content))
        task = Detection(tiny_detect_recipe, classes=("0", "1"))
        task.datasets(evaluation_only=True)
        assert (task.classes, task.category_ids) == (("0", "1"), ids)


class Found(nn.Module):
    """Stands for a network that detects what is given, image by image."""

    def __init__(self, detections: list[dict[str, Tensor]]) -> None:
        super().__init__()
        self.detections, self.weight = iter(detections), nn.Parameter(torch.zeros(1))

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        return [next(self.detections) for _ in images]


def evaluated(recipe: DetectRecipe, detect: Callable[[int, Tensor, Tensor], tuple[Tensor, ...]]) -> Detection:
    """The task after an evaluation; `detect` makes boxes, labels and scores of the truth of an image."""
    task = Detection(recipe.replace(detector="retinanet"))
    _, val = task.datasets(evaluation_only=True)
    views = [val.at(index) for index in range(len(val))]
    found = [detect(index, view.label["boxes"], view.label["labels"]) for index, view in enumerate(views)]
    model = Found([dict(zip(("boxes", "labels", "scores"), of_image, strict=True)) for of_image in found])
    images, labels = [view.image for view in views], [view.label for view in views]
    list(task.evaluate(model, [Batch(images, labels, tuple(range(len(views))))]))
    return task


def test_mistakes_are_listed_and_drawn(
    tiny_detect_recipe: DetectRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten objects in five images one is missed and one confused; some are found where there are none."""

    def detect(index: int, boxes: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        scores = torch.full((len(labels),), 0.9)
        if index == 0:  # without objects
            false = torch.tensor([[1.0, 2.0, 11.0, 12.0]]).expand(5, 4)
            return false, torch.zeros(5, dtype=torch.int64), torch.tensor([0.95, 0.75, 0.2, 0.2, 0.2])
        if index == 2:
            scores[0] = 0.2
        if index == 3:
            labels = torch.ones_like(labels)
        return boxes, labels, scores

    drawn: list[tuple[str, list[str]]] = []

    def noting(rows: list[list[Boxed]], *args: Any) -> None:
        drawn.extend((boxed.title, list(boxed.texts or ())) for row in rows for boxed in row)
        draw_boxes(rows, *args)

    monkeypatch.setattr(detect_task, "draw_boxes", noting)
    task = evaluated(tiny_detect_recipe, detect)
    task.draw(tmp_path)
    assert drawn == [
        ("00.png: 1 false", ["white 0.95"]),
        ("03.png: 1 confused", ["white \u2192 grey 0.90"]),
        ("02.png: 1 missed", ["no grey"]),
    ]
    rows = [line.split(",") for line in (tmp_path / "mistakes.csv").read_text().splitlines()[1:]]
    assert [[Path(file).name, *row] for file, *row in (row[:6] for row in rows)] == [
        ["00.png", "false", "", "white", "0.95000", "0.000"],
        ["03.png", "confused", "white", "grey", "0.90000", "1.000"],
        ["02.png", "missed", "grey", "", "0.20000", "0.000"],
    ]
    assert rows[0][6:] == ["1.0", "2.0", "11.0", "12.0"]
    for plot in ("detections.png", "ap.png", "mistakes.png", "confusion.png", "thresholds.png"):
        assert (tmp_path / plot).stat().st_size > 5000
    # 8 of 10 objects with 10 detections, above any score from 0.75 to 0.89.
    assert task.findings() == ["best F1 0.80 at --conf 0.82: pass it to twins predict"]


def test_a_detector_that_finds_nothing_has_no_threshold(tiny_detect_recipe: DetectRecipe, tmp_path: Path) -> None:
    task = evaluated(tiny_detect_recipe, lambda _, boxes, labels: (boxes[:0], labels[:0], torch.zeros(0)))
    assert task.findings() == ["best F1 0.00: no detection has an IoU of 0.5 with an object of its class"]
    task.draw(tmp_path)
    assert (tmp_path / "mistakes.csv").read_text().count(",missed,") == 10


def test_a_perfect_detector_makes_no_mistakes(tiny_detect_recipe: DetectRecipe, tmp_path: Path) -> None:
    task = evaluated(tiny_detect_recipe, lambda _, boxes, labels: (boxes, labels, torch.ones(len(labels))))
    assert task.findings() == ["best F1 1.00 at --conf 0.52: pass it to twins predict"]
    (tmp_path / "mistakes.png").write_text("of an epoch before")
    task.draw(tmp_path)
    assert len((tmp_path / "mistakes.csv").read_text().splitlines()) == 1
    with Image.open(tmp_path / "mistakes.png") as plot:
        assert plot.height < 100


def test_metrics_need_no_masks_of_the_truth(tiny_detect_recipe: DetectRecipe) -> None:
    task = Detection(tiny_detect_recipe)
    training, val = task.datasets()
    assert training is not None
    assert "masks" in training.at(1).label
    assert "masks" not in val.at(1).label


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    found = tiny("mask_rcnn", score_thresh=0.0).eval().to(dtype)([torch.rand(3, 64, 70, dtype=dtype)])[0]
    assert len(found["boxes"]) == 100
    assert found["masks"].shape == (100, 1, 64, 70)


@pytest.mark.parametrize("detector", BUILDERS)
def test_both_detectors_learn_the_embedded_set(detector: str) -> None:
    """Settings that Mask R-CNN alone has do not trouble the other."""
    task = Detection(find_recipe("digits", "detect").replace(detector=detector), tuple("0123456789"))
    assert type(task.build()).__name__.lower() == detector.replace("_", "")


# The command line

FAST = [
    *("--model-kwargs", *(f"{key}={','.join(map(str, value))}" for key, value in TINY.items()), "channels=8"),
    *("--img-size", "32", "--epochs", "1", "--batch-size", "4", "--workers", "0", "--device", "cpu"),
    *("--detector", "retinanet"),
]


def test_train_eval_and_resume(boxed_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = str(tmp_path / "runs")
    argv = ["train", "--task", "detect", "--data", str(boxed_images), "--output", runs, "--name", "mine"]
    assert main([*argv, *FAST]) == 0
    folder = tmp_path / "runs" / "detect" / "mine"
    assert "best F1 0." in capsys.readouterr().out
    assert main(["eval", "--weights", str(folder / "checkpoint.pth"), "--output", runs]) == 0
    log = log_of(folder)[0]
    metrics = json.loads((tmp_path / "runs" / "detect" / "mine-eval" / "metrics.json").read_text())
    assert metrics["ap"] == log["val_ap"]
    printed = capsys.readouterr().out
    assert f"AP {log['val_ap']:.1f}  AP50" in printed
    assert "best F1 0." in printed
    assert main(["train", "--resume", str(folder / "checkpoint.pth"), "--epochs", "2"]) == 0
    assert len(log_of(folder)) == 2


def test_weights_in_the_published_form_are_evaluated(boxed_images: Path, tmp_path: Path) -> None:
    model = retinanet("twins_pcpvt_small", num_classes=2, channels=8)
    unused = {"backbone.norm.weight": torch.ones(512), "backbone.head.bias": torch.zeros(1000)}
    torch.save({"state_dict": {**model.state_dict(), **unused}}, tmp_path / "theirs.pth")
    argv = ["eval", "--weights", str(tmp_path / "theirs.pth"), "--data", str(boxed_images), "--img-size", "32"]
    assert main([*argv, "--output", str(tmp_path), "--workers", "0", "--device", "cpu"]) == 0
    assert json.loads((tmp_path / "detect" / "theirs-eval" / "metrics.json").read_text())["images"] == 6


def test_data_check_and_preview(boxed_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--task", "detect", "--data", str(boxed_images), "--workers", "0"]
    before = sorted(boxed_images.rglob("*"))
    assert main(["data", "check", *where]) == 0
    assert "nothing here keeps a network from learning" in capsys.readouterr().out
    assert main(["data", "preview", *where, "--out", str(tmp_path / "look.png")]) == 0
    assert np.asarray(Image.open(tmp_path / "look.png")).std() > 10
    assert sorted(boxed_images.rglob("*")) == before
    (boxed_images / "train" / "03.png").unlink()
    assert main(["data", "check", *where]) == 2
    assert "03.png" in capsys.readouterr().out


@pytest.mark.parametrize(("flags", "message"), [
    (["--img-size", "64", "--max-size", "48"], "pass --max-size 64 or more"),
    (["--detector", "fast_rcnn"], "invalid choice: 'fast_rcnn'"),
    (["--conf", "1.5"], "--conf must be between 0 and 1"),
    (["--mixup", "0.2"], "--mixup is a flag of --task classify"),
    (["--data", "nowhere"], "nowhere"),
])  # fmt: skip
def test_one_line_for_what_cannot_be_used(
    boxed_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    where = ["--task", "detect", "--data", str(boxed_images), "--output", str(tmp_path / "runs")]
    assert message in refusal(capsys, "train", *where, *FAST, *flags)


def test_boxes_are_no_classes(boxed_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ("train", "--data", str(boxed_images), "--output", str(tmp_path))
    assert "holds boxes of objects, not a folder a class: pass --task detect" in refusal(capsys, *argv)
    val = boxed_images / "annotations/instances_val.json"
    (boxed_images / "annotations").rename(tmp_path / "annotations")
    file = (tmp_path / "annotations" / val.name).rename(boxed_images / "boxes_of_mine.json")
    found = f"holds boxes of objects (found {file.name}: pass --data {file}), not a folder a class: pass --task detect"
    assert found in refusal(capsys, *argv)
    argv = ("train", "--data", str(file), "--output", str(tmp_path))
    coco = f"{file}: looks like COCO's annotations of objects, not a folder a class: pass --task detect"
    assert coco in refusal(capsys, *argv)
    yaml = boxed_images / "data.yaml"
    yaml.write_text("train: images\nnames: [a]\n")
    argv = ("data", "check", "--data", str(yaml))
    assert f"{yaml}: looks like the YAML file of YOLO's layout, not a folder" in refusal(capsys, *argv)


def test_a_run_is_not_resumed_with_classes_in_another_order(tiny_detect_recipe: DetectRecipe) -> None:
    stopped = fit(tiny_detect_recipe.replace(epochs=1)).folder
    for path in Path(tiny_detect_recipe.data).glob("annotations/*.json"):
        path.write_text(
            path.read_text().replace('"white"', '"?"').replace('"grey"', '"white"').replace('"?"', '"grey"')
        )
    with pytest.raises(TwinsError, match="the one numbered 0 is 'grey' here and 'white' there"):
        fit(tiny_detect_recipe, folder=stopped, resume=stopped / "checkpoint.pth")
