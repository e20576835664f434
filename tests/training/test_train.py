"""The loop: what a run leaves, going on after a stop, and every setting that changes what is learnt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import twins
from helpers.runs import StopAfter, assert_same, log_of, timeless_log, weights_of
from helpers.tiny import TINY, make_images
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe
from twins.tasks.classify import Classification
from twins.training import loop
from twins.training.evaluation import evaluate_checkpoint, recipe_of_checkpoint
from twins.training.loop import fit
from twins.training.optim import learning_rates

pytestmark = pytest.mark.usefixtures("without_plots")


def test_a_checkpoint_holds_plain_types_alone_and_tells_of_itself(tiny_recipe: ClassifyRecipe) -> None:
    folder = fit(tiny_recipe).folder
    checkpoint = torch.load(folder / "checkpoint.pth", weights_only=True)
    assert set(checkpoint) == {"format", "model", "model_ema", "optimizer", "lr_scheduler", "scaler", "epoch", "step",
                               "samples", "global_batch", "training_images", "totals", "best", "rng", "args",
                               "meta"}  # fmt: skip
    assert (checkpoint["epoch"], checkpoint["step"]) == (1, 0)
    meta = checkpoint["meta"]
    assert meta["classes"] == ["ant", "bee", "cat"]
    model = twins.create_model(meta["name"], **meta["create_model"])
    assert not twins.load_weights(model, folder / "checkpoint.pth").missing
    assert meta["preprocessing"]["img_size"] == 32


def test_the_same_seed_learns_the_same_weights(tiny_recipe: ClassifyRecipe) -> None:
    augmented = tiny_recipe.replace(
        mixup=0.8, cutmix=1.0, drop=0.1, drop_path=0.3, aa="rand-m9-mstd0.5-inc1", reprob=0.2
    )
    first, second, other = (fit(augmented.replace(seed=seed)).folder for seed in (0, 0, 1))
    assert_same(weights_of(first), weights_of(second))
    assert not torch.equal(weights_of(first)["head.weight"], weights_of(other)["head.weight"])


EXACT = {"mixup": 0.8, "drop": 0.1, "drop_path": 0.3, "model_ema": True, "model_ema_decay": 0.9, "reprob": 0.2}


@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    """Stopped at the end of an epoch (its sixth update of six) and again within the next."""
    recipe = tiny_recipe.replace(epochs=3, sched_unit=unit, **EXACT)
    whole = fit(recipe.replace(name="whole")).folder
    folder, resume = whole.with_name("parts"), None
    for epoch, update in ((0, 5), (1, 2)):
        stop = StopAfter(monkeypatch, epoch, update)
        assert not fit(recipe, folder=folder, resume=resume).finished
        stop.undo()
        resume = folder / "checkpoint.pth"
        stopped = torch.load(resume, weights_only=True)
        assert (stopped["epoch"], stopped["step"]) == (epoch - 1, update + 1)
    assert fit(recipe, folder=folder, resume=resume).finished
    for key in ("model", "model_ema"):
        assert_same(weights_of(whole, key=key), weights_of(folder, key=key))
    assert timeless_log(whole) == timeless_log(folder)


def test_the_best_is_remembered_over_a_stop(tiny_recipe: ClassifyRecipe) -> None:
    """A worse epoch after a resume must not replace the best one before it."""
    first = fit(tiny_recipe.replace(epochs=2))
    spoilt = tiny_recipe.replace(epochs=3, lr=5.0, sched="constant")
    best = weights_of(first.folder, "checkpoint_best.pth")
    outcome = fit(spoilt, folder=first.folder, resume=first.folder / "checkpoint.pth")
    assert log_of(first.folder)[-1]["train_lr"] == 5.0  # what resuming says of the schedule counts
    assert log_of(first.folder)[-1]["val_loss"] > 2 * log_of(first.folder)[-2]["val_loss"]
    assert outcome.best == first.best
    assert_same(best, weights_of(first.folder, "checkpoint_best.pth"))


def test_a_longer_schedule_counts_on_resuming(tiny_recipe: ClassifyRecipe) -> None:
    """The learning rates of the added epochs are those that a run of that length has there."""
    folder = fit(tiny_recipe.replace(epochs=1)).folder
    longer = tiny_recipe.replace(epochs=4, weight_decay=0.5)
    fit(longer, folder=folder, resume=folder / "checkpoint.pth")
    lrs = learning_rates(longer.resolve(processes=1), updates_per_epoch=6)
    assert [row["train_lr"] for row in log_of(folder)[1:]] == pytest.approx(lrs[1:], rel=1e-12)
    groups = torch.load(folder / "checkpoint.pth", weights_only=True)["optimizer"]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.0, 0.5]


def test_a_finished_run_is_not_resumed_and_stays_finished(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    folder = fit(tiny_recipe).folder
    for target in (folder, tmp_path / "elsewhere"):
        with pytest.raises(TwinsError, match="2 epochs are done and --epochs is 2: pass a larger --epochs"):
            fit(tiny_recipe, folder=target, resume=folder / "checkpoint.pth")
    assert (folder / "summary.json").exists()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("changes", [{"layer_decay": 0.5}, {"freeze_stages": 1}])
def test_optimiser_state_of_other_flags_is_refused(tiny_recipe: ClassifyRecipe, changes: dict[str, Any]) -> None:
    folder = fit(tiny_recipe).folder
    with pytest.raises(TwinsError, match="optimiser state does not fit this run's flags"):
        fit(tiny_recipe.replace(epochs=3, **changes), resume=folder / "checkpoint.pth")


def test_epochs_may_be_counted_from_a_later_one(tiny_recipe: ClassifyRecipe) -> None:
    recipe = tiny_recipe.replace(epochs=4)
    folder = fit(recipe, start_epoch=2).folder
    lrs = learning_rates(recipe.resolve(processes=1), updates_per_epoch=6)
    assert [(row["epoch"], row["train_lr"]) for row in log_of(folder)] == [(2, lrs[2]), (3, lrs[3])]


def test_nothing_readable_is_val(tiny_recipe: ClassifyRecipe) -> None:
    for path in Path(tiny_recipe.data).glob("val/*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(TwinsError, match="none of the validation images can be read"):
        fit(tiny_recipe.replace(bad_images="skip"))


def test_class_weights_are_not_asked_of_an_evaluation(tiny_recipe: ClassifyRecipe) -> None:
    folder = fit(tiny_recipe.replace(class_weights=("1", "2", "3"))).folder
    two = make_images(Path(tiny_recipe.output) / "two", {"ant": 0, "bee": 120}, train=1, val=3)
    recipe = recipe_of_checkpoint(
        folder / "checkpoint.pth", "classify", {"data": str(two), "output": tiny_recipe.output}
    )
    assert evaluate_checkpoint(recipe, folder / "checkpoint.pth")["images"] == 6


def test_resume_refuses_weights_alone(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    torch.save(twins.create_model("twins_svt_small", **TINY).state_dict(), tmp_path / "bare.pth")
    with pytest.raises(TwinsError, match=r"bare\.pth: weights without optimiser state .* pass it as --weights"):
        fit(tiny_recipe, resume=tmp_path / "bare.pth")


def test_the_originals_checkpoints_are_resumed(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    """Its optimiser counts parameters in another order: that of its own model, and of the state dict it saved."""
    folder = fit(tiny_recipe.replace(epochs=1)).folder
    ours = torch.load(folder / "checkpoint.pth", weights_only=True)
    names = sorted(ours["model"], reverse=True)
    loop_model = twins.create_model("twins_svt_small", num_classes=3, **TINY)
    shapes = {name: p.ndim for name, p in loop_model.named_parameters()}
    plain = [n for n in shapes if shapes[n] <= 1 or n.startswith("pos_block")]
    by_name = dict(zip(plain + [n for n in shapes if n not in plain], ours["optimizer"]["state"].values(), strict=True))
    theirs_order = [n for n in names if n in plain] + [n for n in names if n not in plain]
    cut = len(plain)
    indices = list(range(len(theirs_order)))
    plain_group, decayed_group = ours["optimizer"]["param_groups"]
    groups = [{**plain_group, "params": indices[:cut]}, {**decayed_group, "params": indices[cut:]}]
    theirs = {
        "model": {name: ours["model"][name] for name in names},
        "optimizer": {"state": {i: by_name[n] for i, n in enumerate(theirs_order)}, "param_groups": groups},
        **{key: ours[key] for key in ("lr_scheduler", "epoch", "scaler", "args")},
    }
    torch.save(theirs, tmp_path / "theirs.pth")
    two = tiny_recipe.replace(name="a")
    from_ours = fit(two, resume=folder / "checkpoint.pth").folder
    from_theirs = fit(two.replace(name="b"), resume=tmp_path / "theirs.pth").folder
    assert_same(weights_of(from_ours), weights_of(from_theirs))


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = Classification.losses

    def poisoned(task: Classification, model: Any, batch: Any) -> dict[str, Tensor]:
        return {"loss": losses(task, model, batch)["loss"] * float("nan")}

    monkeypatch.setattr(Classification, "losses", poisoned)
    with pytest.raises(TwinsError, match=r"not finite in epoch 0, step 0, at learning rate 0\.001.*train.*\.png"):
        fit(tiny_recipe)


def test_gradient_accumulation_equals_one_large_batch(tiny_recipe: ClassifyRecipe) -> None:
    """Shuffling, learning rate and gradient are of the global batch, however it is divided."""
    plain = tiny_recipe.replace(epochs=1, opt="sgd", lr=0.01, drop_path=0.0, clip_grad=None)
    whole = fit(plain.replace(name="whole", batch_size=12)).folder
    parts = fit(plain.replace(name="parts", batch_size=4, grad_accum_steps=3)).folder
    for name, tensor in weights_of(whole).items():
        torch.testing.assert_close(tensor, weights_of(parts)[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("stages", [2, 4])
def test_frozen_stages_stay_as_they_are(tiny_recipe: ClassifyRecipe, stages: int) -> None:
    """All but the final norm and the head, if all four are."""
    start = starting_weights(tiny_recipe)
    folder = fit(tiny_recipe.replace(freeze_stages=stages, weight_decay=0.5)).folder
    for name, tensor in weights_of(folder).items():
        stage = name.split(".")[1] if name.startswith(("patch_embeds", "blocks", "pos_block")) else "4"
        assert torch.equal(tensor, start[name]) == (int(stage) < stages), name


def starting_weights(recipe: ClassifyRecipe) -> dict[str, Tensor]:
    """The weights that a run of this recipe starts from."""
    return weights_of(fit(recipe.replace(name="start", lr=0.0, warmup_lr=0.0, min_lr=0.0, weight_decay=0.0)).folder)


def test_fine_tuning_loads_everything_but_the_head(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    source = twins.create_model("twins_svt_small", num_classes=7, **TINY)
    torch.save(source.state_dict(), tmp_path / "pretrained.pth")
    started = starting_weights(tiny_recipe.replace(weights=str(tmp_path / "pretrained.pth")))
    for name, tensor in source.state_dict().items():
        if name.startswith("head."):
            assert started[name].shape[0] == 3
        else:
            assert torch.equal(tensor, started[name]), name


def test_layer_wise_rates_fall_towards_the_stem(tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    scales: dict[str, float] = {}
    set_up = loop.set_up

    def spying(*args: Any) -> Any:
        setup, state = set_up(*args)
        names = {p: n for n, p in state.model.named_parameters()}
        for group in state.optimizer.param_groups:
            scales.update({names[p]: group["lr_scale"] for p in group["params"]})
        return setup, state

    monkeypatch.setattr(loop, "set_up", spying)
    fit(tiny_recipe.replace(epochs=1, layer_decay=0.5))
    assert scales["head.weight"] == 1.0
    assert (
        scales["patch_embeds.0.proj.weight"] < scales["blocks.1.0.mlp.fc1.weight"] < scales["blocks.3.0.mlp.fc1.weight"]
    )
    assert scales["patch_embeds.0.proj.weight"] == pytest.approx(min(scales.values()))


@pytest.mark.parametrize(
    ("wanted", "expected"), [(None, None), (("auto",), [0.5, 1.0, 3.0]), (("1", "2", "4"), [1, 2, 4])]
)
def test_class_weights(tmp_path: Path, wanted: Any, expected: Any) -> None:
    for name, count in (("a", 12), ("b", 6), ("c", 2)):
        make_images(tmp_path, {name: 0}, train=count, val=1)
    task = Classification(ClassifyRecipe(data=str(tmp_path), class_weights=wanted, smoothing=0.0, img_size=32))
    task.datasets()
    if expected is None:
        assert task.class_weights is None
        return
    assert task.class_weights is not None
    # `auto`: n / (classes * n_c), so that every class weighs alike and the mean over images is 1.
    auto = [20 / (3 * n) for n in (12, 6, 2)]
    assert task.class_weights.tolist() == pytest.approx(auto if wanted == ("auto",) else expected)


@pytest.mark.parametrize("wanted", [("1", "2"), ("1", "2", "much")])
def test_bad_class_weights(tiny_recipe: ClassifyRecipe, wanted: tuple[str, ...]) -> None:
    with pytest.raises(TwinsError, match="--class-weights"):
        fit(tiny_recipe.replace(class_weights=wanted))


def test_early_stopping(tiny_recipe: ClassifyRecipe) -> None:
    outcome = fit(tiny_recipe.replace(epochs=9, patience=2, lr=0.0, warmup_lr=0.0, min_lr=0.0))
    assert outcome.finished
    assert len((outcome.folder / "log.txt").read_text().splitlines()) == 3


def test_the_moving_average_is_what_is_evaluated_and_loaded(tiny_recipe: ClassifyRecipe) -> None:
    recipe = tiny_recipe.replace(model_ema=True, model_ema_decay=0.5, lr=1e-2)
    folder = fit(recipe).folder
    assert not torch.equal(weights_of(folder)["head.weight"], weights_of(folder, key="model_ema")["head.weight"])
    last = recipe_of_checkpoint(folder / "checkpoint.pth", "classify", {"output": recipe.output})
    metrics = evaluate_checkpoint(last, folder / "checkpoint.pth")
    assert metrics["loss"] == pytest.approx(log_of(folder)[-1]["val_loss"], rel=1e-6)


def test_reduced_precision_learns_nearly_the_same(tiny_recipe: ClassifyRecipe) -> None:
    recipe = tiny_recipe.replace(epochs=1, opt="sgd", lr=0.05)
    full = log_of(fit(recipe).folder)[0]
    reduced = log_of(fit(recipe.replace(amp=True, amp_dtype="bfloat16")).folder)[0]
    for loss in ("train_loss", "val_loss"):
        assert reduced[loss] != full[loss]
        assert reduced[loss] == pytest.approx(full[loss], rel=0.01)


def test_workers_change_nothing(tiny_recipe: ClassifyRecipe) -> None:
    recipe = tiny_recipe.replace(epochs=1, cutmix=1.0, reprob=0.2)
    alone, helped = (fit(recipe.replace(workers=workers)).folder for workers in (0, 2))
    assert_same(weights_of(alone), weights_of(helped))
    assert timeless_log(alone) == timeless_log(helped)


def test_a_plateau_of_the_metric_lowers_the_learning_rate(tiny_recipe: ClassifyRecipe) -> None:
    """At a learning rate of next to nothing the metric stays as it is: after an epoch's patience a drop is due."""
    plateau = {"sched": "plateau", "sched_unit": "epoch", "patience_epochs": 1, "decay_rate": 0.1}
    folder = fit(tiny_recipe.replace(epochs=4, steps_per_epoch=1, lr=1e-20, min_lr=0.0, **plateau)).folder
    lrs = [row["train_lr"] for row in log_of(folder)]
    assert lrs == pytest.approx([1e-20, 1e-20, 1e-20, 1e-21], rel=1e-9)


