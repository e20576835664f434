"""Several processes: the same learning as one, every image counted once, and all stop together."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers.ranks import run_ranks
from helpers.runs import leave_plots_out
from helpers.tiny import TINY
from twins.checkpoints.resume import TrainingState
from twins.distributed.sync_batch_norm import synchronise_batch_norms
from twins.errors import TwinsError
from twins.heads.segmentation import BatchNorm
from twins.recipes import ClassifyRecipe, DetectRecipe, Recipe, SegmentRecipe, recipe_class
from twins.tasks.classify import Classification
from twins.training import loop as train


def learn(recipe: dict[str, Any], folder: Path, gradients: Path | None = None, poisoned: str | None = None) -> None:
    """What each rank does: `fit`, the first gradients written down where asked for, losses of one rank not finite."""
    leave_plots_out()
    if gradients is not None:
        train.take_step = noting(train.take_step, gradients)
    if poisoned == os.environ["RANK"]:
        losses = Classification.losses
        Classification.losses = lambda *given: {"loss": losses(*given)["loss"] * float("nan")}
    try:
        train.fit(recipe_class(recipe["task"]).from_dict(recipe, "job"), folder=folder)
    except TwinsError as error:
        folder.with_name(f"{folder.name}-refused-{os.environ['RANK']}").write_text(str(error))
        if poisoned is None:
            raise


def noting(take_step: Callable[..., None], path: Path) -> Callable[..., None]:
    def step(state: TrainingState, *args: Any, **settings: Any) -> None:
        if state.step == 0 and os.environ["RANK"] == "0":
            torch.save({name: weight.grad.clone() for name, weight in state.model.named_parameters()}, path)
        take_step(state, *args, **settings)

    return step


def run(tmp_path: Path, recipe: Recipe, processes: int, **how: Any) -> Path:
    """Train on so many gloo processes; returns the folder that they wrote."""
    folder = tmp_path / f"{recipe.name}-{processes}"
    run_ranks(processes, partial(learn, recipe.to_dict(), folder, **how))
    return folder


def last_log(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "log.txt").read_text().splitlines()[-1])


def assert_two_learn_as_one(tmp_path: Path, recipe: Recipe, batch: int, rtol: float, atol: float) -> None:
    """The weights and the mean loss, whether one process has the batch or two have half of it each."""
    alone = run(tmp_path, recipe.replace(batch_size=batch), 1)
    together = run(tmp_path, recipe.replace(batch_size=batch // 2), 2)
    ours, theirs = (torch.load(f / "checkpoint.pth", weights_only=True)["model"] for f in (alone, together))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=rtol, atol=atol, msg=name)
    assert last_log(alone)["train_loss"] == pytest.approx(last_log(together)["train_loss"], rel=1e-5)


def test_two_processes_learn_what_one_learns_in_three_steps(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    """36 images in global batches of 12: one epoch is three steps of SGD at 0.01."""
    recipe = tiny_recipe.replace(epochs=1, opt="sgd", lr=0.01, drop_path=0.0, clip_grad=None, sched="constant")
    assert_two_learn_as_one(tmp_path, recipe, 12, rtol=0, atol=1e-6)


def test_averaged_gradients_are_those_of_one_process(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    recipe = tiny_recipe.replace(epochs=1, opt="adamw", drop_path=0.0)
    run(tmp_path, recipe.replace(batch_size=12), 1, gradients=tmp_path / "one.pt")
    run(tmp_path, recipe.replace(batch_size=6), 2, gradients=tmp_path / "two.pt")
    one, two = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("one", "two"))
    largest = max(float(g.norm()) for g in one.values())
    for name, gradient in one.items():
        # Where the true gradient vanishes, as a key's bias does, only rounding is left to compare.
        scale = max(float(gradient.norm()), 1e-3 * largest)
        assert float((gradient - two[name]).norm()) / scale < 1e-5, name


def test_evaluation_is_identical_over_one_two_and_three_processes(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    """15 images: shares of 8 and 7, of 5, 5 and 5."""
    frozen = tiny_recipe.replace(epochs=1, lr=0.0, warmup_lr=0.0, min_lr=0.0, weight_decay=0.0)
    logs = [last_log(run(tmp_path, frozen.replace(batch_size=12 // n), n)) for n in (1, 2, 3)]
    assert [log["val_images"] for log in logs] == [15, 15, 15]
    for log in logs[1:]:
        assert (log["val_acc1"], log["val_acc5"]) == (logs[0]["val_acc1"], logs[0]["val_acc5"])
        assert log["val_loss"] == pytest.approx(logs[0]["val_loss"], rel=1e-6)


def test_one_loss_that_is_not_finite_stops_all_ranks_together(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    recipe = tiny_recipe.replace(model_kwargs=TINY, lr=0.25)
    run(tmp_path, recipe, 2, poisoned="1")
    refusals = [path.read_text() for path in tmp_path.glob("*-refused-*")]
    assert len(refusals) == 2
    assert refusals[0] == refusals[1]
    assert "not finite in epoch 0, step 0, at learning rate 0.25" in refusals[0]
    assert refusals[0].count(".png") == 6  # the batch of the rank that failed


def test_a_segmenter_learns_on_two_processes_what_it_learns_on_one(
    tiny_segment_recipe: SegmentRecipe, tmp_path: Path
) -> None:
    """Three steps of SGD: batch norms see the whole batch, the running statistics too."""
    recipe = tiny_segment_recipe.replace(
        epochs=1, opt="sgd", lr=0.01, head_drop=0.0, drop_path=0.0, clip_grad=None, sched="constant"
    )
    assert_two_learn_as_one(tmp_path, recipe, 4, rtol=1e-6, atol=1e-6)


def test_a_segmenters_metrics_are_identical_over_one_two_and_three_processes(
    tiny_segment_recipe: SegmentRecipe, tmp_path: Path
) -> None:
    """5 images of three sizes, after one update at a learning rate of 0: only the running statistics have moved."""
    frozen = tiny_segment_recipe.replace(
        epochs=1, steps_per_epoch=1, lr=0.0, warmup_lr=0.0, min_lr=0.0, weight_decay=0.0, head_drop=0.0, drop_path=0.0
    )
    logs = [last_log(run(tmp_path, frozen.replace(batch_size=12 // n), n)) for n in (1, 2, 3)]
    assert [log["val_images"] for log in logs] == [5, 5, 5]
    for log in logs[1:]:
        for name in ("val_miou", "val_macc", "val_aacc"):
            assert log[name] == logs[0][name]


@pytest.mark.parametrize("detector", ["retinanet", "mask_rcnn"])
def test_a_detector_learns_on_two_processes_what_it_learns_on_one(
    tiny_detect_recipe: DetectRecipe, tmp_path: Path, detector: str
) -> None:
    """Three steps of SGD, with so many samples that none are drawn: ranks have other images and counts of objects."""
    heads = {"box_channels": 32, "proposals": 30, "rpn_samples": 10_000, "box_samples": 1_000}
    recipe = tiny_detect_recipe.replace(
        detector=detector, epochs=1, opt="sgd", lr=0.01, drop_path=0.0, clip_grad=None, sched="constant",
        model_kwargs={**TINY, "channels": 16, **(heads if detector == "mask_rcnn" else {})},
    )  # fmt: skip
    assert_two_learn_as_one(tmp_path, recipe, 4, rtol=1e-5, atol=1e-5)


def test_a_detectors_metrics_are_identical_over_one_two_and_three_processes(
    tiny_detect_recipe: DetectRecipe, tmp_path: Path
) -> None:
    """6 images of three sizes, one of them empty, after an update at a learning rate of 0; any score will do."""
    frozen = tiny_detect_recipe.replace(
        epochs=1, steps_per_epoch=1, lr=0.0, warmup_lr=0.0, min_lr=0.0, weight_decay=0.0, drop_path=0.0, conf=0.0
    )
    folders = [run(tmp_path, frozen.replace(batch_size=12 // n), n) for n in (1, 2, 3)]
    logs = [last_log(folder) for folder in folders]
    assert [log["val_images"] for log in logs] == [6, 6, 6]
    metrics = [{k: v for k, v in log.items() if k.startswith(("val_ap", "val_ar", "val_mask"))} for log in logs]
    assert len(metrics[0]) == 24
    assert metrics[0]["val_ar100"] > 0
    assert metrics[1] == metrics[2] == metrics[0]


def norm_batches(folder: Path) -> None:
    """Write down how far a synchronised norm is from an ordinary one on the whole batch, outputs and gradients."""
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    cases = {"even": ((2, 2), (5, 7)), "uneven": ((3, 1), (5, 7)), "one value a rank": ((1, 1), (1, 1))}
    worst = {name: _largest_difference(rank, *case) for name, case in cases.items()}
    (folder / f"{rank}.json").write_text(json.dumps(worst))
    torch.distributed.destroy_process_group()


def _largest_difference(rank: int, shares: tuple[int, int], size: tuple[int, int]) -> float:
    torch.manual_seed(0)
    whole = BatchNorm(6, eps=1e-3, momentum=0.3).double()
    nn.init.normal_(whole.weight), nn.init.normal_(whole.bias)
    ours = nn.Sequential(BatchNorm(6, eps=1e-3, momentum=0.3).double())
    ours[0].load_state_dict(whole.state_dict())
    synchronise_batch_norms(ours, torch.device("cpu"))
    x = torch.randn(sum(shares), 6, *size, dtype=torch.float64) * 3 + 1
    target = torch.randn_like(x)
    theirs = x.clone().requires_grad_()
    ((whole(theirs) - target) ** 2).sum().backward()
    mine = slice(0, shares[0]) if rank == 0 else slice(shares[0], None)
    share = x[mine].clone().requires_grad_()
    output = ours(share)
    ((output - target[mine]) ** 2).sum().backward()
    gradients = [p.grad for p in ours.parameters()]
    for gradient in gradients:
        torch.distributed.all_reduce(gradient)
    pairs = [(output, whole(x)[mine]), (share.grad, theirs.grad[mine])]
    pairs += zip(gradients, (p.grad for p in whole.parameters()), strict=True)
    pairs += [(ours[0].num_batches_tracked, whole.num_batches_tracked - 1)]  # the line above normed a second time
    return max(float((a - b).abs().max()) for a, b in pairs)


def test_batch_norms_over_two_ranks_are_that_of_the_whole_batch(tmp_path: Path) -> None:
    """Outputs and gradients, with shares of one and of two sizes, and with a single value a channel on each rank."""
    run_ranks(2, norm_batches, tmp_path)
    for rank in (0, 1):
        worst = json.loads((tmp_path / f"{rank}.json").read_text())
        assert worst.keys() == {"even", "uneven", "one value a rank"}
        assert max(worst.values()) < 1e-9, worst
