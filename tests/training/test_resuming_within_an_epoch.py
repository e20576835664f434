"""An epoch that goes on with another global batch: each image is seen once, and the schedule stands where it should."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.ranks import run_ranks
from helpers.runs import StopAfter, leave_plots_out, log_of
from twins.checkpoints.info import describe, read_info
from twins.data.sampling import SampleKey, TrainingSampler
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe
from twins.training import loop
from twins.training.loop import fit
from twins.training.optim import learning_rates_left

pytestmark = pytest.mark.usefixtures("without_plots")


def epoch_in_legs(count: int, *legs: tuple[int, int, int | None], **how: Any) -> tuple[list[SampleKey], list[int]]:
    """What all ranks see in epoch 7, and the batches of each leg, of (global batch, ranks, batches until it stops)."""
    seen: list[SampleKey] = []
    made: list[int] = []
    for batch, ranks, stop in legs:
        samplers = [
            TrainingSampler(count, batch, 0, rank, ranks, **{"drop_last": False, **how}) for rank in range(ranks)
        ]
        for sampler in samplers:
            sampler.set_epoch(7, len(seen), sum(made))
        shares = [list(sampler) for sampler in samplers]
        assert [len(sampler) for sampler in samplers] == [len(share) for share in shares]
        batches = len(shares[0]) * ranks // batch if stop is None else stop
        seen += [key for share in shares for key in share[: batches * batch // ranks]]
        made.append(batches)
    return seen, made


# 96 images; the global batch is that of a process, times processes, times batches whose gradients are accumulated.
@pytest.mark.parametrize(
    ("legs", "made"),
    [
        ([(4, 1, 12), (16, 1, None)], [12, 3]),
        ([(16, 1, 3), (4, 1, None)], [3, 12]),
        ([(8, 2, 5), (4, 1, None)], [5, 14]),
        ([(4, 1, 6), (8, 2, None)], [6, 9]),
        ([(4, 1, 3), (12, 3, 2), (8, 2, 3), (4, 1, None)], [3, 2, 3, 9]),
        ([(16, 2, 6), (4, 1, None)], [6, 0]),  # the epoch is done
    ],
)
@pytest.mark.parametrize("drop_last", [False, True])
def test_each_image_is_seen_once(legs: list[Any], made: list[int], drop_last: bool) -> None:
    seen, batches = epoch_in_legs(96, *legs, drop_last=drop_last)
    assert sorted(key.image_index for key in seen) == list(range(96))
    assert batches == made


@pytest.mark.parametrize(("legs", "total"), [([(4, 1, 5), (16, 2, None)], 100), ([(16, 2, 2), (12, 3, None)], 104)])
def test_what_does_not_fill_a_batch_is_filled_up_or_left_out(legs: list[Any], total: int) -> None:
    """97 images: filling repeats some in another view, and nothing else does."""
    seen, _ = epoch_in_legs(97, *legs)
    assert len(seen) == len(set(seen)) == total
    assert {key.image_index for key in seen if not key.repeat} == set(range(97))
    kept, _ = epoch_in_legs(97, *legs, drop_last=True)
    assert len(kept) == len({key.image_index for key in kept}) == total - legs[-1][0]


def test_an_epoch_that_was_being_filled_up_is_not_begun_again() -> None:
    assert epoch_in_legs(25, (20, 1, 2), (4, 1, None))[1] == [2, 0]


def test_a_set_smaller_than_a_batch_is_still_filled_up() -> None:
    assert epoch_in_legs(3, (4, 1, None), drop_last=True)[1] == [1]


def test_repeated_augmentation_goes_on_with_the_view_that_is_due() -> None:
    seen, _ = epoch_in_legs(96, (4, 1, 5), (8, 2, None), views=3)
    whole, _ = epoch_in_legs(96, (4, 1, None), views=3)
    assert len(seen) == len(set(seen)) == 100
    assert set(whole) < set(seen)


def test_an_epoch_of_so_many_updates_keeps_their_number() -> None:
    seen, made = epoch_in_legs(20, (4, 1, 3), (16, 1, None), batches=10)
    assert made == [3, 7]
    assert len(seen) == 3 * 4 + 7 * 16
    assert len(set(seen)) == len(seen)
    assert Counter(Counter(key.image_index for key in seen).values()) == {6: 16, 7: 4}


def noted_indices(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images of epoch 0 that a run learns from, in the order in which it does."""
    seen: list[int] = []
    take = loop.next_batch

    def noting(setup: Any, batches: Any, epoch: int, update: int, part: int) -> Any:
        batch = take(setup, batches, epoch, update, part)
        if epoch == 0:
            seen.extend(batch.indices)
        return batch

    monkeypatch.setattr(loop, "next_batch", noting)
    return seen