@pytest.mark.parametrize(("settings", "rows"), [
    ({"batch_size": 12, "repeated_aug": True}, 3), ({"batch_size": 64, "drop_last": True}, 1), ({"batch_size": 64}, 1),
    ({"batch_size": 8, "drop_last": True}, 4), ({"batch_size": 8}, 5), ({"batch_size": 8, "grad_accum_steps": 2}, 3),
])  # fmt: skip
def test_updates_of_an_epoch(tiny_recipe: ClassifyRecipe, settings: dict[str, Any], rows: int) -> None:
    """36 images: whole batches, of which none is smaller."""
    folder = fit(tiny_recipe.replace(epochs=1, log_interval=1, **settings)).folder
    steps = (folder / "steps.csv").read_text().splitlines()[1:]
    assert [row.split(",")[:2] for row in steps] == [["0", str(step)] for step in range(1, rows + 1)]


def test_a_network_of_one_channel(tiny_recipe: ClassifyRecipe) -> None:
    grey = {"in_chans": 1, "mean": (0.5,), "std": (0.5,), "window_padding": "zero", "opt": "lamb"}
    folder = fit(tiny_recipe.replace(epochs=1, **grey)).folder
    assert weights_of(folder)["patch_embeds.0.proj.weight"].shape == (16, 1, 4, 4)
    create_model = twins.read_checkpoint(folder / "checkpoint.pth")["meta"]["create_model"]
    assert (create_model["in_chans"], create_model["window_padding"]) == (1, "zero")


