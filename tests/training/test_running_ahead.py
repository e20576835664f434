"""A GPU's order of events, on a CPU: the host reads an update's report one update later.

Nothing else may change: not the weights, not what a loss that is not finite leaves behind, not what is resumed.
"""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.runs import StopAfter, assert_same, timeless_log, weights_of
from twins.checkpoints.resume import TrainingState
from twins.distributed.world import World
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe
from twins.tasks.classify import Classification
from twins.training import loop
from twins.training.interruption import Interruption
from twins.training.loop import fit
from twins.training.setup import Setup
from twins.training.totals import EpochTotals
from twins.training.update_report import UpdatePosition, UpdateReport

pytestmark = pytest.mark.usefixtures("without_plots")


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "steps_are_left_out_on_the_device", lambda optimizer, device: True)


EXACT: dict[str, Any] = {"mixup": 0.8, "drop": 0.1, "drop_path": 0.3, "model_ema": True, "model_ema_decay": 0.9}


def test_it_learns_the_same_weights(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    recipe = tiny_recipe.replace(log_interval=1, **EXACT)
    at_once = fit(recipe).folder
    request.getfixturevalue("ahead")
    later = fit(recipe).folder
    for key in ("model", "model_ema"):
        assert_same(weights_of(at_once, key=key), weights_of(later, key=key))
    assert timeless_log(at_once) == timeless_log(later)
    losses = [[row.split(",")[2] for row in (run / "steps.csv").read_text().splitlines()] for run in (at_once, later)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 13  # a header and six updates in each of two epochs


def test_a_stop_between_two_updates_is_resumed_bit_for_bit(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, ahead: None
) -> None:
    recipe = tiny_recipe.replace(**EXACT)
    whole = fit(recipe.replace(name="whole")).folder
    stop = StopAfter(monkeypatch, 0, 2)
    stopped = fit(recipe.replace(name="parts"))
    stop.undo()
    assert not stopped.finished
    assert torch.load(stopped.folder / "checkpoint.pth", weights_only=True)["step"] == 3
    fit(recipe, folder=stopped.folder, resume=stopped.folder / "checkpoint.pth")
    assert_same(weights_of(whole), weights_of(stopped.folder))
    assert timeless_log(whole) == timeless_log(stopped.folder)


class Poisoned:
    """Makes one batch's loss not finite, and keeps the state as it was before and after every step from there on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, update: int, factor: float) -> None:
        self.states: list[dict[str, Any]] = []
        losses, take_step = Classification.losses, loop.take_step
        batches = iter(range(1000))

        def poisoned(task: Classification, model: Any, batch: Any) -> dict[str, Tensor]:
            loss = losses(task, model, batch)["loss"]
            return {"loss": loss * factor if next(batches) == update else loss}

        def keeping(state: TrainingState, *settings: Any, **more: Any) -> None:
            before = copy.deepcopy([state.model.state_dict(), state.optimizer.state_dict()])
            take_step(state, *settings, **more)
            if state.step > update:
                self.states += [before, copy.deepcopy([state.model.state_dict(), state.optimizer.state_dict()])]

        monkeypatch.setattr(Classification, "losses", poisoned)
        monkeypatch.setattr(loop, "take_step", keeping)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_changes_neither_weights_nor_optimiser(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, ahead: None, scaled: bool, factor: float
) -> None:
    """The host hears of the fourth update's loss in the fifth, and names the fourth and its images."""
    if scaled:
        scaler = torch.amp.GradScaler
        monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: scaler(device, init_scale=8.0))
    poisoned = Poisoned(monkeypatch, update=3, factor=factor)
    with pytest.raises(TwinsError, match=r"not finite in epoch 0, step 3, at learning rate 0\.000855") as error:
        fit(tiny_recipe)
    assert str(error.value).count(".png") == 6
    before, after = poisoned.states
    for name, weight in before[0].items():
        assert torch.equal(weight, after[0][name]), name
    for index, averages in before[1]["state"].items():
        for name, value in averages.items():
            assert torch.equal(value, after[1]["state"][index][name]), (index, name)


@pytest.mark.parametrize("scaled", [False, True])
def test_steps_after_one_that_was_left_out_are_left_out_too(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, scaled: bool
) -> None:
    """Until the host hears of it, whichever losses are finite again."""
    setup, state = prepared(tiny_recipe, grad_accum_steps=1)
    if scaled:
        state.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    totals = EpochTotals.begin(1e-3, setup.world.device, saved={})
    totals.add(torch.tensor([0.0, 6.0, 1.0, 0.0]))
    totals.add(torch.tensor([6.0, 6.0, 0.0, 0.0]))
    before = copy.deepcopy(state.model.state_dict())
    loop.backward(setup, state.scaler, batches_of(setup))
    loop.take_step(state, clip_grad=None, leave_out=totals.any_not_finite)
    assert_same(before, state.model.state_dict())
    assert totals.read() == (6.0, 12.0)


def prepared(recipe: ClassifyRecipe, grad_accum_steps: int) -> tuple[Setup, TrainingState]:
    recipe = recipe.replace(grad_accum_steps=grad_accum_steps, batch_size=2, model_ema=True, clip_grad=1.0)
    world = World(0, 1, torch.device("cpu"))
    return loop.set_up(recipe.resolve(1), world, None, None, 0, "val_", contextlib.ExitStack())


def batches_of(setup: Setup) -> list[Any]:
    with loop.batch_stream(setup, Interruption(grace=60.0, alone=True)) as batches:
        batches.begin(0, 0, 0)
        return [loop.next_batch(setup, batches, 0, 0, part) for part in range(setup.recipe.grad_accum_steps)]


READING = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "__len__", "__iter__",
           "__array__", "__format__", "__contains__", "nonzero", "is_nonzero")  # fmt: skip


@contextmanager
def counted_reads() -> Iterator[Counter[str]]:
    """How often the host asks for what a tensor holds, by any of the ways that wait for a GPU."""
    reads: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        for name in READING:
            patch.setattr(Tensor, name, counting(reads, name))
        yield reads


def counting(reads: Counter[str], name: str) -> Callable[..., Any]:
    read = getattr(Tensor, name)

    def reading(tensor: Tensor, *args: Any) -> Any:
        reads[name] += 1
        return read(tensor, *args)

    return reading


def test_an_update_reads_nothing_before_its_report_is_read(tiny_recipe: ClassifyRecipe) -> None:
    """Loss, finite check, clipping, step, moving average and schedule: whatever the number of parts, no read at all."""
    setup, state = prepared(tiny_recipe, grad_accum_steps=4)
    parts = batches_of(setup)
    totals = EpochTotals.begin(1e-3, setup.world.device, saved={})
    with counted_reads() as reads:
        loss = loop.backward(setup, state.scaler, parts)
        report = UpdateReport(UpdatePosition(0, 0, 1e-3), loss, parts, stop=False, save=False, world=setup.world)
        totals.add(report.sums)
        loop.take_step(state, setup.recipe.clip_grad, leave_out=totals.any_not_finite)
        loop.optim.after_update(state.schedule, 1)
    assert reads == {}
    with counted_reads() as reads:
        mean_loss, stop, save = report.read(str)
    assert reads == {"tolist": 1}
    assert (mean_loss, stop, save) == (pytest.approx(float(loss)), False, False)
    assert totals.read() == (pytest.approx(8 * float(loss)), 8.0)
