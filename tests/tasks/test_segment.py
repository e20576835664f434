"""Segmentation as a task: what a run leaves, its losses and metrics, data that cannot be used, the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import twins
from helpers.command_line import refusal
from helpers.runs import StopAfter, assert_same, log_of, weights_of
from helpers.tiny import TINY
from twins.cli import main
from twins.data.loading import Batch
from twins.data.palette import class_colours
from twins.errors import TwinsError
from twins.flops import count_flops
from twins.heads.segmentation import upernet
from twins.plots import masks as report
from twins.recipes import SegmentRecipe, find_recipe, list_recipes, task_of_recipe
from twins.tasks.segment import Segmentation
from twins.training.evaluation import evaluate_checkpoint, recipe_of_checkpoint
from twins.training.loop import fit
from twins.training.optim import after_update, current_lr, make_optimizer, make_schedule
from twins.zoo import PUBLISHED_SEGMENTERS

ORIGINAL_NAMES = [
    *(f"upernet_{n}_{s}_512x512_160k_ade20k_swin_setting" for n in ("pcpvt", "alt_gvt") for s in "sbl"),
    *(f"fpn_{n}_{s}_512x512_80k_ade20k" for n in ("pcpvt", "alt_gvt") for s in "sbl"),
]


# The published recipes


@pytest.mark.parametrize("name", ORIGINAL_NAMES)
def test_published_recipes_are_found_by_the_originals_names(name: str) -> None:
    recipe = find_recipe(name + ".py", "segment")
    assert task_of_recipe(name) == "segment"
    assert isinstance(recipe, SegmentRecipe)
    network = {"pcpvt": "pcpvt", "alt": "svt"}[name.split("_")[1]]
    size = {"s": "small", "b": "base", "l": "large"}[name.split("_512")[0][-1]]
    assert recipe.model == f"twins_{network}_{size}"
    assert recipe.head == ("upernet" if name.startswith("upernet") else "semantic_fpn")
    assert recipe.drop_path == (0.3 if recipe.model == "twins_svt_large" else 0.2)
    updates = 160_000 if recipe.head == "upernet" else 80_000
    assert recipe.steps_per_epoch is not None
    assert recipe.epochs * recipe.steps_per_epoch == updates
    batch = 16 if recipe.head == "upernet" and recipe.model != "twins_pcpvt_small" else 32
    resolved = recipe.resolve(processes=8)
    assert resolved.batch_size == batch // 8
    assert resolved.lr == pytest.approx(6e-5 if recipe.head == "upernet" else 1e-4, rel=1e-15)
    assert (recipe.img_size, recipe.resize, recipe.scale, recipe.cat_max_ratio) == (512, None, (0.5, 2.0), 0.75)
    assert recipe.reduce_zero_label
    assert recipe.clip_grad is None


def published_lr(head: str, update: int) -> float:
    if head == "semantic_fpn":
        return (1e-4 - 1e-6) * (1 - update / 80_000) ** 0.9 + 1e-6
    lr = 6e-5 * (1 - update / 160_000)
    return lr * (1 - (1 - update / 1500) * (1 - 1e-6)) if update < 1500 else lr


@pytest.mark.parametrize("name", [name for name in list_recipes("segment") if "_" in name])
def test_learning_rates_are_the_published_ones_at_every_update(name: str) -> None:
    recipe = find_recipe(name, "segment").resolve(processes=1)
    assert isinstance(recipe, SegmentRecipe)
    assert recipe.steps_per_epoch is not None
    assert recipe.lr is not None
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    schedule = make_schedule(recipe, optimizer, recipe.steps_per_epoch)
    assert current_lr(optimizer) == pytest.approx(published_lr(recipe.head, 0), rel=1e-12)
    for update in [*range(1, 1600), *range(1600, recipe.epochs * recipe.steps_per_epoch, 997)]:
        after_update(schedule, update)
        assert current_lr(optimizer) == pytest.approx(published_lr(recipe.head, update), rel=1e-12)


@pytest.mark.parametrize(("name", "undecayed"), [("upernet_svt_small", "by name"), ("semantic_fpn_svt_small", "none")])
def test_published_weight_decay(name: str, undecayed: str) -> None:
    """UPerNet: none where a name has `norm` or `pos_block`, so biases and the heads' `bn` do; Semantic FPN: all."""
    recipe = find_recipe(name, "segment").resolve(processes=1)
    assert isinstance(recipe, SegmentRecipe)
    model = Segmentation(recipe.replace(model_kwargs=TINY, head_channels=8), tuple("abc")).build()
    optimizer = make_optimizer(recipe, model)
    name_of = {p: n for n, p in model.named_parameters()}
    decay = {name_of[p]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay.keys() == set(name_of.values())
    for parameter, value in decay.items():
        spared = undecayed == "by name" and ("norm" in parameter or "pos_block" in parameter)
        assert value == (0.0 if spared else recipe.weight_decay), parameter
    assert decay["decode_head.conv_seg.bias"] == recipe.weight_decay
    bn = "decode_head.fpn_bottleneck.bn.weight" if undecayed == "by name" else "decode_head.scale_heads.0.0.bn.weight"
    assert decay[bn] == recipe.weight_decay
    assert (decay["backbone.blocks.0.0.norm1.weight"] == 0.0) == (undecayed == "by name")


def test_layer_wise_rates_reach_the_heads(tiny_segment_recipe: SegmentRecipe) -> None:
    recipe = tiny_segment_recipe.replace(layer_decay=0.5)
    model = Segmentation(recipe, tuple("abc")).build()
    optimizer = make_optimizer(recipe, model)
    scale = {p: group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    parameters = dict(model.named_parameters())
    assert scale[parameters["decode_head.conv_seg.weight"]] == 1.0
    assert scale[parameters["backbone.patch_embeds.0.proj.weight"]] == min(scale.values()) < 0.1


# A run


def test_a_run_leaves_everything_behind(tiny_segment_recipe: SegmentRecipe) -> None:
    outcome = fit(tiny_segment_recipe.replace(log_interval=2))
    folder = outcome.folder
    assert folder == Path(tiny_segment_recipe.output) / "segment" / "tiny"
    rows = log_of(folder)
    assert [row["epoch"] for row in rows] == [0, 1]
    assert {"train_loss", "train_lr", "val_miou", "val_macc", "val_aacc"} <= rows[0].keys()
    assert rows[0]["val_images"] == 5
    for image in ("curves.png", "predictions.png", "iou.png", "train_batch.png"):
        assert (folder / image).stat().st_size > 5000
    assert (folder / "per_class.csv").read_text().splitlines()[0] == "class,pixels,IoU,accuracy"
    assert len((folder / "steps.csv").read_text().splitlines()) == 1 + 2  # 3 updates an epoch: after the second of each
    assert outcome.best["metric"] == "miou"
    meta = torch.load(folder / "checkpoint.pth", weights_only=True)["meta"]
    assert (meta["task"], meta["head"], meta["classes"]) == ("segment", "upernet", ["ground", "grey", "white"])
    model = upernet(meta["name"], **meta["create_model"])
    assert not twins.load_weights(model, folder / "checkpoint.pth").missing


def test_a_small_network_learns_to_segment_squares(tiny_segment_recipe: SegmentRecipe) -> None:
    """Validation squares of 16 pixels, on maps of a quarter of that: all ground would be 25 %, perfect borders 100."""
    recipe = tiny_segment_recipe.replace(
        model_kwargs={**TINY, "embed_dims": (32, 32, 64, 64)}, head_channels=32, epochs=4, steps_per_epoch=40,
        batch_size=6, lr=5e-3, scale=(1.0, 1.0), photometric=False, cat_max_ratio=1.0, drop_path=0.0, head_drop=0.0,
    )  # fmt: skip
    assert fit(recipe).best["value"] > 60


@pytest.mark.parametrize("head", ["upernet", pytest.param("semantic_fpn", marks=pytest.mark.slow)])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tiny_segment_recipe: SegmentRecipe, monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    recipe = tiny_segment_recipe.replace(
        epochs=2, head=head, sched="poly", decay_rate=1.0, warmup_steps=4, warmup_multiplies=True, model_ema=True,
        model_ema_decay=0.9, drop_path=0.3,
    )  # fmt: skip
    whole = fit(recipe.replace(name="whole")).folder
    stop = StopAfter(monkeypatch, 1, 1)
    stopped = fit(recipe.replace(name="parts"))
    stop.undo()
    assert not stopped.finished
    resumed = fit(recipe, folder=stopped.folder, resume=stopped.folder / "checkpoint.pth")
    for key in ("model", "model_ema"):
        assert_same(weights_of(whole, key=key), weights_of(resumed.folder, key=key))


def test_steps_per_epoch_sets_how_long_an_epoch_is(tiny_segment_recipe: SegmentRecipe) -> None:
    """Seven updates of 4 are more than two passes over 12 images."""
    folder = fit(tiny_segment_recipe.replace(epochs=1, steps_per_epoch=7, log_interval=1)).folder
    assert [int(row.split(",")[1]) for row in (folder / "steps.csv").read_text().splitlines()[1:]] == list(range(1, 8))


@pytest.mark.parametrize(("settings", "parameters"), [
    ({"amp": True, "amp_dtype": "bfloat16", "class_weights": ("auto",), "slide": 20, "slide_stride": 13},
     {"backbone.patch_embeds.0.proj.weight": (16, 3, 4, 4), "auxiliary_head.conv_seg.weight": (3, 256, 1, 1)}),
    ({"head": "semantic_fpn", "grad_checkpointing": True, "test_scales": (0.5, 1.0, 1.25), "test_flip": True},
     {"decode_head.scale_heads.0.0.conv.weight": (16, 256, 3, 3), "auxiliary_head.conv_seg.weight": None}),
    ({"in_chans": 1, "mean": (0.5,), "std": (0.5,), "batch_size": 1, "window_padding": "mask-both"},
     {"backbone.patch_embeds.0.proj.weight": (16, 1, 4, 4)}),
    ({"freeze_stages": 2, "workers": 2, "class_weights": ("1", "2", "0.5"), "vflip": 0.5, "cat_max_ratio": 1.0},
     {"backbone.norm_list.0.weight": (16,)}),
    ({"model": "pcpvt_small", "model_kwargs": {**TINY, "num_heads": (1, 1, 2, 2)}, "auxiliary_weight": 0.0,
      "check": False}, {"backbone.norm_list.0.weight": None, "auxiliary_head.conv_seg.weight": None}),
])  # fmt: skip
def test_settings_that_must_simply_work(
    tiny_segment_recipe: SegmentRecipe, settings: dict[str, Any], parameters: dict[str, tuple[int, ...] | None]
) -> None:
    """An epoch by each, and a network of the parameters that the settings ask for."""
    recipe = tiny_segment_recipe.replace(epochs=1, **settings)
    folder = fit(recipe).folder
    (row,) = log_of(folder)
    shapes = {name: tuple(tensor.shape) for name, tensor in weights_of(folder).items()}
    assert {name: shapes.get(name) for name in parameters} == parameters
    heads = 1 + recipe.auxiliary_weight * ("auxiliary_head.conv_seg.weight" in shapes)
    assert row["train_loss"] == pytest.approx(heads * math.log(3), rel=0.4)  # three classes, hardly learnt
    assert row["val_images"] == 5
    saved = json.loads((folder / "recipe.json").read_text())["recipe"]
    assert {name: saved[name] for name in settings} == json.loads(json.dumps(settings))


# Losses, metrics, images


def test_the_loss_is_the_mean_over_all_pixels_ignored_ones_as_nothing(tiny_segment_recipe: SegmentRecipe) -> None:
    task = Segmentation(tiny_segment_recipe, tuple("abc"))
    logits = torch.randn(2, 3, 4, 5)
    labels = torch.randint(0, 3, (2, 4, 5))
    labels[0, :2] = 255

    class Fixed(torch.nn.Module):
        def forward(self, images: Tensor, all_heads: bool) -> dict[str, Tensor]:
            return {"decode_head": logits, "auxiliary_head": 2 * logits}

    losses = task.losses(Fixed(), Batch(torch.zeros(2, 3, 4, 5), labels, (0, 1)))
    for head, factor, weight in (("decode_head", 1, 1.0), ("auxiliary_head", 2, 0.4)):
        total = 0.0
        for b, y, x in np.ndindex(2, 4, 5):
            if labels[b, y, x] != 255:
                total -= float((factor * logits[b, :, y, x]).log_softmax(0)[labels[b, y, x]])
        assert float(losses[head]) == pytest.approx(weight * total / 40, rel=1e-5)
    weights = (0.5, 1.0, 3.0)
    task.class_weights = torch.tensor(weights)
    weighted = task.losses(Fixed(), Batch(torch.zeros(2, 3, 4, 5), labels, (0, 1)))["decode_head"]
    by_hand = 0.0
    for b, y, x in np.ndindex(2, 4, 5):
        if (label := int(labels[b, y, x])) != 255:
            by_hand -= weights[label] * float(logits[b, :, y, x].log_softmax(0)[label])
    assert float(weighted) == pytest.approx(by_hand / 40, rel=1e-5)
    ignored = Batch(torch.zeros(2, 3, 4, 5), torch.full((2, 4, 5), 255), (0, 1))
    assert {name: float(loss) for name, loss in task.losses(Fixed(), ignored).items()} == {
        "decode_head": 0.0, "auxiliary_head": 0.0,
    }  # fmt: skip


def test_metrics_are_those_of_a_plain_loop(tiny_segment_recipe: SegmentRecipe) -> None:
    """Resize, forward, back to the size of the mask, arg max, intersection over union: by hand."""
    folder = fit(tiny_segment_recipe.replace(resize=(64, 24))).folder
    checkpoint = torch.load(folder / "checkpoint.pth", weights_only=True)
    model = upernet("twins_svt_small", **checkpoint["meta"]["create_model"], weights=folder / "checkpoint.pth").eval()
    cells = np.zeros((3, 3))
    for path in sorted(Path(tiny_segment_recipe.data, "images", "val").glob("*.png")):
        image = Image.open(path)
        mask = np.asarray(Image.open(path.parents[2] / "masks" / "val" / path.name))
        factor = min(64 / max(image.size), 24 / min(image.size))
        width, height = (int(side * factor + 0.5) for side in image.size)
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float()
        view = F.interpolate(pixels, (height, width), mode="bilinear").round() / 255
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (tiny_segment_recipe.mean, tiny_segment_recipe.std))
        with torch.inference_mode():
            logits = model((view - mean) / std)
        prediction = F.interpolate(logits, mask.shape, mode="bilinear").argmax(1)[0].numpy()
        for truth, predicted in zip(mask[mask != 255], prediction[mask != 255], strict=True):
            cells[truth, predicted] += 1
    union = cells.sum(0) + cells.sum(1) - cells.diagonal()
    ious = [100 * cells[i, i] / union[i] for i in range(3) if union[i]]
    row = log_of(folder)[-1]
    assert row["val_miou"] == pytest.approx(np.mean(ious), abs=0.2)
    assert row["val_aacc"] == pytest.approx(100 * cells.trace() / cells.sum(), abs=0.2)


def test_the_same_checkpoint_has_the_same_metrics_again(tiny_segment_recipe: SegmentRecipe) -> None:
    folder = fit(tiny_segment_recipe).folder
    weights = folder / "checkpoint.pth"
    recipe = recipe_of_checkpoint(weights, "segment", {"output": tiny_segment_recipe.output})
    metrics = evaluate_checkpoint(recipe, weights)
    assert metrics["miou"] == log_of(folder)[-1]["val_miou"]
    covering = evaluate_checkpoint(recipe.replace(slide=200), weights)
    assert covering["miou"] == metrics["miou"]


def test_automatic_class_weights(tiny_segment_recipe: SegmentRecipe) -> None:
    task = Segmentation(tiny_segment_recipe.replace(class_weights=("auto",)))
    task.datasets()
    masks = [np.asarray(Image.open(p)) for p in Path(tiny_segment_recipe.data, "masks", "train").glob("*.png")]
    pixels = np.array([sum((mask == label).sum() for mask in masks) for label in range(3)])
    expected = pixels**-0.5 / (pixels**-0.5).mean()
    assert task.class_weights is not None
    assert task.class_weights.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_class_weights_that_are_given_need_no_look_at_the_masks(tiny_segment_recipe: SegmentRecipe) -> None:
    task = Segmentation(tiny_segment_recipe.replace(class_weights=("1", "2", "3"), check=False))
    task.datasets()
    assert task.class_weights is not None
    assert task.class_weights.tolist() == [1, 2, 3]
    with pytest.raises(TwinsError, match="--class-weights auto counts the masks' pixels"):
        Segmentation(tiny_segment_recipe.replace(class_weights=("auto",), check=False)).datasets()


def test_classes_without_names_are_counted(tiny_segment_recipe: SegmentRecipe) -> None:
    Path(tiny_segment_recipe.data, "classes.txt").unlink()
    task = Segmentation(tiny_segment_recipe)
    task.datasets()
    assert task.classes == ("0", "1", "2")
    with pytest.raises(TwinsError, match="classes without names: pass --classes, or let --check count them"):
        Segmentation(tiny_segment_recipe.replace(check=False)).datasets()


def test_a_part_is_val_where_there_is_none(tiny_segment_recipe: SegmentRecipe) -> None:
    root = Path(tiny_segment_recipe.data)
    for kind in ("images", "masks"):
        for path in (root / kind / "val").iterdir():
            path.unlink()
        (root / kind / "val").rmdir()
    train, val = Segmentation(tiny_segment_recipe.replace(val_split=0.25)).datasets()
    assert train is not None
    names = [{data.images.name(i) for i in range(len(data))} for data in (train, val)]
    assert (len(names[0]), len(names[1]), names[0] & names[1]) == (9, 3, set())


def test_legends_name_the_commonest_classes_and_what_has_none() -> None:
    labels = torch.repeat_interleave(torch.arange(40), torch.arange(40) + 1)  # class i has i + 1 pixels
    mask = torch.cat([labels, torch.full((5,), 255)])[None]
    names = [f"class {i}" for i in range(39)] + ["the longest name of all of them"]
    shown = [handle.get_label() for handle in report._legend([mask], names, class_colours(40))]
    assert shown == [*names[17:39], "the longest na\u2026of them", "and 17 more", "no class"]
    assert [handle.get_label() for handle in report._legend([labels[None]], names, class_colours(40))][
        -1
    ] == "and 17 more"


# The command line

FAST = [
    *("--model-kwargs", *(f"{key}={','.join(map(str, value))}" for key, value in TINY.items())),
    *("--head-channels", "8", "--img-size", "32", "--epochs", "1", "--batch-size", "4", "--workers", "0"),
    *("--device", "cpu"),
]


def test_train_eval_and_resume(masked_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The task is given once: a checkpoint knows what it is for."""
    runs = str(tmp_path / "runs")
    argv = ["train", "--task", "segment", "--data", str(masked_images), "--output", runs, "--name", "mine"]
    assert main([*argv, *FAST]) == 0
    folder = tmp_path / "runs" / "segment" / "mine"
    capsys.readouterr()
    assert main(["eval", "--weights", str(folder / "checkpoint.pth"), "--output", runs]) == 0
    log = log_of(folder)[0]
    metrics = json.loads((tmp_path / "runs" / "segment" / "mine-eval" / "metrics.json").read_text())
    assert metrics["miou"] == log["val_miou"]
    assert f"mIoU {log['val_miou']:.2f}  mAcc" in capsys.readouterr().out
    assert main(["train", "--resume", str(folder / "checkpoint.pth"), "--epochs", "2"]) == 0
    assert len(log_of(folder)) == 2
    sliding = ["--slide", "24", "--test-scales", "0.5", "1", "--test-flip", "--name", "sliding"]
    assert main(["eval", "--weights", str(folder / "checkpoint.pth"), "--output", runs, *sliding]) == 0
    assert (tmp_path / "runs" / "segment" / "sliding" / "predictions.png").exists()


@pytest.mark.parametrize("named", [True, False])
def test_weights_in_the_published_form_are_evaluated(masked_images: Path, tmp_path: Path, named: bool) -> None:
    """A state dict with the unused classifier and norm, and no word of what it is for; the data shows fewer classes."""
    if not named:
        (masked_images / "classes.txt").unlink()
    for path in masked_images.glob("masks/val/*.png"):
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.where(mask == 2, 1, mask).astype(np.uint8)).save(path)
    model = upernet("twins_pcpvt_small", num_classes=3, channels=8)
    unused = {"backbone.norm.weight": torch.ones(512), "backbone.head.bias": torch.zeros(1000)}
    torch.save({"state_dict": {**model.state_dict(), **unused}, "meta": {"CLASSES": "abc"}}, tmp_path / "theirs.pth")
    argv = ["eval", "--weights", str(tmp_path / "theirs.pth"), "--data", str(masked_images), "--img-size", "32"]
    assert main([*argv, "--output", str(tmp_path), "--workers", "0", "--device", "cpu"]) == 0
    assert json.loads((tmp_path / "segment" / "theirs-eval" / "metrics.json").read_text())["images"] == 5


def test_resume_alone_goes_on_with_the_newest_run_of_any_task(
    tiny_segment_recipe: SegmentRecipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tiny_segment_recipe.output
    assert "no unfinished run there to go on with" in refusal(capsys, "train", "--resume", "--output", runs)
    stop = StopAfter(monkeypatch, 1, 0)
    stopped = fit(tiny_segment_recipe.replace(name="mine"))
    stop.undo()
    assert not stopped.finished
    assert "no unfinished run" in refusal(capsys, "train", "--resume", "--output", runs, "--task", "classify")
    assert main(["train", "--resume", "--output", runs]) == 0
    assert [row["epoch"] for row in log_of(stopped.folder)] == [0, 1]
    assert (stopped.folder / "summary.json").exists()


def test_a_network_of_numbered_classes_takes_the_names_that_data_got_later(tiny_segment_recipe: SegmentRecipe) -> None:
    names = Path(tiny_segment_recipe.data, "classes.txt")
    text = names.read_text()
    names.unlink()
    weights = fit(tiny_segment_recipe).folder / "checkpoint.pth"
    names.write_text(text)
    recipe = recipe_of_checkpoint(weights, "segment", {"output": tiny_segment_recipe.output, "name": "named"})
    assert evaluate_checkpoint(recipe, weights)["images"] == 5
    table = Path(recipe.output, "segment", "named", "per_class.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in table[1:]] == ["ground", "grey", "white"]


def test_classes_in_another_order_are_evaluated_by_name(tiny_segment_recipe: SegmentRecipe) -> None:
    weights = fit(tiny_segment_recipe).folder / "checkpoint.pth"
    recipe = recipe_of_checkpoint(weights, "segment", {"output": tiny_segment_recipe.output, "name": "named"})
    expected = evaluate_checkpoint(recipe, weights)["miou"]
    root = Path(tiny_segment_recipe.data)
    (root / "classes.txt").write_text("white\nground\ngrey\n")
    other = np.arange(256, dtype=np.uint8)
    other[:3] = 1, 2, 0  # ground, grey and white as numbers of that file
    for path in root.glob("masks/val/*.png"):
        Image.fromarray(other[np.asarray(Image.open(path))]).save(path)
    assert evaluate_checkpoint(recipe, weights)["miou"] == expected
    table = Path(recipe.output, "segment", "named2", "per_class.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in table[1:]] == ["ground", "grey", "white"]
    (root / "classes.txt").write_text("white\nground\ngray\n")
    with pytest.raises(TwinsError, match="class 'gray' is none of the 3 that the network knows"):
        evaluate_checkpoint(recipe, weights)
    with pytest.raises(TwinsError, match="its 3 classes are not the 3 that the network knows"):  # nor to train on
        fit(tiny_segment_recipe.replace(epochs=3), resume=weights)


def test_a_subset_of_the_classes_is_evaluated_by_name(tiny_segment_recipe: SegmentRecipe) -> None:
    root = Path(tiny_segment_recipe.data)
    (root / "classes.txt").write_text("white\ngrey\n")
    for path in root.glob("masks/val/*.png"):
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.select([mask == 2, mask == 1], [0, 1], 255).astype(np.uint8)).save(path)
    task = Segmentation(tiny_segment_recipe, ("ground", "grey", "white"))
    _, val = task.datasets(evaluation_only=True)
    assert f"{root} has 2 of the network's 3 classes" in task.notes
    assert set(np.unique(torch.cat([val.at(i)[1].flatten() for i in range(len(val))]))) == {1, 2, 255}


def test_steps_are_logged_with_the_rate_they_ran_at(tiny_segment_recipe: SegmentRecipe) -> None:
    recipe = tiny_segment_recipe.replace(sched="poly", decay_rate=1.0, min_lr=0.0, log_interval=1)
    folder = fit(recipe).folder  # two epochs of three updates
    lrs = [float(row.split(",")[3]) for row in (folder / "steps.csv").read_text().splitlines()[1:]]
    assert lrs == pytest.approx([1e-3 * (1 - update / 6) for update in range(6)])


def test_print_lr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--recipe", "upernet_alt_gvt_s_512x512_160k_ade20k_swin_setting", "--print-lr"]) == 0
    lrs = json.loads(capsys.readouterr().out)
    assert lrs == pytest.approx([published_lr("upernet", 16_000 * epoch) for epoch in range(10)], rel=1e-12)


def test_info_counts_what_was_published(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiply-adds to the published billion, of two of the twelve networks."""
    for segmenter in list(PUBLISHED_SEGMENTERS):
        if segmenter not in (("upernet", "twins_pcpvt_small"), ("semantic_fpn", "twins_svt_small")):
            monkeypatch.delitem(PUBLISHED_SEGMENTERS, segmenter)
    assert main(["info", "--task", "segment", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["head"], round(row["gflops_fvcore"])) for row in rows] == [("upernet", 234), ("semantic_fpn", 38)]
    assert main(["info", "--task", "segment"]) == 0
    shown = capsys.readouterr().out
    assert "54,080,044" in shown
    assert "27,798,934" in shown


@pytest.mark.slow
def test_info_counts_what_was_published_of_all_networks(capsys: pytest.CaptureFixture[str]) -> None:
    """For SVT, windows at the border as the published code computed them."""
    assert main(["info", "--task", "segment", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 12
    assert [round(row["gflops_fvcore"]) for row in rows[:3]] == [234, 250, 269]  # UPerNet on PCPVT
    with torch.device("meta"):
        padded = [upernet(f"twins_svt_{size}", window_padding="zero").eval() for size in ("small", "large")]
    assert [round(count_flops(model, 512).total / 1e9) for model in padded] == [228, 297]


def test_data_check_and_preview(masked_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--task", "segment", "--data", str(masked_images), "--workers", "0"]
    before = sorted(masked_images.rglob("*"))
    assert main(["data", "check", *where]) == 0
    shown = capsys.readouterr().out
    assert "training: 12 images with masks" in shown
    assert "nothing here keeps a network from learning" in shown
    assert main(["data", "preview", *where, "--out", str(tmp_path / "look.png")]) == 0
    assert (tmp_path / "look.png").stat().st_size > 5000
    assert sorted(masked_images.rglob("*")) == before
    wrong = masked_images / "masks" / "train" / "03.png"
    Image.fromarray(np.full((40, 48), 7, dtype=np.uint8)).save(wrong)
    assert main(["data", "check", *where]) == 2
    shown = capsys.readouterr().out
    assert "error: training: " in shown
    assert f"{wrong}: value 7 is outside the 3 classes" in shown


def test_data_check_reads_whole_images(masked_images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = masked_images / "images" / "train" / "02.png"
    broken.write_bytes(broken.read_bytes()[:-500])
    where = ["--task", "segment", "--data", str(masked_images), "--workers", "0"]
    assert main(["data", "check", *where]) == 2
    assert f"unreadable: {broken}" in capsys.readouterr().out
    assert main(["data", "preview", *where, "--out", str(masked_images.parent / "look.png")]) == 0
    for path in masked_images.glob("masks/train/*.png"):
        path.write_bytes(b"")
    assert main(["data", "check", *where, "--bad-images", "skip"]) == 2
    assert "none of the images with masks can be read" in capsys.readouterr().out
    assert "none of the images with masks" in refusal(capsys, "train", *where, *FAST, "--bad-images", "skip")


def test_data_check_knows_of_crops_that_nothing_fills(masked_images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--task", "segment", "--data", str(masked_images), "--workers", "0"]
    assert main(["data", "check", *where, "--resize", "100", "50"]) == 2
    assert "error: --img-size 512 is larger than any image" in capsys.readouterr().out


def _mask_of(root: Path) -> Path:
    return root / "masks" / "train" / "00.png"


def _jpeg(root: Path) -> None:
    Image.open(_mask_of(root)).save(_mask_of(root), format="JPEG")


def _colours(root: Path) -> None:
    Image.open(_mask_of(root)).convert("RGB").save(_mask_of(root))


def _other_size(root: Path) -> None:
    Image.new("L", (30, 20)).save(_mask_of(root))


def _too_few_names(root: Path) -> None:
    (root / "classes.txt").write_text("ground\ngrey\n")


@pytest.mark.parametrize(("spoil", "flags", "message"), [
    (_jpeg, [], "the mask is a JPEG file"),
    (_colours, [], "a colour mask (RGB), but no colours of classes are known"),
    (_other_size, [], "30 x 20 pixels, but"),
    (_too_few_names, [], "value 2 is outside the 2 classes"),
    (None, ["--img-size", "512", "--resize", "64", "64"], "--img-size 512 is larger than any image"),
    (None, ["--class-weights", "1", "2"], "--class-weights needs 3 numbers"),
    (None, ["--class-weights", "1", "2", "-1"], "--class-weights must not be negative"),
    (None, ["--resize", "64"], "--resize takes two positive numbers"),
    (None, ["--scale", "0", "1"], "--scale takes two positive numbers"),
    (None, ["--test-scales", "0"], "--test-scales takes one positive number or more"),
    (None, ["--slide", "16", "--slide-stride", "20"], "--slide-stride 20 is the step between windows"),
    (None, ["--slide-stride", "20"], "--slide-stride 20 is the step between windows, which --slide gives"),
    (None, ["--in-chans", "1"], "--mean and --std need 1 numbers, one a channel"),
    (None, ["--sched", "plateau"], "it goes with --sched-unit epoch"),
    (None, ["--head", "uppernet"], "invalid choice: 'uppernet'"),
    (None, ["--classes", "nowhere.txt"], "nowhere.txt: cannot read names of classes"),
    (None, ["--mask-suffix", "_labels.png"], "--mask-suffix"),
    (None, ["--mixup", "0.2"], "--mixup is a flag of --task classify"),
    (None, ["--layer-decay", "0.7", "--decay-on", "all"], "--layer-decay sorts parameters itself"),
    (None, ["--warmup-multiplies", "--sched-unit", "epoch"], "it goes with --sched-unit step"),
    (None, ["--head-channels", "0"], "--head-channels must be 1 or more"),
])  # fmt: skip
def test_one_line_for_what_cannot_be_used(
    masked_images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Any,
    flags: list[str],
    message: str,
) -> None:
    if spoil:
        spoil(masked_images)
    where = ["--task", "segment", "--data", str(masked_images), "--output", str(tmp_path / "runs")]
    assert message in refusal(capsys, "train", *where, *FAST, *flags)


def test_folders_of_masks_are_no_classes(
    masked_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ("train", "--data", str(masked_images), "--output", str(tmp_path))
    assert "holds images and masks, not a folder a class: pass --task segment" in refusal(capsys, *argv)


def test_weights_of_a_classifier_are_not_evaluated(
    masked_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(twins.create_model("pcpvt_small").state_dict(), tmp_path / "imagenet.pth")
    argv = ("eval", "--task", "segment", "--weights", str(tmp_path / "imagenet.pth"), "--data", str(masked_images))
    assert "of the network's parameters, decode_head." in refusal(capsys, *argv)


@pytest.mark.parametrize("out", ["", "nowhere/x.png", "x.foo"])
def test_previews_that_cannot_be_written(
    masked_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    where = ("--task", "segment", "--data", str(masked_images), "--workers", "0")
    assert "--out" in refusal(capsys, "data", "preview", *where, "--out", str(tmp_path / out))


def test_resuming_by_name_takes_the_runs_own_recipe(
    tiny_segment_recipe: SegmentRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = StopAfter(monkeypatch, 0, 1)
    stopped = fit(tiny_segment_recipe.replace(name="mine"))
    stop.undo()
    argv = ["train", "--task", "segment", "--resume", "--name", "mine", "--output", tiny_segment_recipe.output]
    assert main(argv) == 0
    assert [row["epoch"] for row in log_of(stopped.folder)] == [0, 1]


def test_a_network_for_other_classes_is_not_evaluated(
    tiny_segment_recipe: SegmentRecipe, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(fit(tiny_segment_recipe).folder / "checkpoint.pth")
    names = Path(tiny_segment_recipe.data, "classes.txt")
    argv = ("eval", "--weights", weights, "--output", tiny_segment_recipe.output)
    names.write_text("ground\ngrey\nwhite\nblack\n")
    unknown = "class 'black' is none of the 3 that the network knows; call it as there, leave it out, or"
    assert unknown in refusal(capsys, *argv)
    assert "knows its own recipe" in refusal(capsys, *argv, "--recipe", "upernet_svt_small")
    assert "was trained to segment" in refusal(capsys, *argv, "--task", "classify")


@pytest.mark.parametrize("workers", [0, 2])
def test_masks_that_nobody_checked_are_refused_in_one_line_too(
    tiny_segment_recipe: SegmentRecipe, workers: int
) -> None:
    """Also where a worker met them, whose errors come wrapped in tracebacks."""
    _other_size(Path(tiny_segment_recipe.data))
    with pytest.raises(TwinsError, match=r"^[^\n]*00\.png: 30 x 20 pixels, but[^\n]*$"):
        fit(tiny_segment_recipe.replace(check=False, workers=workers))


def test_what_is_unpaired_is_warned_of_once(tiny_segment_recipe: SegmentRecipe) -> None:
    root = Path(tiny_segment_recipe.data)
    for kind in ("images", "masks"):
        for path in (root / kind / "train").iterdir():
            path.rename(root / kind / path.name)
    for kind, part in (("images", "train"), ("images", "val"), ("masks", "train"), ("masks", "val")):
        for path in (root / kind / part).iterdir():
            path.unlink()
        (root / kind / part).rmdir()
    (root / "masks" / "03.png").unlink()
    task = Segmentation(tiny_segment_recipe)
    task.datasets()
    assert len([note for note in task.notes if "without a mask" in note]) == 1
    assert len([note for note in task.notes if note.startswith("3 classes by ")]) == 1
    assert len([note for note in task.notes if "3 of 11 images are set aside for validation" in note]) == 1
    assert len(task.notes) == 3


def test_frozen_stages_stay_as_they_are(tiny_segment_recipe: SegmentRecipe) -> None:
    still = tiny_segment_recipe.replace(name="start", lr=0.0, warmup_lr=0.0, min_lr=0.0, weight_decay=0.0)
    start = weights_of(fit(still).folder)
    for name, tensor in weights_of(fit(tiny_segment_recipe.replace(freeze_stages=2)).folder).items():
        if name.startswith("backbone."):
            assert torch.equal(tensor, start[name]) == (name.split(".")[2] in "01"), name