def test_grad_checkpointing_learns_the_same_weights(tiny_recipe: ClassifyRecipe) -> None:
    recipe = tiny_recipe.replace(drop_path=0.3, drop=0.1)
    plain = fit(recipe).folder
    checkpointed = fit(recipe.replace(grad_checkpointing=True)).folder
    assert_same(weights_of(plain), weights_of(checkpointed))


def test_skipped_images_are_counted(tiny_recipe: ClassifyRecipe) -> None:
    root = Path(tiny_recipe.data)
    (root / "train/ant/03.png").write_bytes(b"")
    (root / "val/bee/01.png").write_bytes(b"\x89PNG")
    with pytest.raises(TwinsError, match="unreadable image .*--bad-images skip"):
        fit(tiny_recipe)
    folder = fit(tiny_recipe.replace(bad_images="skip")).folder
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["unreadable_images"] == 2
    assert summary["last"]["val_images"] == 14


def test_a_tiny_network_learns_to_tell_bright_from_dark(tiny_recipe: ClassifyRecipe) -> None:
    outcome = fit(tiny_recipe.replace(epochs=12, lr=5e-3, color_jitter=None))
    assert outcome.best["value"] == 100.0


def test_evaluation_weighs_every_sample_alike(tiny_recipe: ClassifyRecipe) -> None:
    """15 images in batches of 9 and 6: the mean over images, not over batches."""
    folder = fit(tiny_recipe).folder
    model = twins.create_model("twins_svt_small", num_classes=3, weights=folder / "checkpoint.pth", **TINY).eval()
    _, val = Classification(tiny_recipe).datasets()
    samples = [val.at(index) for index in range(15)]
    with torch.inference_mode():
        logits = model(torch.stack([s.image for s in samples if s.image is not None]))
    labels = torch.tensor([s.label for s in samples])
    log = log_of(folder)[-1]
    assert log["val_loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)
    assert log["val_acc1"] == pytest.approx(100 * float((logits.argmax(1) == labels).float().mean()), abs=1e-4)
    assert log["val_acc5"] == 100.0  # fewer than five classes