def lrs_of_steps(folder: Path, epoch: int) -> list[float]:
    rows = [line.split(",") for line in (folder / "steps.csv").read_text().splitlines()[1:]]
    return [float(row[3]) for row in rows if int(row[0]) == epoch]


def stopped_run(recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, update: int) -> Path:
    """The checkpoint of a run that was stopped after `update + 1` updates of its first epoch."""
    stop = StopAfter(monkeypatch, 0, update)
    outcome = fit(recipe)
    stop.undo()
    assert not outcome.finished
    return outcome.folder / "checkpoint.pth"


# 36 images; the schedule is linear from 1e-3 to 0 over 2 epochs, so that its values tell the share that is done.
LINEAR: dict[str, Any] = {"sched": "poly", "decay_rate": 1.0, "min_lr": 0.0, "log_interval": 1, "lr": 1e-3}


@pytest.mark.parametrize(
    ("before", "update", "after", "shares"),
    [
        ({"batch_size": 6}, 2, {"batch_size": 6}, [0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6]),
        ({"batch_size": 6}, 2, {"batch_size": 18}, [0, 1 / 6, 2 / 6, 3 / 6]),
        ({"batch_size": 18}, 0, {"batch_size": 6}, [0, 3 / 6, 4 / 6, 5 / 6]),
        ({"batch_size": 6}, 1, {"batch_size": 6, "grad_accum_steps": 2}, [0, 1 / 6, 2 / 6, 4 / 6]),
        # 12 of 36 images are done; the other 24 take two updates, of a whole epoch's three
        ({"batch_size": 6}, 1, {"batch_size": 16}, [0, 1 / 6, 12 / 16 / 3, (12 / 16 + 9 / 8) / 3]),
    ],
)
def test_the_schedule_goes_on_by_the_share_of_the_epoch(
    tiny_recipe: ClassifyRecipe,
    monkeypatch: pytest.MonkeyPatch,
    before: dict[str, Any],
    update: int,
    after: dict[str, Any],
    shares: list[float],
) -> None:
    recipe = tiny_recipe.replace(**LINEAR)
    checkpoint = stopped_run(recipe.replace(**before), monkeypatch, update)
    folder = fit(recipe.replace(**after), folder=checkpoint.parent, resume=checkpoint).folder
    assert lrs_of_steps(folder, 0) == pytest.approx([1e-3 * (1 - share / 2) for share in shares], rel=1e-9)
    assert [row["train_lr"] for row in log_of(folder)] == pytest.approx([1e-3, 5e-4], rel=1e-9)
    whole = fit(recipe.replace(name="whole", **after)).folder
    assert lrs_of_steps(folder, 1) == pytest.approx(lrs_of_steps(whole, 1), rel=1e-12)


def test_every_image_is_learnt_from_once(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipe.replace(batch_size=4, **LINEAR)
    seen = noted_indices(monkeypatch)
    checkpoint = stopped_run(recipe, monkeypatch, 4)
    changed = recipe.replace(batch_size=8, grad_accum_steps=2)
    capsys.readouterr()
    fit(changed, folder=checkpoint.parent, resume=checkpoint)
    assert sorted(seen) == list(range(36))
    lines = capsys.readouterr().out.splitlines()
    assert "going on in epoch 0 after 20 of 36 images, now 16 images an update instead of 4" in lines
    # 20 of 36 images are 1.25 of the three updates of a whole epoch, and the last update comes after 5 of 6
    lr = "learning rate 7.92e-04 now, 1.67e-04 at the end of epoch 1; its peak stays 1.00e-03 (--lr sets another)"
    assert lr in lines
    assert log_of(checkpoint.parent)[0]["train_loss"] > 0


def test_with_the_same_settings_nothing_is_said_to_change(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipe.replace(**LINEAR)
    checkpoint = stopped_run(recipe, monkeypatch, 2)
    capsys.readouterr()
    fit(recipe.replace(lr=2e-3), folder=checkpoint.parent, resume=checkpoint)
    lines = capsys.readouterr().out.splitlines()
    assert "going on in epoch 0 after 18 of 36 images" in lines
    lr = "learning rate 1.50e-03 now, 1.67e-04 at the end of epoch 1; its peak is 2.00e-03, it was 1.00e-03"
    assert lr in lines


def test_an_epoch_that_goes_on_in_another_order_is_told(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = stopped_run(tiny_recipe, monkeypatch, 2)
    fit(tiny_recipe.replace(seed=5), folder=checkpoint.parent, resume=checkpoint)
    line = "this epoch began with {} and goes on in another order: it sees some images twice and others not"
    assert line.format("--seed 0") in capsys.readouterr().out.splitlines()

    state = read_info(checkpoint).checkpoint
    assert state["training_images"] == 36
    held = {**state, "training_images": 30, "epoch": -1, "step": 2, "samples": 12, "global_batch": 6}
    fit(tiny_recipe, folder=checkpoint.parent, resume=describe(held, str(checkpoint)))
    assert line.format("30 training images") in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("batch", [6, 18])
def test_checkpoints_that_do_not_count_images_are_resumed_by_their_running_totals(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], batch: int
) -> None:
    seen = noted_indices(monkeypatch)
    checkpoint = stopped_run(tiny_recipe, monkeypatch, 2)
    written = torch.load(checkpoint, weights_only=True)
    assert (written.pop("samples"), written.pop("global_batch")) == (18, 6)
    torch.save(written, checkpoint)
    capsys.readouterr()
    fit(tiny_recipe.replace(batch_size=batch), folder=checkpoint.parent, resume=checkpoint)
    assert sorted(seen) == list(range(36))
    now = "" if batch == 6 else ", now 18 images an update instead of 6"
    assert f"going on in epoch 0 after 18 of 36 images{now}" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("totals", [{}, {"loss": 1.0, "images": float("nan"), "lr": 1e-3}])
def test_a_checkpoint_that_counts_nothing_is_refused(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, totals: dict[str, float]
) -> None:
    checkpoint = stopped_run(tiny_recipe, monkeypatch, 2)
    written = torch.load(checkpoint, weights_only=True)
    del written["samples"]
    torch.save(written | {"totals": totals}, checkpoint)
    with pytest.raises(TwinsError, match="stopped within epoch 0 without saying how many of its images it had seen"):
        fit(tiny_recipe, folder=checkpoint.parent, resume=checkpoint)


def test_a_run_that_is_made_longer_at_the_end_of_its_schedule_is_told(
    tiny_recipe: ClassifyRecipe, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipe.replace(steps_per_epoch=1, epochs=9, sched_unit="epoch", min_lr=1e-6)
    folder = fit(recipe).folder
    capsys.readouterr()
    fit(recipe.replace(epochs=10), folder=folder, resume=folder / "checkpoint.pth")
    lines = capsys.readouterr().out.splitlines()
    assert "learning rate 2.54e-05 now, 2.54e-05 at the end of epoch 9" in lines
    advice = "that is near the schedule's end; to start it afresh, start a new run with --weights "
    assert f"{advice}{folder / 'checkpoint_best.pth'}" in lines


def test_learning_rates_left_pass_through_the_peak(tiny_recipe: ClassifyRecipe) -> None:
    recipe = tiny_recipe.replace(
        epochs=4, warmup_epochs=2, lr=1.0, warmup_lr=0.0, sched="poly", decay_rate=1.0, min_lr=0.0
    )
    assert learning_rates_left(recipe, 4, 0, 2.5) == pytest.approx([2.5 / 8, 4 / 8, 1 / 2, 1 / 4, 1 / 16])
    assert learning_rates_left(recipe, 4, 3, 4) == [0, 0]


def stop_on_two_ranks(recipe: dict[str, Any], folder: Path, update: int) -> None:
    """What each rank does: `fit` until the first of them is stopped, writing down which images it learnt from."""
    leave_plots_out()
    take = loop.next_batch

    def noting(setup: Any, batches: Any, epoch: int, at: int, part: int) -> Any:
        if at == update and os.environ["RANK"] == "0":
            os.kill(os.getpid(), signal.SIGINT)
        batch = take(setup, batches, epoch, at, part)
        with folder.with_name(f"seen-{os.environ['RANK']}").open("a") as file:
            file.write(json.dumps(batch.indices) + "\n")
        return batch

    loop.next_batch = noting
    assert not fit(ClassifyRecipe.from_dict(recipe, "job"), folder=folder).finished


def test_two_processes_hand_an_epoch_over_to_one(
    tiny_recipe: ClassifyRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = tiny_recipe.replace(batch_size=4, epochs=1), tmp_path / "run"
    run_ranks(2, stop_on_two_ranks, recipe.to_dict(), folder, 1)
    notes = "".join((tmp_path / f"seen-{rank}").read_text() for rank in (0, 1))
    seen = [index for line in notes.splitlines() for index in json.loads(line)]
    assert len(seen) == 16
    seen += (alone := noted_indices(monkeypatch))
    fit(recipe, folder=folder, resume=folder / "checkpoint.pth")
    assert sorted(seen + alone) == list(range(36))
